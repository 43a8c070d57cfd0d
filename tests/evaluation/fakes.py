"""A tiny benchmark on disk, and trackers without a network."""

import logging
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.data.sequence import Sequence as VideoSequence
from lib.test.evaluation.protocol import Assignment, Message, Request
from lib.utils.errors import CheckpointError
from lib.utils.image_io import write_image
from tests.data import fabricate

GREY, FAILING, DEADLY, SLOW, NAN, STOPPED, HANGING = 90, 10, 200, 150, 240, 30, 50
"""Brightness of a frame, by which the fake tracker knows what it is supposed to do."""


def truth_boxes(frames: int, seed: int = 0) -> np.ndarray:
    """(frames, 4) boxes that wander over a 64 x 48 image."""
    rng = np.random.RandomState(seed)
    boxes = np.array([20.25, 12.5, 16.0, 14.75]) + rng.uniform(-1, 1, (frames, 4)).cumsum(axis=0).clip(-8, 8)
    return boxes.round(4)


def write_got10k(
    root: Path, lengths: dict[str, int], split: str = "val", brightness: dict[str, int] | None = None
) -> Path:
    """Write a GOT-10k split of tiny frames; ``brightness`` by sequence chooses what the fake tracker does."""

    def write(path: Path, name: str, index: int) -> None:
        write_image(path, np.full((48, 64, 3), (brightness or {}).get(name, GREY), dtype=np.uint8))

    fabricate.write_got10k(
        root, split, lengths, write_image=write, boxes=lambda count, seed: truth_boxes(count, seed).tolist()
    )
    return root


class FakeTracker:
    """Moves its box a little each frame; dark frames make it fail, bright ones kill its process."""

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        self.box = list(info["init_bbox"])

    def track(self, image: np.ndarray) -> dict[str, Any]:
        brightness = int(image[0, 0, 0])
        if abs(brightness - FAILING) < 5:
            raise ValueError("the fake tracker was told to fail")
        if abs(brightness - DEADLY) < 5:
            os.kill(os.getpid(), signal.SIGKILL)
        if abs(brightness - STOPPED) < 5:
            os.kill(os.getpid(), signal.SIGSTOP)
        if abs(brightness - HANGING) < 5:
            time.sleep(1000)
        if abs(brightness - SLOW) < 5:
            time.sleep(0.1)
        if abs(brightness - NAN) < 5:
            self.box = [float("nan")] * 4
        self.box = [self.box[0] + 0.7, self.box[1] - 0.3, *self.box[2:]]
        return {"target_bbox": self.box, "confidence": 1.0}


class FakeEngine:
    """Many fake trackers, stepped together; remembers how many there were in each step."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def start(self, image: np.ndarray, box_xywh: Sequence[float]) -> FakeTracker:
        tracker = FakeTracker()
        tracker.initialize(image, {"init_bbox": box_xywh})
        return tracker

    def step(self, states: Sequence[FakeTracker], images: Sequence[np.ndarray]) -> list[SimpleNamespace]:
        self.sizes.append(len(states))
        answers = [state.track(image) for state, image in zip(states, images, strict=True)]
        return [SimpleNamespace(box_xywh=answer["target_bbox"]) for answer in answers]


class FakeBatchTracker(FakeTracker):
    def __init__(self) -> None:
        self.engine = FakeEngine()


class OutOfMemoryError(RuntimeError):
    """As torch has one."""


class SmallEngine(FakeEngine):
    """Its memory is enough for two sequences; some states have moved on when that shows."""

    def step(self, states: Sequence[FakeTracker], images: Sequence[np.ndarray]) -> list[SimpleNamespace]:
        answers = super().step(states, images)
        if len(states) > 2:
            self.sizes.pop()
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return answers


class CroppingEngine(FakeEngine):
    """Knows whether images were cropped during a step."""

    device = SimpleNamespace(type="cuda")

    def __init__(self) -> None:
        super().__init__()
        self.is_stepping = self.cropped_meanwhile = False

    def crop(self, states: Sequence[FakeTracker], images: Sequence[np.ndarray]) -> list[np.ndarray]:
        time.sleep(0.005)  # so that a step can begin in another thread
        self.cropped_meanwhile |= self.is_stepping
        return list(images)

    def step(
        self, states: Sequence[FakeTracker], images: Sequence[np.ndarray], crops: list[np.ndarray] | None = None
    ) -> list[SimpleNamespace]:
        self.is_stepping = True
        time.sleep(0.02)
        answers = super().step(states, images if crops is None else crops)
        self.is_stepping = False
        return answers


class EngineTracker(FakeTracker):
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine


BROKEN_AFTER = 3
"""Frames that a tracker with a broken device has tracked before."""


class BreakingTracker(FakeTracker):
    """One of two processes loses its device after some frames, for good."""

    frames = 0

    def initialize(self, image: np.ndarray, info: dict[str, Any]) -> None:
        self.count()
        super().initialize(image, info)

    def track(self, image: np.ndarray) -> dict[str, Any]:
        self.count()
        time.sleep(0.01)
        return super().track(image)

    def count(self) -> None:
        self.frames += 1
        if multiprocessing.current_process().name.endswith("-1") and self.frames > BROKEN_AFTER:
            raise RuntimeError(os.environ.get("FAKE_ERROR", "CUDA error: an illegal memory access was encountered"))


def make_breaking(device: str) -> FakeTracker:
    return BreakingTracker()


class FakeLink:
    """A host that gives these sequences and keeps what it is told."""

    def __init__(self, sequences: Sequence[VideoSequence]) -> None:
        self._left = list(sequences)
        self.sent: list[Message] = []

    def send(self, message: Message) -> None:
        self.sent.append(message)

    def ask(self, request: Request) -> Assignment | None:
        return Assignment(self._left.pop(0)) if self._left else None

    def check(self) -> None:
        pass


def make_batch(device: str) -> FakeBatchTracker:
    return FakeBatchTracker()


def make_fake(device: str) -> FakeTracker:
    return FakeTracker()


def make_warning(device: str) -> FakeTracker:
    logging.getLogger("fake").warning("the fake tracker has no kernels")
    warnings.warn("the fake tracker is deprecated", UserWarning, stacklevel=1)
    return FakeTracker()


def make_broken(device: str) -> FakeTracker:
    raise CheckpointError("weights.pth.tar: the file is truncated")


def make_buggy(device: str) -> FakeTracker:
    raise RuntimeError("a bug in the tracker")


def fake_parameters(config: str, dataset: str, **overrides: Any) -> dict[str, Any]:
    return {"config": config, "dataset": dataset, **overrides}


def build_fake(params: dict[str, Any]) -> FakeTracker:
    return FakeTracker()


def write_results(folder: Path, sequences: Sequence[tuple[str, np.ndarray]]) -> None:
    """Write result files as the published code does."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, boxes in sequences:
        rows = boxes.astype(int).tolist()
        (folder / f"{name}.txt").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
        (folder / f"{name}_time.txt").write_text("0.010000\n" * len(rows))


class LosingTracker(FakeTracker):
    """The device of one of two breaks after some frames of a sequence; no tracker can be made from then on."""

    frames = 0

    def track(self, image: np.ndarray) -> dict[str, Any]:
        self.frames += 1
        if self.frames >= BROKEN_AFTER and (log := Path(os.environ["FAKE_LOST"])).read_text() != "lost":
            while log.read_text().count("made") < 2:
                time.sleep(0.1)
            time.sleep(1)  # the other one has nothing left by now
            log.write_text("lost")
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().track(image)


def make_losing(device: str) -> FakeTracker:
    log = Path(os.environ["FAKE_LOST"])
    if log.read_text() == "lost":
        raise RuntimeError("CUDA error: device not ready")
    with log.open("a") as file:
        file.write("made ")
    return LosingTracker()
