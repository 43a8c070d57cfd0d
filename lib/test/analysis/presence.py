"""Scores of trackers that say whether their target is there: TPR, TNR and their geometric mean.

Counts are pooled over all labelled frames but the first ones, since most sequences have no frame without the target.
Source: Valmadre et al., "Long-term Tracking in the Wild" (ECCV 2018), and the toolkit of OxUvA.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from lib.data.annotations import has_area
from lib.data.sequence import Sequence as Video
from lib.data.sequence import SequenceList
from lib.test.analysis.protocols import overlap_of_pairs
from lib.test.analysis.scoring import ScoredTracker, read_boxes_of
from lib.test.analysis.selection import Source
from lib.test.analysis.tables import Table
from lib.utils.errors import DataError
from lib.utils.files import read_text

OVERLAPS = (0.3, 0.5, 0.7)
THRESHOLD = 0.5
"""Probability from which on a target counts as reported present."""


def max_geometric_mean(tpr: float, tnr: float) -> float:
    """Best geometric mean of a tracker that says ``absent`` at random in some of the frames it calls present.

    With a share q of them kept, the product is ``q * tpr * (1 - q * (1 - tnr))``.
    """
    kept = 1.0 if tnr >= 0.5 else 0.5 / (1 - tnr)
    return float(np.sqrt(kept * tpr * (1 - kept * (1 - tnr))))


def count_presence(sequence: Video, boxes_xywh: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Counts of a sequence of F frames.

    Args:
        sequence: its ground truth is NaN where nothing is labelled and has no area where the target is absent.
        boxes_xywh: (F, 4) predicted boxes.
        present: (F,) bool, whether the tracker reports the target.

    Returns:
        Frames that show the target, those of them found with each of ``OVERLAPS``, frames that do not show it, those of
        them reported so: (6,) int64.
    """
    ground_truth = sequence.ground_truth_rect
    shown = has_area(ground_truth)
    absent = ~shown & ~np.isnan(ground_truth).any(axis=1)
    shown[0] = absent[0] = False  # the box was given
    if sequence.resolution is not None:
        boxes_xywh, ground_truth = (_clip(boxes, sequence.resolution) for boxes in (boxes_xywh, ground_truth))
    overlap = overlap_of_pairs(boxes_xywh, ground_truth)
    found = [(shown & present & (overlap >= least)).sum() for least in OVERLAPS]
    return np.array([shown.sum(), *found, absent.sum(), (absent & ~present).sum()])


def _clip(boxes_xywh: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The parts of boxes (F, 4) that are inside an image."""
    begin = np.clip(boxes_xywh[:, :2], 0.0, size)
    return np.concatenate([begin, np.clip(boxes_xywh[:, :2] + boxes_xywh[:, 2:], 0.0, size) - begin], axis=1)


def read_presence(source: Source, sequence: Video) -> np.ndarray:
    """Whether a tracker reports the target, (F,) bool; always, where its results do not say.

    Raises:
        DataError: if the file is unreadable or malformed.
    """
    path, frames = None if source.presence is None else source.presence(sequence.name), len(sequence.frames)
    if path is None or not path.is_file():
        return np.ones(frames, dtype=bool)
    try:
        values = np.array(read_text(path).split(), dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path}: expected one number for each frame") from error
    if len(values) != frames or not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"{path}: expected {frames} numbers from 0 to 1, got {len(values)}")
    return values >= THRESHOLD


def presence_table(
    trackers: Sequence[ScoredTracker], sequences: SequenceList, title: str, facts: Mapping[str, str]
) -> Table:
    """TPR at each of ``OVERLAPS``, TNR, GM and MaxGM, one row per tracker with results; the best MaxGM first.

    Raises:
        DataError: if no labelled frame shows a target, or a result cannot be read.
    """
    rows = []
    for tracker in trackers:
        runs = [_scores(source, sequences) for source in tracker.sources]
        if runs:
            rows.append((tracker.label, np.mean(runs, axis=0).tolist()))
    columns = [*(f"TPR{100 * least:.0f}" for least in OVERLAPS), "TNR", "GM", "MaxGM"]
    weights = {tracker.label: tracker.weights for tracker in trackers if tracker.weights}
    return Table(f"Presence, {title}", "tracker", columns, sorted(rows, key=lambda row: -row[1][-1]), facts, weights)


def _scores(source: Source, sequences: SequenceList) -> list[float]:
    counts = [count_presence(s, read_boxes_of(source, s), read_presence(source, s)) for s in sequences]
    shown, *found, absent, reported = np.sum(counts, axis=0)
    if not shown:
        raise DataError("no labelled frame but the first ones shows a target")
    rates, tnr = [hits / shown for hits in found], reported / absent if absent else 0.0
    tpr = rates[OVERLAPS.index(0.5)]
    return [100.0 * float(value) for value in (*rates, tnr, np.sqrt(tpr * tnr), max_geometric_mean(tpr, tnr))]
