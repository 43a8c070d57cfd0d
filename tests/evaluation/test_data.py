from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.test.evaluation import Sequence, get_dataset
from lib.utils.box_text import load_ground_truth, parse_boxes
from lib.utils.errors import ConfigError, DataError
from tests.evaluation.fakes import GREY, write_got10k

LENGTHS = {"GOT-10k_Val_000001": 4, "GOT-10k_Val_000002": 1, "GOT-10k_Val_000010": 3}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    return tmp_path / "data"


def load(data_dir: Path, name: str = "got10k_val"):
    return get_dataset(name, paths=load_paths("test", data_dir=data_dir))


def test_got10k_val(data_dir: Path) -> None:
    sequences = load(data_dir)
    assert sequences.names == list(LENGTHS)
    assert sequences.num_frames == 8
    first = sequences[0]
    assert first.dataset == "got10k"
    assert [Path(frame).name for frame in first.frames] == [f"{i:08d}.jpg" for i in range(1, 5)]
    assert first.ground_truth_rect.shape == (4, 4)
    assert first.has_ground_truth
    np.testing.assert_array_equal(first.init_box_xywh, first.ground_truth_rect[0])
    assert abs(int(first.read_frame(0)[0, 0, 0]) - GREY) < 3


def test_got10k_test_has_hidden_ground_truth(tmp_path: Path) -> None:
    write_got10k(tmp_path / "got10k", {"GOT-10k_Test_000001": 3}, split="test")
    (sequence,) = load(tmp_path, "got10k_test")
    assert sequence.ground_truth_rect.shape == (1, 4)
    assert not sequence.has_ground_truth


def test_frames_are_sorted_by_number(data_dir: Path) -> None:
    folder = data_dir / "got10k" / "val" / "GOT-10k_Val_000001"
    (folder / "00000004.jpg").rename(folder / "10.jpg")
    assert Path(load(data_dir)[0].frames[-1]).name == "10.jpg"


def test_several_data_sets_in_one_list(data_dir: Path) -> None:
    write_got10k(data_dir / "got10k", {"GOT-10k_Test_000001": 2}, split="test")
    paths = load_paths("test", data_dir=data_dir)
    assert len(get_dataset("got10k_val", "got10k_test", paths=paths)) == 4


def test_select(data_dir: Path) -> None:
    sequences = load(data_dir)
    assert sequences.select(["GOT-10k_Val_000010", "0"]).names == ["GOT-10k_Val_000010", "GOT-10k_Val_000001"]
    with pytest.raises(DataError, match="no sequence 'dog' among 3: GOT-10k_Val_000001"):
        sequences.select(["dog"])


def test_unknown_data_set_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"got10k_test, got10k_val, .*; did you mean got10k_val"):
        get_dataset("got10k_vall")


def test_missing_folder_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"got10k: no such data folder.*--data_dir"):
        load(tmp_path)
    monkeypatch.setenv("SEQTRACK_GOT10K_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"nowhere.*SEQTRACK_GOT10K_DIR"):
        get_dataset("got10k_val", paths=load_paths("test"))


@pytest.mark.parametrize("line", ["1,2,3", "1,2,3,4,5", "1,2,x,4", "inf,2,3,4"])
def test_malformed_line_names_file_and_line(data_dir: Path, line: str) -> None:
    path = data_dir / "got10k" / "val" / "GOT-10k_Val_000001" / "groundtruth.txt"
    path.write_text(f"1,2,3,4\n{line}\n1,2,3,4\n1,2,3,4\n")
    with pytest.raises(DataError, match=rf"000001/groundtruth.txt: line 2: expected 4 .*'{line}'"):
        load(data_dir)


def test_nan_in_truth_is_refused(data_dir: Path) -> None:
    path = data_dir / "got10k" / "val" / "GOT-10k_Val_000001" / "groundtruth.txt"
    path.write_text("1,2,3,4\n1,2,3,4\nNaN,NaN,NaN,NaN\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"groundtruth\.txt: line 3: expected 4 finite numbers"):
        load(data_dir)


@pytest.mark.parametrize("rows", [0, 1, 3, 5])
def test_truth_of_another_length_is_refused(data_dir: Path, rows: int) -> None:
    (data_dir / "got10k" / "val" / "GOT-10k_Val_000001" / "groundtruth.txt").write_text("1,2,3,4\n" * rows)
    with pytest.raises(DataError, match=f"groundtruth.txt: {rows} boxes for 4 frames"):
        load(data_dir)


@pytest.mark.parametrize("missing", ["list.txt", "GOT-10k_Val_000010/groundtruth.txt"])
def test_missing_file_is_named(data_dir: Path, missing: str) -> None:
    (data_dir / "got10k" / "val" / missing).unlink()
    with pytest.raises(DataError, match=missing):
        load(data_dir)


def test_empty_sequence_and_odd_frame_names_are_named(data_dir: Path) -> None:
    folder = data_dir / "got10k" / "val" / "GOT-10k_Val_000002"
    (folder / "00000001.jpg").rename(folder / "first.jpg")
    with pytest.raises(DataError, match=r"000002: frames must be named by number.*first"):
        load(data_dir)
    (folder / "first.jpg").unlink()
    with pytest.raises(DataError, match=r"000002: no \.jpg frames"):
        load(data_dir)


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", "  "])
def test_separators(separator: str) -> None:
    text = separator.join(["1", "2.5", "-3", "4e1"]) + "\r\n\n"
    np.testing.assert_array_equal(parse_boxes(text, "x"), [[1, 2.5, -3, 40]])


def test_load_ground_truth_keeps_nan(tmp_path: Path) -> None:
    (tmp_path / "uav.txt").write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n")
    boxes = load_ground_truth(tmp_path / "uav.txt")
    assert np.isnan(boxes[1]).all()
    assert np.isfinite(boxes[0]).all()


def test_sequence_checks_itself() -> None:
    with pytest.raises(DataError, match="no frames"):
        Sequence("a", [], "x", np.zeros((0, 4)))
    with pytest.raises(DataError, match="2 ground truth boxes for 3 frames"):
        Sequence("a", ["1", "2", "3"], "x", np.zeros((2, 4)))
    with pytest.raises(DataError, match="visibility"):
        Sequence("a", ["1", "2"], "x", np.zeros((2, 4)), target_visible=np.ones(3))
