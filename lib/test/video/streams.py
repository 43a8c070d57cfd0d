"""Frames of a video behind an address, such as ``http://host/clip.mp4`` or ``rtsp://host/camera``, or from a pipe."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from lib.test.video.sources import FrameSource, VideoSource, open_source
from lib.utils.errors import DataError, InputError, printable

TIMEOUT_SECONDS = 10.0
STDIN = "-"
_START_OF_SCAN = 0xDA
_BARE_MARKERS = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a length
_MAX_JPEG_BYTES = 1 << 28
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_address(text: str) -> bool:
    """Whether a text is the address of a stream, not a path."""
    return _ADDRESS.match(text) is not None


def open_video(
    text: str,
    fps: float | None = None,
    timeout: float = TIMEOUT_SECONDS,
    raw_size: tuple[int, int] | None = None,
) -> FrameSource:
    """Open a video file, a folder of images, the index of a camera, the address of a stream, or standard input (``-``).

    Args:
        text: what the user named.
        fps: overrides the frames per second of the source.
        timeout: seconds to wait for a stream's connection, and for each of its frames.
        raw_size: (width, height) of raw frames on standard input; None for JPEG files.

    Raises:
        InputError: if it is missing or cannot be read.
    """
    source: FrameSource
    if text == STDIN:
        # Without a buffer: a thread that waits for one keeps the interpreter from ending.
        source = PipeSource(open(0, "rb", buffering=0, closefd=False), raw_size)  # noqa: SIM115
    elif is_address(text):
        source = StreamSource(text, timeout)
    else:
        return open_source(Path(text), fps)
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
        place = re.sub(r"//[^/@]*@", "//", address).partition("://")[2].partition("?")[0]
        self.name = re.sub(r"[^A-Za-z0-9.-]+", "_", place).strip("_.")[:80] or "stream"
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


class PipeSource(FrameSource):
    """Frames that another program writes to a pipe: JPEG files one after the other (MJPEG), or raw RGB values.

    Args:
        file: the end of the pipe to read, unbuffered: it gives what is there already.
        raw_size: (width, height) of raw frames, three bytes for a pixel; None for JPEG files.
    """

    def __init__(self, file: BinaryIO, raw_size: tuple[int, int] | None = None) -> None:
        self.name = "stdin"
        self._file = file
        self._raw_size = raw_size

    def frames(self) -> Iterator[np.ndarray]:  # noqa: D102
        count, begin = 0, time.perf_counter()
        for image in self._jpegs() if self._raw_size is None else self._raw(*self._raw_size):
            self.time = time.perf_counter() - begin
            count += 1
            yield image
        if not count:
            raise InputError(f"{self}: not one frame could be read")

    def _raw(self, width: int, height: int) -> Iterator[np.ndarray]:
        size, count = 3 * width * height, 0
        while data := self._read(size):
            if len(data) < size:
                raise DataError(f"{self}: frame {count} has {len(data)} bytes, expected {size} ({width}x{height} RGB)")
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
            count += 1

    def _read(self, size: int) -> bytes:
        """Read so many bytes, fewer at the end."""
        data = bytearray()
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        return bytes(data)

    def _jpegs(self) -> Iterator[np.ndarray]:
        reader, count = _JpegReader(self._file), 0
        while data := reader.next():
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            if image is None:
                raise DataError(f"{self}: frame {count} is no JPEG that can be decoded")
            yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
            count += 1

    def __str__(self) -> str:
        return "standard input"


class _JpegReader:
    """Cuts a stream into JPEG files, each as soon as its last byte is there."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = bytearray()

    def _fill(self, size: int) -> bool:
        """Read until there are ``size`` bytes; False if the stream ends before."""
        while len(self._data) < size:
            if not (more := self._file.read(1 << 16)):
                return False
            if len(self._data) > _MAX_JPEG_BYTES:
                raise DataError("standard input: no end of a JPEG within 256 MiB")
            self._data += more
        return True

    def next(self) -> bytes:
        """The next file; empty at the end of the stream. What is between files (boundaries, headers) is left out."""
        while (start := self._data.find(b"\xff\xd8\xff")) < 0:
            del self._data[:-2]
            if not self._fill(len(self._data) + 1):
                return b""
        del self._data[:start]
        position = 2
        while self._fill(position + 4):  # segments by their lengths: a thumbnail in one is a JPEG too
            marker = self._data[position + 1]
            if self._data[position] != 0xFF or marker == _START_OF_SCAN:
                break
            if marker == 0xFF or marker in _BARE_MARKERS:
                position += 1 if marker == 0xFF else 2
            else:
                position += 2 + int.from_bytes(self._data[position + 2 : position + 4], "big")
        while (end := self._data.find(b"\xff\xd9", position)) < 0:
            position = max(position, len(self._data) - 1)
            if not self._fill(len(self._data) + 1):
                return b""  # the rest of a file that was cut off
        data = bytes(self._data[: end + 2])
        del self._data[: end + 2]
        return data
