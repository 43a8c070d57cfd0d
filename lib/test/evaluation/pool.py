"""Worker processes that track sequences, each with a tracker of its own, and the parent that looks after them.

A worker asks its parent for each sequence over a pipe; the parent takes them from the queue that all ranks share. So no
lock and no sequence is lost with a killed worker, the parent always knows what a worker was doing when it exited, and a
worker notices when the parent is gone. A thread of each worker sends heartbeats, so that one that was stopped or hangs
is noticed.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

import cv2

from lib.test.evaluation.loop import Assignment, Outcome, Report, SequenceRunner, TrackerFactory
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.shared import POLL_SECONDS, Dispatcher, Wait
from lib.utils.errors import SeqTrackError

logger = logging.getLogger(__name__)

STOP_SECONDS = 0.5
"""How long a worker may take to finish its frame when it is told to stop; then it gets SIGTERM, then SIGKILL."""
EXIT_SECONDS = 10.0
"""The same for a worker that has nothing left to do."""
BEAT_SECONDS = 1.0
SILENCE_SECONDS = 60.0
"""A worker without a heartbeat for so long was stopped, or its machine is out of memory; it is killed."""
STUCK_SECONDS = 900.0
"""A worker that has tracked no frame for so long hangs; a compilation or a slow disk may take minutes."""
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


@dataclass(frozen=True)
class _Beat:
    """A worker is alive, whatever its main thread does."""


_Message = int | Outcome | _Ready | _Want | _Broken | _Beat


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
    """The parent's view of a worker; ``live`` holds the names of its sequences."""

    number: int
    device: str
    process: BaseProcess
    connection: Connection
    live: set[str] = field(default_factory=set)
    unfinished_frames: int = 0
    ended: int = 0
    is_ready: bool = False
    beat_at: float | None = None
    progress_at: float = field(default_factory=time.monotonic)

    def describe_exit(self, reason: str = "") -> str:
        """One line that says how a worker ended."""
        self.process.join(EXIT_SECONDS)
        code = self.process.exitcode
        if not reason:
            reason = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        doing = f"while tracking {', '.join(sorted(self.live))}" if self.live else "while it had no sequence"
        return f"worker {self.number} (process {self.process.pid}) died, {reason}, {doing}"

    def find_hang(self, now: float) -> str:
        """Why this worker should be killed, empty if it should not."""
        if self.beat_at is not None and now - self.beat_at > SILENCE_SECONDS:  # None: it still imports
            return f"no heartbeat for {SILENCE_SECONDS:.0f} s (stopped?), killed"
        if (self.live or not self.is_ready) and now - self.progress_at > STUCK_SECONDS:
            return f"no frame for {STUCK_SECONDS:.0f} s, killed"
        return ""


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads, so that several processes do not crowd the cores."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # a tracker without torch must not pay for importing it
        sys.modules["torch"].set_num_threads(threads)


class _Link:
    """A worker's end of the pipe, with a thread that sends heartbeats and ends the worker when the parent is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def send(self, message: _Message) -> None:
        with self._lock:
            self._connection.send(message)

    def ask(self, live: int) -> Assignment | None:
        """Ask for the next sequence and wait for the answer."""
        self.send(_Want(live))
        return self._connection.recv()

    def check(self) -> None:
        """Raise if the parent has closed the pipe; it only ever answers."""
        if self._connection.poll():
            raise _Stopped

    def close(self) -> None:
        self._done.set()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self.send(_Beat())
            except OSError:
                if not self._done.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)  # the main thread may be in an import or a compilation
                return


def _worker_main(connection: Connection, settings: WorkerSettings, device: str, number: int) -> None:
    """Life of a worker: make the tracker, then ask for sequences and track them until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which closes the pipe
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that no temporary file is left
    if number:  # the first one speaks for all
        logging.getLogger().setLevel("ERROR")
        warnings.simplefilter("ignore")
    link = _Link(connection)
    try:
        limit_threads(settings.threads)
        try:
            tracker = settings.factory(device)
            runner = SequenceRunner(
                tracker,
                settings.folder,
                link.send,
                batch_size=settings.batch_size,
                readers=min(settings.threads, MAX_READERS),
            )
        except Exception as error:
            by_user = isinstance(error, SeqTrackError)
            text = str(error) if by_user else f"{type(error).__name__}: {error}"
            link.send(_Broken(text, traceback.format_exc(), by_user))
            return
        limit_threads(settings.threads)
        link.send(_Ready())
        runner.run(link.ask, link.check)
    except (_Stopped, EOFError, OSError):
        return
    finally:
        link.close()


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
        dispatcher: hands out the sequences.
        settings: what every worker is told.
        report: hears, in this process, of frames.
        on_ready: called once in this process, when the first tracker is made and before anything is written.
        idle: called often while there is nothing else to do.

    Attributes:
        is_ready: whether a worker has made its tracker.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        settings: WorkerSettings,
        report: Report,
        *,
        on_ready: Callable[[], None] = lambda: None,
        idle: Callable[[], None] = lambda: None,
    ) -> None:
        self._dispatcher = dispatcher
        self._settings = settings
        self._report = report
        self._on_ready = on_ready
        self._idle = idle
        self.is_ready = False
        self._live: dict[Connection, _Worker] = {}
        self._started: list[_Worker] = []
        self._waiting: list[_Worker] = []
        self._looked_at = time.monotonic()

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
                waiting, self._waiting = self._waiting, []
                for worker in waiting:
                    self._assign(worker, live=0)
                self._kill_hung()
                self._idle()
        except BaseException:
            self._stop(STOP_SECONDS)
            raise
        self._stop(EXIT_SECONDS)

    def _start(self, device: str) -> None:
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        ours, theirs = context.Pipe()
        number = len(self._started)
        with _interrupts_ignored():
            arguments = (theirs, self._settings, device, number)
            process = context.Process(target=_worker_main, args=arguments, name=f"track-{number}", daemon=True)
            process.start()
        theirs.close()  # else the pipe would outlive the worker
        worker = _Worker(number, device, process, ours)
        self._started.append(worker)
        self._live[ours] = worker

    def _listen(self, worker: _Worker) -> None:
        """Act on a message of a worker, or on its exit."""
        try:
            message: _Message = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        worker.beat_at = now = time.monotonic()
        if isinstance(message, _Beat):
            return
        worker.progress_at = now
        if isinstance(message, int):
            worker.unfinished_frames += message
            self._report(message)
        elif isinstance(message, Outcome):
            worker.unfinished_frames -= message.frames
            worker.ended += 1
            worker.live.remove(message.sequence)
            self._dispatcher.settle(message)
        elif isinstance(message, _Want):
            self._assign(worker, message.live)
        elif isinstance(message, _Broken):
            if message.by_user:
                raise SeqTrackError(message.error)
            details = {"details": message.details}
            logger.error("worker %d cannot make its tracker: %s", worker.number, message.error, extra=details)
            self._dismiss(worker)
        else:
            worker.is_ready = True
            if not self.is_ready:
                self._on_ready()
                self.is_ready = True

    def _assign(self, worker: _Worker, live: int) -> None:
        """Answer a worker that has room for a sequence, or let it wait."""
        if worker.connection not in self._live:  # it exited while it waited
            return
        assignment = self._dispatcher.next(live)
        if assignment is Wait.WAIT:
            self._waiting.append(worker)
            return
        if assignment is not None:
            worker.live.add(assignment.sequence.name)
            worker.progress_at = time.monotonic()
        with contextlib.suppress(OSError):  # it has just exited, and its closed pipe will say so
            worker.connection.send(assignment)
        if assignment is None and live == 0:
            self._dismiss(worker)

    def _kill_hung(self) -> None:
        """Kill the workers that were stopped or hang; others take their place."""
        now, before = time.monotonic(), self._looked_at
        self._looked_at = now
        if now - before > SILENCE_SECONDS / 2:  # this process was stopped itself, together with its workers
            for worker in self._live.values():
                worker.beat_at, worker.progress_at = None, now
        for worker in list(self._live.values()):
            if reason := worker.find_hang(now):
                worker.process.kill()
                self._replace(worker, reason)

    def _replace(self, worker: _Worker, reason: str = "") -> None:
        """Give the sequences of a worker that exited back, and put another in its place."""
        cause = worker.describe_exit(reason)
        logger.error("%s", cause)
        self._report(-worker.unfinished_frames)
        for name in worker.live:
            self._dispatcher.settle(Outcome(name, error=cause, again=True))
        self._dismiss(worker)
        # One that exits before it has done anything would only exit again, and again.
        if worker.live or worker.ended:
            self._start(worker.device)

    def _dismiss(self, worker: _Worker) -> None:
        worker.connection.close()
        del self._live[worker.connection]

    def _stop(self, seconds: float) -> None:
        """End all workers, politely first."""
        for worker in self._live.values():
            worker.connection.close()
        for end in (lambda process: None, lambda process: process.terminate(), lambda process: process.kill()):
            alive = [worker.process for worker in self._started if worker.process.is_alive()]
            for process in alive:
                end(process)
            deadline = time.monotonic() + seconds
            for process in alive:
                process.join(max(0.0, deadline - time.monotonic()))
