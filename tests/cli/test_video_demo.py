"""tracking/video_demo.py on fabricated clips with a tiny network."""

import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import wave
from collections import Counter
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import tracking.video_demo as script
from lib.config.paths import PROJECT_ROOT
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.video import encoders, outputs
from lib.test.video.encoders import VideoWriter
from lib.test.video.overlay import draw_overlay
from lib.test.video.run import parse_box
from lib.test.video.screen import has_display
from lib.test.video.sources import FolderSource, VideoSource, open_source
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.image_io import read_image, write_image
from lib.utils.lock import folder_lock
from tests.models.tiny import OVERRIDES
from tests.tracker import fakes

ENCODERS = VideoWriter.ENCODERS
FRAMES = 6
BOX = "40,60,36,36"


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(VideoWriter, "ENCODERS", VideoWriter.ENCODERS[-1:])  # OpenCV's, which is everywhere
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A YAML file of a tiny experiment and a checkpoint for it."""
    root = tmp_path_factory.mktemp("experiment")
    content: dict = {}
    for dotted, value in (OVERRIDES | {"MODEL.BINS": 200, "TEST.WINDOW": True}).items():
        *sections, key = dotted.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        section[key] = value
    (root / "tiny.yaml").write_text(yaml.safe_dump(content))
    save_checkpoint({"net": fakes.make_engine().network.state_dict()}, root / "tiny.pth.tar")
    return root


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A short coloured video."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "ENCODERS", VideoWriter.ENCODERS[-1:])
        writer = VideoWriter(path, 25.0, 160, 120)
    for image in fakes.frames(FRAMES):
        tinted = cv2.blur(image, (5, 5))
        tinted[..., 0] = 255 - tinted[..., 0] // 4  # reddish: swapped channels would show
        writer.write(tinted)
    writer.close()
    return path


def folder_of(clip: Path, folder: Path) -> Path:
    """The frames of a video as OpenCV decodes them, as PNG files."""
    folder.mkdir(parents=True)
    for index, image in enumerate(VideoSource(clip).frames()):
        write_image(folder / f"{index + 8}.png", image)  # 8, 9, 10, ...: text order would be wrong
    return folder


def run(experiment: Path, video, output: Path, *extra: str, box: str | None = BOX) -> int:
    command = ["seqtrack", str(experiment / "tiny.yaml"), str(video), "--checkpoint", str(experiment / "tiny.pth.tar")]
    command += ["--output", str(output), "--device", "cpu", *extra]
    return run_script(lambda: script.main(command + ([] if box is None else [f"--init_box={box}"])))


def record(path: Path) -> dict:
    return json.loads(path.read_text())


def test_three_files_that_agree(experiment, clip, tmp_path, capsys):
    assert run(experiment, clip, tmp_path) == 0
    content = record(tmp_path / "clip.json")
    assert (content["config"], content["width"], content["height"], content["fps"]) == ("tiny", 160, 120, 25.0)
    assert content["checkpoint"] == str(experiment / "tiny.pth.tar")
    assert content["num_frames"] == FRAMES
    assert [frame["frame"] for frame in content["frames"]] == list(range(FRAMES))
    assert content["frames"][0] == {"frame": 0, "time": 0.0, "box": [40, 60, 36, 36], "confidence": None}
    assert [frame["time"] for frame in content["frames"]] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert (content["variable_frame_rate"], content["codec"]) == (False, "mpeg4")
    assert all(0 < frame["confidence"] <= 40 for frame in content["frames"][1:])
    lines = [[float(value) for value in line.split("\t")] for line in (tmp_path / "clip.txt").read_text().splitlines()]
    np.testing.assert_allclose(lines, [frame["box"] for frame in content["frames"]], atol=0.0051)
    annotated = VideoSource(tmp_path / "clip.mp4")
    assert annotated.fps == 25.0
    assert [image.shape for image in annotated.frames()] == [(120, 160, 3)] * FRAMES
    out = capsys.readouterr().out
    assert f"{FRAMES} frames" in out
    assert all(str(tmp_path / f"clip{suffix}") in out for suffix in (".mp4", ".txt", ".json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mp4", "clip.txt"]


def test_boxes_are_those_of_the_tracker(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path) == 0
    tracker = SeqTrackTracker(fakes.params(), fakes.make_engine())
    images = list(VideoSource(clip).frames())
    tracker.initialize(images[0], {"init_bbox": [40, 60, 36, 36]})
    for frame, image in zip(record(tmp_path / "clip.json")["frames"][1:], images[1:], strict=True):
        assert frame["box"] == pytest.approx(tracker.track(image)["target_bbox"], abs=1e-3)


def test_a_video_gives_the_boxes_of_its_frames_in_a_folder(experiment, clip, tmp_path):
    folder = folder_of(clip, tmp_path / "frames_of_clip")
    (folder / "notes.txt").write_text("not an image")
    (folder / "._8.png").write_bytes(b"left by a file manager")
    assert run(experiment, clip, tmp_path / "out") == 0
    assert run(experiment, folder, tmp_path / "out", "--fps", "12") == 0
    video, images = (record(tmp_path / "out" / f"{name}.json") for name in ("clip", "frames_of_clip"))
    assert [frame.pop("time") for frame in video["frames"]] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert video["frames"] == images["frames"]
    assert (tmp_path / "out" / "clip.txt").read_bytes() == (tmp_path / "out" / "frames_of_clip.txt").read_bytes()
    assert (video["fps"], images["fps"]) == (25.0, 12.0)


def test_frames_are_rgb(clip):
    image = next(VideoSource(clip).frames())
    assert image[..., 0].mean() > 200
    assert image[..., 2].mean() < 150


@pytest.mark.parametrize("kind", ["grey", "rgba"])
def test_grey_and_rgba_images_work(experiment, tmp_path, kind):
    folder = tmp_path / kind
    folder.mkdir()
    for index, image in enumerate(fakes.frames(3)):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        cv2.imwrite(str(folder / f"{index}.png"), grey if kind == "grey" else cv2.cvtColor(grey, cv2.COLOR_GRAY2BGRA))
    assert run(experiment, folder, tmp_path / "out") == 0
    assert record(tmp_path / "out" / f"{kind}.json")["num_frames"] == 3


def test_max_frames_and_running_again(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path) == 0
    assert run(experiment, clip, tmp_path, "--max_frames", "2") == 0
    assert len((tmp_path / "clip.txt").read_text().splitlines()) == 2
    assert len(record(tmp_path / "clip.json")["frames"]) == 2
    assert len(list(VideoSource(tmp_path / "clip.mp4").frames())) == 2


def test_default_places(experiment, clip, tmp_path):
    name = tmp_path / "checkpoints" / "train" / "seqtrack" / "tiny" / "SEQTRACK_ep0500.pth.tar"
    name.parent.mkdir(parents=True)
    shutil.copy(experiment / "tiny.pth.tar", name)
    command = ["seqtrack", str(experiment / "tiny.yaml"), str(clip), "--init_box", BOX, "--save_dir", str(tmp_path)]
    assert run_script(lambda: script.main(command)) == 0
    content = record(tmp_path / "test" / "videos" / "tiny" / "clip.json")
    assert content["checkpoint"] == str(name)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_the_frames_so_far(experiment, clip, tmp_path, monkeypatch, capsys, signum, code):
    track, calls = SeqTrackTracker.track, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signum)
        return track(self, image)

    monkeypatch.setattr(SeqTrackTracker, "track", interrupted)
    before = signal.getsignal(signum)
    assert run(experiment, clip, tmp_path) == code
    assert signal.getsignal(signum) is before
    content = record(tmp_path / "clip.json")
    assert (content["num_frames"], content["interrupted"]) == (4, True)
    assert len(list(VideoSource(tmp_path / "clip.mp4").frames())) == 4
    assert "4 frames, ended early" in capsys.readouterr().out
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


def test_a_signal_that_is_ignored_stays_ignored(experiment, clip, tmp_path, monkeypatch):
    """As ``nohup`` starts a program."""
    track = SeqTrackTracker.track

    def hang_up(self, image):
        os.kill(os.getpid(), signal.SIGHUP)
        return track(self, image)

    monkeypatch.setattr(SeqTrackTracker, "track", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(experiment, clip, tmp_path) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert record(tmp_path / "clip.json")["num_frames"] == FRAMES


def test_a_second_ctrl_c_ends_at_once_and_keeps_the_frames_too(experiment, clip, tmp_path, monkeypatch):
    def interrupted(self, image):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SeqTrackTracker, "track", interrupted)
    assert run(experiment, clip, tmp_path) == 130
    assert record(tmp_path / "clip.json")["num_frames"] == 1
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def messages(stderr: str) -> list[str]:
    """Lines of standard error apart from the progress bar and the line about the encoder."""
    lines = re.sub(r"[^\r\n]*frame/s\]\s*", "\n", stderr).splitlines()
    return [line.strip() for line in lines if line.strip() and "no H.264 encoder" not in line]


def refused(capsys) -> str:
    """Check that the script said one line, and return it."""
    captured = capsys.readouterr()
    lines = messages(captured.err)
    assert captured.out == ""
    assert len(lines) == 1, captured.err
    assert ": error: " in lines[0]
    return lines[0]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "expected four numbers x,y,w,h"),
        ("1,2,3,4,5", "expected four numbers x,y,w,h"),
        ("1,2,x,4", "expected four numbers x,y,w,h"),
        ("nan,2,3,4", "four finite numbers"),
        ("10,10,0,10", "width and a height above 0"),
        ("inf,2,3,4", "four finite numbers"),
        ("10,10,-5,10", "width and a height above 0"),
        ("-1e9,-1e9,2e9,2e9", "over 10 times the 160x120 image"),
        ("160,10,20,20", "outside the image of 160x120"),
        ("-30,10,20,20", "outside the image of 160x120"),
        (None, "--init_box x,y,w,h"),
    ],
)
def test_bad_boxes(experiment, clip, tmp_path, capsys, box, message):
    assert run(experiment, clip, tmp_path / "out", box=box) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--init_box", "40,60,36,36"],
        ["--init_box=40 60 36 36"],
        ["--init_box", "[40, 60, 36, 36]"],
        ["--init_box", "(40;60;36;36)"],
        ["--init_box", "40", "60", "36", "36"],
        ["--init_box", "[40,", "60,", "36,", "36]"],
        ["--optional_box", "40", "60", "36", "36"],
        ["--optional_box", "40.0\t60\t3.6e1\t36"],
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_ways_to_write_a_box(flags, first):
    rest = ["seqtrack", "tiny", "0"]
    args = script.parse_args([*flags, *rest] if first else [*rest, *flags])
    assert parse_box(args.init_box) == [40, 60, 36, 36]
    assert (args.tracker_name, args.tracker_param, str(args.video)) == tuple(rest)


@pytest.mark.parametrize("flags", [["--init_box", "-5,-6,36,36"], ["--init_box", "-5", "-6", "36", "36"]])
def test_a_box_may_begin_with_a_minus_sign(flags):
    assert parse_box(script.parse_args(["seqtrack", "tiny", *flags, "clip.mp4"]).init_box) == [-5, -6, 36, 36]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_frames", "0"], "--max_frames"),
        (["--fps", "-1"], "--fps"),
        (["--fps", "nan"], "--fps"),
        (["--fps", "1e-9"], "--fps"),
        (["--show"], "--show needs a display"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--checkpoint", "nowhere.pth.tar"], "nowhere.pth.tar: no such checkpoint"),
    ],
)
def test_bad_flags(experiment, clip, tmp_path, capsys, flags, message):
    assert run(experiment, clip, tmp_path / "out", *flags) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("sequence_track", "tiny.yaml"), ("seqtrack", "seqtrack_b265")])
def test_unknown_names_list_the_known_ones(experiment, clip, tmp_path, capsys, names):
    tracker, config = names
    config = str(experiment / config) if config.endswith(".yaml") else config
    assert run_script(lambda: script.main([tracker, config, str(clip), "--init_box", BOX])) == 2
    line = refused(capsys)
    assert "known" in line
    assert "seqtrack" in line


def broken(kind: str, root: Path, clip: Path) -> Path:
    """Fabricate a source that cannot be used."""
    if kind == "missing":
        return root / "nowhere.mp4"
    if kind == "empty folder":
        (root / "empty").mkdir()
        return root / "empty"
    path = root / "broken.mp4"
    if kind == "text as video":
        path.write_text("this is no video\n" * 50)
    elif kind == "empty video":
        path.touch()
    elif kind == "truncated video":
        path.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    else:
        path = folder_of(clip, root / "images")
        damaged = path / "8.png" if kind == "truncated first image" else path / "12.png"
        damaged.write_bytes(damaged.read_bytes()[:200])
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such video file or folder of images"),
        ("empty folder", "holds no image"),
        ("text as video", "cannot read the file as a video"),
        ("empty video", "cannot read the file as a video"),
        ("truncated video", "cannot read the file as a video"),
        ("truncated first image", "8.png: cannot decode the image"),
    ],
)
def test_bad_sources_leave_nothing_behind(experiment, clip, tmp_path, capsys, kind, message):
    path = broken(kind, tmp_path, clip)
    assert run(experiment, path, tmp_path / "out") == 2
    line = refused(capsys)
    assert message in line
    assert path.name in line
    assert list((tmp_path / "out").glob("*")) == []


def test_an_unreadable_frame_ends_the_run_and_keeps_those_before_it(experiment, clip, tmp_path, capsys):
    folder = broken("truncated image", tmp_path, clip)
    assert run(experiment, folder, tmp_path / "out", "--max_frames", "6") == 2
    output = tmp_path / "out" / tmp_path.name
    line = refused(capsys)
    assert "12.png: cannot decode the image" in line
    assert f"the boxes of 4 frames are in {output}.txt" in line
    assert len(output.with_suffix(".txt").read_text().splitlines()) == record(output.with_suffix(".json"))["num_frames"]
    assert len(list(VideoSource(output.with_suffix(".mp4")).frames())) == 4


def test_frames_of_other_sizes_are_tracked(experiment, clip, tmp_path, capsys):
    folder = folder_of(clip, tmp_path / "mixed")
    for name, size in (("11.png", (50, 80)), ("12.png", (300, 200))):
        write_image(folder / name, cv2.resize(read_image(folder / name), size))
    assert run(experiment, folder, tmp_path / "out") == 0
    lines = messages(capsys.readouterr().err)
    assert len(lines) == 2
    assert "frame 3 has 50x80 pixels, the first one 160x120" in lines[0]
    frames = record(tmp_path / "out" / "mixed.json")["frames"]
    assert [frame.get("size") for frame in frames] == [None, None, None, [50, 80], [300, 200], None]
    assert [image.shape for image in VideoSource(tmp_path / "out" / "mixed.mp4").frames()] == [(120, 160, 3)] * FRAMES


class FakeCapture:
    """A camera or video that gives some frames and then no more."""

    def __init__(self, times: list[float], count: float = -1.0) -> None:
        self.times, self.count, self.read_so_far = times, count, 0

    def isOpened(self) -> bool:
        return True

    def get(self, what: int) -> float:
        if what == cv2.CAP_PROP_POS_MSEC:
            return 1000 * self.times[self.read_so_far - 1]
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_FRAME_COUNT: self.count}[what]

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.read_so_far += 1
        more = self.read_so_far <= len(self.times)
        return more, np.full((120, 160, 3), 90, np.uint8) if more else None

    def release(self) -> None: ...


def opened(monkeypatch, fake: FakeCapture) -> None:
    """Let the next source read ``fake``."""
    capture = cv2.VideoCapture
    sources = [fake]
    monkeypatch.setattr(cv2, "VideoCapture", lambda name: sources.pop() if sources else capture(name))


def test_a_camera_that_stops(experiment, tmp_path, monkeypatch, capsys):
    opened(monkeypatch, FakeCapture([0.0] * 5))
    assert run(experiment, "0", tmp_path) == 2
    assert "camera0: the camera stopped; the boxes of 5 frames are in" in refused(capsys)
    assert record(tmp_path / "camera0.json")["num_frames"] == 5
    opened(monkeypatch, FakeCapture([0.0] * 5))
    assert run(experiment, "0", tmp_path, "--max_frames", "4") == 0


def test_a_video_that_is_cut_short(experiment, clip, tmp_path, monkeypatch, capsys):
    opened(monkeypatch, FakeCapture([0.04 * index for index in range(20)], 50))
    assert run(experiment, clip, tmp_path) == 2
    line = refused(capsys)
    assert "announces 50 frames but only 20 could be decoded; the boxes of 20 frames are in" in line
    assert record(tmp_path / "clip.json")["num_frames"] == 20


def test_unevenly_spaced_frames_keep_their_times(experiment, clip, tmp_path, monkeypatch, capsys):
    """The count of such a video may be an estimate that is too high."""
    times = [0.0, 0.04, 0.08, 0.6, 1.2, 1.96]
    opened(monkeypatch, FakeCapture(times, 50))
    assert run(experiment, clip, tmp_path) == 0
    content = record(tmp_path / "clip.json")
    assert [frame["time"] for frame in content["frames"]] == times
    assert (content["variable_frame_rate"], content["fps"]) == (True, 25.0)
    assert "0.040 to 0.760 s apart" in capsys.readouterr().err


def test_the_rotation_of_a_video_is_honored(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    matrix = data.index(b"tkhd") + 44
    values = (0, 0x10000, 0, 0xFFFF0000, 0, 0, 0, 0, 0x40000000)  # a quarter turn
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big") for value in values)
    path = tmp_path / "phone.mp4"
    path.write_bytes(data)
    upright = [np.rot90(image, -1) for image in VideoSource(clip).frames()]
    for image, expected in zip(VideoSource(path).frames(), upright, strict=True):
        np.testing.assert_array_equal(image, expected)


class FailingWriter(VideoWriter):
    """An encoder that fails after some frames, as on a full disk."""

    def write(self, image: np.ndarray) -> None:
        self.written = getattr(self, "written", 0) + 1
        if self.written > 3:
            raise InputError("the video cannot be written to here: No space left on device")
        super().write(image)


def test_an_encoder_that_fails_does_not_stop_the_run(experiment, clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lib.test.video.outputs.VideoWriter", FailingWriter)
    assert run(experiment, clip, tmp_path) == 2
    lines = messages(capsys.readouterr().err)
    assert len(lines) == 2 and "tracking goes on without it" in lines[0]
    assert f"No space left on device; the boxes of {FRAMES} frames are in {tmp_path / 'clip.txt'}" in lines[1]
    assert names(tmp_path) == ["clip.json", "clip.txt"]
    assert (record(tmp_path / "clip.json")["num_frames"], record(tmp_path / "clip.json")["codec"]) == (FRAMES, None)


def test_the_boxes_come_before_the_video_on_a_full_disk(experiment, clip, tmp_path, monkeypatch, capsys):
    """As long as the video is there, no text can be written."""
    write = outputs.write_text_atomic

    def limited(path, text):
        if list(path.parent.glob(".*partial*")):
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, text)

    monkeypatch.setattr(outputs, "write_text_atomic", limited)
    assert run(experiment, clip, tmp_path) == 2
    assert "No space left on device; the boxes of 6 frames are in" in messages(capsys.readouterr().err)[-1]
    assert names(tmp_path) == ["clip.json", "clip.txt"]


def test_frames_wider_than_the_encoder_allows(experiment, tmp_path, capsys):
    folder = tmp_path / "wide"
    for index in range(2):
        write_image(folder / f"{index}.png", np.full((120, 8400, 3), 40 * index, np.uint8))
    assert run(experiment, folder, tmp_path / "out") == 2
    assert "8400x120 pixels" in messages(capsys.readouterr().err)[-1]
    assert record(tmp_path / "out" / "wide.json")["num_frames"] == 2
    assert run(experiment, folder, tmp_path / "out", "--no_video") == 0


def test_no_video(experiment, clip, tmp_path, capsys):
    assert run(experiment, clip, tmp_path) == 0
    assert run(experiment, clip, tmp_path, "--no_video") == 0
    assert names(tmp_path) == ["clip.json", "clip.txt"]  # the video was of the run before
    (tmp_path / "clip.mp4").write_text("mine")
    assert run(experiment, clip, tmp_path) == 2
    assert "clip.mp4 exists and was not written by an earlier run" in capsys.readouterr().err
    assert (tmp_path / "clip.mp4").read_text() == "mine"


def test_what_a_killed_run_has_left_is_removed(experiment, clip, tmp_path):
    (tmp_path / ".clip.partial.mp4").write_text("half a video")
    (tmp_path / ".tracking clip.lock").write_text("process 1 on nowhere")
    assert run(experiment, clip, tmp_path) == 0
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


def test_two_runs_on_the_same_files(experiment, clip, tmp_path, capsys):
    with folder_lock(tmp_path, "tracking clip"):
        assert run(experiment, clip, tmp_path) == 2
    assert "is going on there already" in refused(capsys)


def test_a_display_that_is_named_but_not_there(experiment, clip, tmp_path, monkeypatch, capsys):
    """Qt ends the process that asks for it."""
    has_display.cache_clear()
    monkeypatch.setenv("DISPLAY", ":97")
    try:
        assert run(experiment, clip, tmp_path / "out", "--show") == 2
    finally:
        has_display.cache_clear()
    assert "--show needs a display" in refused(capsys)


@pytest.mark.parametrize("kind", ["a file", "read-only", "too long", "a loop", "a null device"])
def test_bad_output_folders(experiment, clip, tmp_path, capsys, kind):
    target = tmp_path / "out"
    if kind == "a file":
        target.write_text("mine")
    elif kind == "read-only":
        target = Path("/proc/sys")
    elif kind == "too long":
        target = tmp_path / ("x" * 300)
    elif kind == "a loop":
        target.symlink_to(target)
    else:
        target = Path("/dev/null")
    assert run(experiment, clip, target) == 2
    assert str(target)[:100] in refused(capsys)


@pytest.mark.parametrize("name", ["a\x1b[31mb\n.mp4", "caf\udce9.mp4", "%d.mp4", "\u202e.mp4"])
def test_odd_names(experiment, clip, tmp_path, capsys, name):
    """They work, or are one line; nothing of them reaches the terminal as it is."""
    video = shutil.copy(clip, tmp_path / name)
    code = run(experiment, video, tmp_path / "out")
    captured = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in captured.err
    assert not set(captured.out + captured.err.replace("\r", "")) & set("\x1b\u202e\udce9")
    if code == 2:
        assert len(messages(captured.err)) == 1


def random_flags(rng: random.Random, good: list[str], sources: list[str]) -> list[str]:
    """A command line with some of it wrong."""
    values = ["", " ", "0", "-1", "1e9", "nan", "inf", "9" * 400, "x", "\0", "~nobody/x", "../..", "/dev/null", "-"]
    values += ["[1,2", "1,2,3,4", "-5,-5,9,9", "--show", "\x1b[31m", "\udcff", "\u0661", "1" * 5000, "a" * 5000]
    values += sources
    flags = {"--init_box": BOX, "--optional_box": "[40 60 36 36]", "--output": "~/out", "--save_dir": "other"}
    flags |= {"--max_frames": "9" * 30, "--fps": "5", "--device": "auto", "--dtype": "bfloat16"}
    flags |= dict.fromkeys(["--checkpoint", "--ar_checkpoint", "--nothing"], "x")
    argv = list(good)
    for _ in range(rng.randint(1, 2)):
        action, flag = rng.random(), rng.choice(list(flags))
        if action < 0.2:
            argv[rng.randrange(len(argv))] = rng.choice(values)
        elif action < 0.3:
            argv.append(rng.choice(["--no_video", "--show", "--masks"]))
        else:
            argv += [flag, flags[flag]] if action < 0.6 else [f"{flag}={rng.choice(values)}"]
    return argv


def test_random_command_lines(experiment, clip, tmp_path, monkeypatch, capfd):
    """Whatever is asked for, the exit code says how it went, and an error is no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile /dev/zero\n")
    with wave.open(str(tmp_path / "audio.wav"), "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(bytes(800))
    (tmp_path / "loop").symlink_to("loop")
    sources = ["empty", "list.m3u8", "list.txt", "audio.wav", "loop", "/dev/zero", str(clip)]
    good = ["seqtrack", str(experiment / "tiny.yaml"), str(clip), "--checkpoint", str(experiment / "tiny.pth.tar")]
    good += ["--device", "cpu", "--output", "out", "--save_dir", "save", "--init_box", BOX, "--max_frames", "2"]
    rng, codes = random.Random(1), Counter()
    for _ in range(150):
        argv = random_flags(rng, good, sources)
        try:
            code = run_script(lambda argv=argv: script.main(argv))
        except SystemExit as error:  # argparse
            code = error.code
        captured = capfd.readouterr()
        assert code in (0, 2, 130), argv
        assert "Traceback" not in captured.err, argv
        codes[code] += 1
    assert codes[0] > 10 and codes[2] > 50, codes


def test_no_camera(experiment, tmp_path, capsys):
    assert run(experiment, 97, tmp_path / "out") == 2
    assert "camera97: cannot open the camera" in refused(capsys)


def test_nothing_of_the_user_is_overwritten(experiment, clip, tmp_path, capsys):
    mine = Path(shutil.copy(clip, tmp_path / "mine.mp4"))
    content = mine.read_bytes()
    assert run(experiment, mine, tmp_path) == 2
    assert "would overwrite it" in refused(capsys)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("notes")
    assert run(experiment, mine, tmp_path / "out") == 2
    assert "not written by an earlier run" in refused(capsys)
    assert mine.read_bytes() == content
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_another_source_of_the_same_name_is_not_overwritten(experiment, clip, tmp_path, capsys):
    other = Path(shutil.copy(clip, tmp_path / "clip.avi"))
    assert run(experiment, clip, tmp_path / "out") == 0
    assert run(experiment, other, tmp_path / "out") == 2
    assert f"clip.json is of {clip}, not of {other}" in capsys.readouterr().err
    shutil.copy(clip, tmp_path / "moved.mp4")
    assert run(experiment, tmp_path / "moved.mp4", tmp_path / "out") == 0
    (tmp_path / "moved.mp4").rename(tmp_path / "aside.mp4")
    (tmp_path / "new").mkdir()
    shutil.copy(clip, tmp_path / "new" / "moved.mp4")
    assert run(experiment, tmp_path / "new" / "moved.mp4", tmp_path / "out") == 0  # what it is of is gone


def test_names_and_order_of_folders(tmp_path):
    for folder in ("car-1/img", "car-2"):
        write_image(tmp_path / folder / "00000001.jpg", np.zeros((8, 8, 3), np.uint8))
    assert FolderSource(tmp_path / "car-1" / "img").name == "car-1"
    assert open_source(str(tmp_path / "car-2")).name == "car-2"
    below = FolderSource(tmp_path / "car-1")  # as benchmarks keep a sequence
    assert (below.name, below.files) == ("car-1", [tmp_path / "car-1" / "img" / "00000001.jpg"])
    with pytest.raises(InputError, match=r"several folders \(car-2, car-3\)"):
        write_image(tmp_path / "car-3" / "1.jpg", np.zeros((8, 8, 3), np.uint8))
        FolderSource(tmp_path)
    with pytest.raises(InputError, match="one image is no video"):
        open_source(tmp_path / "car-2" / "00000001.jpg")
    with pytest.raises(InputError, match="no such video"):
        open_source("not a number")


@pytest.mark.parametrize("size", [(48, 64), (120, 160), (1080, 1920)])
def test_overlay_draws_the_box_and_leaves_the_frame_alone(size):
    image = np.full((*size, 3), 128, np.uint8)
    height, width = size
    box = [width * 0.4, height * 0.4, width * 0.4, height * 0.4]
    annotated = draw_overlay(image, box, 12.3, 7)
    assert annotated.shape == image.shape
    assert (image == 128).all()
    x, y = round(box[0]), round(box[1] + box[3] / 2)
    assert (annotated[y, x] != 128).any()  # on the line
    assert (annotated[round(height * 0.9), round(width * 0.9)] == 128).all()  # far from it
    assert draw_overlay(image[:9, :7], [2, 2, 4, 4], None, 0).shape == (9, 7, 3)


def test_a_confidence_that_is_no_number_can_be_drawn():
    image = np.zeros((48, 64, 3), np.uint8)
    for confidence in (float("nan"), float("inf"), -1e30):
        assert draw_overlay(image, [2, 2, 4, 4], confidence, 0).any()


def test_odd_sizes_are_padded(experiment, tmp_path):
    folder = tmp_path / "odd"
    for index, image in enumerate(fakes.frames(2, 161, 121)):
        write_image(folder / f"{index}.png", image)
    assert run(experiment, folder, tmp_path / "out") == 0
    assert [image.shape for image in VideoSource(tmp_path / "out" / "odd.mp4").frames()] == [(122, 162, 3)] * 2


@pytest.mark.parametrize("encoder", [0, 1])
def test_h264_where_it_is_installed(tmp_path, encoder):
    make = ENCODERS[encoder]
    try:
        make(tmp_path / "probe.mp4", Fraction(25), 64, 48).close()
    except ImportError:
        pytest.skip("PyAV is not installed")
    except OSError as error:
        if "on the PATH" in str(error):
            pytest.skip(str(error))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VideoWriter, "ENCODERS", (make,))
        writer = VideoWriter(tmp_path / "clip.mp4", 12.5, 161, 121)
        images = [np.full((121, 161, 3), (200, 20 * index, 40), np.uint8) for index in range(8)]
        for image in images:
            writer.write(image)
        writer.close()
        assert writer.codec == "h264"
        with pytest.raises(InputError, match="written"):
            writer = VideoWriter(tmp_path / "wide.mp4", 25, 20000, 64)
            writer.write(np.zeros((64, 20000, 3), np.uint8))
            writer.close()
    source = VideoSource(tmp_path / "clip.mp4")
    frames = list(source.frames())
    assert (source.fps, len(frames), frames[0].shape) == (12.5, 8, (122, 162, 3))
    assert all(abs(a[:121, :161].astype(int) - b).max() < 12 for a, b in zip(frames, images, strict=True))
    assert b"avc1" in (tmp_path / "clip.mp4").read_bytes()


def test_without_h264_one_line_says_so(tmp_path, caplog):
    encoders._say_that_browsers_do_not_play_it.cache_clear()
    with caplog.at_level("INFO"):
        for name in ("a.mp4", "b.mp4"):
            writer = VideoWriter(tmp_path / name, 25, 64, 48)
            writer.write(np.zeros((48, 64, 3), np.uint8))
            writer.close()
    assert writer.codec == "mpeg4"
    assert [line.getMessage() for line in caplog.records] == [
        "no H.264 encoder found: MP4 files are MPEG-4 part 2, which browsers do not play (pip install av)"
    ]


def run_as_user(experiment: Path, video: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT_ROOT / "tracking" / "video_demo.py", "seqtrack", experiment / "tiny.yaml", video]
    command += ["--init_box", BOX, "--checkpoint", experiment / "tiny.pth.tar", "--output", "out", "--device", "cpu"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_script_by_itself_in_another_folder(experiment, clip, tmp_path):
    """FFmpeg and OpenCV write to standard error past Python; nothing of that is seen either."""
    done = run_as_user(experiment, clip, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 4
    assert messages(done.stderr) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.json", "clip.mp4", "clip.txt"]


def test_a_truncated_video_is_one_line_and_exit_2(experiment, clip, tmp_path):
    video = broken("truncated video", tmp_path, clip)
    done = run_as_user(experiment, video, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"video_demo.py: error: {video}: cannot read the file as a video\n"
    assert not (tmp_path / "out").exists()
