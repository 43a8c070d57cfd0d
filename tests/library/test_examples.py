"""The programs of ``examples`` run on rendered clips."""

import json
import runpy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import seqtrack
from lib.config.paths import PROJECT_ROOT
from tests.library.conftest import Clip, overlap

NAMES = ("one_target", "many_targets", "webcam", "batch_of_videos", "detector")


def text_of(box) -> str:
    return ",".join(f"{value:g}" for value in box)


def run_example(name: str, *arguments: str):
    return runpy.run_path(str(PROJECT_ROOT / "examples" / f"{name}.py"))["main"](*arguments)


@pytest.fixture(autouse=True)
def on_the_cpu(loaded: seqtrack.Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples leave the choice of the device to the library."""
    monkeypatch.setattr("lib.test.tracker.network.resolve_device", lambda name: __import__("torch").device("cpu"))


def test_there_is_no_other_example() -> None:
    assert {path.stem for path in (PROJECT_ROOT / "examples").glob("*.py")} == set(NAMES)


def test_one_target(clip: Clip, tmp_path: Path) -> None:
    run_example("one_target", str(clip.write(tmp_path / "a.avi")), text_of(clip.boxes[0]), str(tmp_path / "a.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [row["frame"] for row in rows] == list(range(6))
    assert all(overlap(row["box"], truth) > 0.5 for row, truth in zip(rows, clip.boxes, strict=True))


def test_many_targets(clip: Clip, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    run_example("many_targets", str(clip.write(tmp_path / "a.avi")), str(output), text_of(clip.boxes[0]), "5,5,40,30")
    capture = cv2.VideoCapture(str(output))
    frames = [capture.read()[1] for _ in range(5)]
    assert all(frame.shape == (120, 160, 3) for frame in frames)
    green = (frames[-1].astype(int) @ (-1, 2, -1)).max()
    assert green > 150  # a box


def test_webcam_with_a_file(clip: Clip, tmp_path: Path) -> None:
    results = run_example("webcam", str(clip.write(tmp_path / "a.avi")), text_of(clip.boxes[0]))
    assert all(overlap(result.box, truth) > 0.5 for result, truth in zip(results, clip.boxes[1:], strict=True))


def test_batch_of_videos(clip: Clip, other_clip: Clip, tmp_path: Path) -> None:
    one, other = clip.write(tmp_path / "a.avi"), other_clip.write(tmp_path / "b.avi")
    flags = (str(one), text_of(clip.boxes[0]), str(other), text_of(other_clip.boxes[0]))
    run_example("batch_of_videos", str(tmp_path / "out"), *flags)
    for name, made in (("a", clip), ("b", other_clip)):
        boxes = np.loadtxt(tmp_path / "out" / f"{name}.txt", delimiter=",")
        assert [overlap(box, truth) > 0.5 for box, truth in zip(boxes, made.boxes, strict=True)] == [True] * 6


def test_detector(clip: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [clip.frames[0], *[np.full_like(clip.frames[0], 90)] * 4, *clip.frames[:2]]
    interrupted = Clip.__new__(Clip)
    interrupted.frames = frames
    helped = run_example("detector", str(interrupted.write(tmp_path / "a.avi")), text_of(clip.boxes[0]), "1")
    assert helped >= 1
    assert "the detector has found it" in capsys.readouterr().out


def test_notebook_runs_and_is_executed() -> None:
    """The code cells in order, and what Jupyter keeps of them."""
    notebook = json.loads((PROJECT_ROOT / "examples" / "tour.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    space: dict[str, Any] = {}
    for number, cell in enumerate(cells, 1):
        exec(compile("".join(cell["source"]), f"tour.ipynb, code cell {number}", "exec"), space)
        assert cell["execution_count"] == number
        assert cell["outputs"]
        assert not [output for output in cell["outputs"] if output["output_type"] == "error"]
    truth = space["video"].boxes_xywh
    for index, boxes in space["found"].items():
        assert overlap(boxes[0], truth[index]) > 0.5
    assert space["states"][7:15].count("lost") >= 4  # covered
    assert space["states"][-1] == "tracking"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
