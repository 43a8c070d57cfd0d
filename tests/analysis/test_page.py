"""The page: its numbers, how they are packed, what is embedded, and that no name becomes markup."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lib.data.sequence import Sequence
from lib.test.analysis.page import frames, render
from lib.test.analysis.page.render import script_json
from lib.utils.cli import run_script
from tests.analysis.pages import FRAMES, HOSTILE, LABEL, NAMES, content_of, frames_of, truth, write_world
from tracking import analysis_results, report


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, list[str]]:
    root = tmp_path_factory.mktemp("page")
    return root, write_world(root)


@pytest.fixture(scope="module")
def page(world) -> Path:
    root, flags = world
    path = root / "out" / "report.html"
    tables = ["--no_plots", "--per_sequence", "--output_dir", str(root / "tables")]
    assert run_script(lambda: analysis_results.main([*flags, *tables, "--html", str(path)])) == 0
    return path


def table(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_numbers_are_those_of_the_tables(world, page: Path) -> None:
    (benchmark,) = content_of(page)["benchmarks"]
    rows = table(world[0], "scores")
    assert len(rows) == len(benchmark["trackers"]) == 4
    for tracker, row in zip(benchmark["trackers"], rows, strict=True):
        assert tracker["label"] == row["tracker"]
        for column, value, cell in zip(benchmark["columns"], tracker["values"], tracker["cells"], strict=True):
            assert f"{value:.4f}" == row[column] and cell == f"{value:.2f}"
    assert [tracker["ranks"][0] for tracker in benchmark["trackers"]] == [1, 2, 0, 0]
    for sequence, row in zip(benchmark["sequences"], table(world[0], "per_sequence"), strict=True):
        assert sequence["name"] == row["sequence"]
        for tracker, score in zip(benchmark["trackers"], sequence["scores"], strict=True):
            assert float(score) == pytest.approx(float(row[tracker["label"]]), abs=0.0051)


def test_boxes_and_overlaps_survive_the_packing(world, page: Path) -> None:
    (benchmark,) = content_of(page)["benchmarks"]
    labels = [tracker["label"] for tracker in benchmark["trackers"]]
    for seed, sequence in enumerate(sorted(benchmark["sequences"], key=lambda entry: NAMES.index(entry["name"]))):
        unpacked, expected = frames_of(sequence), truth(seed)
        np.testing.assert_allclose(unpacked["boxes"][0], expected, atol=0.0501)
        own = unpacked["boxes"][1 + labels.index("exact")]
        np.testing.assert_array_equal(own, expected.astype(int))
        overlaps = unpacked["overlaps"].mean(axis=1) * 100
        np.testing.assert_allclose(overlaps, [float(score) for score in sequence["scores"]], atol=0.2)
        theirs = next(i for i, label in enumerate(labels) if label.startswith("</script>"))
        assert sequence["has_score"] == [i == theirs for i in range(4)]
        np.testing.assert_allclose(unpacked["scores"][0], [0.9] * 30 + [0.1] * 30, atol=0.002)
        failures = sequence["failures"][labels.index("jumpy")]
        assert failures == [["switch", 20, None if seed % 2 else 45]]
        assert sequence["size"] == [160, 120]


def test_extreme_boxes_survive_the_packing() -> None:
    boxes = np.array([[0, 0, 1, 1], [-1e9, 1e9, 5, 3.3], [np.nan] * 4, [7.25, -0.04, 1e6, 2]])
    sequence = {"length": 4, "scale": frames.scale_of([boxes]), "has_score": []}
    sequence["data"] = frames.compress(frames.pack_boxes([boxes], sequence["scale"]))
    expected = [[0, 0, 1, 1], [-1e8, 1e8, 5, 3.3], [0, 0, 0, 0], [7.2, 0, 1e6, 2]]
    np.testing.assert_allclose(frames_of(sequence)["boxes"][0], expected, atol=1e-6)


def test_no_name_becomes_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert LABEL[:20] not in text and HOSTILE not in text and "\u2028" not in text
    (benchmark,) = content_of(page)["benchmarks"]
    assert any(tracker["label"] == LABEL.replace("\u2028", "\\u2028") for tracker in benchmark["trackers"])
    assert HOSTILE in [sequence["name"] for sequence in benchmark["sequences"]]
    nasty = {"x": "</SCRIPT><!--<script>&\u2028\u2029\udcff\0"}
    assert json.loads(script_json(nasty)) == nasty and set("<>&\u2028") & set(script_json(nasty)) == set()


def test_facts_of_the_run_are_shown_and_nothing_about_this_machine(world, page: Path) -> None:
    (benchmark,) = content_of(page)["benchmarks"]
    facts = {tracker["label"]: tracker["facts"] for tracker in benchmark["trackers"]}
    assert facts["exact"] == {
        "checkpoint": "x.pth.tar",
        "sha256": "ab" * 32,
        "dtype": "bfloat16",
        "backend": "openvino",
        "device": "cpu (x86_64)",
        "torch version": "2.9.1",
    }
    assert facts["jumpy"] == {}
    speeds = {tracker["label"]: tracker["speed"] for tracker in benchmark["trackers"]}
    assert speeds["exact"] == pytest.approx(100) and speeds["static box"] is None
    assert str(world[0]) not in page.read_text(encoding="utf-8")
    assert benchmark["name"] == "mine" and benchmark["title"].startswith("mine (6 sequences, 360 frames)")


def test_frames_are_embedded_within_the_budget(world, tmp_path: Path) -> None:
    root, flags = world

    def embedded(*more: str) -> dict[str, dict]:
        path = tmp_path / "report.html"
        assert report.main([*flags, "--output", str(path), "--colors", "exact=navy", *more]) == 0
        assert path.stat().st_size <= 1e6
        (benchmark,) = content_of(path)["benchmarks"]
        assert [own["color"] for own in benchmark["trackers"] if own["label"] == "exact"] == ["#000080"]
        return {benchmark["sequences"][int(i)]["name"]: found for i, found in benchmark["thumbnails"].items()}

    few = embedded("--budget", "1", "--thumbnails", "1", "--frames_of", "bird-1")
    assert all(found["frames"] == list(range(FRAMES)) for found in few.values())
    # The one asked for, and the worst one of the best tracker.
    (benchmark,) = content_of(tmp_path / "report.html")["benchmarks"]
    worst = min(benchmark["sequences"], key=lambda sequence: float(sequence["scores"][0]))
    assert set(few) == {"bird-1", worst["name"]}
    assert embedded("--budget", "1", "--thumbnails", "0") == {}
    path = root / "mine" / "zebra" / "img"
    path.rename(root / "away")
    path.mkdir()
    for file in (root / "away").iterdir():
        (path / file.name).write_bytes(b"")
    try:  # as after copying the results and annotations to a machine without the frames
        assert "zebra" not in embedded("--budget", "1", "--thumbnails", "9")
    finally:
        shutil.rmtree(path)
        (root / "away").rename(path)


def test_data_beyond_the_budget_are_said(world, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(render, "MEGABYTE", 50_000)
    path = tmp_path / "report.html"
    assert report.main([*world[1], "--output", str(path), "--budget", "1"]) == 0
    assert "without any frames, the budget is 1 MB" in capsys.readouterr().err
    (benchmark,) = content_of(path)["benchmarks"]
    assert benchmark["thumbnails"] == {}
    assert {sequence["scale"] for sequence in benchmark["sequences"]} == {1}  # whole pixels are smaller
    first = benchmark["sequences"][0]
    np.testing.assert_allclose(frames_of(first)["boxes"][0], truth(NAMES.index(first["name"])), atol=0.501)


def test_a_tight_budget_spreads_the_frames(tmp_path: Path) -> None:
    image = np.random.RandomState(0).randint(0, 255, (90, 160, 3), dtype=np.uint8)
    sequence = Sequence("a", ["x"] * 100, "otb", np.ones((100, 4)))
    object.__setattr__(sequence, "read_frame", lambda index: image)
    size = len(frames.thumbnails(sequence, 1e6)["images"][0])
    assert frames.thumbnails(sequence, 5.5 * size)["frames"] == [0, 25, 50, 74, 99]
    assert frames.thumbnails(sequence, size / 2) == {"frames": [], "images": []}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/0001.jpg", "a/0002.jpg"], {"prefix": "a/", "first": 1, "width": 4, "suffix": ".jpg"}),
        (["a/9.jpg", "a/10.jpg"], {"prefix": "a/", "first": 9, "width": 1, "suffix": ".jpg"}),
        (["v2/img/x.jpg", "v2/img/y.jpg"], ["v2/img/x.jpg", "v2/img/y.jpg"]),
        (["a/1.jpg", "a/3.jpg"], ["a/1.jpg", "a/3.jpg"]),
        (["/home/me/set/a/img/01.jpg"], {"prefix": "a/img/", "first": 1, "width": 2, "suffix": ".jpg"}),
    ],
)
def test_names_of_files(names: list[str], expected) -> None:
    assert frames.describe_files(names) == expected


def test_several_benchmarks_and_one_that_cannot_be_shown(world, tmp_path: Path, capsys) -> None:
    root, flags = world
    path, other = tmp_path / "report.html", tmp_path / "empty"
    shutil.copytree(root / "mine", other)
    flags = [*flags[:2], f"folder:{other}", *flags[2:], "--output", str(path), "--thumbnails", "0"]
    assert run_script(lambda: report.main([*flags, "--protocol", "seqtrack", "pytracking", "--config", "exact"])) == 2
    assert "no results of seqtrack exact on folder:" in capsys.readouterr().err
    content = content_of(path)
    assert [entry["protocol"] for entry in content["benchmarks"]] == ["seqtrack", "pytracking"]
    assert len(content["problems"]) == 1 and "no results of seqtrack exact" in content["problems"][0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--budget", "0"], "--budget must be from 1 to 1000, got 0"),
        (["--thumbnails", "-1"], "--thumbnails must be from 0"),
        (["--colors", "exact"], "--colors: expected NAME=COLOR"),
        (["--frames_of", "zebr"], "no sequence 'zebr' among 6; did you mean zebra?"),
        (["--config", "nope"], "with results on it: seqtrack exact, seqtrack jumpy"),
        (["--output", "{root}"], "exists and is not a file"),
    ],
)
def test_mistakes_are_one_line(world, tmp_path: Path, capsys, flags: list[str], message: str) -> None:
    path = tmp_path / "report.html"
    flags = [flag.format(root=world[0]) for flag in flags]
    assert run_script(lambda: report.main([*world[1], "--output", str(path), *flags])) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and message in error and not path.exists()
