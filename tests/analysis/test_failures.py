"""The rule by which failures are found and named."""

import numpy as np
import pytest

from lib.test.analysis.failures import PATIENCE, Failure, find_failures
from lib.test.analysis.protocols import overlap_of_pairs

FRAMES, START = 60, 20


def failures_of(change, valid=None) -> list[Failure]:
    """Failures of boxes that are right but for a change."""
    truth = np.tile([100.0, 100.0, 40.0, 30.0], (FRAMES, 1))
    boxes = truth.copy()
    change(boxes)
    return find_failures(
        overlap_of_pairs(boxes, truth), np.ones(FRAMES, bool) if valid is None else valid, boxes, truth
    )


def switch(boxes: np.ndarray) -> None:
    boxes[START:40, 0] += 300


def drift(boxes: np.ndarray) -> None:
    boxes[START:, 0] += np.minimum(4.0 * np.arange(FRAMES - START), 100)


def shrink(boxes: np.ndarray) -> None:
    boxes[START:] = [118, 112, 4, 6]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (switch, Failure("switch", START, 40)),
        (drift, Failure("drift", START + 7, None)),  # 28 of 40 pixels off: an overlap of 12 / 68
        (shrink, Failure("scale", START, None)),
    ],
)
def test_kinds(change, expected: Failure) -> None:
    assert failures_of(change) == [expected]


def test_a_target_that_comes_back_elsewhere() -> None:
    valid = np.ones(FRAMES, bool)
    valid[START - 5 : START] = False
    assert failures_of(switch, valid) == [Failure("absence", START, 40)]


@pytest.mark.parametrize("length", [PATIENCE - 1, PATIENCE])
def test_short_losses_are_no_failures(length: int) -> None:
    def change(boxes: np.ndarray) -> None:
        boxes[START : START + length, 0] += 300

    assert len(failures_of(change)) == (length >= PATIENCE)


def test_a_failure_lasts_until_the_target_is_tracked_well() -> None:
    def change(boxes: np.ndarray) -> None:
        boxes[15:27, 0] += 300
        boxes[27:30, 0] += 20  # an overlap of a third: not yet
        boxes[30:42, 0] += 300
        boxes[45:, 0] += 300

    assert failures_of(change) == [Failure("switch", 15, 42), Failure("switch", 45, None)]


def test_frames_without_a_target_do_not_count() -> None:
    valid = np.zeros(FRAMES, bool)
    assert failures_of(switch, valid) == []
    valid[::2] = True  # ten of the twenty wrong frames have a target
    assert [failure.start for failure in failures_of(switch, valid)] == [START]
