"""``seqtrack.load``, ``Tracker`` and ``track_video``, on the bundled weights."""

import functools
import http.server
import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

import seqtrack
from lib.config.paths import PROJECT_ROOT
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.seqtrack import SeqTrackTracker
from tests.library.conftest import Clip, overlap


def half_an_image() -> PIL.Image.Image:
    """One that PIL opens, and cannot decode."""
    file = io.BytesIO()
    PIL.Image.new("RGB", (160, 120), "red").save(file, "PNG")
    return PIL.Image.open(io.BytesIO(file.getvalue()[:100]))


NOT_FRAMES = {
    "truncated PIL image": (half_an_image(), "cannot be decoded"),
    "float array": (np.zeros((120, 160, 3), np.float32), "float32"),
    "grey array": (np.zeros((120, 160), np.uint8), r"\(120, 160\)"),
    "channels first": (torch.zeros(3, 120, 160, dtype=torch.uint8), r"\(3, 120, 160\)"),
    "float tensor": (torch.zeros(120, 160, 3), "torch.float32"),
    "four channels": (np.zeros((120, 160, 4), np.uint8), r"\(120, 160, 4\)"),
    "empty": (np.zeros((0, 160, 3), np.uint8), r"\(0, 160, 3\)"),
    "deep PIL image": (PIL.Image.new("I;16", (160, 120)), "I;16"),
    "path": ("frame.jpg", "str"),
    "None": (None, "NoneType"),
}
NOT_BOXES = {
    "outside": ((500, 500, 20, 20), "outside"),
    "NaN": ((float("nan"), 1, 20, 20), "nan"),
    "no area": ((1, 1, 0, 20), "above 0"),
    "three numbers": ((1, 2, 3), "four"),
    "text": ("1,2,3,4", "four"),
    "a set has no order": ({50, 60, 40, 51}, "four"),
}


def run(tracker: seqtrack.Tracker, frames, box) -> list[seqtrack.Result]:
    tracker.init(frames[0], box)
    return [tracker.update(frame) for frame in frames[1:]]


def test_follows_the_target(tracker: seqtrack.Tracker, clip: Clip) -> None:
    for result, truth in zip(run(tracker, clip.frames, clip.boxes[0]), clip.boxes[1:], strict=True):
        assert overlap(result.box, truth) > 0.5
        assert 0 <= result.score <= 1
        assert not result.lost


def test_boxes_and_confidence_are_those_of_the_published_verbs(tracker: seqtrack.Tracker, clip: Clip) -> None:
    reference = SeqTrackTracker(parameters("seqtrack_demo", device="cpu"))
    reference.initialize(clip.frames[0], {"init_bbox": clip.boxes[0].tolist()})
    for result, frame in zip(run(tracker, clip.frames, clip.boxes[0]), clip.frames[1:], strict=True):
        expected = reference.track(frame)
        assert list(result.box) == expected["target_bbox"]
        assert result.confidence == expected["confidence"]


def test_frames_of_every_kind_give_the_same_boxes(loaded: seqtrack.Tracker, clip: Clip) -> None:
    expected = run(loaded.share(), clip.frames, clip.boxes[0])
    bgr = seqtrack.load(device="cpu", color="bgr")
    assert bgr.color == "bgr"
    assert run(bgr, [frame[..., ::-1] for frame in clip.frames], clip.boxes[0]) == expected
    assert run(loaded.share(), [torch.from_numpy(frame) for frame in clip.frames], clip.boxes[0]) == expected
    assert run(loaded.share(), [frame[:, ::-1][:, ::-1] for frame in clip.frames], clip.boxes[0]) == expected
    images = [PIL.Image.fromarray(frame) for frame in clip.frames]
    assert run(loaded.share(), images, torch.tensor(clip.boxes[0])) == expected
    assert run(bgr.share(), [image.convert("RGBA") for image in images], list(clip.boxes[0])) == expected


def test_shared_trackers_do_not_mix(tracker: seqtrack.Tracker, clip: Clip, other_clip: Clip) -> None:
    expected = run(tracker.share(), clip.frames, clip.boxes[0])
    other = tracker.share()
    tracker.init(clip.frames[0], clip.boxes[0])
    other.init(other_clip.frames[0], other_clip.boxes[0])
    for index in range(1, len(clip.frames)):
        assert tracker.update(clip.frames[index]) == expected[index - 1]
        other.update(other_clip.frames[index])


def test_result_as_corners_and_as_json() -> None:
    result = seqtrack.Result((1.5, 2.0, 3.0, 4.0), 0.75, 2.5)
    assert result.corners() == (1.5, 2.0, 4.5, 6.0)
    facts = json.loads(json.dumps(result.as_dict()))
    assert facts["box"] == [1.5, 2.0, 3.0, 4.0]
    assert (facts["score"], facts["confidence"], facts["lost"]) == (0.75, 2.5, False)


@pytest.mark.parametrize("kind", NOT_FRAMES)
def test_bad_frames_are_named_and_change_nothing(tracker: seqtrack.Tracker, clip: Clip, kind: str) -> None:
    frame, message = NOT_FRAMES[kind]
    expected = run(tracker.share(), clip.frames[:3], clip.boxes[0])
    tracker.init(clip.frames[0], clip.boxes[0])
    tracker.update(clip.frames[1])
    with pytest.raises(seqtrack.InputError, match=message):
        tracker.update(frame)
    with pytest.raises(seqtrack.InputError, match=message):
        tracker.init(frame, clip.boxes[0])
    assert tracker.update(clip.frames[2]) == expected[1]


@pytest.mark.parametrize("kind", NOT_BOXES)
def test_bad_boxes_are_named_and_change_nothing(tracker: seqtrack.Tracker, clip: Clip, kind: str) -> None:
    box, message = NOT_BOXES[kind]
    expected = run(tracker.share(), clip.frames[:2], clip.boxes[0])
    tracker.init(clip.frames[0], clip.boxes[0])
    with pytest.raises(seqtrack.SeqTrackError, match=message):
        tracker.init(clip.frames[0], box)
    assert tracker.update(clip.frames[1]) == expected[0]


def test_frame_of_another_size(tracker: seqtrack.Tracker, clip: Clip, other_clip: Clip) -> None:
    expected = run(tracker.share(), clip.frames[:2], clip.boxes[0])
    tracker.init(clip.frames[0], clip.boxes[0])
    with pytest.raises(seqtrack.InputError, match="200x150 pixels, the first one 160x120"):
        tracker.update(other_clip.frames[0])
    assert tracker.update(clip.frames[1]) == expected[0]


def test_update_before_init(tracker: seqtrack.Tracker, clip: Clip) -> None:
    with pytest.raises(seqtrack.InputError, match="before init"):
        tracker.update(clip.frames[0])


def test_what_cannot_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(seqtrack.ConfigError, match=r"seqtrack_dmo.*did you mean seqtrack_demo"):
        seqtrack.load("seqtrack_dmo")
    with pytest.raises(seqtrack.CheckpointError, match="no checkpoint for seqtrack_b256"):
        seqtrack.load("seqtrack_b256")
    with pytest.raises(seqtrack.CheckpointError, match=r"nowhere\.pth"):
        seqtrack.load("seqtrack_demo", tmp_path / "nowhere.pth")
    with pytest.raises(seqtrack.InputError, match="'cuda:99'"):
        seqtrack.load(device="cuda:99")
    with pytest.raises(seqtrack.InputError, match="'grb'"):
        seqtrack.load(color="grb")  # type: ignore[arg-type]
    with pytest.raises(seqtrack.InputError, match="float12"):
        seqtrack.load(dtype="float12")
    with pytest.raises(seqtrack.ConfigError, match="update_interval"):
        seqtrack.load(update_interval=0)
    with pytest.raises(seqtrack.ConfigError, match=r"update_interval 2\.5"):
        seqtrack.load(update_interval=2.5)  # type: ignore[arg-type]
    with pytest.raises(seqtrack.ConfigError, match="update_threshold nan"):
        seqtrack.load(update_threshold=float("nan"))


def test_available_lists_the_experiments() -> None:
    assert {"seqtrack_demo", "seqtrack_b256", "seqtrack_l384"} <= set(seqtrack.available())


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_track_video_yields_every_frame(loaded: seqtrack.Tracker, clip: Clip, tmp_path: Path, color: str) -> None:
    path = clip.write(tmp_path / "clip.avi")
    shared = loaded if color == "rgb" else seqtrack.load(device="cpu", color="bgr")
    steps = list(seqtrack.track_video(path, iter(clip.boxes[0]), shared))  # type: ignore[arg-type]
    assert len(steps) == len(clip.frames)
    assert steps[0][1].box == pytest.approx(clip.boxes[0].tolist())
    for (frame, result), truth, original in zip(steps, clip.boxes, clip.frames, strict=True):
        assert overlap(result.box, truth) > 0.5
        shown = frame if color == "rgb" else frame[..., ::-1]
        assert np.abs(shown.astype(int) - original).mean() < 12  # compressed
    with pytest.raises(seqtrack.InputError, match="before init"):
        shared.update(clip.frames[0])  # its own target was left alone: it has none


def test_track_video_from_an_address(tracker: seqtrack.Tracker, clip: Clip, tmp_path: Path) -> None:
    clip.write(tmp_path / "clip.avi")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://user:secret@127.0.0.1:{server.server_port}"
    try:
        results = [result for _, result in seqtrack.track_video(f"{address}/clip.avi", clip.boxes[0], tracker)]
        with pytest.raises(seqtrack.InputError, match=r"none\.avi") as error:
            next(seqtrack.track_video(f"{address}/none.avi", clip.boxes[0], tracker))
    finally:
        server.shutdown()
        server.server_close()
    assert "secret" not in str(error.value)
    assert [overlap(result.box, truth) > 0.5 for result, truth in zip(results, clip.boxes, strict=True)] == [True] * 6


def test_track_video_that_is_missing(tracker: seqtrack.Tracker, tmp_path: Path) -> None:
    with pytest.raises(seqtrack.InputError, match=r"none\.mp4"):
        next(seqtrack.track_video(tmp_path / "none.mp4", (1, 1, 10, 10), tracker))


def test_importing_is_light_and_says_what_is_in_the_way(tmp_path: Path) -> None:
    """PyTorch takes seconds, so ``import seqtrack`` leaves it out."""
    code = "import sys, seqtrack; print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("False\n", "")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "__init__.py").touch()
    blocked = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(PROJECT_ROOT)}
    )
    last = blocked.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: seqtrack needs its own package 'lib'")
    assert str(tmp_path / "lib") in last
