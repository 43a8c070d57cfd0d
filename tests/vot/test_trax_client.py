"""The tracker's end of TraX: what goes over the wire, and what must never get in between."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.test.vot20.seqtrack_vot20 import VotTracker
from lib.test.vot20.trax_client import TraxSession, WholeLines, fit_mask, import_trax
from lib.utils.errors import DataError, InputError
from tests.vot.conftest import HEIGHT, WIDTH, StillTracker, TransposedSegmenter


def converse(*arguments):
    pytest.importorskip("trax", reason="the package vot-trax is not installed")
    from external.vot20.in_process import converse

    return converse(*arguments)


def test_boxes_of_two_starts_in_one_session(frames: list[Path]) -> None:
    tracker = StillTracker()
    talk = converse(VotTracker(tracker), frames, [(0, [10, 12, 20, 21.5]), (2, [1, 2, 30, 4])])
    assert talk.answers == [[[10, 12, 20, 21.5]] * 3, [[1, 2, 30, 4]]]
    assert tracker.starts == [[10, 12, 20, 21.5], [1, 2, 30, 4]]


def test_masks_arrive_as_they_were_whatever_their_memory_looks_like(frames: list[Path]) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 30:55] = 1
    tracker = StillTracker()
    talk = converse(VotTracker(tracker, TransposedSegmenter()), frames, [(0, mask)])
    assert tracker.starts == [[30, 10, 25, 10]]
    assert [np.array_equal(answer != 0, mask != 0) for answer in talk.answers[0]] == [True] * 3


def test_a_lost_target_is_a_box_of_zeros_or_an_empty_mask(frames: list[Path]) -> None:
    lost = [[float("nan")] * 4, [5, 5, 0, 4], [5, 5, 6, 4]]
    talk = converse(VotTracker(StillTracker(lost)), frames, [(0, [1, 2, 30, 4])])
    assert talk.answers == [[[0, 0, 0, 0], [0, 0, 0, 0], [5, 5, 6, 4]]]
    talk = converse(VotTracker(StillTracker(lost), TransposedSegmenter()), frames, [(0, np.ones((9, 9), np.uint8))])
    assert [int(np.count_nonzero(answer)) for answer in talk.answers[0]] == [0, 0, 24]


def test_a_crash_reaches_the_caller_as_it_is(frames: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="boom in the middle"):
        converse(VotTracker(StillTracker(crash_at=2)), frames, [(0, [10, 12, 20, 21])])


def test_a_missing_image_is_named(frames: list[Path]) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg"):
        converse(VotTracker(StillTracker()), [frames[0], frames[0].with_name("gone.jpg")], [(0, [10, 12, 20, 21])])


def test_an_empty_first_mask_is_lost_until_the_next_start(frames: list[Path]) -> None:
    empty, mask = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 30:55] = 1
    talk = converse(VotTracker(StillTracker(), TransposedSegmenter()), frames, [(0, empty), (2, mask)])
    assert [[int(np.count_nonzero(answer)) for answer in answers] for answers in talk.answers] == [[0, 0, 0], [250]]


def test_unknown_format_and_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="rectangle, mask"):
        TraxSession("polygon")
    monkeypatch.setitem(sys.modules, "trax", None)
    with pytest.raises(InputError, match="pip install vot-trax"):
        import_trax()


def test_fit_mask_pads_and_crops() -> None:
    assert fit_mask(np.full((2, 3), 255), 4, 5).tolist() == [[1, 1, 1, 0, 0]] * 2 + [[0] * 5] * 2
    assert fit_mask(np.ones((9, 9)), 2, 2).tolist() == [[1, 1], [1, 1]]


def test_whole_lines_only() -> None:
    stream = io.StringIO()
    lines = WholeLines(stream)
    print("loading", end="", file=lines)
    for percent in (1, 50, 100):
        print(f"\r{percent} %", end="", file=lines)
    assert stream.getvalue() == ""
    print("\ndone", end="", file=lines)
    assert stream.getvalue() == "100 %\n"
    lines.finish()
    lines.finish()
    assert stream.getvalue() == "100 %\ndone\n"
