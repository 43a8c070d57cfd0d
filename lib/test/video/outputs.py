"""The files of a run: an annotated video, the boxes as text, and everything as JSON; written also if the run fails."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from lib.test.video.display import MAX_CONFIDENCE
from lib.test.video.encoders import VideoWriter
from lib.test.video.sources import FrameSource
from lib.utils.errors import InputError
from lib.utils.files import folder_lock, write_text_atomic

logger = logging.getLogger(__name__)

Seen = Mapping[int, tuple[Sequence[float], float | None]]
"""Number of a target -> its box xywh in pixels, and its confidence, 0 to 40; None where the box was given."""

FORMAT_NAME = "seqtrack-video-1"


SUFFIXES = {
    "video": ".mp4",
    "txt": ".txt",
    "json": ".json",
    "jsonl": ".jsonl",
    "mot": ".mot.txt",
    "coco": ".coco.json",
}
"""Ends of the names of the files, by format; docs/video.md describes them."""
DEFAULT_FORMATS = ("video", "txt", "json")


@dataclass(frozen=True)
class OutputPaths:
    """Names of the files of a run.

    Attributes:
        folder: where they are.
        name: of the source; the files are called after it.
        formats: those that are written, keys of ``SUFFIXES``.
        stale: what an earlier run of the source wrote; what this one does not replace is removed.
    """

    folder: Path
    name: str
    formats: tuple[str, ...]
    stale: tuple[Path, ...] = ()

    def file(self, format: str) -> Path:
        """File of a format."""
        return self.folder / f"{self.name}{SUFFIXES[format]}"

    @property
    def partial(self) -> Path:
        """The video while it is written; the next run of this source removes what a killed one has left."""
        return self.folder / f".{self.name}.partial.mp4"

    def lock(self) -> AbstractContextManager[None]:
        """The lock of the one run that may write these files; entering it makes the folder.

        Raises:
            FolderInUseError: if another process writes them.
            OSError: if the folder cannot be made or written to.
        """
        return folder_lock(self.folder, f"tracking {self.name}")


def output_paths(folder: Path, source: FrameSource, formats: Sequence[str] = DEFAULT_FORMATS) -> OutputPaths:
    """Name the files after the source and make sure that nothing of the user's is overwritten.

    The facts of the run are always written: without ``json`` and ``jsonl`` there is a ``json``.

    Raises:
        InputError: if a file is in the way that is the source itself, or that no earlier run of the source has written.
    """
    formats = (*formats, *(() if {"json", "jsonl"} & set(formats) else ("json",)))
    paths = OutputPaths(folder, source.name, formats)
    record = next((path for path in map(paths.file, ("json", "jsonl")) if _read_record(path)), paths.file("json"))
    earlier = _read_record(record)
    # A run without a video leaves this name to the user.
    written = [*earlier.get("formats", ["txt", "json"]), *(["video"] if earlier.get("codec") else [])]
    ours = [paths.file(format) for format in written if format in SUFFIXES] if earlier else []
    taken = [path for path in map(paths.file, dict.fromkeys((*DEFAULT_FORMATS, *formats))) if path.exists()]
    partial = [paths.partial] if paths.partial.exists() else []
    if source.path is not None and any(path.samefile(source.path) for path in (*taken, *partial)):
        raise InputError(f"{source}: the annotated video would overwrite it; choose another --output folder")
    if source.path is not None and _is_another(earlier.get("source"), source.path):
        raise InputError(f"{record} is of {earlier['source']}, not of {source}; choose another --output folder")
    foreign = [path for path in taken if path not in ours]
    if foreign:
        raise InputError(f"{foreign[0]} exists and was not written by an earlier run; choose another --output folder")
    return replace(paths, stale=tuple(path for path in ours if path.suffix != ".mp4"))


def _is_another(earlier: object, path: Path) -> bool:
    """Whether an earlier run was of another file than ``path``, one that still exists."""
    try:
        return isinstance(earlier, str) and Path(earlier).exists() and not path.samefile(earlier)
    except (OSError, ValueError):
        return False


def _read_record(path: Path) -> dict[str, Any]:
    """The head of the JSON, or the first line of the JSON lines, of an earlier run; empty if ``path`` is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.loads(file.readline() if path.suffix == ".jsonl" else file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT_NAME else {}


@dataclass
class RunOutputs:
    """The files of a run while it goes on.

    JSON lines and MOT are written frame by frame. The other texts are written at the end, and their frames are
    remembered until then; without them a run takes no more memory however long it is.

    Attributes:
        paths: where they go.
        header: goes to the head of the JSON; may be filled until the run ends.
        several: whether an entry lists targets; else it is of one target.
        writer: the annotated video; None if there is none, or no longer.
        problem: why the video could not be written.
        count: frames so far.
        frames: per frame what the JSON says of it, the boxes in pixels of that frame; empty if no file needs them.
    """

    paths: OutputPaths
    header: dict[str, Any]
    several: bool = False
    writer: VideoWriter | None = None
    problem: InputError | None = None
    count: int = 0
    frames: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, TextIO] = field(default_factory=dict)

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

    def add(self, annotated: np.ndarray, targets: Seen, **facts: Any) -> None:
        """Append a frame; ``facts`` that are not None go to its entry in the JSON.

        Raises:
            OSError: if the disk is full.
        """
        entry: dict[str, Any] = {"frame": self.count, **{k: v for k, v in facts.items() if v is not None}}
        boxes = [{"id": id, **_rounded(*seen)} for id, seen in targets.items()]
        entry |= {"targets": boxes} if self.several else _rounded(*next(iter(targets.values())))
        if {"txt", "json", "coco"} & set(self.paths.formats):
            self.frames.append(entry)
        for format, lines in (("jsonl", [json.dumps(entry, allow_nan=False)]), ("mot", _mot(self.count, boxes))):
            if format in self.paths.formats:
                self._append(format, lines)
        self.count += 1
        if self.writer is not None:
            try:
                self.writer.write(annotated)
            except InputError as error:
                self._drop_video(error)

    def _append(self, format: str, lines: Sequence[str]) -> None:
        """Append lines to a file and pass them on at once, for programs that read along."""
        if format not in self.lines:
            self.lines[format] = self.paths.file(format).open("w", encoding="utf-8", newline="\n")
            if format == "jsonl":
                lines = [json.dumps(self._head(), allow_nan=False), *lines]
        self.lines[format].write("".join(f"{line}\n" for line in lines))
        self.lines[format].flush()

    def _head(self) -> dict[str, Any]:
        """Facts of the run."""
        formats = [format for format in self.paths.formats if format != "video"]
        listed = {} if formats == ["txt", "json"] else {"formats": formats}
        codec = None if self.writer is None else self.writer.codec
        return {"format": FORMAT_NAME, **self.header, **listed, "codec": codec}

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
            self.paths.partial.replace(self.paths.file("video"))
        else:
            self.paths.file("video").unlink(missing_ok=True)  # of an earlier run, with other boxes
        for path in self.paths.stale:
            if path not in map(self.paths.file, self.paths.formats):
                path.unlink(missing_ok=True)

    def _save_text(self) -> None:
        """Write the boxes with two decimals, separated by tabs, and the JSON of header and frames, one frame a line."""
        formats, paths = self.paths.formats, self.paths
        if "txt" in formats:
            lines = ("\t".join(f"{value:.2f}" for value in frame["box"]) for frame in self.frames)
            write_text_atomic(paths.file("txt"), "".join(f"{line}\n" for line in lines))
        if "json" in formats:
            head = json.dumps({**self._head(), "num_frames": self.count}, indent=1, allow_nan=False)
            frames = ",\n  ".join(json.dumps(frame, allow_nan=False) for frame in self.frames)
            head = head.removesuffix("\n}")
            write_text_atomic(paths.file("json"), f'{head},\n "frames": [\n  {frames}\n ]\n}}\n')
        if "coco" in formats:
            write_text_atomic(paths.file("coco"), json.dumps(self._coco(), allow_nan=False) + "\n")

    def _coco(self) -> dict[str, Any]:
        """The frames as COCO-video (CocoVID) has them: ids from 1, ``frame_id`` from 0, ``instance_id`` the target."""
        width, height = self.header["width"], self.header["height"]
        images, annotations = [], []
        for entry in self.frames:
            size = entry.get("size", [width, height])
            image = {"id": entry["frame"] + 1, "video_id": 1, "frame_id": entry["frame"]}
            name = f"{entry['frame'] + 1:08d}.jpg"
            images.append({**image, "file_name": name, "width": size[0], "height": size[1]})
            for target in entry["targets"] if self.several else [{"id": 1, **entry}]:
                box = target["box"]
                links = {"id": len(annotations) + 1, "image_id": image["id"], "video_id": 1, "category_id": 1}
                facts = {
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": _share(target, entry["frame"]),
                }
                annotations.append({**links, "instance_id": target["id"], **facts})
        video = {"id": 1, "name": self.paths.name, "width": width, "height": height}
        categories = [{"id": 1, "name": "target"}]
        return {"videos": [video], "categories": categories, "images": images, "annotations": annotations}


def _rounded(box_xywh: Sequence[float], confidence: float | None) -> dict[str, Any]:
    """Entry of a box and its confidence."""
    finite = confidence is not None and math.isfinite(confidence)
    box = [round(float(value), 4) for value in box_xywh]
    return {"box": box, "confidence": round(confidence, 4) if finite else None}


def _share(target: Mapping[str, Any], frame: int) -> float:
    """Confidence of an entry as a share of the largest, 0 to 1; a box that was given, in the first frame, has 1."""
    confidence = target["confidence"] or 0.0  # None if it was no number
    return 1.0 if frame == 0 else round(min(max(confidence / MAX_CONFIDENCE, 0.0), 1.0), 4)


def _mot(frame: int, boxes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Rows of MOTChallenge: frame from 1, target, x, y, w, h, confidence, and three that a track does not have."""
    return [
        ",".join(
            [
                str(frame + 1),
                str(entry["id"]),
                *(f"{value:.2f}" for value in entry["box"]),
                f"{_share(entry, frame):.4f}",
            ]
        )
        + ",-1,-1,-1"
        for entry in boxes
    ]


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
                for file in outputs.lines.values():
                    with suppress(OSError):  # each line was passed on before
                        file.close()
                if outputs.count:
                    outputs.save()
                elif outputs.writer is not None:
                    outputs.writer.release()
            finally:
                partial.unlink(missing_ok=True)
