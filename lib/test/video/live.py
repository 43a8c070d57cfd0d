"""Live sources: frames that come whether they are waited for or not, and streams that stop and come back."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from lib.test.video.sources import FrameSource
from lib.utils.errors import DataError, InputError, SeqTrackError

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 15.0  # seconds between attempts to connect again; doubled each time
_POLL_SECONDS = 0.1  # after so long a wait notices that the user has ended the run


class LiveSource(FrameSource):
    """Another source read by a thread of its own: the tracker always gets the newest frame, older ones are dropped.

    Args:
        source: the source; it is opened.
        reopen: opens it again after it has failed; None if that is not possible.
        timeout: seconds without a frame after which a source that cannot be reopened has failed.
        patience: seconds without a frame after which one that can be reopened has.

    """

    def __init__(
        self,
        source: FrameSource,
        reopen: Callable[[], FrameSource] | None = None,
        *,
        timeout: float = 10.0,
        patience: float = 60.0,
    ) -> None:
        self.name, self.fps = source.name, source.fps
        self.dropped = self.reconnects = 0
        self._source, self._reopen = source, reopen
        self._wait = timeout if reopen is None else max(timeout, patience)
        self._timeout = timeout
        self._condition = threading.Condition()
        self._newest: tuple[np.ndarray, float] | None = None
        self._ended: SeqTrackError | None = None
        self._done = self._stopped = False

    def stop(self) -> None:  # noqa: D102
        self._stopped = True  # no lock: a signal handler calls this, whatever the interrupted code holds

    def frames(self) -> Iterator[np.ndarray]:  # noqa: D102
        threading.Thread(target=self._read, name="newest frame", daemon=True).start()
        begin, wait = time.monotonic(), self._timeout
        try:
            while (taken := self._take(wait)) is not None:
                image, moment = taken
                self.time, wait = moment - begin, self._wait
                yield image
        finally:
            self._stopped = True

    def _take(self, wait: float) -> tuple[np.ndarray, float] | None:
        """The newest frame and when it came, as soon as there is one; None at the end.

        Raises:
            SeqTrackError: if the source has failed, or nothing comes.
        """
        limit = time.monotonic() + wait
        with self._condition:
            while self._newest is None and not self._done and not self._stopped:
                if time.monotonic() > limit:
                    raise DataError(f"{self}: no frame for {wait:g} s")
                self._condition.wait(_POLL_SECONDS)
            taken, self._newest = self._newest, None
            if taken is None and self._ended is not None and not self._stopped:
                raise self._ended
            return None if self._stopped else taken

    def _read(self) -> None:
        """The thread: hand frames over, and open the source again when it fails."""
        try:
            while True:
                try:
                    self._pass_on()
                    break
                except SeqTrackError as error:
                    if self._reopen is None or self._stopped:
                        raise
                    self._connect_again(error)
        except SeqTrackError as error:
            self._ended = error
        except Exception as error:  # whatever it is, the thread that waits must hear of it
            logger.exception("%s: the thread that reads has failed", self)
            self._ended = DataError(f"{self}: {type(error).__name__}: {error}")
        finally:
            with self._condition:
                self._done = True
                self._condition.notify()

    def _pass_on(self) -> None:
        for frame in self._source.frames():
            if self._stopped:
                return
            with self._condition:
                self.dropped += self._newest is not None
                self._newest = frame, time.monotonic()
                self._condition.notify()

    def _connect_again(self, error: SeqTrackError) -> None:
        """Open the source again, with growing pauses. Raises the last error once there was no frame for too long."""
        pause, limit = _FIRST_PAUSE, time.monotonic() + self._wait
        logger.warning("%s; connecting again", error)
        while True:
            end = time.monotonic() + pause
            while time.monotonic() < end and not self._stopped:
                time.sleep(_POLL_SECONDS)
            if self._stopped:
                raise error
            try:
                self._source = self._reopen()
                self.reconnects += 1
                logger.info("%s: connected again", self)
                return
            except InputError as failure:
                error, pause = failure, min(2 * pause, _LONGEST_PAUSE)
                if time.monotonic() > limit:
                    raise

    def __str__(self) -> str:
        return str(self._source)
