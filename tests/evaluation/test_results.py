from pathlib import Path

import numpy as np
import pytest

from lib.test.evaluation.results import ResultFolder, find_results, to_integers
from lib.utils.errors import InputError

BOXES = np.array([[10, 20, 30, 40], [10.9, -0.9, 30.5, 40.999], [-3.7, 5.2, 0.4, 1e-9]])


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path, "seqtrack", "cfg", "got10k")


def test_round_trip_is_the_truncated_box(folder: ResultFolder) -> None:
    folder.write("a", BOXES, [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(folder.read("a"), np.trunc(BOXES))
    np.testing.assert_array_equal(to_integers(BOXES), [[10, 20, 30, 40], [10, 0, 30, 40], [-3, 5, 0, 0]])


def test_one_frame(folder: ResultFolder) -> None:
    folder.write("one", BOXES[:1], [0.5])
    assert folder.boxes_path("one").read_text() == "10\t20\t30\t40\n"
    assert folder.read("one").shape == (1, 4)
    assert folder.is_complete("one", 1)


def test_complete_means_both_files_with_a_line_per_frame(folder: ResultFolder) -> None:
    assert not folder.is_complete("a", 3)
    folder.write("a", BOXES, [0.1, 0.2, 0.3])
    assert folder.is_complete("a", 3)
    assert not folder.is_complete("a", 4)
    folder.times_path("a").write_text("0.1\n")
    assert not folder.is_complete("a", 3)
    folder.times_path("a").unlink()
    assert not folder.is_complete("a", 3)
    folder.write("a", BOXES, [0.1, 0.2, 0.3])
    folder.boxes_path("a").write_text("1\t2\t3\n" * 3)
    assert not folder.is_complete("a", 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nothing_is_written_for_a_bad_box(folder: ResultFolder, bad: float) -> None:
    boxes = BOXES.copy()
    boxes[1, 2] = bad
    with pytest.raises(InputError, match="frame 1"):
        folder.write("a", boxes, [0.1, 0.2, 0.3])
    with pytest.raises(InputError, match="times"):
        folder.write("a", BOXES, [0.1])
    assert not folder.path.exists()


def test_sequences_whatever_their_name(folder: ResultFolder) -> None:
    for name in ("timelapse", "ball_all", "run_time", "a"):
        folder.write(name, BOXES, [0.1, 0.2, 0.3])
    assert folder.sequences() == ["a", "ball_all", "run_time", "timelapse"]
    assert find_results(folder.save_dir) == [folder]
    folder.remove("run_time")
    assert folder.sequences() == ["a", "ball_all", "timelapse"]
