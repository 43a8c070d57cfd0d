"""The best epoch so far by one score, and when to give up waiting for a better one."""

import math
from collections.abc import Mapping
from typing import Any

SCORES = {"val/IoU": ("val", "IoU", 1), "val/loss": ("val", "Loss/total", -1), "track/AUC": ("track", "AUC", 1)}
"""TRAIN.BEST_METRIC: split and name of the score, and whether more (1) or less (-1) of it is better."""


class BestEpoch:
    """Compares epochs.

    Args:
        metric: TRAIN.BEST_METRIC; ``none`` compares nothing.
        patience: TRAIN.PATIENCE.

    Attributes:
        epoch: the best one, 0 if there is none yet.
        value: its score.
        checks: comparisons since then that found nothing better.
    """

    def __init__(self, metric: str, patience: int = 0) -> None:
        self.metric, self.patience = metric, patience
        self.epoch, self.value, self.checks = 0, 0.0, 0

    @property
    def is_over(self) -> bool:
        """Whether the training should end for want of a better epoch."""
        return 0 < self.patience <= self.checks

    def __str__(self) -> str:
        return f"no better {self.metric} than {self.value:.4f} of epoch {self.epoch} in {self.checks} checks since"

    def compare(self, epoch: int, stats: Mapping[str, Mapping[str, float]]) -> bool:
        """Take note of an epoch's scores; whether it is the best so far. One without the score changes nothing."""
        split, name, sign = SCORES.get(self.metric, ("", "", 1))
        value = stats.get(split, {}).get(name)
        if value is None:
            return False
        if math.isfinite(value) and (not self.epoch or sign * value > sign * self.value):
            self.epoch, self.value, self.checks = epoch, float(value), 0
            return True
        self.checks += 1
        return False

    def state_dict(self) -> dict[str, Any]:
        """What a continuation needs, and what is told of it."""
        return {"metric": self.metric, "epoch": self.epoch, "value": self.value, "checks": self.checks}

    def load_state_dict(self, state: Any) -> None:
        """Take up a saved state; one of another metric, or none, is left alone."""
        if isinstance(state, Mapping) and state.get("metric") == self.metric:
            self.epoch, self.value, self.checks = int(state["epoch"]), float(state["value"]), int(state["checks"])
