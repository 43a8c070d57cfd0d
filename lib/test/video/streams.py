"""Frames of a video behind an address, such as ``http://host/clip.mp4`` or ``rtsp://host/camera``."""

import re
from pathlib import Path

import cv2

from lib.test.video.sources import FrameSource, VideoSource, open_source
from lib.utils.errors import DataError, InputError, printable

TIMEOUT_SECONDS = 10.0
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(text: str) -> bool:
    """Whether a text is the address of a stream, not a path."""
    return _ADDRESS.match(text) is not None


def open_video(text: str, fps: float | None = None, timeout: float = TIMEOUT_SECONDS) -> FrameSource:
    """Open a video file, a folder of images, the index of a camera, or the address of a stream.

    Args:
        text: what the user named.
        fps: overrides the frames per second of the source.
        timeout: seconds to wait for a stream's connection, and for each of its frames.

    Raises:
        InputError: if it is missing or cannot be read.
    """
    if not is_address(text):
        return open_source(Path(text), fps)
    source = StreamSource(text, timeout)
    source.fps = fps or source.fps
    return source


class StreamSource(VideoSource):
    """A video that a server sends.

    Args:
        address: ``http://``, ``https://``, ``rtsp://``, ``rtmp://``, ``udp://`` or what else FFmpeg understands.
        timeout: seconds to wait for the connection, and for each frame.

    Raises:
        InputError: if nothing answers in time, or it is no video.
    """

    has_clock = True

    def __init__(self, address: str, timeout: float = TIMEOUT_SECONDS) -> None:
        self.name = "stream"
        self._shown = printable(re.sub(r"//[^/@]*@", "//", address), 300)  # without a user's password
        waits = (cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, cv2.CAP_PROP_READ_TIMEOUT_MSEC)
        limits = [number for wait in waits for number in (wait, int(1000 * timeout))]
        problem = f"no video: nothing answers within {timeout:g} s, or it is none"
        self._open(problem, address, cv2.CAP_FFMPEG, limits)

    def _check_end(self, count: int) -> None:
        if not count:
            raise InputError(f"{self}: not one frame could be read")
        if self.num_frames is None or count < 0.98 * self.num_frames - 1:
            expected = "" if self.num_frames is None else f" of {self.num_frames}"
            raise DataError(f"{self}: the stream ended after {count}{expected} frames")

    def __str__(self) -> str:
        return self._shown
