"""Where frames come from: a video file, a folder of images, or a camera. Frames are always RGB."""

import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.data.folder import IMAGE_FOLDERS
from lib.data.layout import natural_key
from lib.utils.errors import DataError, InputError, printable
from lib.utils.image_io import IMAGE_SUFFIXES, read_image
from lib.utils.storage import is_clutter

logger = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
_GAP = 1.5  # frames at the rate of the video from one to the next, from which on some are missing in between
_EVEN = 0.95  # share of frames that are not behind a gap, from which on gaps are an exception


class FrameSource(ABC):
    """A run of frames.

    Attributes:
        name: short name, from which the names of the written files are made.
        path: the file or folder, None for a camera.
        fps: frames per second to play them at.
        num_frames: how many frames to expect, None if that is unknown; a video's own count may be wrong.
        time: when the last frame was shown or taken, in seconds; None if the source does not tell.
        dropped: of a live source, frames that were never given out; None of others.
        reconnects: how often a live source was opened again.
    """

    name: str
    path: Path | None = None
    fps: float = DEFAULT_FPS
    num_frames: int | None = None
    time: float | None = None
    dropped: int | None = None
    reconnects: int = 0

    def stop(self) -> None:  # noqa: B027 - most have nothing to end
        """End the frames soon, where they might be waited for; safe in a signal handler."""

    @abstractmethod
    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames in order, (H, W, 3) uint8 RGB; in a folder they may differ in size.

        Raises:
            InputError: if there is no frame at all.
            DataError: if an image file is damaged, a video is cut short, or a camera stops.
        """

    def __str__(self) -> str:
        return str(self.path)


class FolderSource(FrameSource):
    """The image files of a folder, or of its only folder that holds images, in the order of the numbers in their names.

    Raises:
        InputError: if no image is found, or it is unclear which ones are meant.
    """

    def __init__(self, path: Path, fps: float = DEFAULT_FPS) -> None:
        self.path = path
        self.fps = fps
        self.files = _images(path) or _images_below(path)
        absolute = path.resolve()
        self.name = (absolute.parent.name if absolute.name.lower() in IMAGE_FOLDERS else absolute.name) or "frames"
        self.num_frames = len(self.files)

    def frames(self) -> Iterator[np.ndarray]:  # noqa: D102
        return (read_image(file, self.files[0]) for file in self.files)


def _images(folder: Path) -> list[Path]:
    """The image files of a folder in order."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(file.name))
    return sorted(files, key=lambda file: natural_key(file.name))


def _images_below(path: Path) -> list[Path]:
    """The image files of the only folder in ``path`` that holds any. Raises InputError if there is none or several."""
    folders = sorted(
        child for child in path.iterdir() if not is_clutter(child.name) and child.is_dir() and _images(child)
    )
    if len(folders) > 1:
        names = ", ".join(printable(folder.name, 40) for folder in folders[:3])
        raise InputError(f"{path}: images in several folders ({names}{', ...' if folders[3:] else ''}); name one")
    if not folders:
        raise InputError(f"{path}: the folder holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})")
    return _images(folders[0])


class VideoSource(FrameSource):
    """A video file, or a camera.

    Args:
        path: the file; for a camera None.
        camera: index of the camera; ignored for a file.

    Attributes:
        has_clock: whether the video itself tells when a frame is shown.

    Raises:
        InputError: if it cannot be opened.
    """

    def __init__(self, path: Path | None = None, *, camera: int = 0) -> None:
        self.path = path
        self.name = f"camera{camera}" if path is None else path.stem
        self.has_clock = path is not None
        if path is None:
            self._open("cannot open the camera", camera)
            self.num_frames = None
        else:
            self._open("cannot read the file as a video", opencv_path(path))

    def _open(self, problem: str, *arguments: Any) -> None:
        """Open what OpenCV's arguments name, and read what it says about itself."""
        try:
            with quiet_opencv():
                self._capture = cv2.VideoCapture(*arguments)
        except (cv2.error, TypeError, OverflowError, UnicodeEncodeError) as error:  # a camera's number beyond 31 bits
            raise InputError(f"{self}: {problem}") from error
        if not self._capture.isOpened():
            raise InputError(f"{self}: {problem}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1.0 <= fps <= 1000.0 else DEFAULT_FPS  # some containers and cameras say 0 or nonsense
        self._rate = self.fps  # stays that of the file, whatever the result is played at
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def frames(self) -> Iterator[np.ndarray]:  # noqa: D102
        count, begin = 0, time.perf_counter()
        self._gaps: list[tuple[int, float]] = []
        try:
            with quiet_opencv():
                done, frame = self._capture.read()
            while done:
                count += 1
                clock = time.perf_counter() - begin
                before, self.time = self.time, clock
                if self.has_clock:
                    self.time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                    gap = (self.time - (before or 0)) * self._rate
                    if count > 1 and gap > _GAP and self.path is not None:
                        self._gaps.append((count - 2, gap - 1))
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # OpenCV decodes to BGR; the network was trained on RGB
                done, frame = self._capture.read()
        except cv2.error as error:
            raise DataError(f"{self}: frame {count} cannot be decoded") from error
        finally:
            self._capture.release()
        self._check_end(count)

    def _check_end(self, count: int) -> None:
        """Raise an error if there was no frame, or the frames ended too early."""
        if not count:
            raise InputError(f"{self}: not one frame could be read")
        if self.path is None:
            raise DataError(f"{self}: the camera stopped")
        # Containers may be off by a frame or two, and where frames are not evenly spaced the count is only estimated.
        expected = 0.98 * (self.num_frames or 0) - 1
        if count < expected and (self.time or 0) * self._rate < expected:
            announced = f"announces {self.num_frames} frames but only {count} could be decoded"
            raise DataError(f"{self}: the video is cut short: it {announced}")
        then = "those behind have other numbers than in the whole video"
        if 0 < len(self._gaps) <= (1 - _EVEN) * count:
            missing = sum(round(gap) for _, gap in self._gaps)
            where = ", ".join(str(frame) for frame, _ in self._gaps[:3]) + ", ..." * (len(self._gaps) > 3)
            logger.warning("%s: damaged, or %d frames were left out, after frame %s: %s", self, missing, where, then)
        # Sound files may count one frame too many.
        elif count < (self.num_frames or 0) - 1 and (self.time or 0) * self._rate < self.num_frames - 1 - _GAP / 2:
            missing = self.num_frames - count
            logger.warning("%s: %d of %d frames could not be decoded: %s", self, missing, self.num_frames, then)

    def __str__(self) -> str:
        return self.name if self.path is None else str(self.path)


def open_source(path: Path | str, fps: float | None = None) -> FrameSource:
    """Open what the user named.

    Args:
        path: a video file or a folder of images, or the index of a camera.
        fps: overrides the frames per second of the source.

    Raises:
        InputError: if it is missing or cannot be read.
    """
    path, text = Path(path), str(path)
    source: FrameSource
    if path.is_dir():
        source = FolderSource(path)
    elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
        raise InputError(f"{path}: one image is no video; name the folder of the images")
    elif path.is_file():
        source = VideoSource(path)
    elif text.isdecimal():
        source = VideoSource(camera=int(text))
    else:
        raise InputError(f"{path}: no such video file or folder of images")
    if fps is not None:
        source.fps = fps
    return source


def opencv_path(path: Path) -> str:
    """A path as OpenCV takes it.

    Raises:
        InputError: if it is not UTF-8; OpenCV would end the process.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{path}: OpenCV opens no file whose path is not UTF-8; rename it") from error
    return str(path)


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep the messages of OpenCV and of the FFmpeg in it off the terminal; failures are reported by our errors."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read once, when the first video is opened
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
