"""Names of sequences map one-to-one to result files."""

from pathlib import Path

import pytest

from lib.config.paths import load_paths
from lib.data.names import check_distinct, check_name, choose_names
from lib.data.sequence import Entry, Sequence, SequenceList
from lib.test.evaluation import find_benchmark
from lib.utils.errors import DataError
from tests.evaluation import fakes


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
    one = benchmark.load(paths, ["good"])
    assert (one.names, one.failures, one.listed) == (["good"], {}, ("good", "bad", "worse"))
    everything = benchmark.load(paths)
    assert everything.names == ["good"]
    assert set(everything.failures) == {"bad", "worse"}
    assert "bad/groundtruth.txt: line 1" in everything.failures["bad"]
    with pytest.raises(DataError, match=r"got10k_val: 2 of 2 sequences cannot be read .*: .*worse/groundtruth\.txt"):
        benchmark.load(paths, ["worse", "bad"])
