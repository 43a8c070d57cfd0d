"""Fakes of the tracker, and the toolkit where there is one."""

from pathlib import Path

import numpy as np
import pytest

from external.vot20.toolkit import Toolkit, find_toolkit
from lib.test.vot20.seqtrack_vot20 import Request
from lib.utils.errors import InputError
from lib.utils.image_io import write_image

WIDTH, HEIGHT = 80, 60


class StillTracker:
    """Says that the target is where it was; raises at a frame, or reports other boxes, if told so."""

    def __init__(self, boxes: list[list[float]] | None = None, crash_at: int | None = None) -> None:
        self.boxes, self.crash_at, self.starts, self.frame = boxes, crash_at, [], 0

    def initialize(self, image: np.ndarray, info: dict) -> None:
        assert image.shape == (HEIGHT, WIDTH, 3)
        self.starts.append(info["init_bbox"])
        self.frame = 0

    def track(self, image: np.ndarray) -> dict:
        self.frame += 1
        if self.frame == self.crash_at:
            raise RuntimeError("boom in the middle")
        box = self.starts[-1] if self.boxes is None else self.boxes[self.frame - 1]
        return {"target_bbox": box, "confidence": 12.5}


class TransposedSegmenter:
    """Fills the box, in an array that is not contiguous."""

    def initialize(self, image: np.ndarray, box_xywh: list[float]) -> None:
        self.box = box_xywh

    def segment(self, image: np.ndarray, box_xywh: list[float]) -> np.ndarray:
        x, y, w, h = map(round, box_xywh)
        mask = np.zeros((WIDTH, HEIGHT), np.uint8)
        mask[x : x + w, y : y + h] = 255
        return mask.T


class ScriptedSession:
    """Hands out requests and keeps the answers."""

    def __init__(self, requests: list[Request]) -> None:
        self.requests, self.answers, self.reason = [*requests, Request("quit")], [], "open"

    def wait(self) -> Request:
        return self.requests.pop(0)

    def reply_box(self, box_xywh, confidence=None) -> None:
        self.answers.append((list(box_xywh), confidence))

    def reply_mask(self, mask) -> None:
        self.answers.append(mask)

    def close(self, reason=None) -> None:
        self.reason = reason


@pytest.fixture()
def frames(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    paths = [tmp_path / "frames" / f"{index:08d}.jpg" for index in range(1, 5)]
    for path in paths:
        write_image(path, rng.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    return paths


@pytest.fixture(scope="session")
def toolkit() -> Toolkit:
    try:
        return find_toolkit()
    except InputError as error:
        pytest.skip(f"{error}")
