"""Being asked to end: the loop finishes the step in hand, saves, and ends."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lib.utils.child import stop_signals

_SAME_REQUEST = 1.0  # seconds within which a launcher may pass on the Ctrl-C that the terminal sent already


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
