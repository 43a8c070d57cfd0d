"""Writing a video with the best encoder that is installed: H.264, which browsers play, or else MPEG-4 part 2."""

import contextlib
import importlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.test.video.sources import opencv_path, quiet_opencv
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

CONTAINERS = {".mp4": "mp4", ".avi": "avi", ".mkv": "matroska"}
"""Names that FFmpeg has for what a file's ending says."""
_MAX_DENOMINATOR = 10_000  # of the frame rate; MPEG-4 allows 65535


def _container(path: Path) -> tuple[str, dict[str, str], dict[str, str]]:
    """Name of the container, and the options of the encoder and of the container, for a file."""
    name = CONTAINERS.get(path.suffix.lower(), "mp4")
    order = {"bf": "0"} if name == "avi" else {}  # AVI keeps frames in the order in which they are shown
    return name, {"preset": "veryfast", "crf": "20", **order}, {"movflags": "+faststart"} if name == "mp4" else {}


class _PyAvEncoder:
    """H.264 by PyAV, the Python package ``av``; its wheels bring the encoder along."""

    codec = "h264"

    def __init__(self, path: Path, rate: Fraction, width: int, height: int) -> None:
        self._av: Any = importlib.import_module("av")
        container, options, flags = _container(path)
        try:
            self._file = self._av.open(str(path), "w", format=container, options=flags)
            self._stream = self._file.add_stream("libx264", rate=rate, options=options)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.open()
        except self._av.FFmpegError as error:
            raise OSError(f"PyAV: {error}") from error

    def _mux(self, frame: Any) -> None:
        try:
            self._file.mux(self._stream.encode(frame))
            if frame is None:
                self._file.close()
        except self._av.FFmpegError as error:
            raise OSError(f"PyAV: {error}") from error

    def write(self, image: np.ndarray) -> None:
        self._mux(self._av.VideoFrame.from_ndarray(image, format="rgb24"))

    def close(self) -> None:
        self._mux(None)


class _FfmpegEncoder:
    """H.264 by the program ``ffmpeg``, which reads frames from a pipe."""

    codec = "h264"

    def __init__(self, path: Path, rate: Fraction, width: int, height: int) -> None:
        program = _ffmpeg_with_x264()
        if program is None:
            raise OSError("no ffmpeg with libx264 on the PATH")
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}", "-framerate", str(rate))
        container, options, flags = _container(path)
        given = [argument for name, value in (options | flags).items() for argument in (f"-{name}", value)]
        target = ("-c:v", "libx264", "-pix_fmt", "yuv420p", *given, "-f", container)
        command = [program, "-loglevel", "error", "-y", *source, "-i", "pipe:0", *target, f"file:{path}"]
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process; a pipe might fill up
        # A session of its own: Ctrl-C ends the run, which then lets the encoder finish.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=self._messages, stdout=subprocess.DEVNULL, start_new_session=True
        )

    def write(self, image: np.ndarray) -> None:
        try:
            self._process.stdin.write(np.ascontiguousarray(image).data)
        except OSError as error:
            raise OSError(f"ffmpeg: {self._last_message()}") from error

    def close(self) -> None:
        with contextlib.suppress(OSError):  # of what was still to be written; the exit code tells
            self._process.stdin.close()
        if self._process.wait() != 0:
            raise OSError(f"ffmpeg: {self._last_message()}")

    def _last_message(self) -> str:
        self._process.wait()
        self._messages.seek(0)
        return self._messages.read().decode(errors="replace").strip().rpartition("\n")[2] or "ended early"


@lru_cache(maxsize=1)
def _ffmpeg_with_x264() -> str | None:
    """Path of an ``ffmpeg`` that can encode H.264, or None."""
    program = shutil.which("ffmpeg")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-hide_banner", "-encoders"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return program if b" libx264 " in done.stdout else None


class _OpenCvEncoder:
    """What OpenCV was built with: H.264 on macOS and Windows; the wheels for Linux have only MPEG-4 part 2."""

    def __init__(self, path: Path, rate: Fraction, width: int, height: int) -> None:
        for self.codec, code in (("h264", "avc1"), ("mpeg4", "mp4v")):
            with quiet_opencv():
                self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*code), float(rate), (width, height))
            if self._writer.isOpened():
                break
        else:
            raise OSError("no encoder here takes it (MPEG-4: up to 8190 pixels a side, H.264: 16384)")
        if self.codec != "h264":
            _say_that_browsers_do_not_play_it()

    def write(self, image: np.ndarray) -> None:
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        self._writer.release()


@lru_cache(maxsize=1)
def _say_that_browsers_do_not_play_it() -> None:
    """Say so once in a process."""
    logger.info("no H.264 encoder found: videos are MPEG-4 part 2, which browsers do not play (pip install av)")


class VideoWriter:
    """Writes RGB frames to a video file.

    Sides are made even, as the codecs want them, by repeating the last column and row.

    Args:
        path: the file; its ending chooses the container (``CONTAINERS``), others are MP4.
        fps: frames per second, 0.01 to 1000.
        width: of the frames in pixels.
        height: of the frames in pixels.

    Attributes:
        codec: ``h264`` or ``mpeg4``.

    Raises:
        InputError: if no encoder takes frames of this size.
    """

    ENCODERS = (_PyAvEncoder, _FfmpegEncoder, _OpenCvEncoder)
    """Each takes frames of one even size, (H, W, 3) uint8 RGB; methods may raise OSError, ValueError or cv2.error."""

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self.path = path
        self.width, self.height = width, height
        opencv_path(path)  # reads the file when it is closed
        rate = Fraction(fps).limit_denominator(_MAX_DENOMINATOR)
        for make in self.ENCODERS:
            try:
                self._encoder = make(path, rate, width + width % 2, height + height % 2)
                self.codec = self._encoder.codec
                return
            except (ImportError, OSError, ValueError) as error:
                problem = error  # the next one may do
        raise InputError(f"no video of {width}x{height} pixels can be written: {problem}") from problem

    def write(self, image: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 RGB; one of another size is scaled to fit and set in black.

        Raises:
            InputError: if the encoder fails.
        """
        with self._failures():
            image, *_ = letterbox(image, self.width, self.height)
            if self.width % 2 or self.height % 2:
                image = cv2.copyMakeBorder(image, 0, self.height % 2, 0, self.width % 2, cv2.BORDER_REPLICATE)
            self._encoder.write(image)

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, cv2.error) as error:
            raise InputError(f"the video cannot be written to {self.path.parent}: {error}") from error

    def release(self) -> None:
        """Let go of the file, whatever became of it."""
        try:
            with self._failures():
                self._encoder.close()
        except InputError as error:
            logger.debug("%s: %s", self.path, error)

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: if the encoder fails, or what was written cannot be read back (OpenCV does not report a full
                disk).
        """
        with self._failures():
            self._encoder.close()
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self.path))
            readable = capture.isOpened() and capture.read()[0]
        capture.release()
        if not readable:
            raise InputError(f"the video cannot be written to {self.path.parent} (is the disk full?)")


def letterbox(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float, tuple[int, int]]:
    """Scale an image to fit, without changing its proportions, and set it in the middle of black.

    Args:
        image: (H, W, 3) uint8.
        width: in pixels.
        height: in pixels.

    Returns:
        The image, (height, width, 3); the scale; and x and y of its corner.
    """
    if image.shape[:2] == (height, width):
        return image, 1.0, (0, 0)
    scale = min(width / image.shape[1], height / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    right, bottom = width - size[0] - left, height - size[1] - top
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT), scale, (left, top)
