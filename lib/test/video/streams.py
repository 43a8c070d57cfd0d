"""Frames of a video behind an address, such as ``http://host/clip.mp4`` or ``rtsp://host/camera``."""

import re
from collections.abc import Iterator

import cv2
import numpy as np

from lib.test.video.sources import DEFAULT_FPS, FrameSource, open_source, quiet_opencv
from lib.utils.errors import DataError, InputError
from lib.utils.text import printable

TIMEOUT_SECONDS = 10.0


def open_video(text: str) -> FrameSource:
    """Open a video file, a folder of images, the index of a camera, or the address of a stream.

    Raises:
        InputError: if it is missing or cannot be read.
    """
    return StreamSource(text) if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text) else open_source(text)


class StreamSource(FrameSource):
    """A video that a server sends.

    Args:
        address: ``http://``, ``https://``, ``rtsp://``, ``rtmp://``, ``udp://`` or what else FFmpeg understands.
        timeout: seconds to wait for the connection, and for each frame.

    Raises:
        InputError: if nothing answers in time, or it is no video.
    """

    def __init__(self, address: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.name = "stream"
        self._shown = printable(re.sub(r"//[^/@]*@", "//", address), 300)  # without a user's password
        waits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        limits = [number for wait in waits for number in (wait, int(1000 * timeout))]
        try:
            with quiet_opencv():
                self._capture = cv2.VideoCapture(address, cv2.CAP_FFMPEG, limits)
        except (cv2.error, UnicodeEncodeError) as error:
            raise InputError(f"{self}: cannot be opened") from error
        if not self._capture.isOpened():
            raise InputError(f"{self}: no video: nothing answers within {timeout:g} s, or it is none")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1.0 <= fps <= 1000.0 else DEFAULT_FPS
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None  # a camera has none

    def _frames(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            with quiet_opencv():
                done, frame = self._capture.read()
            while done:
                count += 1
                self.time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                done, frame = self._capture.read()
        except cv2.error as error:
            raise DataError(f"{self}: frame {count} cannot be decoded") from error
        finally:
            self._capture.release()
        if count and (self.num_frames is None or count < 0.98 * self.num_frames - 1):
            expected = "" if self.num_frames is None else f" of {self.num_frames}"
            raise DataError(f"{self}: the stream ended after {count}{expected} frames")

    def __str__(self) -> str:
        return self._shown
