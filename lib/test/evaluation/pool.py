"""Worker processes that track sequences, each with a tracker of its own, and the parent that looks after them.

A worker asks its parent for each sequence over a pipe; the parent takes them from the queue that all ranks share. So no
lock and no sequence is lost with a killed worker, the parent always knows what a dead worker was doing, and a worker
notices when the parent is gone.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import cv2

from lib.test.evaluation.data import SequenceList
from lib.test.evaluation.loop import Assignment, Outcome, Report, SequenceRunner, TrackerFactory
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.shared import POLL_SECONDS, SharedQueue
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)

STOP_SECONDS = 5.0
"""How long a worker may take to finish its frame when it is told to stop."""
MAX_READERS = 8
"""Threads that decode frames in one process, at most."""


class _Stopped(BaseException):
    """The parent wants no more, or is gone."""


@dataclass(frozen=True)
class _Ready:
    """A worker has made its tracker."""


@dataclass(frozen=True)
class _Want:
    """A worker has room for a sequence beside those that are live."""

    live: int


@dataclass(frozen=True)
class _Broken:
    """A worker could not make its tracker."""

    error: str
    details: str
    by_user: bool


_Message = int | Outcome | _Ready | _Want | _Broken


@dataclass(frozen=True)
class WorkerSettings:
    """What every worker is told.

    Attributes:
        factory: makes a tracker; picklable.
        folder: where the results go.
        batch_size: sequences that a worker tracks at once.
        threads: cores that a worker may use.
    """

    factory: TrackerFactory
    folder: ResultFolder
    batch_size: int
    threads: int


@dataclass
class _Worker:
    """The parent's view of a worker; ``live`` holds the positions of its sequences by name."""

    number: int
    device: str
    process: BaseProcess
    connection: Connection
    live: dict[str, int] = field(default_factory=dict)
    unfinished_frames: int = 0
    ended: int = 0

    def obituary(self) -> str:
        """One line that says how a dead worker ended."""
        self.process.join(STOP_SECONDS)
        code = self.process.exitcode
        reason = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        doing = f"while tracking {', '.join(self.live)}" if self.live else "while it had no sequence"
        return f"worker {self.number} (process {self.process.pid}) died, {reason}, {doing}"


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads, so that several processes do not crowd the cores."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # a tracker without torch must not pay for importing it
        sys.modules["torch"].set_num_threads(threads)


def _worker_main(connection: Connection, settings: WorkerSettings, device: str) -> None:
    """Life of a worker: make the tracker, then ask for sequences and track them until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that no temporary file is left

    def check() -> None:
        if connection.poll():  # the parent only ever answers: the pipe is closed
            raise _Stopped

    def next_sequence(live: int) -> Assignment | None:
        connection.send(_Want(live))
        return connection.recv()

    try:
        limit_threads(settings.threads)
        try:
            tracker = settings.factory(device)
            runner = SequenceRunner(
                tracker,
                settings.folder,
                connection.send,
                batch_size=settings.batch_size,
                readers=min(settings.threads, MAX_READERS),
            )
        except Exception as error:
            by_user = isinstance(error, SeqTrackError)
            text = str(error) if by_user else f"{type(error).__name__}: {error}"
            connection.send(_Broken(text, traceback.format_exc(), by_user))
            return
        limit_threads(settings.threads)
        connection.send(_Ready())
        runner.run(next_sequence, check)
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


class WorkerPool:
    """Tracks sequences in several processes.

    Args:
        sequences: all sequences of the run; the queue holds positions in this list.
        queue: shared with the other ranks.
        settings: what every worker is told.
        report: hears, in this process, of frames and of outcomes.
        on_ready: called once in this process, when the first tracker is made and before anything is written.
        idle: called often while there is nothing else to do.

    Attributes:
        is_ready: whether a worker has made its tracker.
    """

    def __init__(
        self,
        sequences: SequenceList,
        queue: SharedQueue,
        settings: WorkerSettings,
        report: Report,
        *,
        on_ready: Callable[[], None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._sequences = sequences
        self._queue = queue
        self._settings = settings
        self._report = report
        self._on_ready = on_ready
        self._idle = idle
        self.is_ready = False
        self._live: dict[Connection, _Worker] = {}
        self._started: list[_Worker] = []

    def run(self, devices: list[str]) -> None:
        """Start a worker on each device and look after them until the queue is empty or no worker is left.

        Raises:
            SeqTrackError: if a tracker cannot be made for a reason that the user can mend.
        """
        try:
            for device in devices:
                self._start(device)
            while self._live:
                for connection in wait(list(self._live), timeout=POLL_SECONDS):
                    self._listen(self._live[connection])
                self._idle()
        finally:
            self._stop()

    def _start(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        ours, theirs = context.Pipe()
        number = len(self._started)
        with _interrupts_ignored():
            arguments = (theirs, self._settings, device)
            process = context.Process(target=_worker_main, args=arguments, name=f"track-{number}", daemon=True)
            process.start()
        theirs.close()  # else the pipe would outlive the worker
        worker = _Worker(number, device, process, ours)
        self._started.append(worker)
        self._live[ours] = worker

    def _listen(self, worker: _Worker) -> None:
        """Act on a message of a worker, or on its death."""
        try:
            message: _Message = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        if isinstance(message, int):
            worker.unfinished_frames += message
            self._report(message)
        elif isinstance(message, Outcome):
            self._settle(worker, message)
        elif isinstance(message, _Want):
            self._assign(worker, message.live)
        elif isinstance(message, _Broken):
            if message.by_user:
                raise SeqTrackError(message.error)
            logger.error("worker %d cannot make its tracker: %s\n%s", worker.number, message.error, message.details)
            self._dismiss(worker)
        elif not self.is_ready:
            self._on_ready()
            self.is_ready = True

    def _assign(self, worker: _Worker, live: int) -> None:
        """Answer a worker that has room for a sequence; one that comes back waits for a worker that has no other."""
        ticket = self._queue.take(retries=live == 0)
        assignment = None
        if ticket is not None:
            assignment = Assignment(self._sequences[ticket.index], alone=ticket.retry)
            worker.live[assignment.sequence.name] = ticket.index
        with contextlib.suppress(OSError):  # it has just died, and its closed pipe will say so
            worker.connection.send(assignment)
        if assignment is None and live == 0:
            self._dismiss(worker)

    def _settle(self, worker: _Worker, outcome: Outcome) -> None:
        worker.unfinished_frames -= outcome.frames
        worker.ended += 1
        settle(self._queue, worker.live.pop(outcome.sequence), outcome, self._report)

    def _bury(self, worker: _Worker) -> None:
        """Give the sequences of a dead worker back, and put another in its place."""
        cause = worker.obituary()
        logger.error("%s", cause)
        self._report(-worker.unfinished_frames)
        for name, index in worker.live.items():
            settle(self._queue, index, Outcome(name, error=cause, again=True), self._report)
        self._dismiss(worker)
        # One that dies before it has done anything would only die again, and again.
        if worker.live or worker.ended:
            self._start(worker.device)

    def _dismiss(self, worker: _Worker) -> None:
        worker.connection.close()
        del self._live[worker.connection]

    def _stop(self) -> None:
        """End all workers, politely first."""
        for worker in self._started:
            worker.connection.close()
        for worker in self._started:
            worker.process.join(STOP_SECONDS)
            for end in (worker.process.terminate, worker.process.kill):
                if worker.process.is_alive():
                    end()
                    worker.process.join(STOP_SECONDS)


def settle(queue: SharedQueue, index: int, outcome: Outcome, report: Report) -> None:
    """Report what became of a sequence, or give it back to the queue if it deserves a second attempt."""
    if outcome.again and queue.put_back(index):
        logger.warning("sequence %s goes back to the queue: %s", outcome.sequence, outcome.error)
        if outcome.frames:
            report(-outcome.frames)
    else:
        report(replace(outcome, again=False))
