"""The host of workers: worker processes on any devices, or one worker in this process.

A worker (``worker``) sends messages (``protocol``) over a pipe and gets an answer to each request for a sequence, so no
sequence and no lock is lost with a killed worker, the host always knows what a worker was doing when it exited, and a
worker notices when its host is gone. A thread of each process sends heartbeats.

Why no ``concurrent.futures.ProcessPoolExecutor``: if one of its processes is killed, it ends all others and does not
say which work was to blame, and it never notices one that hangs. A worker here also takes further sequences while it
tracks a batch, and reports progress, for which an executor has no channel.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from lib.test.evaluation.protocol import Assignment, Message, Outcome, Ready, Request
from lib.test.evaluation.shared import POLL_SECONDS, Dispatcher, Progress, Wait
from lib.test.evaluation.worker import WorkerSettings, work, worker_main

logger = logging.getLogger(__name__)

STOP_SECONDS = 0.5
"""How long a worker may take to finish its frame when it is told to stop; then it gets SIGTERM, then SIGKILL."""
EXIT_SECONDS = 10.0
"""The same for a worker that has nothing left to do."""
SILENCE_SECONDS = 60.0
"""A worker without a heartbeat for so long was stopped, or its machine is out of memory; it is killed."""
STUCK_SECONDS = 900.0
"""A worker that has tracked no frame for so long hangs; a compilation or a slow disk may take minutes."""


@dataclass(eq=False)
class _Worker:
    """The host's view of a worker; one without a process is in this one. ``live`` holds the names of its sequences."""

    number: int
    device: str
    process: BaseProcess | None = None
    connection: Connection | None = None
    live: set[str] = field(default_factory=set)
    frames: int = 0
    tracked: int = 0
    is_ready: bool = False
    beat_at: float | None = None
    progress_at: float = field(default_factory=time.monotonic)

    def describe_exit(self, reason: str) -> str:
        """One line that says how a worker ended; its exit code is the reason if there is no better one."""
        pid = os.getpid()
        if self.process:
            self.process.join(0 if reason else EXIT_SECONDS)
            pid, code = self.process.pid, self.process.exitcode
            by_signal = code is not None and code < 0
            reason = reason or (f"signal {signal.Signals(-code).name}" if by_signal else f"exit code {code}")
        doing = f"while tracking {', '.join(sorted(self.live))}" if self.live else "while it had no sequence"
        return f"worker {self.number} (process {pid}) exited, {reason}, {doing}"

    def find_hang(self, now: float) -> str:
        """Why this worker should be killed, empty if it should not."""
        if self.beat_at is not None and now - self.beat_at > SILENCE_SECONDS:  # None: it still imports
            return f"no heartbeat for {SILENCE_SECONDS:.0f} s (stopped?), killed"
        if (self.live or not self.is_ready) and now - self.progress_at > STUCK_SECONDS:
            return f"no frame for {STUCK_SECONDS:.0f} s, killed"
        return ""


class _Direct:
    """The link of the worker in the host's own process."""

    def __init__(self, host: "WorkerHost", worker: _Worker) -> None:
        self._host = host
        self._worker = worker

    def send(self, message: Message) -> None:
        self._host.take(self._worker, message)

    def ask(self, request: Request) -> Assignment | None:
        while (answer := self._host.assign(self._worker, request)) is Wait.WAIT:
            self._host.update()
            time.sleep(POLL_SECONDS)
        return answer

    def check(self) -> None:
        pass


class WorkerHost:
    """Gives workers their sequences, and looks after them.

    Args:
        dispatcher: hands out the sequences.
        settings: what every worker is told.
        progress: is told of frames.
        on_ready: called once with the device, when the first tracker is made and before anything is written.

    Attributes:
        is_ready: whether a worker has made its tracker.
    """

    def __init__(
        self, dispatcher: Dispatcher, settings: WorkerSettings, progress: Progress, on_ready: Callable[[str], None]
    ) -> None:
        self._dispatcher = dispatcher
        self._settings = settings
        self._progress = progress
        self._on_ready = on_ready
        self.update = progress.update
        self.is_ready = False
        self._started: list[_Worker] = []
        self._live: list[_Worker] = []
        self._waiting: list[_Worker] = []
        self._looked_at = time.monotonic()

    def run(self, devices: list[str], *, here: bool = False) -> None:
        """Run a worker on each device until the queue is empty or no worker is left.

        Args:
            devices: one entry per worker.
            here: the first worker is in this process; only if it breaks, another process takes its place.

        Raises:
            SeqTrackError: if a tracker cannot be made for a reason that the user can fix.
        """
        try:
            for device in devices:
                self._start(device, here)
            while self._live:
                owners = {worker.connection: worker for worker in self._live}
                for connection in wait(list(owners), timeout=POLL_SECONDS):
                    self._listen(owners[connection])
                waiting, self._waiting = self._waiting, []
                for worker in waiting:
                    self._answer(worker, Request())
                self._kill_hung()
                self.update()
        except BaseException:
            self._stop(STOP_SECONDS)
            raise
        self._stop(EXIT_SECONDS)

    def _start(self, device: str, here: bool = False) -> None:
        worker = _Worker(len(self._started), device)
        self._started.append(worker)
        self._live.append(worker)
        if here:
            work(self._settings, device, _Direct(self, worker))
            self._dismiss(worker)
            return
        context = multiprocessing.get_context("spawn")  # CUDA and threads do not survive a fork
        worker.connection, theirs = context.Pipe()
        arguments = (theirs, self._settings, device, worker.number)
        worker.process = context.Process(
            target=worker_main, args=arguments, name=f"worker-{worker.number}", daemon=True
        )
        with _interrupts_ignored():
            worker.process.start()
        theirs.close()  # else the pipe would outlive the worker

    def _listen(self, worker: _Worker) -> None:
        """Act on a message of a worker process, or on its exit."""
        try:
            message: Message = worker.connection.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        worker.beat_at = time.monotonic()
        if isinstance(message, Request):
            self._answer(worker, message)
        else:
            self.take(worker, message)

    def take(self, worker: _Worker, message: Message) -> None:
        """Act on what a worker says."""
        if message == 0:
            return
        worker.progress_at = time.monotonic()
        if isinstance(message, int):
            worker.frames += message
            self._progress.report(message)
        elif isinstance(message, Outcome):
            worker.frames -= message.frames
            worker.tracked += not message.error
            worker.live.remove(message.sequence)
            self._dispatcher.settle(message)
        elif isinstance(message, Ready):
            worker.is_ready = True
            if not self.is_ready:
                self._on_ready(message.device)
                self.is_ready = True
        elif message.mistake:
            raise message.mistake(message.error)
        elif worker.is_ready:
            self._replace(worker, message.error, message.details)
        else:
            text, details = "worker %d cannot make its tracker: %s", {"details": message.details}
            logger.error(text, worker.number, message.error, extra=details)
            self._dismiss(worker)

    def assign(self, worker: _Worker, request: Request) -> Assignment | Wait | None:
        """The next sequence for a worker."""
        answer = self._dispatcher.next(request)
        if isinstance(answer, Assignment):
            worker.live.add(answer.sequence.name)
        worker.progress_at = time.monotonic()
        return answer

    def _answer(self, worker: _Worker, request: Request) -> None:
        """Answer a worker process that has room for a sequence, or let it wait."""
        if worker not in self._live:  # it exited while it waited
            return
        answer = self.assign(worker, request)
        if answer is Wait.WAIT:
            self._waiting.append(worker)
            return
        with contextlib.suppress(OSError):  # it has just exited, and its closed pipe will say so
            worker.connection.send(answer)
        if answer is None and request.live == 0:
            self._dismiss(worker)

    def _kill_hung(self) -> None:
        """Kill the workers that were stopped or hang; others take their place."""
        now, before = time.monotonic(), self._looked_at
        self._looked_at = now
        if now - before > SILENCE_SECONDS / 2:  # this process was stopped itself, together with its workers
            for worker in self._live:
                worker.beat_at, worker.progress_at = None, now
        for worker in list(self._live):
            if reason := worker.find_hang(now):
                self._replace(worker, reason)

    def _replace(self, worker: _Worker, reason: str = "", details: str = "") -> None:
        """Give the sequences of a worker that exits back, and put another in its place."""
        if worker.process and reason:
            worker.process.kill()  # it hangs, or its broken device might let it hang
        cause = worker.describe_exit(reason)
        logger.error("%s", cause, extra={"details": details} if details else None)
        has_worked = worker.frames > 0 or worker.tracked > 0
        self._progress.report(-worker.frames)
        for name in worker.live:
            self._dispatcher.settle(Outcome(name, error=cause, details=details, again=True))
        self._dismiss(worker)
        # One that exits before it has done anything would only exit again, and again; a killed one may be unlucky.
        if has_worked or (worker.live and not details):
            self._start(worker.device)

    def _dismiss(self, worker: _Worker) -> None:
        if worker in self._live:
            self._live.remove(worker)
            if worker.connection:
                worker.connection.close()

    def _stop(self, seconds: float) -> None:
        """End all workers, politely first."""
        for worker in self._live:
            if worker.connection:
                worker.connection.close()
        processes = [worker.process for worker in self._started if worker.process]
        for end in (lambda process: None, lambda process: process.terminate(), lambda process: process.kill()):
            alive = [process for process in processes if process.is_alive()]
            for process in alive:
                end(process)
            deadline = time.monotonic() + seconds
            for process in alive:
                process.join(max(0.0, deadline - time.monotonic()))


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
