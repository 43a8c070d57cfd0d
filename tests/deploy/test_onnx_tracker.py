"""examples/deploy/onnx_tracker.py against the tracker of this project."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.config.paths import PROJECT_ROOT
from lib.test.parameter.seqtrack import TrackerParams, parameters_from_config
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.formats import export
from lib.test.tracker.presence import load_score
from lib.utils.crop import sample_target
from tests.library.conftest import Clip
from tests.models.tiny import tiny_config, tiny_model

pytest.importorskip("onnxruntime")
FILE = PROJECT_ROOT / "examples" / "deploy" / "onnx_tracker.py"
sys.path.insert(0, str(FILE.parent))
import onnx_tracker  # noqa: E402


def test_it_needs_nothing_of_this_project() -> None:
    imports = [node for node in ast.walk(ast.parse(FILE.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    outside = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert outside == {"cv2", "numpy", "onnxruntime"}


BOXES = [
    (40, 30, 25, 35),
    (-20.5, -10, 60, 50),
    (150, 100, 30, 40),
    (70.25, 55.5, 3, 2),
    (300, 300, 20, 20),
    (2, 3, 4, 900),
]


@pytest.mark.parametrize("box", [*BOXES, (0, 0, 40, 30), (80, 60, 40, 30)])
@pytest.mark.parametrize(("factor", "size"), [(4.0, 128), (2.0, 64)])
def test_crop_is_that_of_the_library(box, factor: float, size: int) -> None:
    image = np.random.RandomState(0).randint(0, 256, (120, 160, 3)).astype(np.uint8)
    found, scale = onnx_tracker.crop(image, box, factor, size)
    expected, expected_scale = sample_target(image, box, factor, size)
    np.testing.assert_array_equal(found.transpose(1, 2, 0), expected)
    assert scale == expected_scale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"box": "1,2,3"}, "1,2,3: expected x,y,width,height"),
        ({"box": "1,2,-3,4"}, "above 0"),
        ({"content": None}, "no exported tracker: "),
        ({"content": b"nonsense"}, "no exported tracker: "),
    ],
)
def test_bad_input(change, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"box": "1,2,3,4", "content": None} | change
    for name in ("embed_template.onnx", "step.onnx"):
        if given["content"] is not None:
            (tmp_path / name).write_bytes(given["content"])
    with pytest.raises(SystemExit) as stopped:
        onnx_tracker.main([str(tmp_path), "a.avi", given["box"], str(tmp_path / "out.txt")])
    (line,) = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2
    assert message in line
    assert not (tmp_path / "out.txt").exists()


def session(meta: str) -> SimpleNamespace:
    return SimpleNamespace(get_modelmeta=lambda: SimpleNamespace(custom_metadata_map={"seqtrack": meta}))


def test_files_of_two_exports(monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = iter([session('{"format_version": 1}'), session('{"format_version": 1, "config": "other"}')])
    monkeypatch.setattr(onnx_tracker.onnxruntime, "InferenceSession", lambda *_, **__: next(sessions))
    with pytest.raises(ValueError, match="are of two exports"):
        onnx_tracker.OnnxTracker("model")


@pytest.mark.parametrize(
    "box", [(160, 5, 20, 20), (5, -20, 20, 20), (np.nan, 5, 20, 20), (5, 5, -9, -9), (5, 5, 0, 9), (0, 0, 1601, 9)]
)
def test_boxes_and_images_that_cannot_be_tracked(box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_tracker.onnxruntime, "InferenceSession", lambda *_, **__: session('{"format_version": 1}'))
    tracker = onnx_tracker.OnnxTracker("model")
    image = np.zeros((120, 160, 3), np.uint8)
    with pytest.raises(ValueError, match="outside the 160x120 image, empty or far too large"):
        tracker.init(image, box)
    for wrong in (image[..., 0], image / 255, np.zeros((120, 160, 4), np.uint8)):
        with pytest.raises(ValueError, match="expected an RGB uint8 image"):
            tracker.init(wrong, (5, 5, 20, 20))
        with pytest.raises(ValueError, match="expected an RGB uint8 image"):
            tracker.update(wrong)


def test_frames_that_are_missing_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    frames = iter([(True, np.zeros((48, 64, 3), np.uint8))] * 3 + [(False, None)])
    capture = SimpleNamespace(read=lambda: next(frames), get=lambda what: 5.0)
    monkeypatch.setattr(onnx_tracker.cv2, "VideoCapture", lambda name: capture)
    tracker = SimpleNamespace(init=lambda image, box: None, update=lambda image: ([1.0, 2.0, 20.0, 20.0], 0.5))
    monkeypatch.setattr(onnx_tracker, "OnnxTracker", lambda *_: tracker)
    assert onnx_tracker.main(["model", "a.avi", "1,2,20,20", str(tmp_path / "a.txt")]) == 3
    assert "a.avi: only 3 of 5 frames could be decoded" in capsys.readouterr().err
    assert len((tmp_path / "a.txt").read_text().splitlines()) == 3


@pytest.mark.endurance
def test_bundled_tracker_on_a_clip(exported: Path, tmp_path: Path) -> None:
    from lib.config.paths import bundled_checkpoint
    from lib.test.parameter.seqtrack import parameters

    clip = Clip(3, count=30)
    video, output = clip.write(tmp_path / "a.avi"), tmp_path / "a.txt"
    box = [float(value) for value in clip.boxes[0]]
    assert onnx_tracker.main([str(exported), str(video), ",".join(map(str, box)), str(output)]) == 30
    rows = np.loadtxt(output, delimiter=",")

    params = parameters("seqtrack_demo", checkpoint=bundled_checkpoint("seqtrack_demo"), device="cpu")
    engine = SeqTrackEngine(params)
    expected = follow(engine, frames_of(video), box)
    np.testing.assert_allclose(rows[:, :4], [box, *[result.box_xywh for result in expected]], atol=1e-4)
    score = load_score(params.checkpoint, params.update_threshold)
    np.testing.assert_allclose(rows[1:, 4], score(np.stack([result.likelihoods for result in expected])), atol=1e-4)


@pytest.mark.endurance
@pytest.mark.parametrize("sequence_format", ["whxy", "corner"])
def test_new_templates(sequence_format: str, tmp_path: Path) -> None:
    params = export_tiny(sequence_format, tmp_path)
    clip = Clip(3, count=12)
    expected = follow(SeqTrackEngine(params), clip.frames, clip.boxes[0])
    assert {result.updated for result in expected} == {True, False}
    tracker = onnx_tracker.OnnxTracker(tmp_path / "exported")
    tracker.init(clip.frames[0], clip.boxes[0])
    found = [tracker.update(frame)[0] for frame in clip.frames[1:]]
    np.testing.assert_allclose(found, [result.box_xywh for result in expected], atol=1e-6)
    assert len(np.unique(np.round(found, 3), axis=0)) > 3  # it moves


def export_tiny(sequence_format: str, folder: Path) -> TrackerParams:
    """Export a network that takes new templates into ``folder / "exported"``."""
    config = tiny_config(DATA__SEQ_FORMAT=sequence_format, TEST__WINDOW=True)
    config.TEST.UPDATE_INTERVALS.DEFAULT, config.TEST.UPDATE_THRESHOLD.DEFAULT = 2, 0.5
    torch.save({"net": tiny_model(DATA__SEQ_FORMAT=sequence_format).float().state_dict()}, folder / "tiny.pth.tar")
    params = parameters_from_config(config, checkpoint=folder / "tiny.pth.tar", device="cpu")
    export(params, folder / "exported", config="tiny")
    return params


def follow(engine: SeqTrackEngine, frames, box):
    """Results of the plain tracker for all frames but the first."""
    state = engine.start(frames[0], box)
    return [engine.step([state], [frame])[0] for frame in frames[1:]]


def frames_of(video: Path) -> list[np.ndarray]:
    from lib.test.video.streams import open_video

    return list(open_video(str(video)).frames())
