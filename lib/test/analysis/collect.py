"""From result files to scores: which results there are, whether they are complete, and what they are worth."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lib.test.analysis.metrics import SequenceScores, score_sequence, summarise
from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.results import ResultFolder, to_integers
from lib.utils.errors import DataError

logger = logging.getLogger(__name__)

STATIC_BOX = "static box"
"""Label of the baseline whose box never moves."""


@dataclass(frozen=True)
class ScoredTracker:
    """Scores of one tracker on one benchmark.

    Attributes:
        label: how tables and plots call it.
        sequences: names of the sequences.
        scores: one per sequence.
        is_baseline: whether this is no tracker but something to compare with.
    """

    label: str
    sequences: list[str]
    scores: list[SequenceScores]
    is_baseline: bool = False

    @property
    def summary(self) -> dict[str, float]:
        """Overall scores in percent; see ``metrics.summarise``."""
        return summarise(self.scores)


@dataclass(frozen=True)
class Scoring:
    """How boxes become numbers.

    Attributes:
        protocol: name of the conventions (``metrics.PROTOCOLS``).
        exclude_invalid_frames: leave frames without a visible target out of the count.
    """

    protocol: str = "seqtrack"
    exclude_invalid_frames: bool = False

    def describe(self) -> str:
        """The conventions in words, for the head of a table."""
        return f"protocol {self.protocol}" + (", invalid frames excluded" if self.exclude_invalid_frames else "")

    def score(self, sequence: Sequence, boxes_xywh: np.ndarray) -> SequenceScores:
        """Score the boxes of a sequence. Raises DataError naming it."""
        try:
            return score_sequence(
                boxes_xywh,
                sequence.ground_truth_rect,
                protocol=self.protocol,
                dataset=sequence.dataset,
                target_visible=sequence.target_visible,
                exclude_invalid_frames=self.exclude_invalid_frames,
            )
        except DataError as error:
            raise DataError(f"sequence {sequence.name}: {error}") from error


def require_public_truth(benchmark: str, sequences: SequenceList, server: str | None) -> None:
    """Refuse a benchmark whose truth is hidden. Raises DataError saying where its results are scored."""
    hidden = [sequence for sequence in sequences if not sequence.has_truth]
    if hidden:
        where = f"submit the results to its server, {server}" if server else "submit the results to its server"
        raise DataError(
            f"{benchmark} cannot be scored here: only the first box of {len(hidden)} of {len(sequences)} sequences is "
            f"public; {where}"
        )


def score_results(folder: ResultFolder, sequences: SequenceList, scoring: Scoring, *, label: str) -> ScoredTracker:
    """Read and score the results of a tracker.

    Raises:
        DataError: if a result is missing, incomplete or malformed; the message names it.
    """
    missing = [sequence.name for sequence in sequences if not folder.boxes_path(sequence.name).is_file()]
    if missing:
        raise DataError(
            f"{folder.tracker} {folder.config}: {len(missing)} of {len(sequences)} results are missing, the first one "
            f"is {folder.boxes_path(missing[0])}; track them with tracking/test.py {folder.tracker} {folder.config}"
        )
    return _scored(label, sequences, scoring, lambda sequence: _read_complete(folder, sequence))


def _read_complete(folder: ResultFolder, sequence: Sequence) -> np.ndarray:
    boxes, frames = folder.read(sequence.name), len(sequence.frames)
    path = folder.boxes_path(sequence.name)
    if len(boxes) < frames:
        raise DataError(f"{path}: {len(boxes)} boxes for {frames} frames; the result is incomplete")
    if len(boxes) > frames:  # some published results of LaSOT have a few rows too many, which do no harm
        logger.warning("%s: %d boxes for %d frames; the surplus is ignored", path, len(boxes), frames)
    return boxes


def score_static_box(sequences: SequenceList, scoring: Scoring) -> ScoredTracker:
    """Score a box that stays where it was in the first frame: what a tracker must beat."""
    return _scored(STATIC_BOX, sequences, scoring, _static_boxes, is_baseline=True)


def _static_boxes(sequence: Sequence) -> np.ndarray:
    """The first box for every frame, in integers as a result file would hold it."""
    return np.repeat(to_integers(sequence.ground_truth_rect[:1]), len(sequence.frames), axis=0)


def _scored(
    label: str,
    sequences: SequenceList,
    scoring: Scoring,
    boxes_of: Callable[[Sequence], np.ndarray],
    *,
    is_baseline: bool = False,
) -> ScoredTracker:
    scores = [scoring.score(sequence, boxes_of(sequence)) for sequence in sequences]
    return ScoredTracker(label, sequences.names, scores, is_baseline)
