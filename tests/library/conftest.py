from pathlib import Path

import cv2
import numpy as np
import pytest

import seqtrack
from lib.synthetic import SyntheticSequence
from tests.threads import one_thread  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def loaded() -> seqtrack.Tracker:
    """The bundled weights, loaded once."""
    return seqtrack.load("seqtrack_demo", device="cpu")


@pytest.fixture
def tracker(loaded: seqtrack.Tracker) -> seqtrack.Tracker:
    return loaded.share()


class Clip:
    """A rendered video and its boxes."""

    def __init__(self, seed: int, count: int = 6, size: tuple[int, int] = (160, 120)) -> None:
        sequence = SyntheticSequence(seed, num_frames=count, size=size, difficulty="easy", split="library")
        self.frames = [sequence.frame(index) for index in range(count)]
        self.boxes = sequence.boxes_xywh

    def write(self, path: Path) -> Path:
        height, width = self.frames[0].shape[:2]
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (width, height))
        for frame in self.frames:
            writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        writer.release()
        return path


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip(3)


@pytest.fixture(scope="session")
def other_clip() -> Clip:
    return Clip(4, size=(200, 150))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """IoU of two boxes xywh."""
    (x, y, w, h), (u, v, s, t) = one, other
    inner = max(0.0, min(x + w, u + s) - max(x, u)) * max(0.0, min(y + h, v + t) - max(y, v))
    return inner / (w * h + s * t - inner)
