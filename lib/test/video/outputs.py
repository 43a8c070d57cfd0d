"""The files of a run: an annotated video, the boxes as text, and everything as JSON; written also if the run fails."""

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TextIO

import numpy as np

from lib.test.video.display import MAX_CONFIDENCE
from lib.test.video.encoders import VideoWriter
from lib.test.video.paths import FORMAT_NAME, OutputPaths
from lib.test.video.targets import Seen, Starts
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomic

logger = logging.getLogger(__name__)


@dataclass
class RunOutputs:
    """The files of a run while it goes on.

    JSON lines and MOT are written frame by frame. The other texts are written at the end, and their frames are
    remembered until then; without them a run takes no more memory however long it is.

    Attributes:
        paths: where they go.
        header: goes to the head of the JSON; may be filled until the run ends.
        starts: where the targets begin; with several an entry lists targets, else it is of one.
        searches: whether lost targets are searched for, which makes their boxes guesses.
        writer: the annotated video; None if there is none, or no longer.
        problem: why the video could not be written.
        count: frames so far.
        frames: per frame what the JSON says of it, the boxes in pixels of that frame; empty if no file needs them.
    """

    paths: OutputPaths
    header: dict[str, Any]
    starts: Starts
    searches: bool = False
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

    def add(self, annotated: np.ndarray, targets: Mapping[int, Seen], **facts: Any) -> None:
        """Append a frame; ``facts`` that are not None go to its entry in the JSON.

        Raises:
            OSError: if the disk is full.
        """
        entry: dict[str, Any] = {"frame": self.count, **{k: v for k, v in facts.items() if v is not None}}
        boxes = [{"id": id, **_rounded(seen)} for id, seen in targets.items()]
        if len(self.starts) > 1:
            entry["targets"] = boxes
        else:  # the target may not have come yet
            entry |= _rounded(next(iter(targets.values()))) if targets else {"box": None, "confidence": None}
        if {"txt", "json", "coco"} & set(self.paths.files):
            self.frames.append(entry)
        for format, lines in (("jsonl", [json.dumps(entry, allow_nan=False)]), ("mot", self._mot(boxes))):
            if format in self.paths.files:
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
            self.lines[format] = self.paths.files[format].open("w", encoding="utf-8", newline="\n")
            if format == "jsonl":
                lines = [json.dumps(self._head(), allow_nan=False), *lines]
        self.lines[format].write("".join(f"{line}\n" for line in lines))
        self.lines[format].flush()

    def _head(self) -> dict[str, Any]:
        """Facts of the run."""
        formats = [format for format in self.paths.files if format != "video"]
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
            self.paths.partial.replace(self.paths.files["video"])
        written = {path for format, path in self.paths.files.items() if format != "video" or self.writer is not None}
        for path in self.paths.stale:
            if path not in written:
                path.unlink(missing_ok=True)  # it has other boxes

    def _save_text(self) -> None:
        """Write the boxes with two decimals, separated by tabs, and the JSON of header and frames, one frame a line."""
        files, absent = self.paths.files, ["NaN"] * 4
        if "txt" in files:
            boxes = (frame["box"] for frame in self.frames)
            lines = ("\t".join(absent if box is None else [f"{value:.2f}" for value in box]) for box in boxes)
            write_text_atomic(files["txt"], "".join(f"{line}\n" for line in lines))
        if "json" in files:
            head = json.dumps({**self._head(), "num_frames": self.count}, indent=1, allow_nan=False)
            frames = ",\n  ".join(json.dumps(frame, allow_nan=False) for frame in self.frames)
            head = head.removesuffix("\n}")
            write_text_atomic(files["json"], f'{head},\n "frames": [\n  {frames}\n ]\n}}\n')
        if "coco" in files:
            write_text_atomic(files["coco"], json.dumps(self._coco(), allow_nan=False) + "\n")

    def _coco(self) -> dict[str, Any]:
        """The frames as COCO-video (CocoVID) has them: ids from 1, ``frame_id`` from 0, ``instance_id`` the target."""
        width, height = self.header["width"], self.header["height"]
        images, annotations = [], []
        for entry in self.frames:
            size = entry.get("size", [width, height])
            image = {"id": entry["frame"] + 1, "video_id": 1, "frame_id": entry["frame"]}
            name = f"{entry['frame'] + 1:08d}.jpg"
            images.append({**image, "file_name": name, "width": size[0], "height": size[1]})
            for target in entry["targets"] if len(self.starts) > 1 else [{"id": next(iter(self.starts)), **entry}]:
                if not self._is_there(target):
                    continue
                links = {"id": len(annotations) + 1, "image_id": image["id"], "video_id": 1, "category_id": 1}
                box, score = target["box"], self._share(target, entry["frame"])
                facts = {"bbox": box, "area": round(box[2] * box[3], 2), "iscrowd": 0, "score": score}
                state = {"state": target["state"]} if "state" in target else {}
                annotations.append({**links, "instance_id": target["id"], **facts, **state})
        video = {"id": 1, "name": self.paths.name, "width": width, "height": height}
        categories = [{"id": 1, "name": "target"}]
        return {"videos": [video], "categories": categories, "images": images, "annotations": annotations}

    def _is_there(self, target: Mapping[str, Any]) -> bool:
        """Whether MOT and COCO list a target: programs that read them know no guesses."""
        return target["box"] is not None and not (self.searches and target.get("state") == "lost")

    def _share(self, target: Mapping[str, Any], frame: int) -> float:
        """Confidence of an entry as a share of the largest, 0 to 1; a box that was given has 1."""
        if frame == self.starts[target["id"]].frame:
            return 1.0
        confidence = target["confidence"] or 0.0  # None if it was no number
        return round(min(max(confidence / MAX_CONFIDENCE, 0.0), 1.0), 4)

    def _mot(self, targets: Sequence[Mapping[str, Any]]) -> list[str]:
        """Rows of MOTChallenge: frame from 1, target, x, y, w, h, confidence, and three that a track does not have."""
        rows = []
        for target in filter(self._is_there, targets):
            box = ",".join(f"{value:.2f}" for value in target["box"])
            rows.append(f"{self.count + 1},{target['id']},{box},{self._share(target, self.count):.4f},-1,-1,-1")
        return rows


def _rounded(seen: Seen) -> dict[str, Any]:
    """Entry of a target."""
    finite = seen.confidence is not None and math.isfinite(seen.confidence)
    entry: dict[str, Any] = {"box": [round(float(value), 4) for value in seen.box_xywh]}
    entry["confidence"] = round(seen.confidence, 4) if finite else None
    if seen.state is not None:
        entry |= {"score": round(seen.score, 4), "state": seen.state}
    return entry


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
