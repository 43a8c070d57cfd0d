"""Streams of a real ffmpeg on this machine: RTSP, with connections that are cut, and a stream without an end."""

import contextlib
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

from lib.test.video.live import LiveSource
from lib.test.video.streams import StreamSource
from lib.test.video.targets import TargetBatch
from tests.video.servers import mjpeg_server
from tests.video.world import run

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


@pytest.fixture
def rtsp(clip, tmp_path):
    """A server whose connections last ``seconds`` each."""
    if FFMPEG is None:
        pytest.skip("ffmpeg is not installed")
    packets = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    packets.bind(("127.0.0.1", 0))
    packets.settimeout(10)
    command = [FFMPEG, "-loglevel", "error", "-re", "-stream_loop", "-1", "-i", clip, "-c:v", "mpeg4", "-g", "5"]
    port = packets.getsockname()[1]
    command += ["-sdp_file", tmp_path / "video.sdp", "-f", "rtp", f"rtp://127.0.0.1:{port}?rtcpport={port}"]
    with (
        packets,
        subprocess.Popen(command, stdout=subprocess.DEVNULL) as sender,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), RtspHandler) as server,
    ):
        server.daemon_threads, server.packets, server.connections, server.seconds = True, packets, 0, 30.0
        packets.recv(65536)  # the description is there now
        server.description = description(tmp_path / "video.sdp")
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.seconds = 0
        server.shutdown()
        sender.kill()


def description(path: Path) -> str:
    lines = [line for line in path.read_text().splitlines() if line[:2] in ("v=", "o=", "s=", "t=", "m=", "a=")]
    return "".join(f"{line}\r\n" for line in [*lines, "a=control:video"])


@pytest.mark.slow
def test_rtsp_with_connections_that_are_cut(rtsp):
    address = f"rtsp://127.0.0.1:{rtsp.server_address[1]}/clip"
    rtsp.seconds = 2.0

    def connect():
        return StreamSource(address, timeout=8)

    source, shapes = LiveSource(connect(), connect, timeout=20), set()
    for frame in source.frames():
        shapes.add(frame.shape)
        if source.reconnects and len(shapes) and rtsp.connections >= 2:
            break
    assert shapes == {(120, 160, 3)}
    assert source.reconnects >= 1


def resident_bytes() -> int:
    """Memory of this process, where /proc tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.endurance
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the system does not tell memory by /proc")
def test_a_minute_of_a_stream_takes_no_more_memory_and_comes_no_later(experiment, tmp_path, monkeypatch):
    track, sizes, delays = TargetBatch.track, [], []
    images = [np.full((120, 160, 3), 10 * number, np.uint8) for number in range(25)]  # the shade tells which it is
    timer = threading.Timer(60, os.kill, (os.getpid(), signal.SIGINT))
    with mjpeg_server(images) as server:

        def measured(self, image):
            delays.append(time.monotonic() - server.sent[round(float(image.mean()) / 10)])
            sizes.append(resident_bytes())
            time.sleep(0.03)  # too slow for the stream
            return track(self, image)

        monkeypatch.setattr(TargetBatch, "track", measured)
        timer.start()
        assert run(experiment, server.address, tmp_path, "--live") == 0
    third = len(sizes) // 3
    print(f"{len(sizes)} frames; MiB {min(sizes) >> 20} to {max(sizes) >> 20}; delay {median(delays):.3f} s")
    assert third > 200
    assert max(sizes[2 * third :]) - max(sizes[third : 2 * third]) < 4 << 20
    assert median(delays[2 * third :]) < median(delays[:third]) + 0.05
    (lines,) = tmp_path.glob("*.jsonl")
    assert json.loads(lines.read_text().splitlines()[-1])["dropped"] > 100
