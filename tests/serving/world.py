"""The annotation service in a thread of the tests, a client for it, and what is sent."""

import base64
import contextlib
import http.client
import json
import struct
import threading
import time
import zlib

import numpy as np

from lib.test.serving.app import Server, Service
from lib.test.serving.limits import Limits
from lib.test.serving.worker import Worker
from lib.test.tracker.engine import TrackState
from lib.test.tracker.lost import Sighting, Target
from lib.utils.image_io import encode_image
from tests.processes import wait_for
from tracking.serve_annotation import listen

FRAMES = 6
"""Frames of the clip."""
BOX = [8, 8, 16, 16]


TOKEN = "a token for tests"


class Client:
    """Sends requests; each has a connection of its own."""

    def __init__(self, port: int, service: Service) -> None:
        self.port, self.service = port, service

    def send(self, method, path, body=None, **headers) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        headers = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): headers[name] for name in headers}
        connection.request(method, path, data, headers)
        return connection

    def ask(self, method, path, body=None, **headers):
        """``(status, JSON, headers)`` of the answer."""
        with contextlib.closing(self.send(method, path, body, **headers)) as connection:
            return read(connection)

    def post(self, path, body):
        """The JSON of an answer that is no error."""
        status, answer, _ = self.ask("POST", path, body)
        assert status == 200, answer
        return answer

    def refused(self, path, body, status=400, **headers):
        """The line of an error."""
        got, answer, _ = self.ask("POST", path, body, **headers)
        assert got == status and list(answer) == ["error"] and "\n" not in answer["error"], (got, answer)
        return answer["error"]


def read(connection):
    response = connection.getresponse()
    return response.status, json.loads(response.read()), response.headers


@contextlib.contextmanager
def serving(follower, *roots, **limits):
    """A client of a service that tracks with ``follower``."""
    with listen("127.0.0.1", 0) as place:
        port = place.getsockname()[1]
        worker = Worker(follower)
        service = Service(worker, TOKEN, "tests", roots, Limits(**limits))
        server = Server(service)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
        thread.start()
        try:
            wait_for(lambda: server.started, seconds=20)
            yield Client(port, service)
        finally:
            worker.stop()
            server.should_exit = True
            thread.join(20)
            worker.join(20)
            assert not thread.is_alive()


class Standing:
    """A tracker for which nothing moves; it waits before each step until it may go on.

    Attributes:
        seen: is called with the images of each step.
        fails: raised by each step, if not None.
    """

    def __init__(self, goes=True) -> None:
        self.may_go, self.steps, self.fails = threading.Event(), 0, None
        self.seen = lambda images: None
        if goes:
            self.may_go.set()

    def start(self, image, box):
        return Target(TrackState(list(box), None), None, list(box), tuple(box[2:]))

    def step(self, targets, images):
        if targets:
            self.steps += 1
            self.seen(images)
            self.may_go.wait(20)
            if self.fails is not None:
                raise self.fails
        else:
            time.sleep(0.001)
        return [Sighting(target.state.box_xywh, 0.9, 36.0, target.status) for target in targets]


def image_file(height=48, width=64, value=90):
    """A PNG as bytes."""
    return encode_image(np.full((height, width, 3), value, np.uint8), ".png")


def png_header(width, height):
    """A PNG that says how large it is, and has no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(4) + b"IDAT"
    )


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def track_request(clip, **changes):
    frames = [text(encode_image(frame, ".png")) for frame in clip.frames]
    return {"frames": frames, "boxes": [clip.boxes[0].tolist()]} | changes
