"""Bootstrap intervals and differences."""

import numpy as np
import pytest

from lib.test.analysis.metrics import score_sequence
from lib.test.analysis.scoring import ScoredTracker
from lib.test.analysis.significance import bootstrap

FRAMES = 20
TRUTH = np.tile([20.0, 20.0, 30.0, 40.0], (FRAMES, 1))


def tracker(label: str, shifts: np.ndarray, protocol: str = "seqtrack") -> ScoredTracker:
    lengths = [FRAMES // 2 if i % 2 else FRAMES for i in range(len(shifts))]
    scores = [
        score_sequence(np.add(TRUTH, [shift, 0, 0, 0])[:n], TRUTH[:n], protocol=protocol, image_size=(320, 240))
        for shift, n in zip(shifts, lengths, strict=True)
    ]
    return ScoredTracker(label, [str(i) for i in range(len(shifts))], scores)


SHIFTS = np.linspace(0, 12, 25)


@pytest.mark.parametrize("protocol", ["seqtrack", "got10k"])
def test_intervals_hold_the_score_and_have_the_known_width(protocol: str) -> None:
    trackers = [tracker("a", SHIFTS, protocol), tracker("b", SHIFTS + 1, protocol)]
    certainty = bootstrap(trackers)
    assert certainty.intervals.shape == (2, len(trackers[0].summary), 2)
    for own, intervals in zip(trackers, certainty.intervals, strict=True):
        for score, (low, high) in zip(own.summary.values(), intervals, strict=True):
            assert low <= score <= high
    # In a sample of this size the percentile interval is near that of the normal distribution.
    values = np.array([next(iter(trackers[0].summary_of([i]).values())) for i in range(25)])
    low, high = certainty.intervals[0, 0]
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 5, rel=0.15)


def test_differences_are_paired() -> None:
    a, b = tracker("a", SHIFTS), tracker("b", SHIFTS + 0.5)
    certainty = bootstrap([a, b])
    difference = certainty.differences[0][1]
    assert difference.mean == pytest.approx(a.summary["AUC"] - b.summary["AUC"])
    assert 0 < difference.low < difference.mean < difference.high  # although their own intervals overlap by far
    assert certainty.intervals[0, 0, 0] < certainty.intervals[1, 0, 1]
    assert difference.p_value < 0.01
    back = certainty.differences[1][0]
    assert (back.low, back.high, back.p_value) == pytest.approx((-difference.high, -difference.low, difference.p_value))
    assert certainty.differences[0][0] is None
    assert certainty.differences == bootstrap([a, b]).differences  # the same draws


def test_no_difference_is_not_significant() -> None:
    shifts = np.tile([1.0, 3.0], 10)
    difference = bootstrap([tracker("a", shifts), tracker("b", shifts[::-1])]).differences[0][1]
    assert difference.low <= 0 <= difference.high and difference.p_value > 0.5
    assert bootstrap([tracker("a", shifts), tracker("same", shifts)]).differences[0][1].p_value == 1


def test_few_sequences_show_little() -> None:
    difference = bootstrap([tracker("a", SHIFTS[:3]), tracker("b", SHIFTS[:3] + 3)]).differences[0][1]
    assert difference.low > 0 and difference.p_value == 0.25


def test_one_sequence_says_nothing_about_others() -> None:
    assert bootstrap([tracker("a", SHIFTS[:1])]) is None
