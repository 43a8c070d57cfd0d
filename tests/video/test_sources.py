"""What the video demo reads: folders, videos and cameras, whole and damaged."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.test.video.encoders import letterbox
from lib.test.video.sources import FolderSource, VideoSource, open_source
from lib.utils.errors import InputError
from lib.utils.image_io import read_image, write_image
from tests.tracker import fakes
from tests.video.world import FRAMES, folder_of, messages, record, refused, run, run_as_user


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


def test_frames_of_14_bits_are_scaled_by_the_range_of_the_first(tmp_path):
    scene = np.tile(np.linspace(6000, 8000, 160).astype(np.uint16), (120, 1))
    for index in range(3):
        scene[10:20, 10:20] = 6000 + 3000 * index  # a heat source, which must not fade the rest
        cv2.imwrite(str(tmp_path / f"{index}.png"), scene)
    frames = list(FolderSource(tmp_path).frames())
    assert all(frame.dtype == np.uint8 and frame.shape == (120, 160, 3) for frame in frames)
    assert abs(float(frames[0].mean()) - 127) < 5
    np.testing.assert_array_equal(frames[0][60], frames[2][60])


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
    assert run(experiment, folder, tmp_path / "plain") == 0
    plain = record(tmp_path / "plain" / "mixed.json")["frames"]
    doubled = cv2.resize(read_image(folder / "11.png"), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    write_image(folder / "11.png", doubled)
    write_image(folder / "13.png", read_image(folder / "13.png")[:, :100])
    capsys.readouterr()
    assert run(experiment, folder, tmp_path / "out") == 0
    lines = messages(capsys.readouterr().err)
    assert len(lines) == 2
    assert "frame 3 has 320x240 pixels, the first one 160x120" in lines[0]
    frames = record(tmp_path / "out" / "mixed.json")["frames"]
    assert [frame.get("size") for frame in frames] == [None, None, None, [320, 240], None, [100, 120]]
    assert frames[3]["box"] == pytest.approx([2 * value for value in plain[3]["box"]], abs=1e-3)  # in its own pixels
    assert frames[:3] + frames[4:5] == plain[:3] + plain[4:5]  # scaled, it shows what the others show
    assert [image.shape for image in VideoSource(tmp_path / "out" / "mixed.mp4").frames()] == [(120, 160, 3)] * FRAMES


def test_letterbox():
    image, scale, corner = letterbox(np.full((50, 20, 3), 9, np.uint8), 60, 100)
    assert (image.shape, scale, corner) == ((100, 60, 3), 2.0, (10, 0))
    assert (image[:, 10:50] == 9).all() and not image[:, :10].any() and not image[:, 50:].any()


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


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([*range(49), *range(60, 100)], "11 frames were left out, after frame 48: those behind have other numbers"),
        (range(98), "2 of 100 frames could not be decoded: those behind have other numbers"),  # AVI counts its times
        (range(99), None),  # sound files may count one frame too many
        (range(100), None),
        ([*range(0, 100, 3), *range(100, 160)], None),  # unevenly spaced throughout
    ],
)
def test_frames_that_are_missing_are_said(clip, monkeypatch, caplog, times, expected):
    opened(monkeypatch, FakeCapture([0.04 * index for index in times], 100))
    assert len(list(open_source(clip).frames())) == len(times)
    warnings = [entry.getMessage() for entry in caplog.records]
    assert len(warnings) == (expected is not None)
    assert expected is None or expected in warnings[0]


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


def test_no_camera(experiment, tmp_path, capsys):
    assert run(experiment, 97, tmp_path / "out") == 2
    assert "camera97: cannot open the camera" in refused(capsys)


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


@pytest.mark.slow
def test_a_truncated_video_is_one_line_and_exit_2(experiment, clip, tmp_path):
    video = broken("truncated video", tmp_path, clip)
    done = run_as_user(experiment, video, tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"video_demo.py: error: {video}: cannot read the file as a video\n"
    assert not (tmp_path / "out").exists()
