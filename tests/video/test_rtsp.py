"""Streams of a real ffmpeg on this machine: RTSP, with connections that are cut, and a stream without an end."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np
import pytest

import tracking.video_demo as script
from lib.synthetic import SyntheticSequence
from lib.test.video.live import LiveSource
from lib.test.video.streams import StreamSource
from lib.test.video.targets import TargetBatch
from lib.utils.cli import run_script

FFMPEG = shutil.which("ffmpeg")


class RtspHandler(socketserver.StreamRequestHandler):
    """Enough of RTSP (RFC 2326) for one video over TCP: the packets are those that ffmpeg sends."""

    def handle(self):
        self.server.connections += 1
        with contextlib.suppress(OSError):
            while lines := self._request():
                method = lines[0].split()[0]
                number = next(line.split(":")[1].strip() for line in lines if line.lower().startswith("cseq:"))
                self._answer(method, number)
                if method == "PLAY":
                    self._play()
                    return

    def _request(self):
        lines = []
        while line := self.rfile.readline().decode().strip():
            lines.append(line)
        return lines

    def _answer(self, method, number):
        head, body = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\n", ""
        if method == "OPTIONS":
            head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n"
        elif method == "DESCRIBE":
            body = self.server.description
            head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        else:
            head += "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        self.wfile.write(f"{head}\r\n{body}".encode())

    def _play(self):
        end = time.monotonic() + self.server.seconds
        while time.monotonic() < end:
            packet = self.server.packets.recv(65536)
            self.wfile.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)


@contextlib.contextmanager
def rtsp_server(folder, source, **options):
    """A server of what an ffmpeg with these arguments for its input sends; ``options`` are those of ``Popen``."""
    if FFMPEG is None:
        pytest.skip("ffmpeg is not installed")
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    packets.bind(("127.0.0.1", 0))
    packets.settimeout(10)
    command = [FFMPEG, "-loglevel", "error", *source, "-c:v", "mpeg4", "-g", "5", "-q:v", "3"]
    port = packets.getsockname()[1]
    command += ["-sdp_file", folder / "video.sdp", "-f", "rtp", f"rtp://127.0.0.1:{port}?rtcpport={port}"]
    with (
        packets,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, **options) as sender,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), RtspHandler) as server,
    ):
        server.daemon_threads, server.packets, server.connections, server.seconds = True, packets, 0, 1e9
        server.sender, server.address = sender, f"rtsp://127.0.0.1:{server.server_address[1]}/clip"
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.seconds = 0
        server.shutdown()
        sender.kill()


def description(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if line[:2] in ("v=", "o=", "s=", "t=", "m=", "a=")]
    return "".join(f"{line}\r\n" for line in [*lines, "a=control:video"])


@pytest.mark.slow
def test_rtsp_with_connections_that_are_cut(clip, tmp_path):
    with rtsp_server(tmp_path, ["-re", "-stream_loop", "-1", "-i", clip]) as server:
        server.packets.recv(65536)  # the description is there now
        server.description, server.seconds = description(tmp_path / "video.sdp"), 2.0

        def connect():
            return StreamSource(server.address, timeout=8)

        source, shapes = LiveSource(connect(), connect, timeout=20), set()
        for frame in source.frames():
            shapes.add(frame.shape)
            if source.reconnects and len(shapes) and server.connections >= 2:
                break
    assert shapes == {(120, 160, 3)}
    assert source.reconnects >= 1


def resident_bytes() -> int:
    """Memory of this process, where /proc tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


CLIP_FRAMES, RATE, STAMP_BITS, TICK = 50, 25, 16, 0.005  # ticks in seconds: the stamp comes again after 327 s


def stamped(image, moment):
    """An image with a moment, in seconds, as black and white blocks in its lowest rows."""
    bits = (int(moment / TICK) >> np.arange(STAMP_BITS)) & 1
    image = image.copy()
    image[-16:] = np.repeat(255 * bits, image.shape[1] // STAMP_BITS)[None, :, None]
    return image


def age(image, now):
    """Seconds since the moment that is in an image."""
    blocks = image[-8:].mean(axis=(0, 2)).reshape(STAMP_BITS, -1).mean(axis=1) > 127
    return ((int(now / TICK) - int((blocks << np.arange(STAMP_BITS)).sum())) % (1 << STAMP_BITS)) * TICK


def feed(pipe, images):
    """Send a loop of images, forward and backward, with the time in them, as a camera does, until nobody reads."""
    begin = time.monotonic()
    with contextlib.suppress(OSError, ValueError):  # a broken pipe, or one that is closed
        for count in itertools.count():
            time.sleep(max(0.0, begin + count / RATE - time.monotonic()))
            place = count % (2 * CLIP_FRAMES - 2)
            pipe.write(stamped(images[min(place, 2 * CLIP_FRAMES - 2 - place)], time.monotonic()).tobytes())


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the system does not tell memory by /proc")
def test_a_stream_without_an_end_takes_no_more_memory_and_comes_no_later(tmp_path, monkeypatch):
    """The bundled tracker for a minute, or ``STREAM_SECONDS``; docs/video.md has what came of ten minutes."""
    seconds = float(os.environ.get("STREAM_SECONDS", "60"))
    video = SyntheticSequence(3, num_frames=CLIP_FRAMES, size=(320, 240), difficulty="easy")
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "320x240", "-framerate", str(RATE), "-i", "-"]
    track, moments, sizes, ages, delays = TargetBatch.track, [], [], [], []

    def measured(self, image):
        ages.append(age(image, time.monotonic()))
        answer = track(self, image)
        moments.append(time.monotonic())
        delays.append(age(image, moments[-1]))
        sizes.append(resident_bytes())
        return answer

    monkeypatch.setattr(TargetBatch, "track", measured)
    with rtsp_server(tmp_path, source, stdin=subprocess.PIPE) as server:
        images = [video.frame(index) for index in range(CLIP_FRAMES)]
        threading.Thread(target=feed, args=(server.sender.stdin, images), daemon=True).start()
        server.packets.recv(65536)  # the description is there now
        server.description = description(tmp_path / "video.sdp")
        timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
        monkeypatch.setattr(TargetBatch, "add", and_start(timer, TargetBatch.add))
        box = ",".join(map(str, video.boxes_xywh[0]))
        command = ["seqtrack", "seqtrack_demo", server.address, f"--init_box={box}", "--live", "--device", "cpu"]
        assert run_script(lambda: script.main([*command, "--output", str(tmp_path / "out"), "--timeout", "60"])) == 0
    (lines,) = (tmp_path / "out").glob("*.jsonl")
    dropped = [json.loads(line)["dropped"] for line in lines.read_text().splitlines()[2:]]
    for share in (0.1, 0.5, 1.0):
        end = int(np.searchsorted(moments, moments[0] + share * (moments[-1] - moments[0]), "right"))
        window = slice(max(0, end - len(moments) // 20), end)
        print(
            f"after {moments[end - 1] - moments[0]:.0f} s: {end} frames tracked, {dropped[end - 1]} dropped, "
            f"{max(sizes[window]) / (1 << 20):.0f} MiB, frames {median(ages[window]):.2f} s old when the tracker "
            f"gets them, {median(delays[window]):.2f} s when it is done"
        )
    third = len(sizes) // 3
    assert third > 20
    assert max(sizes[2 * third :]) - max(sizes[third : 2 * third]) < 8 << 20
    assert median(ages[2 * third :]) < 2 * median(ages[:third]) + 0.5  # frames that wait would be tens of seconds old


def and_start(timer, add):
    """``TargetBatch.add`` that starts a timer."""
    return lambda self, *args: timer.start() or add(self, *args)
