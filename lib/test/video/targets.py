"""Several targets: their boxes in the first frame as files have them, and one batch that tracks them all."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.annotations import parse_boxes
from lib.test.tracker.engine import SeqTrackEngine, TrackState
from lib.utils.errors import DataError, printable
from lib.utils.files import read_text

Boxes = dict[int, list[float]]
"""Boxes xywh in pixels, by the number of their target."""


class TargetBatch:
    """Tracks any number of targets of one video; every frame is one batch of the network.

    Args:
        engine: runs the network.
    """

    def __init__(self, engine: SeqTrackEngine) -> None:
        self.engine = engine
        self.states: dict[int, TrackState] = {}

    def initialize(self, image: np.ndarray, boxes: Mapping[int, Sequence[float]]) -> None:
        """Begin with the boxes of the targets in the first frame, (H, W, 3) uint8 RGB."""
        self.states = {id: self.engine.start(image, box) for id, box in boxes.items()}

    def track(self, image: np.ndarray) -> dict[int, tuple[list[float], float]]:
        """Box xywh in pixels and confidence, 0 to 40, of every target in the next frame."""
        results = self.engine.step(list(self.states.values()), [image] * len(self.states))
        return {id: (result.box_xywh, result.confidence) for id, result in zip(self.states, results, strict=True)}


def read_init_boxes(path: Path) -> Boxes:
    """Read the targets' boxes in the first frame.

    Args:
        path: one box per line, of which the first counts (LaSOT, GOT-10k); MOT (``frame, id, x, y, w, h, ...``), of
            which the rows of frame 1 count; or JSON: a box, a list of boxes, boxes by the number of their target, a
            COCO-video or YouTube-VIS file with one video, or the JSON of an earlier run.

    Raises:
        DataError: if it cannot be read or holds no box of the first frame; the message names file and place.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        try:
            boxes = _from_json(json.loads(text), path)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: line {error.lineno}: no valid JSON: {error.msg}") from error
        except RecursionError as error:
            raise DataError(f"{path}: no valid JSON: nested too deeply") from error
    else:
        boxes = _from_lines(text.rstrip().splitlines(), path)
    if not boxes:
        raise DataError(f"{path}: no box of the first frame")
    return boxes


def _from_lines(lines: Sequence[str], path: Path) -> Boxes:
    rows = [re.split(r"[,;\s]+", line.strip().rstrip(",")) for line in lines]
    if rows and len(rows[0]) <= 5:
        return {1: parse_boxes(lines[0], str(path), allow_nan=False)[0].tolist()}
    boxes: Boxes = {}
    for number, row in enumerate(rows, 1):
        place = f"{path}: line {number}"
        try:
            frame, id, *box = map(float, row[:6])
            ignored = len(row) > 6 and float(row[6]) == 0  # of a ground truth file: not to be counted
        except ValueError as error:
            raise DataError(f"{place}: expected numbers, got {printable(repr(lines[number - 1]))}") from error
        if frame == 1 and not ignored:
            _add(boxes, id, box, place)
    return boxes


def _from_json(content: Any, path: Path) -> Boxes:
    boxes: Boxes = {}
    if isinstance(content, dict) and "annotations" in content:
        return _from_coco(content, path)
    if isinstance(content, dict) and isinstance(content.get("frames"), list) and content["frames"]:
        first = content["frames"][0]  # of an earlier run
        content = first.get("targets", [first]) if isinstance(first, dict) else first
    if isinstance(content, dict):
        for id, box in content.items():
            _add(boxes, int(id) if re.fullmatch("[0-9]{1,9}", id) else id, box, str(path))
    elif isinstance(content, list) and content and not isinstance(content[0], (list, dict)):
        _add(boxes, 1, content, str(path))
    elif isinstance(content, list):
        for number, item in enumerate(content, 1):
            place = f"{path}: target {number}"
            item = item if isinstance(item, dict) else {"box": item}
            _add(boxes, item.get("id", number), item.get("box", item.get("bbox")), place)
    else:
        raise DataError(f"{path}: expected boxes, got {printable(repr(content), 60)}")
    return boxes


def _from_coco(content: Mapping[str, Any], path: Path) -> Boxes:
    """Boxes of a file whose boxes belong to images (COCO-video), or to tracks (YouTube-VIS)."""
    boxes: Boxes = {}
    try:
        videos = {entry["id"] for entry in content.get("videos", [])}
        images = sorted(content.get("images", []), key=lambda image: image.get("frame_id", image["id"]))
        for number, entry in enumerate(content["annotations"], 1):
            place = f"{path}: annotation {number}"
            if "bboxes" in entry:
                box = entry["bboxes"][0] if entry["bboxes"] else None
            else:
                box = entry["bbox"] if images and entry["image_id"] == images[0]["id"] else None
            if box is not None:
                id = entry.get("instance_id", entry.get("track_id", entry.get("id", len(boxes) + 1)))
                _add(boxes, id, box, place)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not a COCO-video file: {type(error).__name__}: {error}") from error
    if len(videos) > 1:
        raise DataError(f"{path}: the file is of {len(videos)} videos, expected one")
    return boxes


def _add(boxes: Boxes, id: Any, box: Any, place: str) -> None:
    """Add a box, or raise DataError if it is none or its number is taken."""
    number = isinstance(id, (int, float)) and not isinstance(id, bool) and 0 <= id < 10**9 and id == int(id)
    if not number or int(id) in boxes:
        problem = "there twice" if number else "no whole number from 0 on"
        raise DataError(f"{place}: the target's number {printable(repr(id), 60)} is {problem}")
    values = isinstance(box, list) and [float(v) for v in box if isinstance(v, (int, float))]
    if not values or len(box) != 4 or len(values) != 4:
        raise DataError(f"{place}: expected a box of four numbers, got {printable(repr(box), 60)}")
    boxes[int(id)] = values
