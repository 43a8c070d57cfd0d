"""Scores of one-pass evaluation: success, precision and normalized precision, under named protocols.

What a protocol is, and which there are: ``lib.test.analysis.protocols``.

Sources: success and precision plots, Wu et al., "Object Tracking Benchmark" (PAMI 2015); normalized precision, Mueller
et al., "TrackingNet" (ECCV 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lib.test.analysis.protocols import PARTLY_LABELLED, PROTOCOLS, Frames
from lib.utils.errors import DataError, InputError, lookup

SUCCESS_STEP = 0.05
PRECISION_PIXELS = np.arange(51, dtype=np.float64)
"""Thresholds of the precision plot, pixels between centers."""
NORM_PRECISION_THRESHOLDS = PRECISION_PIXELS / 100.0
"""Thresholds of the normalized precision plot, distance of centers in units of the true width and height."""
SCORE_INDEX = 20
"""Index of the threshold that the scores P (20 pixels) and NP (0.20) are read at."""


@dataclass(frozen=True)
class SequenceScores:
    """How well the boxes of one sequence fit its ground truth; F frames.

    Attributes:
        overlap: (F,) float64 intersection over union, -1 where the frame is invalid (no target to hit).
        success: (21,) float32 in [0, 1], share of frames whose overlap is above 0, 0.05, ..., 1.
        precision: (51,) float32, share of frames whose center is at most 0, 1, ..., 50 pixels off.
        norm_precision: (51,) float32, share of frames whose normalized center distance is at most 0, 0.01, ..., 0.5.
        average_overlap: mean overlap of the valid frames, 0 if there is none.
        valid: (F,) bool, frames with a target.
        protocol: name of the conventions.
    """

    overlap: np.ndarray
    success: np.ndarray
    precision: np.ndarray
    norm_precision: np.ndarray
    average_overlap: float
    valid: np.ndarray
    protocol: str = "seqtrack"


def success_thresholds(step: float = SUCCESS_STEP) -> np.ndarray:
    """Overlap thresholds 0, ``step``, ..., 1 of the success plot, float64."""
    return np.arange(round(1.0 / step) + 1, dtype=np.float64) * step


def score_sequence(
    predicted: np.ndarray,
    ground_truth: np.ndarray,
    *,
    protocol: str = "seqtrack",
    dataset: str | None = None,
    target_visible: np.ndarray | None = None,
    image_size: tuple[int, int] | None = None,
    exclude_invalid_frames: bool = False,
    step: float = SUCCESS_STEP,
) -> SequenceScores:
    """Score the boxes of one sequence.

    Args:
        predicted: (P, 4) x, y, w, h in pixels, one row per frame from the first on.
        ground_truth: (F, 4) x, y, w, h; a row without positive size means that there is no target in the frame.
        protocol: a key of ``PROTOCOLS``.
        dataset: tag of the dataset (``lasot``, ``uav``, ...), since some have conventions of their own.
        target_visible: (F,) bool or 0/1; needed for ``lasot``.
        image_size: width and height of the frames in pixels; ``got10k`` cuts boxes there, the others ignore it.
        exclude_invalid_frames: divide by the number of valid frames instead of all frames.
        step: distance of the success thresholds.

    Raises:
        ConfigError: for an unknown protocol.
        DataError: if boxes are malformed (shape, NaN, negative size), no row is left, or the ground truth is hidden
            (one row for many frames).
    """
    conventions = lookup(PROTOCOLS, protocol, "protocol")
    predicted, ground_truth = _as_boxes(predicted, "the prediction"), _as_boxes(ground_truth, "the ground truth")
    if np.isnan(predicted).any() or (predicted[:, 2:] < 0.0).any():
        bad = np.isnan(predicted).any(axis=1) | (predicted[:, 2:] < 0.0).any(axis=1)
        raise DataError(f"the prediction has NaN or a negative size in row {bad.argmax() + 1}")
    if len(ground_truth) == 1 < len(predicted):
        raise DataError(f"the ground truth has one row for {len(predicted)} frames: it is hidden and cannot be scored")
    if target_visible is not None:
        target_visible = np.asarray(target_visible).astype(bool).reshape(-1)
        if len(target_visible) != len(ground_truth):
            raise DataError(f"{len(target_visible)} visibility flags for {len(ground_truth)} frames")
    errors = conventions.measure(Frames(predicted, ground_truth, dataset, target_visible, image_size))
    exclude_invalid_frames = exclude_invalid_frames or conventions.counts_frames or dataset in PARTLY_LABELLED
    frames = int(errors.valid.sum()) if exclude_invalid_frames else len(ground_truth)
    if frames == 0 and not conventions.counts_frames:
        raise DataError("no frame has a visible target, so nothing is left without the invalid frames")
    return SequenceScores(
        overlap=errors.overlap,
        success=_share(errors.overlap[:, None] > success_thresholds(step), frames),
        precision=_share(errors.distance[:, None] <= PRECISION_PIXELS, frames),
        norm_precision=_share(errors.norm_distance[:, None] <= NORM_PRECISION_THRESHOLDS, frames),
        average_overlap=float(errors.overlap[errors.valid].mean()) if errors.valid.any() else 0.0,
        valid=errors.valid,
        protocol=protocol,
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
    return hits.sum(axis=0).astype(np.float32) / np.float32(max(frames, 1))


def mean_curves(scores: Sequence[SequenceScores]) -> dict[str, np.ndarray]:
    """Average the curves of sequences, in percent: ``success``, ``precision`` and ``norm_precision``, float64.

    Raises:
        InputError: if there is no sequence.
    """
    if not scores:
        raise InputError("no sequence to summarise")
    names = ("success", "precision", "norm_precision")
    weights = sequence_weights(scores)
    if weights.sum() == 0:
        weights = np.ones(len(scores))
    curves = {name: np.array([getattr(score, name) for score in scores], dtype=np.float64) for name in names}
    return {name: 100.0 * np.average(curve, axis=0, weights=weights) for name, curve in curves.items()}


def sequence_weights(scores: Sequence[SequenceScores]) -> np.ndarray:
    """How much each sequence counts in the overall scores, (S,) float64: as much as any other, or by its frames."""
    counts_frames = PROTOCOLS[scores[0].protocol].counts_frames
    return np.array([score.valid.sum() if counts_frames else 1 for score in scores], dtype=np.float64)


def summarise(scores: Sequence[SequenceScores]) -> dict[str, float]:
    """Overall scores of a tracker, in percent.

    Returns:
        ``AUC`` (mean of the success curve), ``OP50`` and ``OP75`` (success at 0.5 and 0.75), ``P`` (precision at 20
        pixels) and ``NP`` (normalized precision at 0.20), where each sequence counts the same. Under the protocol
        ``got10k``: ``AO`` (mean overlap), ``SR50`` and ``SR75`` (frames whose overlap is above), where each frame does.

    Raises:
        InputError: if there is no sequence.
    """
    curves = mean_curves(scores)
    protocol = PROTOCOLS[scores[0].protocol]
    if protocol.counts_frames:
        overlap = np.concatenate([score.overlap[score.valid] for score in scores])
        if not len(overlap):
            raise InputError("no frame to summarise")
        values = [overlap.mean(), (overlap > 0.5).mean(), (overlap > 0.75).mean()]
        return {name: 100.0 * float(value) for name, value in zip(protocol.summary, values, strict=True)}
    success = curves["success"]
    last = len(success) - 1
    at_half, at_three_quarters = success[round(0.50 * last)], success[round(0.75 * last)]
    values = [success.mean(), at_half, at_three_quarters, curves["precision"][SCORE_INDEX]]
    values.append(curves["norm_precision"][SCORE_INDEX])
    return {name: float(value) for name, value in zip(protocol.summary, values, strict=True)}


def merge_runs(runs: Sequence[Sequence[SequenceScores]]) -> list[SequenceScores]:
    """Average several runs of one tracker, sequence by sequence.

    Args:
        runs: scores by run and sequence, all runs over the same sequences.
    """
    averaged = ("overlap", "success", "precision", "norm_precision")
    return [
        replace(
            scores[0],
            average_overlap=float(np.mean([score.average_overlap for score in scores])),
            **{name: np.mean([getattr(score, name) for score in scores], axis=0) for name in averaged},
        )
        for scores in zip(*runs, strict=True)
    ]
