"""Videos that a server sends."""

import time

import cv2
import numpy as np
import pytest

from lib.test.video.streams import StreamSource, open_video
from lib.utils.errors import DataError, InputError
from tests.tracker import fakes
from tests.video.servers import mjpeg_server


def test_frames_of_a_server_until_it_cuts_the_connection():
    images = [cv2.blur(image, (9, 9)) for image in fakes.frames(4)]  # noise would not survive as a JPEG
    with mjpeg_server(images) as server:
        server.cut_after = 8
        source = open_video(server.address, timeout=5)
        frames = []
        with pytest.raises(DataError, match=r"camera\.mjpg: the stream ended after \d+ frames"):
            frames.extend(source.frames())
    assert 6 <= len(frames) <= 8
    nearest = [min(np.abs(frame.astype(int) - image).mean() for image in images) for frame in frames]
    assert max(nearest) < 12


def test_a_server_that_never_answers():
    with mjpeg_server(fakes.frames(1)) as server:
        server.served = 0
        begin = time.perf_counter()
        with pytest.raises(InputError, match=r"nothing answers within 0\.5 s"):
            StreamSource(server.address, timeout=0.5)
        assert time.perf_counter() - begin < 5


def test_an_address_is_shown_without_its_password():
    with pytest.raises(InputError, match=r"^http://127\.0\.0\.1:9/x: no video"):
        open_video("http://user:secret@127.0.0.1:9/x", timeout=1)
