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
        name: of the source; the files are called after it.
        video: the annotated video.
        boxes: one box per line.
        record: settings, boxes, confidences, times.
        partial: the video while it is written; the next run of this source removes what a killed one has left.
    """

    folder: Path
    name: str
    video: Path
    boxes: Path
    record: Path
    partial: Path

    def lock(self) -> AbstractContextManager[None]:
        """The lock of the one run that may write these files; entering it makes the folder.

        Raises:
            FolderInUseError: if another process writes them.
            OSError: if the folder cannot be made or written to.
        """
        return folder_lock(self.folder, f"tracking {self.name}")


def output_paths(folder: Path, source: FrameSource) -> OutputPaths:
    """Name the files after the source and make sure that nothing of the user's is overwritten.

    Raises:
        InputError: if a file is in the way that is the source itself, or that no earlier run of the source has written.
    """
    names = (f"{source.name}.mp4", f"{source.name}.txt", f"{source.name}.json", f".{source.name}.partial.mp4")
    paths = OutputPaths(folder, source.name, *(folder / name for name in names))
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


@dataclass
class RunOutputs:
    """The files of a run while it goes on.

    Attributes:
        paths: where they go.
        header: goes to the head of the JSON; may be filled until the run ends.
        writer: the annotated video; None if there is none, or no longer.
        problem: why the video could not be written.
        frames: per frame what the JSON says of it, the box in pixels of that frame.
    """

    paths: OutputPaths
    header: dict[str, Any]
    writer: VideoWriter | None = None
    problem: InputError | None = None
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
        box = [round(float(value), 4) for value in box_xywh]
        finite = confidence is not None and math.isfinite(confidence)
        entry = {"frame": len(self.frames)} | {key: value for key, value in facts.items() if value is not None}
        self.frames.append(entry | {"box": box, "confidence": round(confidence, 4) if finite else None})
        if self.writer is not None:
            try:
                self.writer.write(annotated)
            except InputError as error:
                self._drop_video(error)

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
        """Write the boxes with two decimals, separated by tabs, and the JSON of header and frames, one frame a line."""
        lines = ("\t".join(f"{value:.2f}" for value in frame["box"]) for frame in self.frames)
        write_text_atomic(self.paths.boxes, "".join(f"{line}\n" for line in lines))
        codec = None if self.writer is None else self.writer.codec
        header = {"format": FORMAT_NAME, **self.header, "codec": codec, "num_frames": len(self.frames)}
        head = json.dumps(header, indent=1, allow_nan=False).removesuffix("\n}")
        frames = ",\n  ".join(json.dumps(frame, allow_nan=False) for frame in self.frames)
        write_text_atomic(self.paths.record, f'{head},\n "frames": [\n  {frames}\n ]\n}}\n')


@contextmanager
def open_outputs(outputs: RunOutputs) -> Iterator[None]:
    """Collect a run. However the block ends, the frames up to then are written; if there are none, nothing is."""
    partial = outputs.paths.partial
    with outputs.paths.lock():
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
