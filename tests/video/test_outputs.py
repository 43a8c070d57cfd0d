"""What the video demo writes, also where something fails."""

import errno
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lib.test.video import encoders, outputs
from lib.test.video.encoders import VideoWriter
from lib.test.video.paths import output_paths
from lib.test.video.run import Job
from lib.test.video.sources import VideoSource
from lib.test.video.targets import Start, read_init_boxes
from lib.utils.errors import InputError
from lib.utils.files import folder_lock
from lib.utils.image_io import write_image
from tests.tracker import fakes
from tests.video.servers import mjpeg_server
from tests.video.world import FRAMES, make_batch, messages, names, record, refused, run

ENCODERS = VideoWriter.ENCODERS


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
    for suffix in (".avi", ".mkv"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(VideoWriter, "ENCODERS", (make,))
            writer = VideoWriter(tmp_path / f"clip{suffix}", 12.5, 161, 121)
        for image in images:
            writer.write(image)
        writer.close()
        again = list(VideoSource(tmp_path / f"clip{suffix}").frames())
        assert all(abs(a[:121, :161].astype(int) - b).max() < 12 for a, b in zip(again, images, strict=True))


def test_without_h264_one_line_says_so(tmp_path, caplog):
    encoders._say_that_browsers_do_not_play_it.cache_clear()
    with caplog.at_level("INFO"):
        for name in ("a.mp4", "b.mp4"):
            writer = VideoWriter(tmp_path / name, 25, 64, 48)
            writer.write(np.zeros((48, 64, 3), np.uint8))
            writer.close()
    assert writer.codec == "mpeg4"
    assert [line.getMessage() for line in caplog.records] == [
        "no H.264 encoder found: videos are MPEG-4 part 2, which browsers do not play (pip install av)"
    ]


def test_a_lock_that_is_taken_after_the_check(clip, tmp_path):
    source = VideoSource(clip)
    job, batch = Job(source, {1: Start(fakes.BOX)}, output_paths(tmp_path, source)), make_batch()
    with folder_lock(tmp_path, "tracking clip"), pytest.raises(InputError, match="going on there already"):
        job.run(batch)
    assert list(tmp_path.iterdir()) == []
    assert job.run(batch).num_frames == FRAMES


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("result.mp4", True),
        ("result.avi", True),
        ("result.mkv", True),
        ("result.txt", True),
        ("result.json", False),
        ("result.jsonl", False),
        ("result.mot.txt", True),
        ("result.coco.json", True),
        ("RESULT.MP4", True),
        ("new/result.v2.txt", True),
    ],
)
def test_one_file_by_its_name(experiment, clip, tmp_path, name, beside):
    path = tmp_path / "out" / name
    for _ in range(2):  # what an earlier run has written is replaced
        assert run(experiment, clip, path, "--max_frames", "3") == 0
        assert names(path.parent) == [path.name, *([f"{path.name}.json"] if beside else [])]
    kind = path.suffix.lower()
    if kind in (".mp4", ".avi", ".mkv"):
        assert len(list(VideoSource(path).frames())) == 3
    else:
        lines = path.read_text().splitlines()
        assert len(lines) == {".txt": 3, ".jsonl": 4}.get(kind, len(lines))
        assert len(read_init_boxes(path)) == 1
    if kind == ".json":
        assert len(record(path)["images" if "coco" in name else "frames"]) == 3


def test_a_file_that_is_not_ours_is_not_replaced(experiment, clip, tmp_path, capsys):
    mine = tmp_path / "notes.txt"
    mine.write_text("mine")
    assert run(experiment, clip, mine) == 2
    assert "notes.txt exists and was not written by an earlier run" in refused(capsys)
    assert run(experiment, clip, tmp_path / "notes.mot.txt") == 0  # beside it
    assert mine.read_text() == "mine"
    source = Path(shutil.copy(clip, tmp_path / "source.mp4"))
    capsys.readouterr()
    assert run(experiment, source, source) == 2
    assert "the results would overwrite it" in refused(capsys)
    assert source.read_bytes() == clip.read_bytes()
    assert run(experiment, clip, tmp_path / "source.json") == 0  # what else is called so does not matter


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("out.gif", [], "out.gif: no format has this ending, known: .avi .coco.json"),
        (".mp4", [], "the file has no name before its ending"),
        ("out.csv", [], "for a folder end it with /"),
        ("out.mp4", ["--no_video"], "--no_video goes with a folder as --output, not with the file"),
        ("out.json", ["--formats", "mot"], "--formats goes with a folder as --output, not with the file"),
        ("out.txt", ["--init_box=20,20,40,30"], "the format txt holds one target; with several use mot"),
    ],
)
def test_names_of_files_that_cannot_be(experiment, tmp_path, capsys, name, flags, message):
    """Nothing is read before: the video is not there."""
    assert run(experiment, "nowhere.mp4", tmp_path / name, *flags) == 2
    assert message in refused(capsys)
    assert not (tmp_path / name).exists()


def test_folders_whose_names_look_like_files(experiment, clip, tmp_path):
    (tmp_path / "old.mp4").mkdir()
    assert run(experiment, clip, tmp_path / "old.mp4", "--no_video") == 0
    assert run(experiment, clip, f"{tmp_path}/new.v2/", "--no_video") == 0
    assert run(experiment, clip, tmp_path / "run_0.5", "--no_video") == 0
    assert all(names(tmp_path / name) == ["clip.json", "clip.txt"] for name in ("old.mp4", "new.v2", "run_0.5"))


def test_of_a_live_source_the_facts_are_lines(experiment, tmp_path):
    with mjpeg_server([np.full((120, 160, 3), 90, np.uint8)] * 2) as server:
        path = tmp_path / "live.mot.txt"
        assert run(experiment, server.address, path, "--live", "--max_frames", "3") == 0
    assert names(tmp_path) == ["live.mot.txt", "live.mot.txt.jsonl"]
