"""The loop and the world: being asked to end by a signal, and saying so when no step is finished any more."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lib.utils.child import stop_signals
from lib.utils.launch import get_rank, is_main_process

logger = logging.getLogger(__name__)

_SAME_REQUEST = 1.0  # seconds within which a launcher may pass on the Ctrl-C that the terminal sent already
SLOW_FIRST_STEP = 60.0
"""Seconds after which a first step that is not done is mentioned."""
STALLED = 600.0
"""Seconds without a batch or a step after which the log says so, and again each time they have doubled."""


class TrainingStopped(Exception):
    """Ends the loop after a step; raised and caught inside the trainer."""


class StopRequest:
    """Remembers that a signal asked the process to end.

    Attributes:
        signum: the signal, ``None`` while there was none.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._since = 0.0

    def __bool__(self) -> bool:
        return self.signum is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take ``stop_signals`` as requests while the block runs; outside the main thread nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._remember) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signum is None:
            self.signum, self._since = number, now
        elif number == signal.SIGINT and now - self._since > _SAME_REQUEST:
            raise KeyboardInterrupt  # the second Ctrl-C: at once


class StallWatch:
    """Warns from a thread when there is no sign of life."""

    def __init__(self) -> None:
        self._alive = time.monotonic()
        self._stepped = self._paused = False

    def alive(self, *, stepped: bool = False) -> None:
        """Take note of a batch, or of a step."""
        self._alive, self._stepped = time.monotonic(), self._stepped or stepped

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Expect no steps while the block runs."""
        self._paused = True
        try:
            yield
        finally:
            self.alive()
            self._paused = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs."""
        self.alive()
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), name="watch steps", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        limit, seen = 0.0, -1.0
        while not ended.wait(min(1.0, STALLED / 4)):
            if seen != self._alive:
                seen = self._alive
                # Rank 0 speaks for all, unless it is the one that hangs.
                limit = (STALLED if self._stepped else SLOW_FIRST_STEP) * (1 if is_main_process() else 1.5)
            if self._paused or time.monotonic() - seen < limit:
                continue
            limit *= 2
            if self._stepped:
                logger.warning(
                    "rank %d: no step was finished for %.0f minutes: another process, the disk or the device may hang",
                    get_rank(),
                    (time.monotonic() - seen) / 60,
                )
            elif is_main_process():
                logger.info("the first step is not done after %.0f s", time.monotonic() - seen)
