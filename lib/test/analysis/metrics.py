"""Scores of one-pass evaluation: success, precision and normalised precision, under named protocols.

A *protocol* is the set of conventions that turn boxes into numbers (which frames are valid, what an invalid frame
counts as). Toolkits differ in them, so the same boxes give different scores; every table names its protocol.

Sources: success and precision plots, Wu et al., "Object Tracking Benchmark" (PAMI 2015); normalised precision, Mueller
et al., "TrackingNet" (ECCV 2018). The conventions of ``seqtrack`` are those behind the published SeqTrack numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lib.utils.errors import DataError, InputError
from lib.utils.registry import lookup

SUCCESS_STEP = 0.05
PRECISION_PIXELS = np.arange(51, dtype=np.float64)
"""Thresholds of the precision plot, pixels between centres."""
NORM_PRECISION_THRESHOLDS = PRECISION_PIXELS / 100.0
"""Thresholds of the normalised precision plot, distance of centres in units of the true width and height."""
SCORE_INDEX = 20
"""Index of the threshold that the scores P (20 pixels) and NP (0.20) are read at."""

ALWAYS_WITH_VISIBILITY = frozenset({"lasot"})
NAN_TRUTH_ALLOWED = frozenset({"uav"})


@dataclass(frozen=True)
class SequenceScores:
    """How well the boxes of one sequence fit its truth; F frames.

    Attributes:
        overlap: (F,) float64 intersection over union, -1 where the frame is invalid (no target to hit).
        success: (21,) float32 in [0, 1], share of frames whose overlap is above 0, 0.05, ..., 1.
        precision: (51,) float32, share of frames whose centre is at most 0, 1, ..., 50 pixels off.
        norm_precision: (51,) float32, share of frames whose normalised centre distance is at most 0, 0.01, ..., 0.5.
        average_overlap: mean overlap of the valid frames, 0 if there is none.
        valid: (F,) bool, frames with a target.
    """

    overlap: np.ndarray
    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray
    average_overlap: float
    valid: np.ndarray


@dataclass(frozen=True)
class FrameErrors:
    """Per-frame measurements of a protocol, each (F,): overlap, centre distance (pixels and normalised), validity."""

    overlap: np.ndarray
    distance: np.ndarray
    norm_distance: np.ndarray
    valid: np.ndarray


def success_thresholds(step: float = SUCCESS_STEP) -> np.ndarray:
    """Overlap thresholds 0, ``step``, ..., 1 of the success plot, float64."""
    return np.arange(round(1.0 / step) + 1, dtype=np.float64) * step


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


def centre_distances(predicted_xywh: np.ndarray, truth_xywh: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of the centres of boxes (F, 4), row by row: in pixels, and in units of the true width and height."""
    predicted = predicted_xywh[:, :2] + 0.5 * (predicted_xywh[:, 2:] - 1.0)  # Faithful: as above.
    truth = truth_xywh[:, :2] + 0.5 * (truth_xywh[:, 2:] - 1.0)
    pixels = np.sqrt(((predicted - truth) ** 2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        units = np.sqrt(((predicted / truth_xywh[:, 2:] - truth / truth_xywh[:, 2:]) ** 2).sum(axis=1))
    return pixels, units


def align_prediction(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Bring predicted boxes to the length of the truth and fill the gaps, as the published evaluation does.

    A box without width or height repeats the row before it; surplus rows are cut off; missing rows become empty boxes,
    which hit nothing; the first row becomes the truth, since that box was given.

    Args:
        predicted: (P, 4) xywh.
        truth: (F, 4) xywh.

    Returns:
        (F, 4) float64, a new array.
    """
    boxes = predicted[: len(truth)].astype(np.float64)
    if len(boxes):
        # Faithful: the first row is never replaced, and the chain starts from the predicted first box, not the truth.
        empty = (boxes[:, 2:] == 0.0).any(axis=1) & ~np.isnan(truth[: len(boxes)]).any(axis=1)
        empty[0] = False
        boxes = boxes[np.maximum.accumulate(np.where(empty, 0, np.arange(len(boxes))))]
    boxes = np.concatenate([boxes, np.zeros((len(truth) - len(boxes), 4))])
    boxes[0] = truth[0]
    return boxes


def _seqtrack_errors(
    predicted: np.ndarray, truth: np.ndarray, dataset: str | None, target_visible: np.ndarray | None
) -> FrameErrors:
    """Protocol ``seqtrack``. Faithful throughout: an invalid frame fails or succeeds as in the published numbers."""
    if dataset in ALWAYS_WITH_VISIBILITY:
        if target_visible is None:
            raise DataError(f"{dataset} is scored with the visibility of the target, which was not given")
        if len(predicted) < len(truth):
            raise DataError(f"{len(predicted)} predicted boxes for {len(truth)} frames; {dataset} needs all of them")
    if dataset not in NAN_TRUTH_ALLOWED and np.isnan(truth).any():
        raise DataError(f"the ground truth has NaN in row {np.isnan(truth).any(axis=1).argmax() + 1}")
    boxes = align_prediction(predicted, truth)
    valid = (truth[:, 2:] > 0.0).all(axis=1)
    if target_visible is not None:
        valid &= target_visible
    overlap = overlap_of_pairs(boxes, truth)
    distance, norm_distance = centre_distances(boxes, truth)
    overlap[~valid] = -1.0
    # Faithful: an invalid frame fails in precision except on UAV123, and succeeds in normalised precision ...
    distance[~valid] = -1.0 if dataset == "uav" else np.inf
    norm_distance[~valid] = -1.0
    if dataset in ALWAYS_WITH_VISIBILITY:
        # ... except that invisible frames of LaSOT fail in both.
        distance[~target_visible] = np.inf
        norm_distance[~target_visible] = np.inf
    return FrameErrors(overlap, distance, norm_distance, valid)


PROTOCOLS: dict[str, Callable[..., FrameErrors]] = {"seqtrack": _seqtrack_errors}
"""Protocols by name: functions of (predicted, truth, dataset, target_visible)."""


def score_sequence(
    predicted: np.ndarray,
    ground_truth: np.ndarray,
    *,
    protocol: str = "seqtrack",
    dataset: str | None = None,
    target_visible: np.ndarray | None = None,
    exclude_invalid_frames: bool = False,
    step: float = SUCCESS_STEP,
) -> SequenceScores:
    """Score the boxes of one sequence.

    Args:
        predicted: (P, 4) x, y, w, h in pixels, one row per frame from the first on.
        ground_truth: (F, 4) x, y, w, h; a row without positive size means that there is no target in the frame.
        protocol: a key of ``PROTOCOLS``.
        dataset: tag of the data set (``lasot``, ``uav``, ...), since some have conventions of their own.
        target_visible: (F,) bool or 0/1; needed for ``lasot``.
        exclude_invalid_frames: divide by the number of valid frames instead of all frames.
        step: distance of the success thresholds.

    Raises:
        ConfigError: for an unknown protocol.
        DataError: if boxes are malformed (shape, NaN, negative size), no row is left to score, or the truth is hidden
            (one row for many frames).
    """
    measure = lookup(PROTOCOLS, protocol, "protocol")
    predicted, truth = _as_boxes(predicted, "the prediction"), _as_boxes(ground_truth, "the ground truth")
    if np.isnan(predicted).any() or (predicted[:, 2:] < 0.0).any():
        bad = np.isnan(predicted).any(axis=1) | (predicted[:, 2:] < 0.0).any(axis=1)
        raise DataError(f"the prediction has NaN or a negative size in row {bad.argmax() + 1}")
    if len(truth) == 1 < len(predicted):
        raise DataError(f"the ground truth has one row for {len(predicted)} frames: it is hidden and cannot be scored")
    if target_visible is not None:
        target_visible = np.asarray(target_visible).astype(bool).reshape(-1)
        if len(target_visible) != len(truth):
            raise DataError(f"{len(target_visible)} visibility flags for {len(truth)} frames")
    errors = measure(predicted, truth, dataset, target_visible)
    frames = int(errors.valid.sum()) if exclude_invalid_frames else len(truth)
    if frames == 0:
        raise DataError("no frame has a visible target, so nothing is left without the invalid frames")
    return SequenceScores(
        overlap=errors.overlap,
        success=_share(errors.overlap[:, None] > success_thresholds(step), frames),
        precision=_share(errors.distance[:, None] <= PRECISION_PIXELS, frames),
        norm_precision=_share(errors.norm_distance[:, None] <= NORM_PRECISION_THRESHOLDS, frames),
        average_overlap=float(errors.overlap[errors.valid].mean()) if errors.valid.any() else 0.0,
        valid=errors.valid,
    )


def _as_boxes(boxes: np.ndarray, what: str) -> np.ndarray:
    """(N, 4) float64 with N > 0; one flat box is one row."""
    array = np.asarray(boxes, dtype=np.float64)
    if array.shape == (4,):
        array = array[None]
    if array.ndim != 2 or array.shape[1] != 4 or len(array) == 0:
        raise DataError(f"{what} must be boxes of shape (frames, 4), got {array.shape}")
    return array


def _share(hits: np.ndarray, frames: int) -> np.ndarray:
    """(F, T) hits as (T,) float32 shares of ``frames``."""
    return hits.sum(axis=0).astype(np.float32) / np.float32(frames)


def mean_curves(scores: Sequence[SequenceScores]) -> dict[str, np.ndarray]:
    """Average the curves of sequences, in percent: ``success``, ``precision`` and ``norm_precision``, float64.

    Raises:
        InputError: if there is no sequence.
    """
    if not scores:
        raise InputError("no sequence to summarise")
    names = ("success", "precision", "norm_precision")
    return {
        name: 100.0 * np.mean([getattr(score, name) for score in scores], axis=0, dtype=np.float64) for name in names
    }


def summarise(scores: Sequence[SequenceScores]) -> dict[str, float]:
    """Overall scores of a tracker, in percent: each sequence counts the same.

    Returns:
        ``AUC`` (mean of the success curve), ``OP50`` and ``OP75`` (success at 0.5 and 0.75), ``P`` (precision at 20
        pixels) and ``NP`` (normalised precision at 0.20).

    Raises:
        InputError: if there is no sequence.
    """
    curves = mean_curves(scores)
    success = curves["success"]
    last = len(success) - 1
    return {
        "AUC": float(success.mean()),
        "OP50": float(success[round(0.50 * last)]),
        "OP75": float(success[round(0.75 * last)]),
        "P": float(curves["precision"][SCORE_INDEX]),
        "NP": float(curves["norm_precision"][SCORE_INDEX]),
    }


def merge_runs(runs: Sequence[Sequence[SequenceScores]]) -> list[SequenceScores]:
    """Average several runs of one tracker, sequence by sequence.

    Args:
        runs: scores by run and sequence, all runs over the same sequences.
    """
    return [
        SequenceScores(
            overlap=np.mean([score.overlap for score in scores], axis=0),
            success=np.mean([score.success for score in scores], axis=0),
            precision=np.mean([score.precision for score in scores], axis=0),
            norm_precision=np.mean([score.norm_precision for score in scores], axis=0),
            average_overlap=float(np.mean([score.average_overlap for score in scores])),
            valid=scores[0].valid,
        )
        for scores in zip(*runs, strict=True)
    ]
