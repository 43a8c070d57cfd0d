"""Curves and pictures for TensorBoard, all over the same axis: optimisation steps since the start of training."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError


class TensorboardWriter:
    """Writes scalars below a folder.

    Args:
        folder: where the event files go.
        first_step: what an earlier run wrote from this step on is hidden, so that a resumed curve has no doubles.

    Raises:
        DataError: here and in each method, if the files cannot be written, such as on a full disk.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed by training runs only

        self._folder = folder
        _leave_to_writer()
        with self._writing():
            self._writer = SummaryWriter(str(folder), purge_step=first_step)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._folder}: the curves cannot be written: {error.strerror or error}") from error

    def write(self, prefix: str, scalars: Mapping[str, float], step: int) -> None:
        """Write ``prefix/<name>`` for each scalar."""
        with self._writing():
            for name, value in scalars.items():
                self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Write a picture (H, W, 3) uint8 RGB."""
        with self._writing():
            self._writer.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        """Put what is pending on the disk."""
        with self._writing():
            self._writer.flush()

    def close(self) -> None:
        """Write what is pending to disk."""
        with self._writing():
            self._writer.close()


def _leave_to_writer() -> None:
    """Keep the thread that writes events from printing a traceback of what the writer will raise."""
    others = threading.excepthook

    def report(args: threading.ExceptHookArgs) -> None:
        if not (isinstance(args.exc_value, OSError) and type(args.thread).__name__ == "_AsyncWriterThread"):
            others(args)

    threading.excepthook = report


class SilentWriter:
    """Writes nothing: for ranks other than 0 and for tests."""

    def write(self, prefix: str, scalars: Mapping[str, float], step: int) -> None:
        """Ignore the scalars."""

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Ignore the picture."""

    def flush(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
