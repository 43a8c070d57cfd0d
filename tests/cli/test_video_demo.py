"""tracking/video_demo.py on fabricated clips with a tiny network."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import tracking.video_demo as script
from lib.config.paths import PROJECT_ROOT
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.video.outputs import VideoWriter
from lib.test.video.overlay import draw_overlay
from lib.test.video.sources import FolderSource, VideoSource, open_source
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.image_io import read_image, write_image
from lib.utils.video_folder import natural_key
from tests.models.tiny import OVERRIDES
from tests.tracker import fakes

FRAMES = 6
BOX = "40,60,36,36"


@pytest.fixture(autouse=True)
def small_world(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
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
    assert content["frames"][0] == {"frame": 0, "box": [40, 60, 36, 36], "confidence": None}
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


def test_ctrl_c_keeps_the_frames_so_far(experiment, clip, tmp_path, monkeypatch, capsys):
    track, calls = SeqTrackTracker.track, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return track(self, image)

    monkeypatch.setattr(SeqTrackTracker, "track", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert run(experiment, clip, tmp_path) == 0
    assert signal.getsignal(signal.SIGINT) is before
    content = record(tmp_path / "clip.json")
    assert (content["num_frames"], content["interrupted"]) == (4, True)
    assert len(list(VideoSource(tmp_path / "clip.mp4").frames())) == 4
    assert "4 frames, ended early" in capsys.readouterr().out


def messages(stderr: str) -> list[str]:
    """Lines of standard error apart from the progress bar."""
    return [line for line in stderr.splitlines() if line and "frame/s" not in line]


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
    ("flags", "message"),
    [
        (["--max_frames", "0"], "--max_frames"),
        (["--fps", "-1"], "--fps"),
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
        if kind == "other size":
            write_image(damaged, read_image(damaged)[:100])
        else:
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
        ("truncated image", "12.png: cannot decode the image"),
        ("other size", "frame 4 has 160x100 pixels, the first one 160x120"),
    ],
)
def test_bad_sources_leave_nothing_behind(experiment, clip, tmp_path, capsys, kind, message):
    path = broken(kind, tmp_path, clip)
    assert run(experiment, path, tmp_path / "out") == 2
    line = refused(capsys)
    assert message in line
    assert path.name in line
    assert list((tmp_path / "out").glob("*")) == []


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


def test_names_and_order_of_folders(tmp_path):
    assert sorted(["10.jpg", "9.jpg", "b2.jpg", "b10.jpg"], key=natural_key) == ["9.jpg", "10.jpg", "b2.jpg", "b10.jpg"]
    for folder in ("car-1/img", "car-2"):
        write_image(tmp_path / folder / "00000001.jpg", np.zeros((8, 8, 3), np.uint8))
    assert FolderSource(tmp_path / "car-1" / "img").name == "car-1"
    assert open_source(str(tmp_path / "car-2")).name == "car-2"
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


def test_odd_sizes_can_be_written(experiment, tmp_path):
    folder = tmp_path / "odd"
    for index, image in enumerate(fakes.frames(2, 161, 121)):
        write_image(folder / f"{index}.png", image)
    assert run(experiment, folder, tmp_path / "out") == 0
    assert len(list(VideoSource(tmp_path / "out" / "odd.mp4").frames())) == 2


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
