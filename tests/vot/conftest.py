"""Fakes of the tracker, and the toolkit where there is one."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from external.vot20.toolkit import Toolkit, find_toolkit
from lib.test.vot20.session import Request
from lib.utils.errors import InputError
from lib.utils.image_io import write_image

WIDTH, HEIGHT = 80, 60


@dataclass
class StillState:
    box: list[float]
    frame: int = 0


@dataclass
class StillResult:
    box_xywh: list[float]
    confidence: float = 12.5


@dataclass
class StillEngine:
    """Says that each target is where it was; raises at a frame, or reports other boxes, if told so."""

    boxes: list[list[float]] | None = None
    crash_at: int | None = None
    starts: list[list[float]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    def start(self, image: np.ndarray, box_xywh: list[float]) -> StillState:
        assert image.shape == (HEIGHT, WIDTH, 3)
        self.starts.append(box_xywh)
        return StillState(box_xywh)

    def step(self, states: list[StillState], images: list[np.ndarray]) -> list[StillResult]:
        assert len(states) == len(images)
        self.batches.append(len(states))
        for state in states:
            state.frame += 1
            if state.frame == self.crash_at:
                raise RuntimeError("boom in the middle")
        return [StillResult(state.box if self.boxes is None else self.boxes[state.frame - 1]) for state in states]


class TransposedSegmenter:
    """Fills the boxes, in arrays that are not contiguous."""

    def start(self, image: np.ndarray, box_xywh: list[float]) -> list[float]:
        return box_xywh

    def segment_batch(
        self, image: np.ndarray, boxes_xywh: list[list[float]], references: list[list[float]]
    ) -> list[np.ndarray]:
        assert len(boxes_xywh) == len(references)
        masks = np.zeros((len(boxes_xywh), WIDTH, HEIGHT), np.uint8)
        for mask, box in zip(masks, boxes_xywh, strict=True):
            x, y, w, h = map(round, box)
            mask[x : x + w, y : y + h] = 255
        return [mask.T for mask in masks]


class ScriptedSession:
    """Hands out requests and keeps the answers."""

    def __init__(self, requests: list[Request]) -> None:
        self.requests, self.answers, self.reason = [*requests, Request("quit")], [], "open"

    def wait(self) -> Request:
        return self.requests.pop(0)

    def reply(self, answers) -> None:
        self.answers.append([(region if isinstance(region, np.ndarray) else list(region), c) for region, c in answers])

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
