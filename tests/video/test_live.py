"""Live sources: the newest frame, streams that stop and come back, and frames on standard input."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from lib.test.video.live import LiveSource
from lib.test.video.sources import FrameSource
from lib.test.video.streams import PipeSource, StreamSource
from lib.test.video.targets import Seen, TargetBatch
from lib.utils.errors import DataError, InputError
from tests.tracker import fakes
from tests.video.servers import jpegs, mjpeg_server
from tests.video.world import BOX, names, record, refused, run


class Camera(FrameSource):
    """Gives numbered frames at a pace, then ends, fails, or gives no more."""

    name = "camera"

    def __init__(self, count, interval=0.0, end=None):
        self.count, self.interval, self.end = count, interval, end

    def frames(self):
        for number in range(self.count):
            time.sleep(self.interval)
            yield np.full((4, 4, 3), number, np.uint8)
        if isinstance(self.end, Exception):
            raise self.end
        if self.end is not None:
            self.end.wait(30)

    def __str__(self):
        return self.name


def smooth(count):
    return [cv2.blur(image, (9, 9)) for image in fakes.frames(count)]  # noise would not survive as a JPEG


def test_a_slow_reader_gets_the_newest_frames_and_the_rest_is_counted():
    source, seen = LiveSource(Camera(60, 0.01)), []
    for frame in source.frames():
        seen.append(int(frame[0, 0, 0]))
        time.sleep(0.06)
    assert seen == sorted(set(seen)) and seen[-1] == 59
    assert 3 < len(seen) < 30 and source.dropped == 60 - len(seen)


def test_a_fast_reader_misses_nothing():
    source = LiveSource(Camera(20, 0.02))
    times = [(int(frame[0, 0, 0]), source.time) for frame in source.frames()]
    assert [number for number, _ in times] == list(range(20)) and source.dropped == 0
    assert all(0 < after - before < 1 for (_, before), (_, after) in pairwise(times))


def test_a_source_that_stops_is_opened_again(monkeypatch):
    monkeypatch.setattr("lib.test.video.live._FIRST_PAUSE", 0.01)
    attempts = [InputError("not yet"), Camera(2, 0.05), InputError("not yet"), Camera(3, 0.05)]

    def reopen():
        result = attempts.pop(0)
        if isinstance(result, Exception):
            raise result
        result.end = DataError("cut") if attempts else None
        return result

    source = LiveSource(Camera(1, 0.05, DataError("cut")), reopen)
    assert [int(frame[0, 0, 0]) for frame in source.frames()] == [0, 0, 1, 0, 1, 2]
    assert source.reconnects == 2


def test_a_source_that_does_not_come_back(monkeypatch):
    monkeypatch.setattr("lib.test.video.live._FIRST_PAUSE", 0.01)

    def reopen():
        raise InputError("gone")

    frames = LiveSource(Camera(1, 0, DataError("cut")), reopen, timeout=0.1, patience=0.4).frames()
    next(frames)
    with pytest.raises((DataError, InputError), match=r"gone|no frame for 0\.4 s"):
        next(frames)


def test_a_source_that_gives_no_frame_any_more():
    end = threading.Event()
    source = LiveSource(Camera(1, 0, end), timeout=0.2)
    frames = source.frames()
    next(frames)
    with pytest.raises(DataError, match=r"camera: no frame for 0\.2 s"):
        next(frames)
    end.set()


def test_stop_ends_a_wait():
    end = threading.Event()
    source = LiveSource(Camera(1, 0, end), timeout=30)
    frames = source.frames()
    next(frames)
    threading.Timer(0.1, source.stop).start()
    begin = time.perf_counter()
    assert list(frames) == []
    assert time.perf_counter() - begin < 5
    end.set()


def test_connections_that_are_cut(monkeypatch):
    monkeypatch.setattr("lib.test.video.live._FIRST_PAUSE", 0.05)
    with mjpeg_server(smooth(3)) as server:
        server.cut_after = 10

        def connect():
            return StreamSource(server.address, timeout=2)

        source, count = LiveSource(connect(), connect), 0
        for _ in source.frames():
            count += 1
            if source.reconnects == 2:
                break
        source.stop()
        assert server.connections >= 3 and count >= 10


class Slices(io.RawIOBase):
    """Gives bytes a few at a time, as a pipe may."""

    def __init__(self, data, size):
        self.rest, self.size = data, size

    def read(self, size=-1):
        size = min(size, self.size)
        data, self.rest = self.rest[:size], self.rest[size:]
        return data


@pytest.mark.parametrize("size", [1000, 7, 1 << 16])
def test_jpegs_on_a_pipe(size):
    images = smooth(3)
    thumbnail = jpegs([images[0][::4, ::4]])[0]
    files = jpegs(images)
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail  # holds the marks of a whole JPEG
    files[1] = files[1][:2] + segment + files[1][2:]
    data = b"--boundary\r\n".join([b"", *files])
    frames = list(PipeSource(Slices(data, size)).frames())
    assert [frame.shape for frame in frames] == [image.shape for image in images]
    assert all(abs(frame.astype(int) - image).mean() < 12 for frame, image in zip(frames, images, strict=True))


def test_a_jpeg_is_there_as_soon_as_its_last_byte():
    reading, writing = os.pipe()
    with open(reading, "rb", buffering=0) as file, open(writing, "wb", buffering=0) as pipe:
        frames = PipeSource(file).frames()
        for data in jpegs(smooth(2)):
            pipe.write(data)
            assert next(frames).shape == (120, 160, 3)


def test_raw_frames_on_a_pipe():
    images = fakes.frames(3)
    data = b"".join(image.tobytes() for image in images)
    assert np.array_equal(list(PipeSource(Slices(data, 1000), (160, 120)).frames()), images)
    with pytest.raises(DataError, match="frame 2 has 57599 bytes, expected 57600"):
        list(PipeSource(Slices(data[:-1], 1 << 20), (160, 120)).frames())


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\xff\xd8\xff\xe0"])
def test_a_pipe_without_a_frame(data):
    with pytest.raises(InputError, match="standard input: not one frame could be read"):
        list(PipeSource(io.BytesIO(data)).frames())


def test_a_jpeg_that_is_damaged():
    with pytest.raises(DataError, match="frame 0 is no JPEG"):
        list(PipeSource(io.BytesIO(b"\xff\xd8\xff\xda\0\0\0\0\xff\xd9")).frames())


def test_a_live_run_with_a_cut_connection_ends_cleanly_on_ctrl_c(experiment, tmp_path, monkeypatch, capsys):
    track, calls = TargetBatch.track, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 12:
            os.kill(os.getpid(), signal.SIGINT)
        return track(self, image)

    monkeypatch.setattr(TargetBatch, "track", interrupted)
    monkeypatch.setattr("lib.test.video.live._FIRST_PAUSE", 0.05)
    with mjpeg_server(smooth(3)) as server:
        server.cut_after = 6
        assert run(experiment, server.address, tmp_path, "--live", "--formats", "video", "json", "jsonl") == 0
    (path,) = tmp_path.glob("*.json")
    content = record(path)
    assert (content["interrupted"], content["num_frames"]) == (True, 13)
    assert content["reconnects"] >= 1 and content["dropped_frames"] == content["frames"][-1]["dropped"]
    lines = path.with_suffix(".jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines[1:]] == content["frames"]
    assert names(tmp_path) == [f"{path.stem}{suffix}" for suffix in (".json", ".jsonl", ".mp4")]
    assert "ended early" in capsys.readouterr().out


def test_ctrl_c_while_nothing_comes(experiment, tmp_path, monkeypatch):
    with mjpeg_server(smooth(3)) as server:
        server.cut_after, server.served = 4, 1
        timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
        monkeypatch.setattr(TargetBatch, "add", lambda self, image, boxes: timer.start() or {1: Seen(boxes[1])})
        monkeypatch.setattr(TargetBatch, "__len__", lambda self: timer.is_alive())
        answer = {1: Seen([1.0, 2.0, 30.0, 30.0], 1.0)}
        monkeypatch.setattr(TargetBatch, "track", lambda self, image: answer)
        flags = ["--live", "--timeout", "3", "--reconnect", "60"]
        begin = time.perf_counter()
        assert run(experiment, server.address, tmp_path, *flags) == 0
        assert time.perf_counter() - begin < 10  # OpenCV opens one video at a time: the broken connection ends first
    assert [path.suffix for path in sorted(tmp_path.iterdir())] == [".jsonl", ".mp4"]


@pytest.mark.parametrize(
    ("video", "flags", "message"),
    [
        ("clip", ["--live"], "--live goes with a camera, a stream or -, not with"),
        ("clip", ["--raw_size", "8x8"], "--raw_size goes with -"),
        ("clip", ["--timeout", "0"], "--timeout must be from 0.1 to 86400 seconds, got 0"),
        ("clip", ["--reconnect", "nan"], "--reconnect must be from 0.1"),
        ("http://127.0.0.1:9/x", ["--live", "--timeout", "1"], "http://127.0.0.1:9/x: no video"),
    ],
)
def test_live_flags_that_do_not_fit(experiment, clip, tmp_path, capsys, video, flags, message):
    assert run(experiment, clip if video == "clip" else video, tmp_path / "out", *flags) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("live", [True, False])
def test_a_pipe_by_another_process(experiment, tmp_path, live):
    command = [sys.executable, PROJECT_ROOT / "tracking" / "video_demo.py", "seqtrack", experiment / "tiny.yaml", "-"]
    command += ["--init_box", BOX, "--checkpoint", experiment / "tiny.pth.tar", "--output", tmp_path / "out"]
    command += ["--device", "cpu", *(["--live"] if live else [])]
    done = subprocess.run(command, input=b"".join(jpegs(smooth(5))), capture_output=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    if live:
        assert names(tmp_path / "out") == ["stdin.jsonl", "stdin.mp4"]
    else:
        assert record(tmp_path / "out" / "stdin.json")["num_frames"] == 5
