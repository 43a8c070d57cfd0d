"""Trackers with made-up scores."""

import numpy as np

from lib.test.analysis.metrics import score_sequence
from lib.test.analysis.scoring import ScoredTracker

TITLE = "got10k_val (2 sequences, 40 frames), protocol seqtrack"


def tracker(label: str, shift: float, **kwargs) -> ScoredTracker:
    ground_truth = np.tile([20.0, 20.0, 30.0, 40.0], (20, 1))
    scores = [score_sequence(np.add(ground_truth, [shift * k, 0, 0, 0]), ground_truth) for k in (1, 2)]
    return ScoredTracker(label, ["a", "b"], scores, **kwargs)


TRACKERS = [tracker("weak_one", 8), tracker("strong_one", 1), tracker("static box", 12, is_baseline=True)]
