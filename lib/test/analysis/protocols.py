"""The protocols by name: how boxes become per-frame measurements, which frames count, and how sequences are averaged.

A *protocol* is the set of conventions that turn boxes into numbers (which frames are valid, what an invalid frame
counts as). Toolkits differ in them, so the same boxes give different scores; every table names its protocol.

Sources: ``seqtrack``, the conventions behind the published SeqTrack numbers; ``pytracking``, those of the PyTracking
toolkit; ``got10k``, the toolkit of GOT-10k (Huang et al., PAMI 2019), whose scores AO, SR50 and SR75 count frames.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.utils.errors import DataError

ALWAYS_WITH_VISIBILITY = frozenset({"lasot"})
PARTLY_LABELLED = frozenset({"lagot", "oxuva"})
"""Some frames have no label, which the ground truth says by NaN; what is invalid never counts there."""
NAN_GROUND_TRUTH_ALLOWED = PARTLY_LABELLED | {"uav"}


@dataclass(frozen=True)
class Frames:
    """What a protocol is given of one sequence; F frames.

    Attributes:
        predicted: (P, 4) float64 xywh.
        ground_truth: (F, 4) float64 xywh.
        dataset: tag of the dataset, if known.
        target_visible: (F,) bool, if known.
        image_size: width and height of the frames in pixels, if known.
    """

    predicted: np.ndarray
    ground_truth: np.ndarray
    dataset: str | None
    target_visible: np.ndarray | None
    image_size: tuple[int, int] | None


@dataclass(frozen=True)
class FrameErrors:
    """Per-frame measurements of a protocol, each (F,): overlap, center distance (pixels and normalized), validity."""

    overlap: np.ndarray
    distance: np.ndarray
    norm_distance: np.ndarray
    valid: np.ndarray


def overlap_of_pairs(first_xywh: np.ndarray, second_xywh: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (F, 4), row by row; (F,) float64, NaN for two boxes without area."""
    # Faithful: corners are inclusive pixels. In exact arithmetic the ones cancel; in floats they decide ties.
    first_end = first_xywh[:, :2] + first_xywh[:, 2:] - 1.0
    second_end = second_xywh[:, :2] + second_xywh[:, 2:] - 1.0
    sides = np.minimum(first_end, second_end) - np.maximum(first_xywh[:, :2], second_xywh[:, :2]) + 1.0
    intersection = np.clip(sides, 0.0, None).prod(axis=1)
    union = first_xywh[:, 2:].prod(axis=1) + second_xywh[:, 2:].prod(axis=1) - intersection
    with np.errstate(divide="ignore", invalid="ignore"):
        return intersection / union


def center_distances(predicted_xywh: np.ndarray, ground_truth_xywh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the centers of boxes (F, 4), row by row: in pixels, and in units of the true width and height."""
    predicted = predicted_xywh[:, :2] + 0.5 * (predicted_xywh[:, 2:] - 1.0)  # Faithful: as above.
    ground_truth = ground_truth_xywh[:, :2] + 0.5 * (ground_truth_xywh[:, 2:] - 1.0)
    pixels = np.sqrt(((predicted - ground_truth) ** 2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        sizes = ground_truth_xywh[:, 2:]
        units = np.sqrt(((predicted / sizes - ground_truth / sizes) ** 2).sum(axis=1))
    return pixels, units


def align_prediction(predicted: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """Bring predicted boxes to the length of the ground truth and fill the gaps, as the published evaluation does.

    A box without width or height repeats the row before it; surplus rows are cut off; missing rows become empty boxes,
    which hit nothing; the first row becomes the ground truth, since that box was given.

    Args:
        predicted: (P, 4) xywh.
        ground_truth: (F, 4) xywh.

    Returns:
        (F, 4) float64, a new array.
    """
    boxes = predicted[: len(ground_truth)].astype(np.float64)
    if len(boxes):
        # Faithful: the first row is never replaced, and the chain starts from the predicted first box.
        empty = (boxes[:, 2:] == 0.0).any(axis=1) & ~np.isnan(ground_truth[: len(boxes)]).any(axis=1)
        empty[0] = False
        boxes = boxes[np.maximum.accumulate(np.where(empty, 0, np.arange(len(boxes))))]
    boxes = np.concatenate([boxes, np.zeros((len(ground_truth) - len(boxes), 4))])
    boxes[0] = ground_truth[0]
    return boxes


def _seqtrack_errors(frames: Frames) -> FrameErrors:
    """Protocol ``seqtrack``. Faithful throughout: an invalid frame fails or succeeds as in the published numbers."""
    return _family_errors(frames, (frames.ground_truth[:, 2:] > 0.0).all(axis=1))


def _pytracking_errors(frames: Frames) -> FrameErrors:
    """Protocol ``pytracking``: as ``seqtrack``, but a true box that begins at or beyond the border is invalid too."""
    return _family_errors(frames, (frames.ground_truth > 0.0).all(axis=1))


def _family_errors(frames: Frames, valid: np.ndarray) -> FrameErrors:
    """What ``seqtrack`` and ``pytracking`` have in common, from the frames with a usable ground truth on."""
    predicted, ground_truth = frames.predicted, frames.ground_truth
    dataset, target_visible = frames.dataset, frames.target_visible
    if dataset in ALWAYS_WITH_VISIBILITY:
        if target_visible is None:
            raise DataError(f"{dataset} is scored with the visibility of the target, which was not given")
        if len(predicted) < len(ground_truth):
            raise DataError(
                f"{len(predicted)} predicted boxes for {len(ground_truth)} frames; {dataset} needs all of them"
            )
    if dataset not in NAN_GROUND_TRUTH_ALLOWED and np.isnan(ground_truth).any():
        raise DataError(f"the ground truth has NaN in row {np.isnan(ground_truth).any(axis=1).argmax() + 1}")
    boxes = align_prediction(predicted, ground_truth)
    if target_visible is not None:
        valid = valid & target_visible
    overlap = overlap_of_pairs(boxes, ground_truth)
    distance, norm_distance = center_distances(boxes, ground_truth)
    overlap[~valid] = -1.0
    # Faithful: an invalid frame fails in precision except on UAV123, and succeeds in normalized precision ...
    distance[~valid] = -1.0 if dataset == "uav" else np.inf
    norm_distance[~valid] = np.inf if dataset in PARTLY_LABELLED else -1.0
    if dataset in ALWAYS_WITH_VISIBILITY:
        # ... except that invisible frames of LaSOT fail in both.
        distance[~target_visible] = np.inf
        norm_distance[~target_visible] = np.inf
    return FrameErrors(overlap, distance, norm_distance, valid)


def _got10k_errors(frames: Frames) -> FrameErrors:
    """Protocol ``got10k``: the first frame and those without a visible target do not count, boxes end at the border."""
    ground_truth = frames.ground_truth
    if len(frames.predicted) < len(ground_truth):
        raise DataError(
            f"{len(frames.predicted)} predicted boxes for {len(ground_truth)} frames; got10k needs all of them"
        )
    valid = (ground_truth[:, 2:] > 0.0).all(axis=1) if frames.target_visible is None else frames.target_visible.copy()
    valid[0] = False  # the box was given
    if np.isnan(ground_truth[valid]).any():
        raise DataError(f"the ground truth has NaN in row {(np.isnan(ground_truth).any(axis=1) & valid).argmax() + 1}")
    boxes = frames.predicted[: len(ground_truth)]
    if frames.image_size is not None:
        boxes, ground_truth = _clip_to_image(boxes, frames.image_size), _clip_to_image(ground_truth, frames.image_size)
    ends = np.minimum(boxes[:, :2] + boxes[:, 2:], ground_truth[:, :2] + ground_truth[:, 2:])
    intersection = np.maximum(ends - np.maximum(boxes[:, :2], ground_truth[:, :2]), 0.0).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + ground_truth[:, 2:].prod(axis=1) - intersection
    overlap = np.clip(intersection / (union + np.finfo(float).eps), 0.0, 1.0)
    distance, norm_distance = center_distances(boxes, ground_truth)
    for values, nothing in ((overlap, -1.0), (distance, np.inf), (norm_distance, np.inf)):
        values[~valid] = nothing
    return FrameErrors(overlap, distance, norm_distance, valid)


def _clip_to_image(boxes_xywh: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Cut boxes (F, 4) to an image."""
    corner = np.clip(boxes_xywh[:, :2], 0.0, image_size)
    return np.concatenate([corner, np.clip(boxes_xywh[:, 2:], 0.0, image_size - corner)], axis=1)


@dataclass(frozen=True)
class Protocol:
    """A set of conventions.

    Attributes:
        measure: turns the boxes of a sequence into measurements.
        counts_frames: whether only valid frames count, each the same in all sequences; else sequences count the same.
        summary: names of the overall scores: either those of the curves (AUC, ...) or of the frames (AO, ...).
    """

    measure: Callable[[Frames], FrameErrors]
    counts_frames: bool = False
    summary: tuple[str, ...] = ("AUC", "OP50", "OP75", "P", "NP")

    @property
    def headline(self) -> str:
        """The score that ranks trackers."""
        return self.summary[0]


PROTOCOLS: dict[str, Protocol] = {
    "seqtrack": Protocol(_seqtrack_errors),
    "pytracking": Protocol(_pytracking_errors),
    "got10k": Protocol(_got10k_errors, counts_frames=True, summary=("AO", "SR50", "SR75")),
}
"""Every protocol by name."""
