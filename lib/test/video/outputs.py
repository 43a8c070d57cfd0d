"""The files of a run: an annotated video, the boxes as text, and everything as JSON; written also if the run fails."""

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.test.video.encoders import VideoWriter
from lib.test.video.sources import FrameSource
from lib.utils.errors import InputError
from lib.utils.files import folder_lock, write_text_atomic

logger = logging.getLogger(__name__)

FORMAT_NAME = "seqtrack-video-1"


@dataclass(frozen=True)
class OutputPaths:
    """Names of the files of a run.

    Attributes:
        folder: where they are.
        name: of the source; the files are ``<name>.mp4``, ``<name>.txt`` and ``<name>.json``.
    """

    folder: Path
    name: str

    @property
    def video(self) -> Path:
        """The annotated video."""
        return self.folder / f"{self.name}.mp4"

    @property
    def boxes(self) -> Path:
        """One box per line."""
        return self.folder / f"{self.name}.txt"

    @property
    def record(self) -> Path:
        """Settings, boxes, confidences, times."""
        return self.folder / f"{self.name}.json"

    @property
    def partial(self) -> Path:
        """The video while it is written; the next run of this source removes what a killed one has left."""
        return self.folder / f".{self.name}.partial.mp4"


def output_paths(folder: Path, source: FrameSource) -> OutputPaths:
    """Name the files after the source and make sure that nothing of the user's is overwritten.

    Raises:
        InputError: if a file is in the way that is the source itself, or that no earlier run of the source has written.
    """
    paths = OutputPaths(folder, source.name)
    taken = [path for path in (paths.video, paths.boxes, paths.record, paths.partial) if path.exists()]
    if source.path is not None and any(path.samefile(source.path) for path in taken):
        raise InputError(f"{source}: the annotated video would overwrite it; choose another --output folder")
    earlier = _read_record(paths.record)
    if source.path is not None and _is_another(earlier.get("source"), source.path):
        raise InputError(f"{paths.record} is of {earlier['source']}, not of {source}; choose another --output folder")
    ours = {paths.boxes, paths.record} if earlier else set()
    if earlier.get("codec"):  # a run without a video leaves this name to the user
        ours.add(paths.video)
    foreign = [path for path in taken if path not in (*ours, paths.partial)]
    if foreign:
        raise InputError(f"{foreign[0]} exists and was not written by an earlier run; choose another --output folder")
    return paths


def _is_another(earlier: object, path: Path) -> bool:
    """Whether an earlier run was of another file than ``path``, one that still exists."""
    try:
        return isinstance(earlier, str) and Path(earlier).exists() and not path.samefile(earlier)
    except (OSError, ValueError):
        return False


def _read_record(path: Path) -> dict[str, Any]:
    """The JSON of an earlier run; empty if ``path`` is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT_NAME else {}


def reserve_outputs(paths: OutputPaths) -> AbstractContextManager[None]:
    """The lock of the one run that may write these files; entering it makes the folder.

    Raises:
        FolderInUseError: if another process writes them.
        OSError: if the folder cannot be made or written to.
    """
    return folder_lock(paths.folder, f"tracking {paths.name}")


@dataclass
class RunOutputs:
    """The files of a run while it goes on.

    Attributes:
        paths: where they go.
        header: goes to the head of the JSON; may be filled until the run ends.
        writer: the annotated video; None if there is none, or no longer.
        problem: why the video could not be written.
        boxes: per frame ``[x, y, w, h]`` in pixels of that frame.
        frames: per frame what the JSON says of it.
    """

    paths: OutputPaths
    header: dict[str, Any]
    writer: VideoWriter | None = None
    problem: InputError | None = None
    boxes: list[list[float]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    def open_video(self, fps: float, width: int, height: int) -> None:
        """Begin the annotated video."""
        try:
            self.writer = VideoWriter(self.paths.partial, fps, width, height)
        except InputError as error:
            self._drop_video(error)

    def _drop_video(self, error: InputError) -> None:
        """Go on without the video; its space is free for the boxes."""
        self.problem = error
        logger.warning("%s; tracking goes on without it", error)
        if self.writer is not None:
            self.writer.release()
            self.writer = None
        self.paths.partial.unlink(missing_ok=True)

    def add(self, annotated: np.ndarray, box_xywh: Sequence[float], confidence: float | None, **facts: Any) -> None:
        """Append a frame; ``facts`` that are not None go to its entry in the JSON."""
        self.boxes.append([round(float(value), 4) for value in box_xywh])
        finite = confidence is not None and math.isfinite(confidence)
        entry = {"frame": len(self.frames)} | {key: value for key, value in facts.items() if value is not None}
        self.frames.append(entry | {"box": self.boxes[-1], "confidence": round(confidence, 4) if finite else None})
        if self.writer is not None:
            try:
                self.writer.write(annotated)
            except InputError as error:
                self._drop_video(error)

    def boxes_text(self) -> str:
        """One line per frame: x, y, w, h in pixels with two decimals, separated by tabs."""
        return "".join("\t".join(f"{value:.2f}" for value in box) + "\n" for box in self.boxes)

    def record_text(self) -> str:
        """JSON of the header and of all frames, one frame a line."""
        codec = None if self.writer is None else self.writer.codec
        header = {"format": FORMAT_NAME, **self.header, "codec": codec, "num_frames": len(self.frames)}
        head = json.dumps(header, indent=1, allow_nan=False).removesuffix("\n}")
        frames = ",\n  ".join(json.dumps(frame, allow_nan=False) for frame in self.frames)
        return head + ',\n "frames": [\n  ' + frames + "\n ]\n}\n"

    def save(self) -> None:
        """Write the files, the text first. If the disk has no room for all, the video goes."""
        try:
            self._save_text()
        except OSError as error:
            if self.writer is None:
                raise
            self._drop_video(InputError(f"{self.paths.folder}: {error.strerror}"))
            self._save_text()
        if self.writer is not None:
            try:
                self.writer.close()
            except InputError as error:
                self._drop_video(error)
                self._save_text()
        if self.writer is not None:
            self.paths.partial.replace(self.paths.video)
        else:
            self.paths.video.unlink(missing_ok=True)  # of an earlier run, with other boxes

    def _save_text(self) -> None:
        write_text_atomic(self.paths.boxes, self.boxes_text())
        write_text_atomic(self.paths.record, self.record_text())


@contextmanager
def open_outputs(outputs: RunOutputs) -> Iterator[None]:
    """Collect a run. However the block ends, the frames up to then are written; if there are none, nothing is."""
    partial = outputs.paths.partial
    with reserve_outputs(outputs.paths):
        partial.unlink(missing_ok=True)
        try:
            yield
        finally:
            try:
                if outputs.frames:
                    outputs.save()
                elif outputs.writer is not None:
                    outputs.writer.release()
            finally:
                partial.unlink(missing_ok=True)
