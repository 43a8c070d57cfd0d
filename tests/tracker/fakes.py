"""A tracker small enough to run hundreds of frames a second: 32 x 32 search crops, 16 x 16 templates, 200 tokens."""

from typing import Any

import numpy as np

from lib.models.seqtrack import build_seqtrack
from lib.test.parameter.seqtrack import TrackerParams, parameters_from_config
from lib.test.tracker.seqtrack import SeqTrackEngine
from tests.golden import recipe
from tests.models.tiny import tiny_config

BOX = [40.0, 60.0, 36.0, 36.0]  # the target in the first frame of `frames`


def config(**overrides: Any):
    """Configuration; keyword ``TEST__WINDOW=False`` stands for the option ``TEST.WINDOW``."""
    return tiny_config(**{"MODEL__BINS": 200, "TEST__WINDOW": True} | overrides)


def params(dataset: str = "default", **overrides: Any) -> TrackerParams:
    return parameters_from_config(config(**overrides), checkpoint=None, dataset=dataset, device="cpu")


def weights(network) -> dict:
    return recipe.make_state_dict([(key, tuple(value.shape)) for key, value in network.state_dict().items()])


def make_engine(
    tracker_params: TrackerParams | None = None, *, exact: bool = False, **overrides: Any
) -> SeqTrackEngine:
    """Engine with the weights of the recipe; ``exact`` makes it float64, so that no rounding decides between tokens."""
    tracker_params = params(**overrides)
    network = build_seqtrack(tracker_params.config).requires_grad_(False).eval()
    network.load_state_dict(weights(network))
    return SeqTrackEngine(tracker_params, network.double() if exact else network)


def frames(count: int = 12, width: int = 160, height: int = 120, seed: int = 5) -> list[np.ndarray]:
    """The top left part of a golden sequence."""
    return [image[:height, :width] for image in recipe.tracking_sequence(count, seed=seed)[0]]
