"""The files of a run: an annotated video, the boxes as text, and everything as JSON; all of them or none."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lib.test.video.sources import FrameSource, quiet_opencv
from lib.utils.errors import InputError
from lib.utils.files import atomic_path

# H.264 plays everywhere, but OpenCV's wheels for Linux lack it; MPEG-4 part 2 is in all of them.
CODECS = ("avc1", "mp4v")
FORMAT_NAME = "seqtrack-video-1"


@dataclass(frozen=True)
class OutputPaths:
    """Names of the three files."""

    video: Path
    boxes: Path
    record: Path

    def __iter__(self) -> Iterator[Path]:
        return iter((self.video, self.boxes, self.record))


def output_paths(folder: Path, source: FrameSource) -> OutputPaths:
    """Name the files after the source and make sure that nothing of the user's is overwritten.

    Raises:
        InputError: if a file is in the way that is the source itself or that no earlier run has written.
    """
    paths = OutputPaths(*(folder / f"{source.name}{suffix}" for suffix in (".mp4", ".txt", ".json")))
    taken = [path for path in paths if path.exists()]
    if source.path is not None and any(path.samefile(source.path) for path in taken):
        raise InputError(f"{source}: the annotated video would overwrite it; choose another --output folder")
    if taken and not _is_ours(paths.record):
        raise InputError(f"{taken[0]} exists and was not written by an earlier run; choose another --output folder")
    return paths


def _is_ours(record: Path) -> bool:
    """Whether ``record`` is the JSON of an earlier run."""
    try:
        content = json.loads(record.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("format") == FORMAT_NAME


class VideoWriter:
    """Writes RGB frames to an MP4 file.

    Attributes:
        codec: the one that worked, of ``CODECS``.

    Raises:
        InputError: if no codec works.
    """

    def __init__(self, path: Path, fps: float, width: int, height: int) -> None:
        self.path = path
        for codec in CODECS:
            with quiet_opencv():
                self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, (width, height))
            if self._writer.isOpened():
                self.codec = codec
                return
        raise InputError(f"OpenCV can write no MP4 video here (tried the codecs {', '.join(CODECS)})")

    def write(self, image: np.ndarray) -> None:
        """Append a frame, (H, W, 3) uint8 RGB."""
        self._writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))

    def release(self) -> None:
        """Let go of the file, without a look at it."""
        self._writer.release()

    def close(self) -> None:
        """Finish the file.

        Raises:
            InputError: if what was written cannot be read back (OpenCV does not report a full disk).
        """
        self.release()
        with quiet_opencv():
            capture = cv2.VideoCapture(str(self.path))
            readable = capture.isOpened() and capture.read()[0]
        capture.release()
        if not readable:
            raise InputError(f"the annotated video could not be written to {self.path.parent} (is the disk full?)")


@dataclass
class RunOutputs:
    """The files of a run while it goes on.

    Attributes:
        writer: the annotated video.
        boxes: per frame ``[x, y, w, h]`` in pixels.
        confidences: per frame 0 to 40, None where the box was given.
        header: goes to the head of the JSON; may be filled until the run ends.
    """

    writer: VideoWriter
    header: dict[str, Any]
    boxes: list[list[float]] = field(default_factory=list)
    confidences: list[float | None] = field(default_factory=list)

    def add(self, annotated: np.ndarray, box_xywh: Sequence[float], confidence: float | None) -> None:
        """Append a frame."""
        self.writer.write(annotated)
        self.boxes.append([round(float(value), 4) for value in box_xywh])
        finite = confidence is not None and math.isfinite(confidence)
        self.confidences.append(round(confidence, 4) if finite else None)

    def boxes_text(self) -> str:
        """One line per frame: x, y, w, h in pixels with two decimals, separated by tabs."""
        return "".join("\t".join(f"{value:.2f}" for value in box) + "\n" for box in self.boxes)

    def record_text(self) -> str:
        """JSON of the header and of all frames, one frame a line."""
        frames = [
            json.dumps({"frame": index, "box": box, "confidence": confidence}, allow_nan=False)
            for index, (box, confidence) in enumerate(zip(self.boxes, self.confidences, strict=True))
        ]
        head = json.dumps({"format": FORMAT_NAME, **self.header}, indent=1, allow_nan=False).removesuffix("\n}")
        return head + ',\n "frames": [\n  ' + ",\n  ".join(frames) + "\n ]\n}\n"


@contextmanager
def open_outputs(
    paths: OutputPaths, fps: float, width: int, height: int, header: dict[str, Any]
) -> Iterator[RunOutputs]:
    """Collect a run; the files appear when the block ends without an error, else none of them does."""
    with ExitStack() as stack:
        video, boxes, record = (stack.enter_context(atomic_path(path)) for path in paths)
        writer = VideoWriter(video, fps, width, height)
        outputs = RunOutputs(writer, {**header, "codec": writer.codec})
        try:
            yield outputs
        except BaseException:
            writer.release()
            raise
        writer.close()
        boxes.write_text(outputs.boxes_text(), encoding="utf-8")
        record.write_text(outputs.record_text(), encoding="utf-8")
