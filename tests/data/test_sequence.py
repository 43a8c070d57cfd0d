from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.data.sequence import Entry, Sequence, SequenceList, check_distinct, check_name, choose_names
from lib.test.evaluation import find_benchmark, get_dataset
from lib.utils.errors import ConfigError, DataError
from tests.evaluation import fakes
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


def test_several_datasets_in_one_list(data_dir: Path) -> None:
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


def test_sequence_checks_itself() -> None:
    with pytest.raises(DataError, match="no frames"):
        Sequence("a", [], "x", np.zeros((0, 4)))
    with pytest.raises(DataError, match="2 ground truth boxes for 3 frames"):
        Sequence("a", ["1", "2", "3"], "x", np.zeros((2, 4)))
    with pytest.raises(DataError, match="visibility"):
        Sequence("a", ["1", "2"], "x", np.zeros((2, 4)), target_visible=np.ones(3))


def check(names: list[str]) -> None:
    for name in check_distinct([Entry(name, lambda: None) for name in names]):
        check_name(name)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "there are no sequences"),
        (["set-a-1", "dog", "set-a-1"], "two sequences are both called 'set-a-1'"),
        (["Dog", "cat", "dog"], "'Dog' and 'dog'"),
        (["caf\u00e9", "cafe\u0301"], "their results would be one file"),
        (["stra\u00dfe", "STRASSE"], "their results would be one file"),
        (["lap", "dog", "lap_time"], "'lap' and 'lap_time': the time file of the first is the box file of the second"),
        (["Lap_Time", "lap"], "'lap' and 'Lap_Time'"),
        ([".secret"], "cannot name a sequence"),
        ([".."], "cannot name a sequence"),
        (["../../../evil"], "cannot name a sequence"),
        (["/tmp/evil"], "cannot name a sequence"),
        (["a/../../evil"], "cannot name a sequence"),
        (["a\\b"], "cannot name a sequence"),
        (["a\nb"], "cannot name a sequence"),
        (["a\0b"], "cannot name a sequence"),
        (["a\x1b[31m"], "cannot name a sequence"),
        (["a\udcff"], "cannot name a sequence"),
        (["x" * 201], "longer than 200 bytes"),
        (["\u00e9" * 101], "longer than 200 bytes"),
        ([""], "cannot name a sequence"),
        ([" "], "cannot name a sequence"),
    ],
)
def test_names_that_would_lose_results_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check(names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_other_names_are_fine() -> None:
    check(["a", "a_time_2", "b_time", "time", "my dog", "x" * 200, "\u72ac", "=1+1", "manifest", "float"])


def test_reading_a_data_set_checks_its_names() -> None:
    def entry(name: str) -> Entry:
        return Entry(name, lambda: Sequence(name, ["1.jpg"], "own", [[1, 2, 3, 4]]))

    with pytest.raises(DataError, match="'lap' and 'lap_time'"):
        SequenceList.load([entry("lap"), entry("lap_time")])


@pytest.mark.parametrize(
    ("wanted", "chosen"), [(["b", "0"], ["b", "a"]), (["1", "b", "b"], ["b"]), (["7"], ["7"]), (["2"], ["7"])]
)
def test_sequences_are_chosen_by_name_or_position(wanted: list[str], chosen: list[str]) -> None:
    assert choose_names(["a", "b", "7"], wanted) == chosen


@pytest.mark.parametrize("wanted", ["dog", "3", "9" * 5000, "-1", "\u00b2"])
def test_a_sequence_that_is_not_there_is_named(wanted: str) -> None:
    with pytest.raises(DataError, match=r"no sequence .* among 3: a, b, 7"):
        choose_names(["a", "b", "7"], [wanted])


def test_only_wanted_sequences_are_read_and_damaged_ones_are_named(tmp_path: Path) -> None:
    fakes.write_got10k(tmp_path / "got10k", {"good": 2, "bad": 2, "worse": 2})
    for name in ("bad", "worse"):
        (tmp_path / "got10k" / "val" / name / "groundtruth.txt").write_text("1,2\n")
    paths = load_paths("test", data_dir=tmp_path)
    benchmark = find_benchmark("got10k_val", paths)
    one = benchmark.load(paths, ["good"])
    assert (one.names, one.failures, one.listed) == (["good"], {}, ("good", "bad", "worse"))
    everything = benchmark.load(paths)
    assert everything.names == ["good"]
    assert set(everything.failures) == {"bad", "worse"}
    assert "bad/groundtruth.txt: line 1" in everything.failures["bad"]
    with pytest.raises(DataError, match=r"got10k_val: 2 of 2 sequences cannot be read .*: .*worse/groundtruth\.txt"):
        benchmark.load(paths, ["worse", "bad"])
