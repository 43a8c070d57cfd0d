"""A worker: makes a tracker, asks its host for sequences, and tracks them; in a process of its own over a pipe."""

import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection

import cv2

from lib.test.evaluation.loop import SequenceRunner, describe_error
from lib.test.evaluation.manifest import describe_device
from lib.test.evaluation.protocol import Assignment, Failure, Link, Message, Ready, Request, TrackerFactory
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import SeqTrackError

BEAT_SECONDS = 1.0


def limit_threads(threads: int) -> None:
    """Let this process compute with so many threads, so that several processes do not crowd the cores."""
    cv2.setNumThreads(threads)
    if "torch" in sys.modules:  # a tracker without torch must not pay for importing it
        sys.modules["torch"].set_num_threads(threads)


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


def work(settings: WorkerSettings, device: str, link: Link) -> None:
    """Life of a worker: make the tracker, then ask for sequences and track them until there are no more."""
    try:
        limit_threads(settings.threads)
        tracker = settings.factory(device)
        options = {"batch_size": settings.batch_size, "readers": settings.threads}
        runner = SequenceRunner(tracker, settings.folder, link, **options)
        limit_threads(settings.threads)  # the factory may have imported torch
        link.send(Ready(describe_device(device)))
        runner.run()
    except Exception as error:
        mistake = type(error) if isinstance(error, SeqTrackError) else None
        link.send(Failure(describe_error(error), traceback.format_exc(), mistake))


class _Stopped(BaseException):
    """The host wants no more, or is gone."""


class _Pipe:
    """A worker's end of the pipe, with a thread that sends heartbeats and ends the worker when the host is gone."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._done = threading.Event()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def send(self, message: Message) -> None:
        with self._lock, _stop_if_closed():
            self._connection.send(message)

    def ask(self, request: Request) -> Assignment | None:
        self.send(request)
        with _stop_if_closed():
            return self._connection.recv()

    def check(self) -> None:
        if self._connection.poll():  # closed, since the host only ever answers
            raise _Stopped

    def close(self) -> None:
        self._done.set()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            try:
                self.send(0)
            except _Stopped:
                if not self._done.is_set():
                    os.kill(os.getpid(), signal.SIGTERM)  # the main thread may be in an import or a compilation
                return


@contextlib.contextmanager
def _stop_if_closed() -> Iterator[None]:
    try:
        yield
    except (EOFError, OSError):
        raise _Stopped from None


def worker_main(connection: Connection, settings: WorkerSettings, device: str, number: int) -> None:
    """Entry point of worker process ``number``, until the host has no more work or closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the host, which closes the pipe
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds, so that no temporary file is left
    if number:  # the first one speaks for all
        logging.getLogger().setLevel("ERROR")
        warnings.simplefilter("ignore")
    link = _Pipe(connection)
    with contextlib.suppress(_Stopped):
        work(settings, device, link)
    link.close()
