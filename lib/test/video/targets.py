"""The targets of a video: their first boxes as files have them, and one batch that tracks them all."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lib.data.annotations import parse_boxes
from lib.data.exchange.coco import images_in_order
from lib.test.tracker.lost import LostAndFound, LostOptions, Status, Target
from lib.test.tracker.presence import PresenceScore
from lib.utils.errors import DataError, printable
from lib.utils.files import read_text

if TYPE_CHECKING:  # the engine imports PyTorch, which reading files of boxes leaves out
    from lib.test.tracker.engine import SeqTrackEngine


class Start(NamedTuple):
    """Where a target begins.

    Attributes:
        box_xywh: in pixels of its frame.
        frame: number of the frame, from 0.
    """

    box_xywh: Sequence[float]
    frame: int = 0


Starts = dict[int, Start]
"""By the number of the target."""


@dataclass(frozen=True)
class Seen:
    """What is known of a target in a frame.

    Attributes:
        box_xywh: in pixels.
        confidence: the published one, 0 to 40; None where the box was given.
        score: how likely the box is on the target, 0 to 1; None without lost and found.
        state: None without lost and found.
        sure_xywh: while the target is searched for, where it was last seen, in pixels of the first frame's size:
            ``box_xywh`` is a guess then, and elsewhere in every frame. Else None.
    """

    box_xywh: Sequence[float]
    confidence: float | None = None
    score: float | None = None
    state: Status | None = None
    sure_xywh: Sequence[float] | None = None


class TargetBatch:
    """Tracks any number of targets of one video; every frame is one batch of the network.

    Args:
        engine: runs the network.
        score: presence score of its weights.
        lost: when a target is lost and found; None tracks as in benchmarks, and says nothing of states.

    Attributes:
        has_states: whether it says of states.
        searches: whether lost targets are searched for.
        times_lost: by target how often it was lost, and found again.
    """

    def __init__(self, engine: "SeqTrackEngine", score: PresenceScore, lost: LostOptions | None) -> None:
        # Without a search the boxes are those of the engine.
        self._follower = LostAndFound(engine, score, lost or LostOptions(search=False))
        self.has_states = lost is not None
        self.searches = self._follower.searches
        self._targets: dict[int, Target] = {}
        self.times_lost: dict[int, dict[str, int]] = {}

    def __len__(self) -> int:
        """Number of targets."""
        return len(self._targets)

    def add(self, image: np.ndarray, boxes: Mapping[int, Sequence[float]]) -> dict[int, Seen]:
        """Begin targets with their boxes in a frame, (H, W, 3) uint8 RGB; ``track`` goes on with the next one."""
        self._targets |= {id: self._follower.start(image, box) for id, box in boxes.items()}
        if not self.has_states:
            return {id: Seen(box) for id, box in boxes.items()}
        self.times_lost |= {id: {"lost": 0, "found": 0} for id in boxes}
        return {id: Seen(box, None, 1.0, "tracking") for id, box in boxes.items()}

    def track(self, image: np.ndarray) -> dict[int, Seen]:
        """Follow all targets into the next frame, (H, W, 3) uint8 RGB."""
        targets = self._targets
        were_lost = {id for id, target in targets.items() if target.status == "lost"}
        found = self._follower.step(list(targets.values()), [image] * len(targets))
        if not self.has_states:
            return {id: Seen(new.box_xywh, new.confidence) for id, new in zip(targets, found, strict=True)}
        are_lost = {id for id, target in targets.items() if target.status == "lost"}
        for id in were_lost ^ are_lost:
            self.times_lost[id]["lost" if id in are_lost else "found"] += 1
        sure = {id: list(targets[id].sure_box) for id in are_lost} if self.searches else {}
        return {
            id: Seen(new.box_xywh, new.confidence, new.score, new.status, sure.get(id))
            for id, new in zip(targets, found, strict=True)
        }


def read_init_boxes(path: Path) -> Starts:
    """Read where the targets begin: each in the first frame that has a box of it. Its further boxes are ignored.

    Args:
        path: one box per line and frame, ``NaN`` before the target comes (LaSOT, GOT-10k); MOT (``frame, id, x, y, w,
            h, ...``); JSON: a box, a list of boxes, boxes by the number of their target, a COCO-video or YouTube-VIS
            file with one video; or the JSON, or JSON lines, of an earlier run.

    Raises:
        DataError: if it cannot be read or holds no box; the message names file and place.
    """
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix in (".json", ".jsonl"):
        try:
            whole = suffix == ".json"
            content = json.loads(text, object_pairs_hook=partial(_unique, path)) if whole else _json_lines(text)
            starts = _from_json(content, path)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {error.lineno}: no valid JSON: {error.msg}") from error
        except (RecursionError, ValueError, OverflowError) as error:
            problem = "nested too deeply" if isinstance(error, RecursionError) else "a number with too many digits"
            raise DataError(f"{path}: no valid JSON: {problem}") from error
    else:
        starts = _from_lines(text.rstrip().splitlines(), path)
    if not starts:
        raise DataError(f"{path}: holds no box of a target")
    return starts


def _unique(path: Path, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON. Raises DataError if a key is there twice: all but the last one would vanish."""
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataError(f"{path}: the key {printable(repr(twice), 60)} is there twice in one object")
    return content


def _json_lines(text: str) -> dict[str, Any]:
    """JSON lines, without the head, as ``frames``. Raises JSONDecodeError with the number of the line in the file."""
    lines = text.splitlines()
    frames = []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line) if line.strip() else None
        except json.JSONDecodeError as error:
            raise json.JSONDecodeError(error.msg, "\n" * number, number) from error
        if entry is not None and not (isinstance(entry, dict) and "format" in entry):
            frames.append(entry)
    return {"frames": frames}


class _Reader:
    """Collects boxes; of each target the one of the earliest frame stays."""

    def __init__(self) -> None:
        self.starts: Starts = {}
        self._seen: set[tuple[int, int]] = set()

    def add(self, id: Any, box: Any, place: str, frame: Any = 0) -> None:
        """Add a box; None, or NaN in it, stands for no target in this frame.

        Raises:
            DataError: if it is no box, or the number of the target or of the frame is none or was there before.
        """
        for what, value in (("target", id), ("frame", frame)):
            whole = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**9
            if not whole or value != int(value):
                shown = printable(repr(value), 60)
                raise DataError(f"{place}: the {what}'s number {shown} is no whole number from 0 on")
        if (int(id), int(frame)) in self._seen:
            raise DataError(f"{place}: the target's number {int(id)} is there twice in one frame")
        self._seen.add((int(id), int(frame)))
        if box is None:
            return
        values = [float(v) for v in box if isinstance(v, (int, float))] if isinstance(box, list) else []
        if len(values) != 4 or len(box) != 4 or any(map(math.isinf, values)):
            raise DataError(f"{place}: expected a box of four numbers, got {printable(repr(box), 60)}")
        known = self.starts.get(int(id))
        if not any(map(math.isnan, values)) and (known is None or frame < known.frame):
            self.starts[int(id)] = Start(values, int(frame))


def _from_lines(lines: Sequence[str], path: Path) -> Starts:
    rows = [re.split(r"[,;\s]+", line.strip().rstrip(",")) for line in lines]
    if rows and len(rows[0]) <= 5:
        boxes = parse_boxes("\n".join(lines), str(path))
        present = np.isfinite(boxes).all(axis=1)
        return {1: Start(boxes[present.argmax()].tolist(), int(present.argmax()))} if present.any() else {}
    reader = _Reader()
    for number, row in enumerate(rows, 1):
        place = f"{path}: line {number}"
        try:
            frame, id, *box = map(float, row[:6])
            ignored = len(row) > 6 and float(row[6]) == 0  # of a ground truth file: not to be counted
        except ValueError as error:
            raise DataError(f"{place}: expected numbers, got {printable(repr(lines[number - 1]))}") from error
        if not ignored:
            if frame < 1:
                raise DataError(f"{place}: frames of MOT are counted from 1, got {frame:g}")
            reader.add(id, box, place, frame - 1)
    return reader.starts


def _from_json(content: Any, path: Path) -> Starts:
    if isinstance(content, dict) and "annotations" in content:
        return _from_coco(content, path)
    reader = _Reader()
    if isinstance(content, dict) and isinstance(content.get("frames"), list):
        for number, entry in enumerate(content["frames"]):  # of an earlier run
            place = f"{path}: frame {number}"
            if not isinstance(entry, dict):
                raise DataError(f"{place}: expected boxes, got {printable(repr(entry), 60)}")
            _add_list(reader, entry.get("targets", [entry]), place, entry.get("frame", number))
    elif isinstance(content, dict):
        for id, box in content.items():
            reader.add(int(id) if re.fullmatch("[0-9]{1,9}", id) else id, box, str(path))
    elif isinstance(content, list) and content and not isinstance(content[0], (list, dict)):
        reader.add(1, content, str(path))
    elif isinstance(content, list):
        _add_list(reader, content, str(path))
    else:
        raise DataError(f"{path}: expected boxes, got {printable(repr(content), 60)}")
    return reader.starts


def _add_list(reader: _Reader, items: Any, place: str, frame: Any = 0) -> None:
    """Add boxes of a frame, or of several frames where the items say which."""
    if not isinstance(items, list):
        raise DataError(f"{place}: expected a list of targets, got {printable(repr(items), 60)}")
    for number, item in enumerate(items, 1):
        item = item if isinstance(item, dict) else {"box": item}
        box = item.get("box", item.get("bbox"))
        if box is None and not {"box", "bbox"} & set(item):
            raise DataError(f"{place}: target {number}: expected a box, got {printable(repr(item), 60)}")
        reader.add(item.get("id", number), box, f"{place}: target {number}", item.get("frame", frame))


def _from_coco(content: Mapping[str, Any], path: Path) -> Starts:
    """Boxes of a file whose boxes belong to images (COCO-video), or to tracks (YouTube-VIS)."""
    reader = _Reader()
    try:
        videos = {entry["id"] for entry in content.get("videos", [])}
        if len(videos) > 1:
            raise DataError(f"{path}: the file is of {len(videos)} videos, expected one")
        images = sorted(content.get("images", []), key=lambda image: image["id"])
        frames = {image["id"]: frame for frame, image in images_in_order(images, path)}
        for number, entry in enumerate(content["annotations"], 1):
            place = f"{path}: annotation {number}"
            id = entry.get("instance_id", entry.get("track_id"))
            if "bboxes" in entry:
                for frame, box in enumerate(entry["bboxes"]):
                    reader.add(entry.get("id", number) if id is None else id, box, place, frame)
            elif id is not None or frames[entry["image_id"]] == 0:  # else nothing tells what becomes of it later
                id = entry.get("id", number) if id is None else id
                reader.add(id, entry["bbox"], place, frames[entry["image_id"]])
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a COCO-video file: {type(error).__name__}: {error}") from error
    return reader.starts
