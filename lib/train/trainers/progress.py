"""What the log says between the lines of every TRAIN.PRINT_INTERVAL steps: early news, and that nothing goes on."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lib.utils.launch import get_rank, is_main_process

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 60.0
"""Seconds between two early lines: the first, and what they are doubled up to."""
SLOW_FIRST_STEP = 60.0
"""Seconds after which a first step that is not done is mentioned."""
STALLED = 600.0
"""Seconds without a batch or a step after which the log says so, and again each time they have doubled."""


class Progress:
    """Knows when there was a sign of life, and when a line is due."""

    def __init__(self) -> None:
        self._pause = 0.0
        self._last_line = self._alive = time.monotonic()
        self._stepped = self._paused = False

    def line_is_due(self) -> bool:
        """Whether to write a line after a step: after the first one, then by time."""
        now = time.monotonic()
        if now - self._last_line < self._pause:
            return False
        self.line_written()
        return True

    def line_written(self) -> None:
        """Take note of a line."""
        self._last_line = time.monotonic()
        self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE

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
        """Warn from a thread, while the block runs, if there is no sign of life."""
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
