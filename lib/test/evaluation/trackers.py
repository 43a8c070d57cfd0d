"""The trackers by name, and how to make one on a device."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.test.evaluation.protocol import Tracker
from lib.test.parameter.seqtrack import parameters as seqtrack_parameters
from lib.utils.errors import lookup


def _no_check(params: Any) -> None:
    """Whatever is wrong shows when the tracker is built."""


@dataclass(frozen=True)
class TrackerKind:
    """A tracker that can be tested.

    Attributes:
        parameters: makes its settings from (config, benchmark, **overrides); cheap, loads no weights.
        build: makes the tracker from the settings.
        check: raises what would keep ``build`` from working, without building it.
    """

    parameters: Callable[..., Any]
    build: Callable[[Any], Tracker]
    check: Callable[[Any], None] = _no_check


def _build_seqtrack(params: Any) -> Tracker:
    # Imported when needed: only processes that track shall pay for the network's libraries.
    from lib.test.tracker.seqtrack import SeqTrackTracker

    return SeqTrackTracker(params)


def _check_seqtrack(params: Any) -> None:
    if params.backend != "torch":
        from lib.test.tracker.backends import RuntimeReader

        RuntimeReader(params)  # exports the network, if it has to be, before workers wait for it
        return
    from lib.test.tracker.network import check_network

    check_network(params)


TRACKERS: dict[str, TrackerKind] = {"seqtrack": TrackerKind(seqtrack_parameters, _build_seqtrack, _check_seqtrack)}
"""Every tracker by name."""


@dataclass(frozen=True)
class TrackerRecipe:
    """How to make a tracker; it travels to worker processes, each of which makes its own.

    Attributes:
        kind: entry of ``TRACKERS``.
        config: name of the experiment.
        benchmark: name of the dataset, which chooses the update rule.
        overrides: further keyword arguments of ``kind.parameters``.
    """

    kind: TrackerKind
    config: str
    benchmark: str
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def parameters(self, device: str) -> Any:
        """Settings of the tracker on a device. Raises ConfigError or CheckpointError if it cannot be made."""
        return self.kind.parameters(self.config, self.benchmark, device=device, **self.overrides)

    def fixed(self, params: Any) -> "TrackerRecipe":
        """This recipe with the checkpoint that ``params`` hold: what was chosen once is not searched for again."""
        checkpoint = getattr(params, "checkpoint", None)
        if checkpoint is None:
            return self
        return dataclasses.replace(self, overrides={**self.overrides, "checkpoint": checkpoint})

    def __call__(self, device: str) -> Tracker:
        """Make the tracker on a device."""
        return self.kind.build(self.parameters(device))


def tracker_recipe(name: str, config: str, benchmark: str, **overrides: Any) -> TrackerRecipe:
    """Recipe of a tracker by name; overrides that are None are left to their defaults.

    Raises:
        ConfigError: for an unknown tracker; the message lists the known ones.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    return TrackerRecipe(lookup(TRACKERS, name, "tracker"), config, benchmark, given)
