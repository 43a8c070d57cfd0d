"""Curves and pictures for TensorBoard, all over the same axis: optimisation steps since the start of training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np


class TensorboardWriter:
    """Writes scalars below a folder.

    Args:
        folder: where the event files go.
        first_step: what an earlier run wrote from this step on is hidden, so that a resumed curve has no doubles.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and needed by training runs only

        self._writer = SummaryWriter(str(folder), purge_step=first_step)

    def write(self, prefix: str, scalars: Mapping[str, float], step: int) -> None:
        """Write ``prefix/<name>`` for each scalar."""
        for name, value in scalars.items():
            self._writer.add_scalar(f"{prefix}/{name}", value, step)

    def picture(self, name: str, image: np.ndarray, step: int) -> None:
        """Write a picture (H, W, 3) uint8 RGB."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def flush(self) -> None:
        """Put what is pending on the disk."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is pending to disk."""
        self._writer.close()


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
