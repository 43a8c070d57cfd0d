"""One epoch: steps, statistics, a line on the screen now and then."""

import logging
from datetime import timedelta
from typing import Any

from lib.train.admin.stats import EpochStats
from lib.train.data.batch import TrainingBatch
from lib.train.data.loader import TrainingLoader
from lib.train.trainers.base_trainer import BaseTrainer
from lib.train.trainers.step import StepReport

logger = logging.getLogger(__name__)

VALIDATION_EPOCH = 0
"""Training epochs count from 1, so the validation samples are the same in every epoch and seen by no training epoch."""


class LTRTrainer(BaseTrainer):
    """Trains on one loader and validates on another.

    The name is that of the family (learning tracking representations, PyTracking).

    Args:
        train_loader: training samples.
        val_loader: validation samples, or ``None``.
        arguments: those of ``BaseTrainer``.
    """

    def __init__(
        self, *, train_loader: TrainingLoader, val_loader: TrainingLoader | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self.train_loader = train_loader
        self.val_loader = val_loader
        self._run_seconds = 0.0
        self._run_steps = 0

    @property
    def global_step(self) -> int:
        """Steps done before the epoch that is next."""
        return self.epoch * len(self.train_loader)

    def run_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train for one epoch, validate if it is time, and return the means by split."""
        results = {"train": self._train_epoch(epoch)}
        is_last = epoch == self.settings.epochs
        if self.val_loader is not None and (epoch % self.settings.val_interval == 0 or is_last):
            results["val"] = self._validate(epoch)
        return results

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.step.actor.train()
        stats = EpochStats()
        for number, batch in enumerate(stats.watch(self.train_loader.epoch(epoch)), start=1):
            report = self.step.train(batch)
            if report.taken:
                values = {"Loss/total": report.loss, "IoU": report.iou, "GradNorm": report.grad_norm}
            else:
                values = {}
                self._warn_left_out(report, epoch, number, batch)
            stats.add(values, len(batch))
            if number % self.settings.print_interval == 0 or number == len(self.train_loader):
                self._record(epoch, number, stats)
                stats.start_interval()
        self._run_seconds += stats.whole.elapsed
        self._run_steps += len(self.train_loader)
        return stats.whole.as_dict()

    def _validate(self, epoch: int) -> dict[str, float]:
        self.step.actor.eval()
        stats = EpochStats()
        for batch in self.val_loader.epoch(VALIDATION_EPOCH):
            report = self.step.evaluate(batch)
            stats.add({"Loss/total": report.loss, "IoU": report.iou}, len(batch))
        means = stats.whole.as_dict()
        logger.info("[val: %d] loss %.4f, IoU %.4f", epoch, means["Loss/total"], means["IoU"])
        self.writer.write("val", means, epoch * len(self.train_loader))
        return means

    def learning_rates(self) -> list[float]:
        """Learning rates in use, by parameter group."""
        return [group["lr"] for group in self.step.optimizer.param_groups]

    def _record(self, epoch: int, number: int, stats: EpochStats) -> None:
        """One line in the log and one point of each curve: means since the last line."""
        recent, rates = stats.recent, self.learning_rates()
        means = recent.as_dict()
        logger.info(
            "[train: %d, %d/%d] loss %.4f, IoU %.4f, lr %s, %.1f samples/s, data wait %.0f %%, ETA %s",
            epoch,
            number,
            len(self.train_loader),
            means.get("Loss/total", float("nan")),
            means.get("IoU", float("nan")),
            "/".join(f"{rate:.3g}" for rate in rates),
            recent.samples_per_second,
            100 * recent.wait_share,
            timedelta(seconds=round(self._seconds_left(epoch, number, stats))),
        )
        extra = {f"LearningRate/group{index}": rate for index, rate in enumerate(rates)}
        extra |= {"Speed/samples_per_second": recent.samples_per_second, "Speed/data_wait": recent.wait_share}
        self.writer.write("train", means | extra, (epoch - 1) * len(self.train_loader) + number)

    def _seconds_left(self, epoch: int, number: int, stats: EpochStats) -> float:
        per_step = (self._run_seconds + stats.whole.elapsed) / (self._run_steps + number)
        return per_step * ((self.settings.epochs - epoch + 1) * len(self.train_loader) - number)

    def _warn_left_out(self, report: StepReport, epoch: int, number: int, batch: TrainingBatch) -> None:
        logger.warning(
            "epoch %d, step %d: loss %g, gradient norm %g: the step was not taken; samples %s",
            epoch,
            number,
            report.loss,
            report.grad_norm,
            ", ".join(f"{key.index} ({source})" for key, source in zip(batch.keys, batch.sources, strict=True)),
        )
