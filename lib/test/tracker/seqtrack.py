"""SeqTrack for one sequence, with the two verbs that tracking people know."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.models.seqtrack import SeqTrack
from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.engine import SeqTrackEngine, TrackResult, TrackState
from lib.utils.errors import InputError

__all__ = ["SeqTrackEngine", "SeqTrackTracker", "TrackResult", "TrackState"]


class SeqTrackTracker:
    """Follows one target; call :meth:`initialize` once, then :meth:`track` for each further frame.

    Args:
        params: settings (``lib.test.parameter.seqtrack``).
        engine: an engine to share with other trackers; by default one is made, which loads the network.
    """

    def __init__(self, params: TrackerParams, engine: SeqTrackEngine | None = None) -> None:
        self.params = params
        self.engine = SeqTrackEngine(params) if engine is None else engine
        self.state: TrackState | None = None

    @property
    def network(self) -> SeqTrack | None:
        """The network that the tracker runs; None where a runtime takes the place of PyTorch."""
        return self.engine.network

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence (also again).

        Args:
            image: (H, W, 3) uint8 RGB, the first frame.
            info: ``{"init_bbox": [x, y, w, h]}``, the target in pixels.

        Raises:
            InputError: if the image or the box cannot be used.
        """
        if "init_bbox" not in info:
            raise InputError('initialize needs {"init_bbox": [x, y, w, h]}')
        self.state = self.engine.start(image, info["init_bbox"])

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Track the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            ``{"target_bbox": [x, y, w, h], "confidence": float}``: the box in pixels, and 0 to 40.

        Raises:
            InputError: if the image cannot be used or :meth:`initialize` was not called.
        """
        if self.state is None:
            raise InputError("track was called before initialize")
        result = self.engine.step([self.state], [image])[0]
        return {"target_bbox": result.box_xywh, "confidence": result.confidence}
