"""The run as a sequence of epochs: where it starts, what is saved, what a checkpoint holds."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from lib.train.admin.tensorboard import SilentWriter, TensorboardWriter
from lib.train.trainers.checkpoints import CheckpointStore, load_resume_state, plain_config, rng_state, set_rng_state
from lib.train.trainers.step import OptimizationStep
from lib.utils.checkpoint import load_model_weights
from lib.utils.dist import is_main_process

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerSettings:
    """Numbers of the loop.

    Attributes:
        epochs: epochs of the whole run.
        save_every: epochs between checkpoints; the last epoch is always saved.
        print_interval: steps between log lines.
        val_interval: epochs between validations.
    """

    epochs: int
    save_every: int = 1
    print_interval: int = 50
    val_interval: int = 1


class BaseTrainer(ABC):
    """Runs epochs and keeps checkpoints.

    Args:
        network: whose weights are saved (never a distributed wrapper).
        step: changes the weights by one batch.
        scheduler: stepped after each epoch.
        settings: numbers of the loop.
        store: where checkpoints lie.
        config: the resolved configuration, saved with each checkpoint.
        config_name: name of the experiment.
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
    ) -> None:
        self.network = network
        self.step = step
        self.scheduler = scheduler
        self.settings = settings
        self.store = store
        self.config = plain_config(config)
        self.config_name = config_name
        self.writer: TensorboardWriter | SilentWriter = SilentWriter()
        self.epoch = 0
        """Epochs done so far."""
        self.stats: dict[str, dict[str, float]] = {}
        """Means of the last epoch by split."""

    @abstractmethod
    def run_epoch(self, epoch: int) -> dict[str, dict[str, float]]:
        """Train for one epoch, validate if it is time, and return the means by split."""

    def train(self) -> None:
        """Run the epochs that are left.

        Raises:
            TrainingDiverged: if the loss stays non-finite.
            DataError: if a sample cannot be made.
        """
        if self.epoch >= self.settings.epochs:
            logger.info("nothing to do: %d of %d epochs are done", self.epoch, self.settings.epochs)
        for epoch in range(self.epoch + 1, self.settings.epochs + 1):
            self.stats = self.run_epoch(epoch)
            self.scheduler.step()
            self.epoch = epoch
            if epoch % self.settings.save_every == 0 or epoch == self.settings.epochs:
                self.save()

    def save(self) -> None:
        """Write the checkpoint of the epoch just done (rank 0 only)."""
        if is_main_process():
            logger.info("saved %s", self.store.save(self.state(), self.epoch))

    def state(self) -> dict[str, Any]:
        """Everything a continuation needs, as tensors and plain values."""
        return {
            "epoch": self.epoch,
            "net_type": "SEQTRACK",
            "actor_type": type(self.step.actor).__name__,
            "net": self.network.state_dict(),
            "optimizer": self.step.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "rng": rng_state(),
            "stats": self.stats,
            "config": self.config,
            "config_name": self.config_name,
        }

    def resume(self, path: Path) -> None:
        """Take up a run where a checkpoint left it.

        Raises:
            CheckpointError: if the checkpoint is damaged, holds weights only, or was made with another configuration.
        """
        state = load_resume_state(path, self.config)
        load_model_weights(self.network, state, path)
        self.step.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"]:
            self.step.scaler.load_state_dict(state["scaler"])
        set_rng_state(state["rng"])
        self.epoch = state["epoch"]
        logger.info("continuing after epoch %d of %d", self.epoch, self.settings.epochs)
