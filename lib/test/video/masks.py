"""A tracker that also says which pixels are the target."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lib.test.vot20.seqtrack_vot20 import Segmenter


class MaskedTracker:
    """Adds ``mask``, (H, W) uint8, to what a tracker answers; the masks do not influence it.

    Args:
        tracker: follows the box.
        segmenter: makes masks of boxes, such as ``external.AR.AlphaRefine``.
    """

    def __init__(self, tracker: Any, segmenter: Segmenter) -> None:
        self.tracker = tracker
        self.segmenter = segmenter

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence, as the tracker does."""
        self.tracker.initialize(image, info)
        self.segmenter.initialize(image, info["init_bbox"])

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Track the next frame."""
        answer = self.tracker.track(image)
        return {**answer, "mask": self.segmenter.segment(image, answer["target_bbox"])}
