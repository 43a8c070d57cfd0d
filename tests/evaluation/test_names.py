"""Names of sequences map one-to-one to result files."""

from pathlib import Path

import pytest

from lib.config.paths import load_paths
from lib.test.evaluation import find_benchmark
from lib.test.evaluation.data import Entry, Sequence, SequenceList
from lib.test.evaluation.names import check_names, choose_names
from lib.test.evaluation.running import load_sequences
from lib.utils.errors import DataError
from tests.evaluation import fakes


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
        ([".secret"], "begins with a dot"),
        ([".."], "begins with a dot"),
        (["../../../evil"], "begins with a dot"),
        (["/tmp/evil"], "a slash"),
        (["a/../../evil"], "a slash"),
        (["a\\b"], "a slash"),
        (["a\nb"], "control characters"),
        (["a\0b"], "control characters"),
        (["a\x1b[31m"], "control characters"),
        (["a\udcff"], "not valid Unicode"),
        (["x" * 201], "longer than 200 bytes"),
        (["\u00e9" * 101], "longer than 200 bytes"),
        ([""], "empty"),
        ([" "], "empty"),
    ],
)
def test_names_that_would_lose_results_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        check_names(names)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_other_names_are_fine() -> None:
    check_names(["a", "a_time_2", "b_time", "time", "my dog", "x" * 200, "\u72ac", "=1+1", "manifest", "float"])


def test_reading_a_data_set_checks_its_names() -> None:
    def entry(name: str) -> Entry:
        return Entry(name, lambda: Sequence(name, ["1.jpg"], "own", [[1, 2, 3, 4]]))

    with pytest.raises(DataError, match="'lap' and 'lap_time'"):
        SequenceList.from_entries([entry("lap"), entry("lap_time")])


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
    one = load_sequences(benchmark, paths, ["good"])
    assert (one.sequences.names, one.unreadable, one.names) == (["good"], {}, ["good", "bad", "worse"])
    everything = load_sequences(benchmark, paths)
    assert everything.sequences.names == ["good"]
    assert set(everything.unreadable) == {"bad", "worse"}
    assert "bad/groundtruth.txt: line 1" in everything.unreadable["bad"]
    with pytest.raises(DataError, match=r"got10k_val: none of 2 sequences can be read: .*worse/groundtruth\.txt"):
        load_sequences(benchmark, paths, ["worse", "bad"])
