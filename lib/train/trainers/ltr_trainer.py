"""One epoch: steps, statistics, a line on the screen now and then."""

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch

from lib.train.admin.picture import draw_batch
from lib.train.admin.stats import EpochStats
from lib.train.data.batch import TrainingBatch
from lib.train.data.loader import TrainingLoader
from lib.train.distributed import decide_on_main, gather
from lib.train.trainers.base_trainer import BaseTrainer
from lib.train.trainers.interrupt import TrainingStopped
from lib.train.trainers.step import StepReport, TrainingDiverged
from lib.utils.errors import SeqTrackError, printable
from lib.utils.launch import get_rank, is_main_process

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
        self.track: Callable[[], dict[str, float]] | None = None
        """Tracks real sequences with the current weights and returns scores; rank 0 calls it."""
        self.track_interval = 1
        self._run_seconds = 0.0
        self._run_steps = 0
        self._first_steps_done = 0

    @property
    def global_step(self) -> int:
        """Steps done so far."""
        return self.epoch * len(self.train_loader) + self.steps_done

    @property
    def samples_per_step(self) -> int:
        """Samples of a step over all processes."""
        return self.train_loader.keys.samples_per_step

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return len(self.train_loader)

    def run_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train for one epoch from ``steps_done`` on, validate if it is time, and return the means by split."""
        results = {"train": self._train_epoch(epoch)}
        is_last = epoch == self.settings.epochs
        if self.val_loader is not None and (epoch % self.settings.val_interval == 0 or is_last):
            results["val"] = self._validate(epoch)
        if self.track is not None and (epoch % self.track_interval == 0 or is_last):
            results["track"] = self._track(epoch)
        # At the very end: what follows a stop or a crash in between is done, and written, again.
        for split in ("val", "track"):
            if results.get(split):
                self.writer.write(split, results[split], self.global_step)
        return results

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.step.actor.train()
        stats, self._first_steps_done = self.epoch_stats, self.steps_done
        stats.start_clock()
        parts: list[TrainingBatch] = []
        for batch in stats.watch(self.train_loader.epoch(epoch, self.steps_done)):
            parts.append(batch)
            self.progress.alive()
            report = self._take_step(epoch, parts)
            if report is not None:
                self._count_step()
                self._after_step(epoch, report, parts)
                parts = []
        self._run_seconds += stats.whole.elapsed
        self._run_steps += self.steps_done - self._first_steps_done
        self._started()  # no step was left to do in this epoch
        return stats.whole.as_dict()

    def _take_step(self, epoch: int, parts: list[TrainingBatch]) -> StepReport | None:
        try:
            return self.step.train(parts[-1], stop=bool(self.stop))
        except TrainingDiverged as error:
            raise TrainingDiverged(
                f"epoch {epoch}, step {self.steps_done + 1}: {error}; last samples of rank {get_rank()}: "
                f"{printable(_sample_names(parts), 300)}"
            ) from error

    def _count_step(self) -> None:
        """Count a step; the last one of an epoch includes the smoothing, so that a checkpoint never holds it twice."""
        self.steps_done += 1
        if self.steps_done == len(self.train_loader) and self.settings.smooth_tokens > 0:
            self.network.smooth_tokens(self.settings.smooth_tokens)

    def _after_step(self, epoch: int, report: StepReport, parts: list[TrainingBatch]) -> None:
        values = {"Loss/total": report.loss, "IoU": report.iou, "GradNorm": report.grad_norm} if report.taken else {}
        if not report.taken:
            self._warn_left_out(report, epoch, parts)
        self.progress.alive(stepped=True)
        self._started()
        if self.global_step == 1:
            self.writer.picture("train/batch", draw_batch(parts[0]), 1)
        stats, number, is_last = self.epoch_stats, self.steps_done, self.steps_done == len(self.train_loader)
        stats.add(values, self.samples_per_step)
        if number % self.settings.print_interval == 0 or is_last:
            self._record(epoch, number, stats)
            stats.start_interval()
            self.progress.line_written()
        elif self.progress.line_is_due():
            self._announce(epoch, number, stats)
        if report.stop:
            raise TrainingStopped
        if self.settings.save_every_steps and number % self.settings.save_every_steps == 0 and not is_last:
            self.save()

    def _validate(self, epoch: int) -> dict[str, float]:
        self.step.actor.eval()
        stats = EpochStats()
        for batch in self.val_loader.epoch(VALIDATION_EPOCH):
            report = self.step.evaluate(batch, stop=bool(self.stop))
            self.progress.alive(stepped=True)
            stats.add({"Loss/total": report.loss, "IoU": report.iou}, self.val_loader.keys.samples_per_step)
            if report.stop:
                raise TrainingStopped
        means = stats.whole.as_dict()
        logger.info("[val: %d] loss %.4f, IoU %.4f", epoch, means["Loss/total"], means["IoU"])
        return means

    def _track(self, epoch: int) -> dict[str, float]:
        self.step.actor.eval()
        with self.progress.paused():
            scores = decide_on_main(self._track_scores(epoch) if is_main_process() else None)
        if scores:
            logger.info("[track: %d] %s", epoch, ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
        return scores

    def _track_scores(self, epoch: int) -> dict[str, float]:
        try:
            return self.track()
        except SeqTrackError as error:  # an unreadable frame must not cost the epoch, which is not saved yet
            logger.warning("[track: %d] no scores: %s", epoch, error)
            return {}

    def learning_rates(self) -> list[float]:
        """Learning rates in use, by parameter group."""
        return [group["lr"] for group in self.step.optimizer.param_groups]

    def _record(self, epoch: int, number: int, stats: EpochStats) -> None:
        """One line in the log and one point of each curve: means since the last line."""
        recent, rates = stats.recent, self.learning_rates()
        means, memory = recent.as_dict(), peak_memory(self.step.device)
        logger.info(
            "[train: %d, %d/%d] loss %.4f, IoU %.4f, lr %s, %.1f samples/s, io_wait %.0f %%,%s ETA %s",
            epoch,
            number,
            len(self.train_loader),
            means.get("Loss/total", float("nan")),
            means.get("IoU", float("nan")),
            "/".join(f"{rate:.3g}" for rate in rates),
            recent.samples_per_second,
            100 * recent.wait_share,
            "".join(f" {value:.1f} GiB," for value in memory.values()),
            timedelta(seconds=round(self._seconds_left(epoch, number, stats))),
        )
        extra = {f"LearningRate/group{index}": rate for index, rate in enumerate(rates)}
        extra |= {"Speed/samples_per_second": recent.samples_per_second, "Speed/io_wait": recent.wait_share}
        self.writer.write("train", means | extra | memory, (epoch - 1) * len(self.train_loader) + number)

    def _announce(self, epoch: int, number: int, stats: EpochStats) -> None:
        """A line before the first of ``_record``, or between two that are far apart; no point of a curve."""
        logger.info(
            "epoch %d of %d, step %d of %d (%d samples each): loss %.4f, %.1f samples/s, about %s to go",
            epoch,
            self.settings.epochs,
            number,
            len(self.train_loader),
            self.samples_per_step,
            stats.recent.as_dict().get("Loss/total", float("nan")),
            stats.recent.samples_per_second,
            timedelta(seconds=round(self._seconds_left(epoch, number, stats))),
        )

    def _seconds_left(self, epoch: int, number: int, stats: EpochStats) -> float:
        steps_here = self._run_steps + number - self._first_steps_done
        per_step = (self._run_seconds + stats.whole.elapsed) / max(steps_here, 1)
        return per_step * ((self.settings.epochs - epoch + 1) * len(self.train_loader) - number)

    def _warn_left_out(self, report: StepReport, epoch: int, parts: list[TrainingBatch]) -> None:
        """Name the samples of a step that was not taken; all ranks take part, since any may be the one at fault."""
        samples = gather(_sample_names(parts))
        if is_main_process():
            logger.warning(
                "epoch %d, step %d: loss %g, gradient norm %g: the step was not taken; samples %s",
                epoch,
                self.steps_done,
                report.loss,
                report.grad_norm,
                "; ".join(f"of rank {rank}: {names}" for rank, names in enumerate(samples)),
            )


def _sample_names(parts: list[TrainingBatch]) -> str:
    """Index in the epoch, dataset and sequence of each sample."""
    named = (pair for part in parts for pair in zip(part.keys, part.sources, strict=True))
    return ", ".join(f"{key.index} ({source})" for key, source in named)


def peak_memory(device: torch.device) -> dict[str, float]:
    """Most memory in use on a CUDA device so far, in GiB, as a curve; nothing on other devices."""
    return {"Memory/peak_gib": torch.cuda.max_memory_allocated(device) / 2**30} if device.type == "cuda" else {}
