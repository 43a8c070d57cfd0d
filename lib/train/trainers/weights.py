"""Which weights are validated, tracked with and saved: those that are trained, or their moving average."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lib.models.seqtrack.lora import merged_state_dict
from lib.utils.checkpoint import check_weights, load_model_weights
from lib.utils.errors import CheckpointError


class TrackedWeights:
    """Weights under training, and what a tracker gets of them.

    Args:
        network: that is trained, on its device and with its low-rank parts if it has any.
        decay: share of the moving average that a step leaves as it is, 0 to 1; 0 for no average.
    """

    def __init__(self, network: nn.Module, decay: float = 0.0) -> None:
        self._trained = network
        average = get_ema_multi_avg_fn(decay)
        self._average = AveragedModel(network, multi_avg_fn=average).requires_grad_(False) if decay else None

    @property
    def network(self) -> nn.Module:
        """What is validated and tracked with."""
        return self._trained if self._average is None else self._average.module

    def step_taken(self) -> None:
        """Move the average; after each step that changed the weights."""
        if self._average is not None:
            self._average.update_parameters(self._trained)

    def state(self) -> dict[str, Any]:
        """``net`` is what a tracker loads, low-rank parts merged; the rest, where it differs, is for a continuation."""
        own = self._trained.state_dict()
        net = merged_state_dict(self.network)
        state: dict[str, Any] = {"net": net}
        if self._average is not None or own.keys() != net.keys():
            state["trained"] = own
        if self._average is not None:
            state["average"] = self._average.state_dict()
        return state

    def load(self, state: Mapping[str, Any], path: Path) -> None:
        """Take up what ``state`` gave; nothing is changed if an error is raised.

        Raises:
            CheckpointError: if it is missing, or the weights of another network.
        """
        wanted = self.state().keys() - {"net"}
        for key in sorted(wanted):
            if not isinstance(state.get(key), Mapping):
                raise CheckpointError(f"{path}: training cannot go on from it, it has no {key!r} weights")
        if self._average is not None:
            check_weights(self._average.state_dict(), state["average"], path)
        load_model_weights(self._trained, {"net": state["trained"]} if "trained" in wanted else state, path)
        if self._average is not None:
            self._average.load_state_dict(state["average"])
