"""The arithmetic of examples/browser, in Node.js, against the same in Python."""

import base64
import json
import math
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lib.test.tracker.lost import LostAndFound, LostOptions
from lib.utils.crop import sample_target
from tests.deploy.test_onnx_tracker import BOXES, onnx_tracker


def ask(node: str, what: str, **request: Any) -> Any:
    """The answer of page_parts.mjs."""
    script = Path(__file__).with_name("page_parts.mjs")
    text = json.dumps({"what": what, **request})
    done = subprocess.run([node, script], input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def packed(image: np.ndarray) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"width": width, "height": height, "rgb": base64.b64encode(image.tobytes()).decode()}


def test_crops_are_those_of_opencv(node: str) -> None:
    image = np.random.RandomState(0).randint(0, 256, (120, 160, 3)).astype(np.uint8)
    boxes = [*BOXES, *([60, 50, side, side] for side in (1, 5, 15, 16, 17, 31, 32, 33, 63.5, 90))]
    for (scale, text), box in zip(
        ask(node, "crops", image=packed(image), boxes=boxes, factor=2, size=64), boxes, strict=True
    ):
        expected, expected_scale = sample_target(image, box, 2.0, 64)
        found = np.frombuffer(base64.b64decode(text), np.uint8).reshape(3, 64, 64)
        np.testing.assert_array_equal(found.transpose(1, 2, 0), expected, err_msg=str(box))
        assert scale == expected_scale


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize(
    ("space", "red", "blue"),
    [
        ({"matrix": "bt709", "fullRange": False}, 0.2126, 0.0722),
        ({"matrix": None, "fullRange": None}, 0.299, 0.114),
        ({"matrix": "bt470bg", "fullRange": True}, 0.299, 0.114),
    ],
)
def test_colors(node: str, space: dict[str, Any], red: float, blue: float, side_by_side: bool) -> None:
    """Against the definition of YUV; the page rounds as FFmpeg does."""
    random = np.random.RandomState(0)
    luma, u, v = (random.randint(60, 190, shape).astype(np.uint8) for shape in ((6, 8), (3, 4), (3, 4)))
    planes = [luma, np.stack((u, v), axis=-1)] if side_by_side else [luma, u, v]
    lists = [plane.ravel().tolist() for plane in planes]
    strides = [8, 8] if side_by_side else [8, 4, 4]
    found = ask(node, "colors", width=8, height=6, planes=lists, strides=strides, space=space)

    full = space["fullRange"]
    y = (luma - (0 if full else 16.0)) / (255 if full else 219)
    cb, cr = ((plane.repeat(2, 0).repeat(2, 1) - 128.0) / (255 if full else 224) for plane in (u, v))
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = (255 * np.stack((r, g, b), axis=-1)).clip(0, 255)[1:, 1:]
    np.testing.assert_allclose(np.reshape(found, (5, 7, 4))[..., :3], expected, atol=4)


def test_other_colors_are_left_to_the_browser(node: str) -> None:
    space = {"matrix": "bt2020-ncl", "fullRange": False}
    assert ask(node, "colors", width=2, height=2, planes=[], strides=[], space=space) is None


@dataclass
class State:
    """Of the fake engine below."""

    box_xywh: list[float]
    frame: int = 0


class FakeSession:
    """A network whose tokens depend on every byte of its inputs; page_parts.mjs has the same one."""

    def run(self, _: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        total = int(inputs["image"].astype(np.int64).sum())
        if "templates" not in inputs:
            return [np.array([[[total % 97, 5, 6]]], np.float32)]
        known = int((inputs["templates"].ravel() * np.arange(1, inputs["templates"].size + 1)).sum())
        tokens = np.array([9 + (total * factor + known) % 12 for factor in (1, 2, 3, 4)], np.int32)
        return [tokens[None], tokens[None].astype(np.float32) / 64]


CURVE = [[-9.0, 0.25], [-8.0, 0.5], [-7.2, 0.875]]


@pytest.mark.parametrize(("sequence_format", "points"), [("xywh", CURVE), ("whxy", []), ("corner", [])])
def test_boxes_templates_and_scores(
    node: str, sequence_format: str, points: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meta = {
        "format_version": 1,
        "template": {"size": 16, "factor": 2.0, "number": 3},
        "search": {"size": 32, "factor": 4.0},
        "bins": 30,
        "sequence_format": sequence_format,
        "update": {"interval": 2, "threshold": 9.0},
        "score": {"weights": [2.0, 1.0, 1.0, 0.5, 0.5], "bias": -0.5, "points": points},
    }
    noise = np.random.RandomState(1).randint(0, 256, (9, 48, 64, 3)).astype(np.uint8)
    box = [20.0, 15.0, 14.0, 12.0]
    found = ask(node, "boxes", meta=meta, frames=[packed(image) for image in noise], box=box)

    described = SimpleNamespace(custom_metadata_map={"seqtrack": json.dumps(meta)})
    monkeypatch.setattr(FakeSession, "get_modelmeta", lambda self: described, raising=False)
    monkeypatch.setattr(onnx_tracker.onnxruntime, "InferenceSession", lambda *_, **__: FakeSession())
    tracker = onnx_tracker.OnnxTracker(tmp_path)
    tracker.init(noise[0], box)
    expected = [[*box, score] for box, score in (tracker.update(image) for image in noise[1:])]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert len(np.unique(np.round(found, 6), axis=0)) > 4


def test_metadata_is_read_from_the_file(node: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(np.ones(1000), "w")])
    model = onnx.helper.make_model(graph)
    for key, value in (("other", "x" * 300), ("seqtrack", "Größe")):
        model.metadata_props.add(key=key, value=value)
    onnx.save(model, tmp_path / "a.onnx")
    assert ask(node, "metadata", file=str(tmp_path / "a.onnx")) == "Größe"


def test_files_of_two_exports_are_refused(node: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    files = [tmp_path / "one.onnx", tmp_path / "other.onnx"]
    for file in files:
        model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
        model.metadata_props.add(key="seqtrack", value=json.dumps({"format_version": 1, "config": file.stem}))
        onnx.save(model, file)
    assert ask(node, "load", files=[str(files[0])] * 2)["config"] == "one"
    assert "are of two exports" in ask(node, "load", files=list(map(str, files)))


def test_a_likelihood_that_is_no_number_scores_nothing(node: str) -> None:
    metas = [{"score": {"weights": [1.0] * 5, "bias": 0.0, "points": points}} for points in (CURVE, [])]
    assert ask(node, "scores", metas=metas) == [0, 0]
    for meta in metas:
        tracker = SimpleNamespace(meta=meta)
        assert onnx_tracker.OnnxTracker._score(tracker, np.array([0.5, np.nan, 0.5, 0.5], np.float32)) == 0


@pytest.mark.parametrize(("center", "fitted"), [((40.0, 30.0), True), ((300.0, 200.0), True), ((40.0, 30.0), False)])
def test_lost_and_found_as_in_the_library(node: str, center: tuple[float, float], fitted: bool) -> None:
    """The target vanishes for ten frames, comes back near `center`, is doubtful for two, and vanishes for ever."""
    scores = [0.9] * 4 + [0.1] * 10 + [0.9] * 8 + [0.2] * 2 + [0.95] * 2 + [0.0] * 3
    size, box = (415, 303), [45.0, 33.0, 30.0, 20.0]
    found = ask(node, "lost", size=size, factor=4, center=center, scores=scores, box=box, fitted=fitted)

    class Engine:
        params = SimpleNamespace(search_factor=4.0)
        index = -1

        def start(self, _: np.ndarray, box: list[float]) -> Any:
            return State(box)

        def step(self, states: list[Any], images: list[np.ndarray]) -> list[Any]:
            self.index += 1
            return [self._result(state) for state in states]

        def _result(self, state: Any) -> Any:
            near = math.dist(state.box_xywh[:2], center) < 60
            state.box_xywh = [*center, 30, 20] if near else [state.box_xywh[0] + 1, state.box_xywh[1], 30, 20]
            score = scores[self.index] if near else 0.01
            return SimpleNamespace(box_xywh=state.box_xywh, confidence=0.0, likelihoods=np.array([score]))

    def score(likelihoods: np.ndarray) -> np.ndarray:
        return likelihoods[:, 0]

    score.fitted, score.with_look = fitted, None
    follower = LostAndFound(Engine(), score, LostOptions())
    image = np.zeros((size[1], size[0], 3), np.uint8)
    target = follower.start(image, box)
    seen = [follower.step([target], [image])[0] for _ in scores]
    assert [row[0] for row in found] == [sighting.status for sighting in seen]
    assert {"tracking", "uncertain", "lost"} == {row[0] for row in found}
    np.testing.assert_allclose([row[1] for row in found], [sighting.score for sighting in seen])
    np.testing.assert_allclose([row[2:] for row in found], [sighting.box_xywh for sighting in seen])
