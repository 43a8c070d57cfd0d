"""Where a tracker loses its target, and how: a rule on boxes and overlaps that needs no frames.

A frame has failed if its overlap is below ``LOW``. ``PATIENCE`` failed frames in a row (of those with a target) are a
failure. It lasts until the overlap is at least ``GOOD`` again; if it never is, the tracker has never recovered. What
happened between the last good frame (overlap at least ``GOOD``) and the failure decides its kind, the first that fits:

* ``scale``: in most of the first ``PATIENCE`` failed frames the center of the box is in the true box, so its size is
  wrong;
* ``absence``: the target was not visible in between, and was not found again;
* ``switch``: the center of the box jumped between two frames by more than the size of the target (the root of its
  area), to a distractor as a rule;
* ``drift``: the box slid off, or was left behind.
"""

from typing import NamedTuple

import numpy as np

LOW = 0.2
GOOD = 0.5
PATIENCE = 10
KINDS = ("drift", "switch", "scale", "absence")


class Failure(NamedTuple):
    """A failure: its kind, its first frame, and the first good frame behind it (None: never recovered)."""

    kind: str
    start: int
    recovered: int | None


def find_failures(
    overlap: np.ndarray, valid: np.ndarray, predicted_xywh: np.ndarray, ground_truth_xywh: np.ndarray
) -> list[Failure]:
    """Failures of a sequence of F frames in their order.

    Args:
        overlap: (F,) intersection over union.
        valid: (F,) bool, frames with a target.
        predicted_xywh: (F, 4) boxes in pixels.
        ground_truth_xywh: (F, 4) boxes in pixels; those of invalid frames may be NaN.
    """
    frames = np.flatnonzero(valid)
    low, good = overlap[frames] < LOW, overlap[frames] >= GOOD
    # Lengths of the runs of failed frames, at their first frames.
    edges = np.flatnonzero(np.diff(low, prepend=False, append=False))
    failures: list[Failure] = []
    behind = 0  # position from which on the target is tracked again
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if start < behind or end - start < PATIENCE:
            continue
        later = np.flatnonzero(good[end:])
        before = np.flatnonzero(good[:start])
        last_good = int(frames[before[-1]]) if len(before) else 0
        kind = _kind(last_good, frames[start : start + PATIENCE], valid, predicted_xywh, ground_truth_xywh)
        if not len(later):
            return [*failures, Failure(kind, int(frames[start]), None)]
        behind = end + later[0]
        failures.append(Failure(kind, int(frames[start]), int(frames[behind])))
    return failures


def _kind(
    last_good: int, failed: np.ndarray, valid: np.ndarray, predicted: np.ndarray, ground_truth: np.ndarray
) -> str:
    """Kind of a failure.

    Args:
        last_good: last frame that was tracked well.
        failed: the first frames of the failure.
        valid: (F,) bool.
        predicted: (F, 4) xywh.
        ground_truth: (F, 4) xywh.
    """
    boxes, targets = predicted[failed], ground_truth[failed]
    offsets = boxes[:, :2] + boxes[:, 2:] / 2 - targets[:, :2]
    if ((offsets >= 0) & (offsets <= targets[:, 2:])).all(axis=1).mean() > 0.5:
        return "scale"
    if not valid[last_good : failed[0]].all():
        return "absence"
    boxes = predicted[last_good : failed[0] + 1]
    steps = np.linalg.norm(np.diff(boxes[:, :2] + boxes[:, 2:] / 2, axis=0), axis=1)
    return "switch" if len(steps) and steps.max() > np.sqrt(ground_truth[last_good, 2:].prod()) else "drift"
