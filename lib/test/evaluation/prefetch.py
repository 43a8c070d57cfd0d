"""Decoding the frames of a sequence ahead of the tracker, in threads and in bounded memory."""

from collections import deque
from concurrent.futures import Executor, Future

import numpy as np

from lib.data.sequence import Sequence

AHEAD_FRAMES = 8
"""How many frames of a sequence are decoded ahead at most."""
AHEAD_BYTES = 512 << 20
"""How much memory the frames decoded ahead may take in one process, all live sequences together."""


class FrameReader:
    """Gives the frames of a sequence in order while threads decode the next ones.

    Args:
        sequence: F frames.
        threads: decodes; shared by many readers.
        share: this reader's part of ``AHEAD_BYTES``, in (0, 1].
    """

    def __init__(self, sequence: Sequence, threads: Executor, share: float = 1.0) -> None:
        self._sequence = sequence
        self._threads = threads
        self._bytes = AHEAD_BYTES * share
        self._pending: deque[Future[np.ndarray]] = deque()
        self._next = 0
        self._request(1)  # how much memory a frame takes is not known yet

    def _request(self, frames: int) -> None:
        while len(self._pending) < frames and self._next < len(self._sequence.frames):
            self._pending.append(self._threads.submit(self._sequence.read_frame, self._next))
            self._next += 1

    def next_frame(self) -> np.ndarray:
        """The next frame, (H, W, 3) uint8 RGB. Raises DataError naming the file if it cannot be read."""
        image = self._pending.popleft().result()
        self._request(int(min(max(self._bytes // image.nbytes, 1), AHEAD_FRAMES)))
        return image

    def close(self) -> None:
        """Give up the frames that were not asked for."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
