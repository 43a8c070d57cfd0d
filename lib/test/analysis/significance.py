"""How sure the scores of a benchmark are: bootstrap intervals, and paired comparisons of trackers.

The sequences of a benchmark are a sample of all videos. As many sequences as there are are drawn from them with
replacement, ``DRAWS`` times and the same ones for all trackers, and the scores are computed for each draw. The limits
that 2.5 % of the draws fall below and above make the interval of a score, or of the difference of two trackers. The
p value of a difference is twice the share of the draws in which it is zero or has the other sign, and at least what a
sign test of so few sequences could show, 2 to the power of 1 - S; it is not corrected for the number of pairs.

Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), percentile intervals.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lib.test.analysis.metrics import sequence_weights
from lib.test.analysis.scoring import ScoredTracker

DRAWS = 10_000
SEED = 0
CHUNK = 500
"""Draws at a time, which bounds the memory."""
PERCENTILES = (2.5, 97.5)


class Difference(NamedTuple):
    """By how much the headline score of one tracker is above that of another, in percent, and how sure that is."""

    mean: float
    low: float
    high: float
    p_value: float


class Certainty(NamedTuple):
    """Intervals of K trackers and C scores, and their K x K differences.

    Attributes:
        intervals: (K, C, 2) lower and upper limits of the scores, in percent.
        differences: of the headline score, row minus column; None on the diagonal.
    """

    intervals: np.ndarray
    differences: list[list[Difference | None]]


def bootstrap(trackers: Sequence[ScoredTracker]) -> Certainty | None:
    """Intervals and differences of trackers that were scored on the same sequences; None for a single sequence."""
    weights = sequence_weights(trackers[0].scores)
    counted = np.flatnonzero(weights)
    if len(counted) < 2:
        return None
    values = np.array([[list(tracker.summary_of([i]).values()) for i in counted] for tracker in trackers])
    draws = _draw(values, weights[counted])  # (DRAWS, K, C)
    intervals = np.moveaxis(np.percentile(draws, PERCENTILES, axis=0), 0, -1)
    means = [next(iter(tracker.summary.values())) for tracker in trackers]
    headline = draws[:, :, 0].T
    differences = [
        [
            None
            if row == column
            else _difference(means[row] - means[column], headline[row] - headline[column], len(counted))
            for column in range(len(trackers))
        ]
        for row in range(len(trackers))
    ]
    return Certainty(intervals, differences)


def _draw(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Scores (DRAWS, K, C) of random samples of the S sequences.

    Args:
        values: (K, S, C) scores of each sequence by itself.
        weights: (S,) how much each counts.
    """
    trackers, count, columns = values.shape
    flat = np.moveaxis(values, 1, 0).reshape(count, trackers * columns)
    random, chunks = np.random.default_rng(SEED), []
    for _ in range(DRAWS // CHUNK):
        drawn = random.multinomial(count, np.full(count, 1 / count), CHUNK) * weights
        chunks.append(drawn @ flat / np.maximum(drawn.sum(axis=1, keepdims=True), 1e-12))
    return np.concatenate(chunks).reshape(DRAWS, trackers, columns)


def _difference(mean: float, draws: np.ndarray, sequences: int) -> Difference:
    low, high = np.percentile(draws, PERCENTILES)
    signs = np.sign(draws.round(9))  # of equal trackers the sums may differ in their last digits
    p_value = 2 * min((signs <= 0).mean(), (signs >= 0).mean())
    return Difference(mean, float(low), float(high), float(np.clip(p_value, max(1 / DRAWS, 2.0 ** (1 - sequences)), 1)))
