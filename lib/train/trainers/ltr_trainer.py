"""The loop: epochs of steps, validation, a tracking check, and checkpoints from which all of it is resumed."""

import logging
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from easydict import EasyDict
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from lib.train.admin.manifest import add_to_manifest
from lib.train.admin.run_log import RunLog, sample_names
from lib.train.admin.stats import EpochStats
from lib.train.admin.tensorboard import TensorboardWriter, draw_batch, draw_generated
from lib.train.data.batch import TrainingBatch, upload_ahead
from lib.train.data.loader import TrainingLoader
from lib.train.distributed import check_ranks_agree, decide_on_main, gather
from lib.train.trainers.best import BestEpoch
from lib.train.trainers.checkpoints import CheckpointStore, load_resume_state, plain_config
from lib.train.trainers.resume_state import (
    check_fits,
    load_optimizer_state,
    load_scheduler_state,
    rng_state,
    set_rng_state,
)
from lib.train.trainers.step import OptimizationStep, StepReport, TrainingDiverged, out_of_memory
from lib.train.trainers.watch import StallWatch, StopRequest, TrainingStopped
from lib.train.trainers.weights import TrackedWeights
from lib.utils.errors import SeqTrackError, printable
from lib.utils.launch import get_rank, get_world_size, is_main_process

logger = logging.getLogger(__name__)

VALIDATION_EPOCH = 0
"""Training epochs count from 1, so the validation samples are the same in every epoch and seen by no training epoch."""


class LTRTrainer:
    """Trains on one loader and validates on another.

    The name is that of the family (learning tracking representations, PyTracking).

    Args:
        cfg: the resolved configuration, saved with each checkpoint.
        config_name: name of the experiment.
        network: that is trained (never a distributed wrapper).
        weights: what is validated, tracked with and saved of it; by default itself.
        step: changes the weights by one batch.
        scheduler: stepped after each epoch.
        store: where checkpoints are.
        train_loader: training samples.
        val_loader: validation samples, or ``None``.
        revision: git revision of the code, empty if unknown; saved with each checkpoint.
        track: tracks real sequences with the network that it is given, and gives scores; rank 0 calls it.
        track_every: epochs between these checks; the last epoch is always checked.
        start_records: called on rank 0 with this trainer and the number of its first step, once that is done and before
            anything of it is written; gives the writer of the curves.

    Attributes:
        epoch: epochs done.
        steps_done: steps done in the epoch that is under way.
        stats: means of the last epoch by split.
        log: what the run says, and the statistics of the epoch that is under way.
        best: the best epoch by TRAIN.BEST_METRIC.
        manifest: where ``start_records`` has written what the run is, if it has.
    """

    def __init__(
        self,
        *,
        cfg: EasyDict,
        config_name: str,
        network: nn.Module,
        step: OptimizationStep,
        scheduler: LRScheduler,
        store: CheckpointStore,
        train_loader: TrainingLoader,
        val_loader: TrainingLoader | None = None,
        weights: TrackedWeights | None = None,
        revision: str = "",
        track: Callable[[nn.Module], dict[str, float]] | None = None,
        track_every: int = 1,
        start_records: Callable[["LTRTrainer", int], TensorboardWriter | None] | None = None,
    ) -> None:
        self.cfg, self.config, self.config_name, self.revision = cfg, plain_config(cfg), config_name, revision
        self.network, self.step, self.scheduler, self.store = network, step, scheduler, store
        self.weights = weights or TrackedWeights(network)
        self.best, self.manifest = BestEpoch(cfg.TRAIN.BEST_METRIC, cfg.TRAIN.PATIENCE), None
        self.train_loader, self.val_loader = train_loader, val_loader
        self.track, self.track_every = track, track_every
        self.start_records = start_records
        self.log = RunLog(
            epochs=cfg.TRAIN.EPOCH,
            steps=len(train_loader),
            samples_per_step=train_loader.keys.samples_per_step,
            interval=cfg.TRAIN.PRINT_INTERVAL,
            optimizer=step.optimizer,
            device=step.device,
        )
        self.stop, self.watch = StopRequest(), StallWatch()
        self.epoch = self.steps_done = 0
        self._first_step = 1
        self.stats: dict[str, dict[str, float]] = {}

    @property
    def global_step(self) -> int:
        """Steps done so far."""
        return self.epoch * len(self.train_loader) + self.steps_done

    def train(self) -> int:
        """Run the epochs that are left, or until a signal asks to end: then a checkpoint is written after the step.

        Returns:
            0 when all epochs are done; else 128 + the number of the signal.

        Raises:
            TrainingDiverged: if the loss stays non-finite.
            DataError: if a sample cannot be made.
            CheckpointError: if a checkpoint cannot be written.
            SeqTrackError: if the memory of the device does not hold a batch.
        """
        epochs, self._first_step = self.cfg.TRAIN.EPOCH, self.global_step + 1
        if self.epoch >= epochs:
            logger.info("nothing to do: %d of %d epochs are done", self.epoch, epochs)
        elif self.best.is_over:
            logger.info("nothing to do: %s", self.best)
            return 0
        with self.stop.listening(), self.watch.watching(), self.store.finishing():
            try:
                for epoch in range(self.epoch + 1, epochs + 1):
                    self._complete(epoch, self._run_epoch(epoch))
                    is_best, is_over = self.best.compare(epoch, self.stats), self.best.is_over
                    if is_best or is_over or epoch % self.cfg.TRAIN.SAVE_EVERY == 0 or epoch == epochs:
                        self.save(is_best=is_best)
                    if is_over:
                        logger.info("ended early: %s", self.best)
                        break
            except TrainingStopped:
                self.save()
                number = signal.Signals(self.stop.signum or signal.SIGTERM)
                logger.warning(
                    "stopped by %s in epoch %d after %d steps of it; the same command goes on from there",
                    number.name,
                    self.epoch + 1,
                    self.steps_done,
                )
                return 128 + number
        return 0

    def _run_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train for one epoch from ``steps_done`` on, validate and track if it is time; the means by split."""
        results = {"train": self._train_epoch(epoch)}
        is_last = epoch == self.cfg.TRAIN.EPOCH
        images: dict[str, Any] = {}
        if self.val_loader is not None and (epoch % self.cfg.TRAIN.VAL_EPOCH_INTERVAL == 0 or is_last):
            results["val"], batch = self._validate(epoch)
            every = self.cfg.TRAIN.VAL_IMAGE_INTERVAL
            if every and (epoch % every == 0 or is_last) and is_main_process():
                images = draw_generated(self.weights.network, *self.step.evaluation_actor.images(batch), batch)
        if self.track is not None and (epoch % self.track_every == 0 or is_last):
            results["track"] = self._track(epoch)
        # At the very end: what follows a stop or a crash in between is done, and written, again.
        for split in ("val", "track"):
            if results.get(split):
                self.log.write(split, results[split], self.global_step)
        for name, image in images.items():
            self.log.write_image(f"val/{name}", image, self.global_step)
        return results

    def _train_epoch(self, epoch: int) -> dict[str, float]:
        self.step.actor.train()
        self.log.start_epoch(epoch, self.steps_done)
        for parts, report in self._steps(epoch):
            self.steps_done += 1
            is_last = self.steps_done == len(self.train_loader)
            if is_last and self.cfg.TRAIN.SMOOTH_TOKENS > 0:  # a part of the step, so that no checkpoint holds it twice
                self.network.smooth_tokens(self.cfg.TRAIN.SMOOTH_TOKENS)
            if report.taken:
                self.weights.step_taken()
            self.watch.alive(stepped=True)
            self._start_records()
            if self.global_step == 1:
                self.log.write_image("train/batch", draw_batch(parts[0]), 1)
            if report.taken:
                values = {"Loss/total": report.loss, "IoU": report.iou, "GradNorm": report.grad_norm}
            else:
                values = {}
                self._warn_left_out(report, epoch, parts)
            self.log.step_done(self.steps_done, values)
            if report.stop:
                raise TrainingStopped
            self.store.check()
            every = self.cfg.TRAIN.SAVE_EVERY_STEPS
            if every and self.steps_done % every == 0 and not is_last:
                self.save()
        self._start_records()  # no step was left to do in this epoch
        return self.log.end_epoch()

    def _steps(self, epoch: int) -> Iterator[tuple[list[TrainingBatch], StepReport]]:
        """Take the steps that are left of an epoch; each with the batches it consists of."""
        parts: list[TrainingBatch] = []
        batches = upload_ahead(self.train_loader.epoch(epoch, self.steps_done), self.step.device)
        for batch in self.log.stats.watch(batches):
            parts.append(batch)
            self.watch.alive()
            try:
                report = self.step.train(batch, stop=bool(self.stop))
            except TrainingDiverged as error:
                raise TrainingDiverged(
                    f"epoch {epoch}, step {self.steps_done + 1}: {error}; last samples of rank {get_rank()}: "
                    f"{printable(sample_names(parts), 300)}"
                ) from error
            except torch.cuda.OutOfMemoryError as error:
                raise out_of_memory(error, len(batch), self.step.device) from error
            if report is not None:
                yield parts, report
                parts = []

    def _start_records(self) -> None:
        if self.start_records is not None and is_main_process():
            self.log.writer = self.start_records(self, self._first_step)
        self.start_records = None

    def _complete(self, epoch: int, stats: dict[str, dict[str, float]]) -> None:
        self.stats = stats
        with warnings.catch_warnings():
            # Wrong where a run was resumed at the end of its first epoch: the optimizer has stepped before.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.scheduler.step()
        self.epoch, self.steps_done, self.log.stats = epoch, 0, EpochStats()

    def _warn_left_out(self, report: StepReport, epoch: int, parts: list[TrainingBatch]) -> None:
        """Name the samples of a step that was not taken; all ranks take part, since any may be the one at fault."""
        samples = gather(sample_names(parts))
        if is_main_process():
            names = "; ".join(f"of rank {rank}: {of_rank}" for rank, of_rank in enumerate(samples))
            what = f"epoch {epoch}, step {self.steps_done}: loss {report.loss:g}, gradient norm {report.grad_norm:g}"
            logger.warning("%s: the step was not taken; samples %s", what, names)

    def _validate(self, epoch: int) -> tuple[dict[str, float], TrainingBatch]:
        """Means over the validation samples; and the first of their batches, the same in every epoch."""
        self.step.evaluation_actor.eval()
        stats, first = EpochStats(), None
        for batch in upload_ahead(self.val_loader.epoch(VALIDATION_EPOCH), self.step.device):
            first = first or batch
            report = self.step.evaluate(batch, stop=bool(self.stop))
            self.watch.alive(stepped=True)
            stats.add({"Loss/total": report.loss, "IoU": report.iou}, self.val_loader.keys.samples_per_step)
            if report.stop:
                raise TrainingStopped
        means = stats.whole.as_dict()
        logger.info("[val: %d] loss %.4f, IoU %.4f", epoch, means["Loss/total"], means["IoU"])
        return means, first

    def _track(self, epoch: int) -> dict[str, float]:
        self.weights.network.eval()
        scores: dict[str, float] = {}
        with self.watch.paused():
            if is_main_process():
                try:
                    scores = self.track(self.weights.network)
                except SeqTrackError as error:  # an unreadable frame must not cost the epoch, which is not saved yet
                    logger.warning("[track: %d] no scores: %s", epoch, error)
            scores = decide_on_main(scores)
        if scores:
            logger.info("[track: %d] %s", epoch, ", ".join(f"{name} {value:.2f}" for name, value in scores.items()))
        return scores

    def save(self, *, is_best: bool = False) -> None:
        """Write a checkpoint of where the run is (all ranks take part, rank 0 writes, in the background).

        Args:
            is_best: also keep it as the best one, and say so in log and manifest.

        Raises:
            TrainingDiverged: if a weight is not finite.
            SeqTrackError: if the ranks' weights differ.
            CheckpointError: if the one before could not be written.
        """
        for name, value in self.network.named_parameters():
            if not torch.isfinite(value).all():
                raise TrainingDiverged(f"{name} is not finite: no checkpoint was written, earlier ones are untouched")
        check_ranks_agree(self.network)
        rngs = gather(rng_state())
        if is_main_process():
            self.store.save_in_background(self.state(rngs), self.epoch, self.steps_done, is_best)
            if is_best:
                logger.info("best so far: %s %.4f after epoch %d", self.best.metric, self.best.value, self.epoch)
                if self.manifest is not None:
                    add_to_manifest(self.manifest, best=self.best.state_dict())

    def state(self, rngs: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything a continuation needs, as tensors and plain values.

        Args:
            rngs: states of the generators of each rank.
        """
        return {
            "epoch": self.epoch,
            "step": self.steps_done,
            "samples_per_step": self.log.samples_per_step,
            "net_type": "SEQTRACK",
            "actor_type": "SeqTrackActor",
            **self.weights.state(),
            **({} if self.best.metric == "none" else {"best": self.best.state_dict()}),
            "optimizer": self.step.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "rngs": rngs,
            "stats": self.stats,
            "epoch_stats": self.log.stats.state_dict(),
            "config": self.config,
            "config_name": self.config_name,
            "revision": self.revision,
        }

    def resume(self, path: Path) -> None:
        """Take up a run where a checkpoint left it.

        Raises:
            CheckpointError: if the checkpoint is damaged, holds weights only, or was made with another configuration.
        """
        state = load_resume_state(path, self.config, self.log.samples_per_step)
        optimizer, scaler = self.step.optimizer, self.step.scaler
        check_fits(state, path, optimizer, self.scheduler, scaler.state_dict(), len(self.train_loader))
        self.weights.load(state, path)
        load_optimizer_state(optimizer, state["optimizer"])
        load_scheduler_state(self.scheduler, state["scheduler"], state["config"].get("TRAIN", {}).get("EPOCH"))
        if state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        rngs = state["rngs"]
        if len(rngs) == get_world_size():
            set_rng_state(rngs[get_rank()])
        elif is_main_process():
            logger.warning(
                "the checkpoint was made by %d process(es): samples go on exactly, dropout masks do not", len(rngs)
            )
        self.epoch, self.steps_done, self.stats = state["epoch"], state["step"], state["stats"]
        self.log.stats.load_state_dict(state["epoch_stats"])
        self.best.load_state_dict(state.get("best"))
        if (before := state["revision"]) != self.revision and is_main_process():
            logger.warning("the code has changed since the checkpoint: it was %s, is %s", before, self.revision)
        steps = f" and {self.steps_done} steps" if self.steps_done else ""
        logger.info("continuing after epoch %d of %d%s", self.epoch, self.cfg.TRAIN.EPOCH, steps)
