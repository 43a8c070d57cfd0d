"""Servers on this machine that send videos, and cut their connections."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np


def jpegs(images: Sequence[np.ndarray]) -> list[bytes]:
    """RGB images as JPEG files."""
    return [cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for image in images]


class MjpegServer(ThreadingHTTPServer):
    """Sends images over and over as ``multipart/x-mixed-replace``, as network cameras do.

    Attributes:
        connections: how many there were.
        cut_after: frames after which each further connection ends; None sends on.
        sent: when each of the images was sent last, by ``time.monotonic``.
        served: how many connections are; further ones are taken, and nothing is sent.
    """

    daemon_threads = True

    def __init__(self, files: Sequence[bytes], interval: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.interval = files, interval
        self.connections, self.cut_after, self.served = 0, None, 10**9
        self.sent: dict[int, float] = {}
        self.closing = threading.Event()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/camera.mjpg"

    def handle_error(self, request, client_address):  # a client that has gone is no news
        pass


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.connections += 1
        if server.connections > server.served:
            server.closing.wait(30)
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        count = 0
        while not server.closing.is_set() and (server.cut_after is None or count < server.cut_after):
            data = server.files[count % len(server.files)]
            self.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data))
            self.wfile.write(data + b"\r\n")
            server.sent[count % len(server.files)] = time.monotonic()
            count += 1
            time.sleep(server.interval)

    def log_message(self, *args):
        pass


@contextmanager
def mjpeg_server(images: Sequence[np.ndarray], interval: float = 0.02) -> Iterator[MjpegServer]:
    """A server that runs as long as the block."""
    with MjpegServer(jpegs(images), interval) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
