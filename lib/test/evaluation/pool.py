"""Worker processes that track sequences, each with a tracker of its own.

The parent hands out one sequence at a time over a pipe to each worker. There is no shared queue whose lock a killed
worker could keep, the parent always knows what a dead worker was doing, and a worker notices when the parent is gone.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import cv2

from lib.test.evaluation.data import Sequence
from lib.test.evaluation.loop import Outcome, Report, TrackerFactory, attempt
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long a worker may take to finish its frame when it is told to stop."""


class _Stopped(BaseException):
    """The parent wants no more, or is gone."""


@dataclass(frozen=True)
class _Ready:
    """A worker has made its tracker."""


@dataclass(frozen=True)
class _Broken:
    """A worker could not make its tracker."""

    error: str
    details: str
    by_user: bool


@dataclass
class _Worker:
    """The parent's view of a worker."""

    number: int
    process: BaseProcess
    connection: Connection
    sequence: Sequence | None = None

    def obituary(self) -> str:
        """One line that says how a dead worker ended."""
        self.process.join(STOP_SECONDS)
        code = self.process.exitcode
        reason = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        doing = f"while tracking {self.sequence.name}" if self.sequence else "while it had no sequence"
        return f"worker {self.number} (process {self.process.pid}) died, {reason}, {doing}"


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads, so that several processes do not crowd the cores."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # a tracker without torch must not pay for importing it
        sys.modules["torch"].set_num_threads(threads)


def _worker_main(
    connection: Connection, factory: TrackerFactory, folder: ResultFolder, device: str, threads: int
) -> None:
    """Life of a worker: make the tracker, then track what the parent sends until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that no temporary file is left

    def check() -> None:
        if connection.poll():  # the parent sends nothing during a sequence: the pipe is closed
            raise _Stopped

    try:
        limit_threads(threads)
        try:
            tracker = factory(device)
        except Exception as error:
            by_user = isinstance(error, SeqTrackError)
            text = str(error) if by_user else f"{type(error).__name__}: {error}"
            connection.send(_Broken(text, traceback.format_exc(), by_user))
            return
        limit_threads(threads)
        connection.send(_Ready())
        while True:
            attempt(tracker, connection.recv(), folder, connection.send, check)
    except (_Stopped, EOFError, OSError):
        return


@contextlib.contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Children started inside ignore Ctrl-C from their first instruction on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _start(factory: TrackerFactory, folder: ResultFolder, devices: list[str], threads: int) -> list[_Worker]:
    context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
    workers = []
    with _interrupts_ignored():
        for number, device in enumerate(devices):
            ours, theirs = context.Pipe()
            arguments = (theirs, factory, folder, device, threads)
            process = context.Process(target=_worker_main, args=arguments, name=f"track-{number}", daemon=True)
            process.start()
            theirs.close()  # else the pipe would outlive the worker
            workers.append(_Worker(number, process, ours))
    return workers


def _stop(workers: list[_Worker]) -> None:
    """End all workers, politely first."""
    for worker in workers:
        worker.connection.close()
    for worker in workers:
        worker.process.join(STOP_SECONDS)
        for end in (worker.process.terminate, worker.process.kill):
            if worker.process.is_alive():
                end()
                worker.process.join(STOP_SECONDS)


def run_in_workers(
    sequences: Iterable[Sequence],
    factory: TrackerFactory,
    folder: ResultFolder,
    devices: list[str],
    report: Report,
    on_ready: Callable[[], None] = lambda: None,
) -> None:
    """Track sequences in several processes.

    Args:
        sequences: in the order in which they are handed out.
        factory: makes a tracker; picklable.
        folder: where the results go.
        devices: device of each worker, one process per entry.
        report: hears, in this process, of frames and of the outcome of every sequence.
        on_ready: called once in this process, when the first tracker is made and before anything is written.

    Raises:
        SeqTrackError: if a tracker cannot be made for a reason that the user can mend.
    """
    waiting = deque(sequences)
    workers = _start(factory, folder, devices, threads=max(1, available_cores() // len(devices)))
    try:
        _hand_out(workers, waiting, report, on_ready)
    finally:
        _stop(workers)
    for sequence in waiting:
        report(Outcome(sequence.name, error="not tracked: no worker is left"))


def _hand_out(workers: list[_Worker], waiting: deque[Sequence], report: Report, on_ready: Callable[[], None]) -> None:
    """Serve the workers until all sequences are done or no worker is left."""
    ready = False
    live = {worker.connection: worker for worker in workers}
    while live:
        for connection in wait(list(live)):
            worker = live[connection]
            try:
                message = connection.recv()
            except (EOFError, OSError):
                message = None
            if isinstance(message, _Ready) and not ready:
                on_ready()
                ready = True
            if message is not None:
                busy = _serve(worker, message, waiting, report)
            else:
                busy = False
                cause = worker.obituary()
                logger.error("%s", cause)
                if worker.sequence is not None:
                    report(Outcome(worker.sequence.name, error=cause))
            if not busy:
                del live[connection]


def _serve(
    worker: _Worker, message: int | Outcome | _Ready | _Broken, waiting: deque[Sequence], report: Report
) -> bool:
    """Act on a message of a worker; return whether it goes on."""
    if isinstance(message, int):
        report(message)
        return True
    if isinstance(message, _Broken):
        if message.by_user:
            raise SeqTrackError(message.error)
        logger.error("worker %d cannot make its tracker: %s\n%s", worker.number, message.error, message.details)
        return False
    if isinstance(message, Outcome):
        report(message)
    worker.sequence = waiting.popleft() if waiting else None
    if worker.sequence is None:
        worker.connection.close()
        return False
    with contextlib.suppress(OSError):  # it has just died, and its closed pipe will say so
        worker.connection.send(worker.sequence)
    return True
