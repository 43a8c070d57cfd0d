"""The run as a sequence of epochs: where it starts, what is saved, what a checkpoint holds."""

import logging
import signal
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from lib.train.admin.stats import EpochStats
from lib.train.admin.tensorboard import SilentWriter, TensorboardWriter
from lib.train.distributed import check_ranks_agree, gather
from lib.train.trainers.checkpoints import (
    CheckpointStore,
    load_optimizer_state,
    load_resume_state,
    plain_config,
    rng_state,
    set_rng_state,
)
from lib.train.trainers.interrupt import StopRequest, TrainingStopped
from lib.train.trainers.progress import Progress
from lib.train.trainers.resume_state import check_fits, load_scheduler_state
from lib.train.trainers.step import OptimizationStep, TrainingDiverged
from lib.utils.checkpoint import load_model_weights
from lib.utils.launch import get_rank, get_world_size, is_main_process

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerSettings:
    """Numbers of the loop.

    Attributes:
        epochs: epochs of the whole run.
        save_every: epochs between checkpoints; the last epoch is always saved.
        save_every_steps: steps between checkpoints inside an epoch; 0 writes none there.
        print_interval: steps between log lines.
        val_interval: epochs between validations.
        smooth_tokens: sigma of ``SeqTrack.smooth_tokens``, applied after each epoch; 0 leaves it out.
    """

    epochs: int
    save_every: int = 1
    save_every_steps: int = 0
    print_interval: int = 50
    val_interval: int = 1
    smooth_tokens: float = 0.0


class BaseTrainer(ABC):
    """Runs epochs and keeps checkpoints.

    Args:
        network: whose weights are saved (never a distributed wrapper).
        step: changes the weights by one batch.
        scheduler: stepped after each epoch.
        settings: numbers of the loop.
        store: where checkpoints are.
        config: the resolved configuration, saved with each checkpoint.
        config_name: name of the experiment.
        revision: git revision of the code, empty if unknown; saved with each checkpoint.
    """

    def __init__(
        self,
        *,
        network: nn.Module,
        step: OptimizationStep,
        scheduler: LRScheduler,
        settings: TrainerSettings,
        store: CheckpointStore,
        config: Mapping[str, Any],
        config_name: str,
        revision: str = "",
    ) -> None:
        self.network = network
        self.step = step
        self.scheduler = scheduler
        self.settings = settings
        self.store = store
        self.config = plain_config(config)
        self.config_name = config_name
        self.revision = revision
        self.writer: TensorboardWriter | SilentWriter = SilentWriter()
        self.stop = StopRequest()
        self.progress = Progress()
        self.epoch = 0
        """Epochs done so far."""
        self.steps_done = 0
        """Steps done in the epoch that is under way."""
        self.epoch_stats = EpochStats()
        """Statistics of the epoch that is under way."""
        self.stats: dict[str, dict[str, float]] = {}
        """Means of the last epoch by split."""
        self.on_first_step: Callable[[], None] | None = None
        """Called once, after the first step that this process has taken and before anything of it is written."""

    @property
    @abstractmethod
    def samples_per_step(self) -> int:
        """Samples of a step over all processes."""

    @property
    @abstractmethod
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""

    @abstractmethod
    def run_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train for one epoch from ``steps_done`` on, validate if it is time, and return the means by split.

        Raises:
            TrainingStopped: after a step, if the process was asked to end.
        """

    def train(self) -> int:
        """Run the epochs that are left, or until a signal asks to end: then a checkpoint is written after the step.

        Returns:
            0 when all epochs are done; else 128 + the number of the signal.

        Raises:
            TrainingDiverged: if the loss stays non-finite.
            DataError: if a sample cannot be made.
            CheckpointError: if a checkpoint cannot be written.
        """
        if self.epoch >= self.settings.epochs:
            logger.info("nothing to do: %d of %d epochs are done", self.epoch, self.settings.epochs)
        with self.stop.listening(), self.progress.watching():
            try:
                for epoch in range(self.epoch + 1, self.settings.epochs + 1):
                    self._complete(epoch, self.run_epoch(epoch))
                    if epoch % self.settings.save_every == 0 or epoch == self.settings.epochs:
                        self.save()
            except TrainingStopped:
                return self._end_early()
        return 0

    def _started(self) -> None:
        if self.on_first_step is not None:
            self.on_first_step()
            self.on_first_step = None

    def _complete(self, epoch: int, stats: dict[str, dict[str, float]]) -> None:
        self.stats = stats
        with warnings.catch_warnings():
            # Wrong where a run was resumed at the end of its first epoch: the optimizer has stepped before.
            warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
            self.scheduler.step()
        self.epoch, self.steps_done, self.epoch_stats = epoch, 0, EpochStats()

    def _end_early(self) -> int:
        number = signal.Signals(self.stop.signum or signal.SIGTERM)
        self.save()
        logger.warning(
            "stopped by %s in epoch %d after %d steps of it; the same command goes on from there",
            number.name,
            self.epoch + 1,
            self.steps_done,
        )
        return 128 + number

    def save(self) -> None:
        """Write a checkpoint of where the run is (all ranks take part, rank 0 writes).

        Raises:
            TrainingDiverged: if a weight is not finite.
            SeqTrackError: if the ranks' weights differ.
            CheckpointError: if it cannot be written.
        """
        for name, value in self.network.named_parameters():
            if not torch.isfinite(value).all():
                raise TrainingDiverged(f"{name} is not finite: no checkpoint was written, earlier ones are untouched")
        check_ranks_agree(self.network)
        rngs = gather(rng_state())
        if is_main_process():
            logger.info("saved %s", self.store.save(self.state(rngs), self.epoch, self.steps_done))

    def state(self, rngs: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything a continuation needs, as tensors and plain values.

        Args:
            rngs: states of the generators of each rank.
        """
        return {
            "epoch": self.epoch,
            "step": self.steps_done,
            "samples_per_step": self.samples_per_step,
            "net_type": "SEQTRACK",
            "actor_type": type(self.step.actor).__name__,
            "net": self.network.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "rngs": rngs,
            "stats": self.stats,
            "epoch_stats": self.epoch_stats.state_dict(),
            "config": self.config,
            "config_name": self.config_name,
            "revision": self.revision,
        }

    def resume(self, path: Path) -> None:
        """Take up a run where a checkpoint left it.

        Raises:
            CheckpointError: if the checkpoint is damaged, holds weights only, or was made with another configuration.
        """
        state = load_resume_state(path, self.config, self.samples_per_step)
        optimizer, scaler = self.step.optimizer, self.step.scaler
        check_fits(state, path, optimizer, self.scheduler, scaler.state_dict(), self.steps_per_epoch)
        load_model_weights(self.network, state, path)
        load_optimizer_state(optimizer, state["optimizer"])
        load_scheduler_state(self.scheduler, state["scheduler"], state["config"].get("TRAIN", {}).get("EPOCH"))
        if state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self._resume_rng(state["rngs"])
        self.epoch, self.steps_done, self.stats = state["epoch"], state["step"], state["stats"]
        self.epoch_stats.load_state_dict(state["epoch_stats"])
        if state["revision"] != self.revision and is_main_process():
            logger.warning(
                "the code has changed since the checkpoint: it was %s, is %s", state["revision"], self.revision
            )
        logger.info(
            "continuing after epoch %d of %d%s",
            self.epoch,
            self.settings.epochs,
            f" and {self.steps_done} steps" if self.steps_done else "",
        )

    def _resume_rng(self, rngs: list[dict[str, Any]]) -> None:
        if len(rngs) == get_world_size():
            set_rng_state(rngs[get_rank()])
        elif is_main_process():
            logger.warning(
                "the checkpoint was made by %d process(es): samples go on exactly, dropout masks do not", len(rngs)
            )
