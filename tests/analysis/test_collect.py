"""Runs, missing sequences, published results, and the cache."""

import os
from pathlib import Path

import numpy as np
import pytest

from lib.test.analysis import collect
from lib.test.analysis.cache import ScoreCache, content_key
from lib.test.analysis.collect import Scoring, score_results
from lib.test.analysis.metrics import summarise
from lib.test.analysis.sources import OwnResults, RawResults, parse_raw_results
from lib.test.analysis.tables import format_csv, format_latex, format_text, score_table
from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.results import ResultFolder, run_config, split_run
from lib.utils.errors import DataError
from tests.evaluation import fakes

LENGTHS = {"a": 12, "b": 7}
SEQUENCES = SequenceList(
    Sequence(name, [f"{i}.jpg" for i in range(frames)], "otb", fakes.truth_boxes(frames, seed))
    for seed, (name, frames) in enumerate(LENGTHS.items())
)


def write(root: Path, config: str, shift: float) -> OwnResults:
    folder = ResultFolder(root, "seqtrack", config, "otb")
    for sequence in SEQUENCES:
        folder.write(sequence.name, np.add(sequence.ground_truth_rect, [shift, 0, 0, 0]), np.ones(len(sequence.frames)))
    return OwnResults(folder)


def test_names_of_runs() -> None:
    assert run_config("path/to/cfg.yaml") == "cfg"
    assert run_config("cfg", 7) == "cfg_007"
    assert split_run("seqtrack_b256_007") == ("seqtrack_b256", 7)
    assert split_run("seqtrack_b256") == ("seqtrack_b256", None)
    assert split_run("seqtrack_256") == ("seqtrack", 256)  # told apart by --merge_runs only


def test_mean_and_deviation_of_runs(tmp_path: Path) -> None:
    sources = [write(tmp_path, f"cfg_{run:03d}", shift) for run, shift in enumerate((0, 2, 5))]
    single = [score_results([source], SEQUENCES, Scoring(), label="x").summary["AUC"] for source in sources]
    merged = score_results(sources, SEQUENCES, Scoring(), label="cfg")
    assert merged.label == "cfg (3 runs)"
    assert merged.summary["AUC"] == pytest.approx(np.mean(single))
    assert merged.spread["AUC"] == pytest.approx(np.std(single, ddof=1))
    assert summarise(merged.scores)["AUC"] == pytest.approx(np.mean(single))  # the curves that plots show
    table = score_table([merged], "title", {})
    expected = f"{np.mean(single):.2f} {{}} {np.std(single, ddof=1):.2f}"
    assert expected.format("±") in format_text(table)
    assert expected.format(r"$\pm$") in format_latex(table)
    assert format_csv(table).splitlines()[0].endswith("AUC std,OP50 std,OP75 std,P std,NP std")


@pytest.mark.parametrize("layout", ["otb/{name}.txt", "{name}.txt", "{name}/{name}_001.txt"])
@pytest.mark.parametrize("delimiter", ["\t", ",", " "])
def test_published_results_load_as_they_are(tmp_path: Path, layout: str, delimiter: str) -> None:
    for sequence in SEQUENCES:
        path = tmp_path / "raw" / layout.format(name=sequence.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, sequence.ground_truth_rect, delimiter=delimiter, fmt="%.2f")
    (source,) = parse_raw_results([f"theirs={tmp_path / 'raw'}"], ["otb"])
    tracker = score_results([source], SEQUENCES, Scoring(), label=source.label)
    assert [score.average_overlap for score in tracker.scores] == pytest.approx([1, 1], abs=2e-3)
    assert source.label == "theirs"


def test_mixed_delimiters_are_read_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    rows = SEQUENCES[1].ground_truth_rect.round(1).tolist()
    lines = [("\t", ",", " ")[i % 3].join(map(str, row)) for i, row in enumerate(rows)]
    (tmp_path / "b.txt").write_text("\n".join(lines))
    source, one = RawResults("x", tmp_path, ("otb",)), SEQUENCES.select(["b"])
    np.testing.assert_array_equal(collect.read_boxes_of(source, one[0]), rows)
    (tmp_path / "b.txt").write_text("\n".join([*lines[:2], "1,2,3", *lines[3:]]))
    with pytest.raises(DataError, match=r"b\.txt: line 3: expected 4 numbers"):
        score_results([source], one, Scoring(), label="x")
    with pytest.raises(DataError, match="no such folder"):
        parse_raw_results([str(tmp_path / "nowhere")], [])


def test_the_cache_gives_equal_scores_without_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    first = score_results([source], SEQUENCES, Scoring(), label="x", cache=cache)
    calls = []
    score = Scoring.score
    monkeypatch.setattr(Scoring, "score", lambda *args: calls.append(1) or score(*args))
    again = score_results([source], SEQUENCES, Scoring(), label="x", cache=cache)
    assert not calls
    for old, new in zip(first.scores, again.scores, strict=True):
        for name in ("overlap", "valid", "success", "precision", "norm_precision", "average_overlap", "protocol"):
            np.testing.assert_array_equal(getattr(new, name), getattr(old, name))

    path = source.file(SEQUENCES[0])
    stat = path.stat()
    path.write_text(path.read_text().replace("1", "2"))  # as long as before ...
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # ... and as old
    changed = score_results([source], SEQUENCES, Scoring(), label="x", cache=cache)
    assert calls
    assert changed.summary != first.summary
    calls.clear()
    score_results([source], SEQUENCES, Scoring("pytracking"), label="x", cache=cache)
    assert calls  # other conventions


def test_a_damaged_cache_is_ignored(tmp_path: Path) -> None:
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    first = score_results([source], SEQUENCES, Scoring(), label="x", cache=cache)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert score_results([source], SEQUENCES, Scoring(), label="x", cache=cache).summary == first.summary


def test_old_cache_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.test.analysis.cache.KEPT_FILES", 2)
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    for protocol in ("seqtrack", "pytracking", "got10k"):
        score_results([source], SEQUENCES, Scoring(protocol), label="x", cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_keys_do_not_run_together() -> None:
    assert content_key([b"ab", b"c"]) != content_key([b"a", b"bc"])
