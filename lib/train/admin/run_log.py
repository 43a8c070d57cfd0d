"""What a run says of itself: lines in the log and points of curves, with the time that is left."""

import logging
import time
from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import torch
from torch.optim import Optimizer

from lib.train.admin.stats import EpochStats
from lib.train.admin.tensorboard import TensorboardWriter
from lib.train.data.batch import TrainingBatch

logger = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 60.0
"""Seconds between two early lines: the first, and what they are doubled up to."""


class RunLog:
    """Says how the training goes: early and then by time, and every ``interval`` steps with a point of each curve.

    Args:
        epochs: of the whole run.
        steps: in an epoch.
        samples_per_step: over all processes.
        interval: steps between points of the curves.
        optimizer: whose learning rates are reported.
        device: whose memory is reported, if it is a CUDA device.

    Attributes:
        stats: statistics of the epoch that is under way.
        writer: of the curves; ``None`` writes none.
    """

    def __init__(
        self,
        *,
        epochs: int,
        steps: int,
        samples_per_step: int,
        interval: int,
        optimizer: Optimizer,
        device: torch.device,
    ) -> None:
        self.epochs = epochs
        self.steps = steps
        self.samples_per_step = samples_per_step
        self.interval = interval
        self.optimizer = optimizer
        self.device = device
        self.writer: TensorboardWriter | None = None
        self.stats = EpochStats()
        self._epoch = self._first_step = 0
        self._run_seconds, self._run_steps = 0.0, 0  # of the epochs that this process has done
        self._pause, self._last_line = 0.0, time.monotonic()

    def start_epoch(self, epoch: int, steps_done: int) -> None:
        """Begin to measure the time of an epoch, of which some steps may be done already."""
        self._epoch, self._first_step = epoch, steps_done
        self.stats.start_clock()

    def end_epoch(self) -> dict[str, float]:
        """Means of the epoch."""
        self._run_seconds += self.stats.whole.elapsed
        self._run_steps += self.steps - self._first_step
        return self.stats.whole.as_dict()

    def step_done(self, number: int, values: Mapping[str, float]) -> None:
        """Count step ``number`` of the epoch, without values if it was not taken, and report when it is time."""
        self.stats.add(values, self.samples_per_step)
        if number % self.interval == 0 or number == self.steps:
            self._record(number)
            self.stats.start_interval()
        elif time.monotonic() - self._last_line >= self._pause:
            self._announce(number)
        else:
            return
        self._last_line = time.monotonic()
        self._pause = min(2 * self._pause, LONGEST_PAUSE) or FIRST_PAUSE

    def write(self, split: str, scalars: Mapping[str, float], step: int) -> None:
        """A point of each curve of ``split``; steps count from the start of training."""
        if self.writer is not None:
            self.writer.write(split, scalars, step)

    def write_image(self, name: str, image: np.ndarray, step: int) -> None:
        """An image (H, W, 3) uint8 RGB beside the curves."""
        if self.writer is not None:
            self.writer.image(name, image, step)

    def _record(self, number: int) -> None:
        """One line in the log and one point of each curve: means since the last line."""
        recent, rates = self.stats.recent, learning_rates(self.optimizer)
        means, memory = recent.as_dict(), peak_memory(self.device)
        logger.info(
            "[train: %d, %d/%d] loss %.4f, IoU %.4f, lr %s, %.1f samples/s, io_wait %.0f %%,%s ETA %s",
            self._epoch,
            number,
            self.steps,
            means.get("Loss/total", float("nan")),
            means.get("IoU", float("nan")),
            "/".join(f"{rate:.3g}" for rate in rates[:2]) + (f"..{rates[-1]:.3g}" if len(rates) > 2 else ""),
            recent.samples_per_second,
            100 * recent.wait_share,
            "".join(f" {value:.1f} GiB," for value in memory.values()),
            self._time_left(number),
        )
        extra = {f"LearningRate/group{index}": rate for index, rate in enumerate(rates)}
        extra |= {"Speed/samples_per_second": recent.samples_per_second, "Speed/io_wait": recent.wait_share}
        self.write("train", means | extra | memory, (self._epoch - 1) * self.steps + number)

    def _announce(self, number: int) -> None:
        """A line before the first of ``_record``, or between two that are far apart; no point of a curve."""
        logger.info(
            "epoch %d of %d, step %d of %d (%d samples each): loss %.4f, %.1f samples/s, about %s to go",
            self._epoch,
            self.epochs,
            number,
            self.steps,
            self.samples_per_step,
            self.stats.recent.as_dict().get("Loss/total", float("nan")),
            self.stats.recent.samples_per_second,
            self._time_left(number),
        )

    def _time_left(self, number: int) -> timedelta:
        seconds = self._run_seconds + self.stats.whole.elapsed
        steps_left = (self.epochs - self._epoch + 1) * self.steps - number
        return timedelta(seconds=round(seconds / max(self._run_steps + number - self._first_step, 1) * steps_left))


def learning_rates(optimizer: Optimizer) -> list[float]:
    """Learning rates in use, by parameter group."""
    return [group["lr"] for group in optimizer.param_groups]


def peak_memory(device: torch.device) -> dict[str, float]:
    """Most memory in use on a CUDA device so far, in GiB, as a curve; nothing on other devices."""
    return {"Memory/peak_gib": torch.cuda.max_memory_allocated(device) / 2**30} if device.type == "cuda" else {}


def sample_names(parts: list[TrainingBatch]) -> str:
    """Index in the epoch, dataset and sequence of each sample."""
    named = (pair for part in parts for pair in zip(part.keys, part.sources, strict=True))
    return ", ".join(f"{key.index} ({source})" for key, source in named)
