"""Running another program to its end: signals reach it, its exit code comes back."""

import signal
import subprocess
from collections.abc import Sequence
from types import FrameType

from lib.utils.errors import InputError

_PASSED_ON = (signal.SIGINT, signal.SIGTERM)


def run_child(command: Sequence[str]) -> int:
    """Run a program in the foreground.

    SIGINT and SIGTERM that arrive here are passed on, once each, and the child decides how it ends; it is not in
    the terminal's group, so it does not see a Ctrl-C twice.

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

    previous = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        try:
            child = subprocess.Popen(list(command), start_new_session=True)
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
