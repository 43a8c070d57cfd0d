"""Runs, missing sequences, published results, and the cache."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import bundled_checkpoint
from lib.data.sequence import Sequence, SequenceList
from lib.test.analysis.metrics import summarise
from lib.test.analysis.scoring import ScoreCache, Scoring, content_key, read_boxes_of, score_results
from lib.test.analysis.selection import Source, own_results, raw_results
from lib.test.analysis.tables import format_csv, format_latex, format_text, score_table
from lib.test.evaluation.results import ResultFolder, run_config, split_run
from lib.utils.errors import DataError, InputError
from tests.evaluation import fakes

LENGTHS = {"a": 12, "b": 7}
SEQUENCES = SequenceList(
    Sequence(name, [f"{i}.jpg" for i in range(frames)], "otb", fakes.truth_boxes(frames, seed))
    for seed, (name, frames) in enumerate(LENGTHS.items())
)


def write(root: Path, config: str, shift: float) -> Source:
    folder = ResultFolder(root, "seqtrack", config, "otb")
    for sequence in SEQUENCES:
        folder.write(sequence.name, np.add(sequence.ground_truth_rect, [shift, 0, 0, 0]), np.ones(len(sequence.frames)))
    return own_results(folder)


def test_names_of_runs() -> None:
    assert run_config("path/to/cfg.yaml") == "cfg"
    assert run_config("cfg", 7) == "cfg_007"
    assert split_run("seqtrack_b256_007") == ("seqtrack_b256", 7)
    assert split_run("seqtrack_b256") == ("seqtrack_b256", None)
    assert split_run("seqtrack_256") == ("seqtrack", 256)  # told apart by --merge_runs only
    assert split_run("seqtrack_256", "other/seqtrack_256.yaml") == ("seqtrack_256", None)  # the manifest knows
    assert split_run("seqtrack_256_001", "seqtrack_256") == ("seqtrack_256", 1)
    assert split_run(run_config("cfg", 1234)) == ("cfg", 1234)


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
    assert format_csv(table).splitlines()[0].endswith("AUC std,OP50 std,OP75 std,P std,NP std,weights")


@pytest.mark.parametrize("layout", ["otb/{name}.txt", "{name}.txt", "{name}/{name}_001.txt"])
@pytest.mark.parametrize("delimiter", ["\t", ",", " "])
def test_published_results_load_as_they_are(tmp_path: Path, layout: str, delimiter: str) -> None:
    for sequence in SEQUENCES:
        path = tmp_path / "raw" / layout.format(name=sequence.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(path, sequence.ground_truth_rect, delimiter=delimiter, fmt="%.2f")
    source = raw_results(f"theirs={tmp_path / 'raw'}", ["otb"])
    tracker = score_results([source], SEQUENCES, Scoring(), label=source.name)
    assert [score.average_overlap for score in tracker.scores] == pytest.approx([1, 1], abs=2e-3)
    assert source.name == "theirs"


def test_two_published_results_of_one_sequence_are_refused(tmp_path: Path) -> None:
    for place in ("otb", "."):
        (tmp_path / place).mkdir(exist_ok=True)
        for sequence in SEQUENCES:
            np.savetxt(tmp_path / place / f"{sequence.name}.txt", sequence.ground_truth_rect)
    with pytest.raises(DataError, match=r"otb/a\.txt and .*/a\.txt: two results of a"):
        score_results([raw_results(str(tmp_path), ["otb"])], SEQUENCES, Scoring(), label="x")


def test_mixed_delimiters_are_read_and_a_wrong_line_is_named(tmp_path: Path) -> None:
    rows = SEQUENCES[1].ground_truth_rect.round(1).tolist()
    lines = [("\t", ",", " ")[i % 3].join(map(str, row)) for i, row in enumerate(rows)]
    (tmp_path / "b.txt").write_text("\n".join(lines))
    source, one = raw_results(f"x={tmp_path}", ["otb"]), SEQUENCES.select(["b"])
    np.testing.assert_array_equal(read_boxes_of(source, one[0]), rows)
    (tmp_path / "b.txt").write_text("\n".join([*lines[:2], "1,2,3", *lines[3:]]))
    with pytest.raises(DataError, match=r"b\.txt: line 3: expected 4 numbers"):
        score_results([source], one, Scoring(), label="x")
    for text in (str(tmp_path / "nowhere"), f"x={tmp_path / 'nowhere'}", "x=", "", "~nobody-here/x", "a\0b"):
        with pytest.raises((DataError, InputError)) as caught:
            raw_results(text)
        assert str(caught.value).count("\n") == 0
    (odd := tmp_path / "lr=1").mkdir()
    for text, name in ((str(odd), "lr=1"), (f"={odd}", "lr=1"), (f"x={odd}", "x")):
        source = raw_results(text)
        assert (source.name, source.file("a")) == (name, odd / "a.txt")


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

    path = source.file("a")
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nan,nan,nan,nan", "line 5: expected 4 finite numbers"),
        ("inf,1,1,1", "line 5: expected 4 finite numbers"),
        ("1e400,1,1,1", "line 5: expected 4 finite numbers"),
        ("1,1,-2,1", "line 5: expected a size of at least 0"),
        ("1,1,1e300,1", r"line 5: .* numbers up to 1e\+09"),
        ("-2e9,1,1,1", r"line 5: .* numbers up to 1e\+09"),
        ("1,1,1", "line 5: expected 4 numbers"),
        ("=1+1,1,1,1", "line 5: expected 4 numbers"),
        ("\x00" * 9, ".*line 5"),
        ("9" * 9999 + "x", "line 5: expected 4 numbers"),
        ("\ud800", ".*not a .*text file"),
    ],
)
def test_a_line_that_is_no_box_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    source, one = write(tmp_path, "cfg", 2), SEQUENCES.select(["b"])
    lines = source.file("b").read_text().splitlines()
    content = "\n".join([*lines[:4], text, *lines[5:]]) + "\n"
    source.file("b").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError, match=rf"b\.txt: {message}") as caught:
        score_results([source], one, Scoring(), label="x")
    assert len(str(caught.value)) < 1100 and "\n" not in str(caught.value)


def test_a_byte_order_mark_and_old_line_ends_are_read(tmp_path: Path) -> None:
    source, one = write(tmp_path, "cfg", 2), SEQUENCES.select(["b"])
    expected = score_results([source], one, Scoring(), label="x").summary
    path = source.file("b")
    rows = path.read_bytes().splitlines()
    for end in (b"\n", b"\r\n", b"\r"):
        path.write_bytes(b"\xef\xbb\xbf" + end.join([*rows, b""]))
        assert score_results([source], one, Scoring(), label="x").summary == expected
        assert source.missing(one) == []


def test_an_unreadable_result_is_no_missing_one(tmp_path: Path) -> None:
    source, path = write(tmp_path, "cfg", 2), write(tmp_path, "cfg", 2).file("a")
    path.unlink()
    assert source.missing(SEQUENCES) == ["a"]
    path.symlink_to(path)  # a loop
    with pytest.raises(DataError, match=r"a\.txt: cannot read the result"):
        source.missing(SEQUENCES)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError, match=r"a\.txt: cannot read the result"):
        source.missing(SEQUENCES)


@pytest.mark.parametrize("name", ["A.txt", "B_.txt", "b-.txt"])
def test_a_result_of_nearly_the_right_name_is_suggested(tmp_path: Path, name: str) -> None:
    source = write(tmp_path, "cfg", 2)
    wanted = source.file("a" if name == "A.txt" else "b")
    wanted.rename(wanted.with_name(name))
    with pytest.raises(DataError, match=rf"{wanted.name} \({name} is there"):
        score_results([source], SEQUENCES, Scoring(), label="x")


def test_warnings_are_said_on_cached_runs_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    path = source.file("a")
    path.write_text(path.read_text() + "1\t2\t3\t4\n")
    for run in (1, 2):
        score_results([source], SEQUENCES, Scoring(), label="x", cache=cache)
        assert sum("13 boxes for 12 frames" in record.getMessage() for record in caplog.records) == run


def test_absent_frames_of_own_videos_do_not_count_under_got10k() -> None:
    ground_truth = np.tile([10.0, 10, 20, 20], (4, 1))
    visible = np.array([True, True, False, False])
    own = Sequence("v", list("abcd"), "my_videos", ground_truth, target_visible=visible)
    assert Scoring("got10k").score(own, ground_truth).valid.tolist() == [False, True, False, False]
    published = Sequence("v", list("abcd"), "lasot", ground_truth, target_visible=visible)
    assert Scoring("got10k").score(published, ground_truth).valid.tolist() == [False, True, True, True]  # as before


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (None, "weights unknown"),
        ("", "weights unknown"),
        ("[1]", "weights unknown"),
        ("[" * 100_000, "weights unknown"),
        ("\x00\xff", "weights unknown"),
        ('{"checkpoint": 5, "sha256": [1]}', "weights unknown"),
        ('{"checkpoint": "None", "sha256": ""}', "weights unknown"),
        ('{"checkpoint": "/a/x.pth", "sha256": "zz"}', "weights unknown"),
        (
            json.dumps({"checkpoint": "/a/x\x1b[31m.pth", "sha256": "0123456789ab" + "c" * 52}),
            r"x\x1b[31m.pth (SHA-256 0123456789ab)",
        ),
        (
            json.dumps({"checkpoint": str(bundled_checkpoint("seqtrack_demo")), "sha256": "a" * 64}),
            "bundled weights seqtrack_demo.pth.tar (SHA-256 aaaaaaaaaaaa)",
        ),
    ],
)
def test_a_caption_names_the_checkpoint(tmp_path: Path, manifest: str | None, expected: str) -> None:
    write(tmp_path, "cfg", 2)
    folder = ResultFolder(tmp_path, "seqtrack", "cfg", "otb")
    if manifest is not None:
        folder.manifest_path.write_text(manifest, encoding="latin-1")
    source = own_results(folder)
    tracker = score_results([source], SEQUENCES, Scoring(), label="cfg")
    assert format_text(score_table([tracker], "title", {})).splitlines()[1] == f"cfg: {expected}"


def test_old_cache_files_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lib.test.analysis.scoring.KEPT_FILES", 2)
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    for protocol in ("seqtrack", "pytracking", "got10k"):
        score_results([source], SEQUENCES, Scoring(protocol), label="x", cache=cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_keys_do_not_run_together() -> None:
    assert content_key([b"ab", b"c"]) != content_key([b"a", b"bc"])


def test_a_flipped_bit_in_the_cache_changes_no_score(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source, cache = write(tmp_path, "cfg", 2), ScoreCache(tmp_path / "cache")
    first = score_results([source], SEQUENCES, Scoring(), label="x", cache=cache).scores
    (path,) = (tmp_path / "cache").iterdir()
    original, generator, unusable = path.read_bytes(), random.Random(0), 0
    for _ in range(150):
        content = bytearray(original)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        path.write_bytes(content)
        scores = cache.get(path.stem)
        unusable += scores is None
        for old, new in zip(first, scores or first, strict=True):
            np.testing.assert_array_equal(new.overlap, old.overlap)
            assert new.average_overlap == old.average_overlap
    with capsys.disabled():
        print(f"\nscore caches with a flipped bit: 150, {unusable} computed again")
    assert unusable > 100


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda boxes: np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1), None),
        (lambda boxes: np.add(boxes, [3, 0, 0, 0]), "starts with"),
        (lambda boxes: np.add(np.trunc(boxes), [1, 1, 0, 0]), "counted from another number"),
        (lambda boxes: boxes, ""),
        (np.trunc, ""),
        (np.round, ""),
    ],
)
def test_how_results_are_written_shows_in_their_first_boxes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change, message: str | None, cached: bool
) -> None:
    sequences = SequenceList(
        Sequence(name, ["1.jpg", "2.jpg"], "otb", np.array([[x, 20, w, 40], [x + 1, 20, w, 40]]))
        for name, x, w in (("a", 30, 20.5), ("b", 50.25, 16.75), ("c", 17, 12))
    )
    for sequence in sequences:
        np.savetxt(tmp_path / f"{sequence.name}.txt", change(sequence.ground_truth_rect), delimiter=",", fmt="%.2f")
    source, cache = raw_results(f"x={tmp_path}"), ScoreCache(tmp_path / "cache" if cached else None)
    for _ in range(2):
        caplog.clear()
        if message is None:
            with pytest.raises(DataError, match=r"a\.txt: .* not x1, y1, x2, y2 \(3 of 3"):
                score_results([source], sequences, Scoring(), label="x", cache=cache)
            continue
        score_results([source], sequences, Scoring(), label="x", cache=cache)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == bool(message) and message in "".join(said)
