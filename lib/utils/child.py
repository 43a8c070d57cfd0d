"""Processes and their ends: signals reach a child, its exit code comes back, and no child outlives its parent."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from multiprocessing.util import Finalize
from types import FrameType

from lib.utils.errors import InputError

PARENT_VARIABLE = "SEQTRACK_PARENT_PID"
"""Environment variable that tells a script which process it must not outlive; see ``run_child``."""
TIME_TO_END = 30.0
"""Seconds that a process has to end in order after its parent is gone: a training finishes its step and saves."""


def run_child(command: Sequence[str]) -> int:
    """Run one of this project's scripts in the foreground.

    SIGINT, SIGTERM and SIGHUP that arrive here are passed on, once each, and the child decides how it ends; it is not
    in the terminal's group, so it does not see a Ctrl-C twice. If this process is killed, the child ends as well: it is
    told whom to watch (``watch_given_parent``, which ``run_script`` calls).

    Args:
        command: program and arguments; no shell is involved.

    Returns:
        Exit code of the child, or 128 + the number of the signal that ended it or that was passed on to it.

    Raises:
        InputError: if the program cannot be started.
    """
    passed_on: list[int] = []
    child: subprocess.Popen | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        if number not in passed_on:
            passed_on.append(number)
            if child is not None:
                child.send_signal(number)

    previous = {number: signal.signal(number, pass_on) for number in stop_signals()}
    try:
        try:
            environment = os.environ | {PARENT_VARIABLE: str(os.getpid())}
            child = subprocess.Popen(list(command), start_new_session=True, env=environment)
        except OSError as error:
            raise InputError(f"{command[0]}: cannot be started: {error}") from error
        for number in passed_on:  # arrived while the child was being started
            child.send_signal(number)
        code = child.wait()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if code < 0:
        return 128 - code
    return 128 + passed_on[0] if passed_on and code else code


def stop_signals() -> list[int]:
    """Signals that ask this process to end; a closed terminal does not count under ``nohup``."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def watch_given_parent() -> None:
    """End this process, at first in order, when what started it through ``run_child`` or as a rank is gone."""
    parent = os.environ.pop(PARENT_VARIABLE, "")
    if not parent and "TORCHELASTIC_RUN_ID" in os.environ:
        parent = str(os.getppid())
    if parent.isdecimal():
        _watch(int(parent), TIME_TO_END)


def watch_parent() -> None:
    """End this process of ``multiprocessing`` at once when the process that started it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:  # the server of "forkserver", whose child this is then, ends with the parent
        _watch(os.getppid() if multiprocessing.get_start_method() == "forkserver" else parent.pid, 0)


def _watch(parent: int, time_to_end: float) -> None:
    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        if time_to_end:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(time_to_end)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="watch parent", daemon=True).start()


def kill_children_at_exit() -> None:
    """Kill the daemonic children of ``multiprocessing`` at the interpreter's exit.

    By itself it sends them SIGTERM and waits without limit, for ever if they ignore it.
    """
    Finalize(None, _kill_children, exitpriority=100)


def _kill_children() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            with contextlib.suppress(RuntimeError):  # what a handler of SIGCHLD may raise
                child.kill()
