"""Where frames come from: a video file, a folder of images, or a camera. Frames are always RGB."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import InputError
from lib.utils.image_io import IMAGE_SUFFIXES, read_image
from lib.utils.storage import is_clutter
from lib.utils.video_folder import IMAGE_FOLDERS, natural_key

logger = logging.getLogger(__name__)

DEFAULT_FPS = 30.0


class FrameSource(ABC):
    """A run of frames of one size.

    Attributes:
        name: short name, from which the names of the written files are made.
        path: the file or folder, None for a camera.
        fps: frames per second to play them at.
        num_frames: how many frames to expect, None if that is unknown; a video's own count may be wrong.
    """

    name: str
    path: Path | None = None
    fps: float = DEFAULT_FPS
    num_frames: int | None = None

    def frames(self) -> Iterator[np.ndarray]:
        """Yield the frames in order, (H, W, 3) uint8 RGB.

        Raises:
            InputError: if there is no frame at all, or a frame has another size than the first.
            DataError: if an image file is damaged.
        """
        shape = None
        for index, frame in enumerate(self._frames()):
            shape = shape or frame.shape
            if frame.shape != shape:
                sizes = f"{frame.shape[1]}x{frame.shape[0]} pixels, the first one {shape[1]}x{shape[0]}"
                raise InputError(f"{self}: frame {index} has {sizes}")
            yield frame
        if shape is None:
            raise InputError(f"{self}: not one frame could be read")

    @abstractmethod
    def _frames(self) -> Iterator[np.ndarray]:
        """Yield the frames, unchecked."""

    def __str__(self) -> str:
        return str(self.path)


class FolderSource(FrameSource):
    """The image files of a folder, in the order of the numbers in their names.

    Raises:
        InputError: if the folder holds no image.
    """

    def __init__(self, path: Path, fps: float = DEFAULT_FPS) -> None:
        self.path = path
        self.fps = fps
        absolute = path.resolve()
        self.name = absolute.parent.name if absolute.name.lower() in IMAGE_FOLDERS else absolute.name
        self.files = sorted(
            (file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(file.name)),
            key=lambda file: natural_key(file.name),
        )
        self.num_frames = len(self.files)
        if not self.files:
            raise InputError(f"{path}: the folder holds no image ({' '.join(sorted(IMAGE_SUFFIXES))})")

    def _frames(self) -> Iterator[np.ndarray]:
        return (read_image(file, self.files[0]) for file in self.files)


class VideoSource(FrameSource):
    """A video file, or a camera.

    Args:
        path: the file; for a camera None.
        camera: index of the camera; ignored for a file.

    Raises:
        InputError: if it cannot be opened.
    """

    def __init__(self, path: Path | None = None, *, camera: int = 0) -> None:
        self.path = path
        self.name = f"camera{camera}" if path is None else path.stem
        with quiet_opencv():
            self._capture = cv2.VideoCapture(camera if path is None else str(path))
        if not self._capture.isOpened():
            problem = "cannot open the camera" if path is None else "cannot read the file as a video"
            raise InputError(f"{self}: {problem}")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if 1.0 <= fps <= 1000.0 else DEFAULT_FPS  # some containers and cameras say 0 or nonsense
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if path is not None and count > 0 else None

    def _frames(self) -> Iterator[np.ndarray]:
        count = 0
        try:
            with quiet_opencv():
                done, frame = self._capture.read()
            while done:
                count += 1
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)  # OpenCV decodes to BGR; the network was trained on RGB
                done, frame = self._capture.read()
        finally:
            self._capture.release()
        if 0 < count < 0.98 * (self.num_frames or 0) - 1:  # a count that is off by one or two is normal in containers
            logger.warning("%s: announces %d frames but only %d could be decoded", self, self.num_frames, count)

    def __str__(self) -> str:
        return self.name if self.path is None else str(self.path)


def open_source(text: str, fps: float | None = None) -> FrameSource:
    """Open what the user named.

    Args:
        text: path of a video file or of a folder of images, or the index of a camera.
        fps: overrides the frames per second of the source.

    Raises:
        InputError: if it is missing or cannot be read.
    """
    path = Path(text).expanduser()
    source: FrameSource
    if path.is_dir():
        source = FolderSource(path)
    elif path.is_file():
        source = VideoSource(path)
    elif text.isdecimal():
        source = VideoSource(camera=int(text))
    else:
        raise InputError(f"{text}: no such video file or folder of images")
    if fps is not None:
        source.fps = fps
    return source


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's own chatter off the terminal; failures are reported by our errors."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
