"""Tracking one sequence, whatever process it happens in."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lib.test.evaluation.data import Sequence
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import SeqTrackError

REPORT_SECONDS = 0.2
"""How often progress within a sequence is reported at most."""


class Tracker(Protocol):
    """What testing asks of a tracker; images are (H, W, 3) uint8 RGB, boxes x, y, w, h in pixels."""

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence; ``info`` is ``{"init_bbox": [x, y, w, h]}``."""

    def track(self, image: np.ndarray) -> Mapping[str, Any]:
        """Follow the target into the next frame; the answer holds ``target_bbox``."""


TrackerFactory = Callable[[str], Tracker]
"""Makes a tracker on a device; must be picklable to run in several processes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sequence.

    Attributes:
        sequence: its name.
        frames: number of frames that were tracked.
        seconds: time spent in the tracker, without reading images.
        error: why it failed, in one line; empty if it did not.
        details: traceback of the failure, if there is one.
    """

    sequence: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    details: str = ""


Report = Callable[[int | Outcome], None]
"""Hears of progress: a number of further frames, or what became of a sequence."""


def track_sequence(
    tracker: Tracker, sequence: Sequence, on_frame: Callable[[], None] = lambda: None
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the target from its first box on, as in one-pass evaluation.

    Args:
        tracker: made once, used for many sequences.
        sequence: F frames; only the first truth box is used.
        on_frame: called after each frame.

    Returns:
        Boxes (F, 4) float64 xywh, the first one as given, and the seconds (F,) that the tracker took for each frame.
    """
    init_box = sequence.init_box_xywh
    boxes, seconds = [init_box], []
    for index in range(len(sequence.frames)):
        image = sequence.read_frame(index)
        start = time.perf_counter()
        if index == 0:
            tracker.initialize(image, {"init_bbox": init_box})
        else:
            boxes.append(list(tracker.track(image)["target_bbox"]))
        seconds.append(time.perf_counter() - start)
        on_frame()
    return np.array(boxes, dtype=np.float64), np.array(seconds)


class _FrameCounter:
    """Counts frames and reports them now and then."""

    def __init__(self, report: Report) -> None:
        self.total = 0
        self._reported = 0
        self._report = report
        self._last = time.perf_counter()

    def __call__(self) -> None:
        self.total += 1
        if time.perf_counter() - self._last > REPORT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Report the frames since the last report."""
        if self.total > self._reported:
            self._report(self.total - self._reported)
        self._reported, self._last = self.total, time.perf_counter()


def attempt(
    tracker: Tracker,
    sequence: Sequence,
    folder: ResultFolder,
    report: Report,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Track a sequence and write its result; a failure is reported, not raised.

    Args:
        tracker: made once, used for many sequences.
        sequence: what to track.
        folder: where the result goes.
        report: hears of frames, then of the outcome.
        check: called after each frame; may raise a ``BaseException`` to stop.
    """
    counter = _FrameCounter(report)

    def on_frame() -> None:
        counter()
        check()

    try:
        boxes, seconds = track_sequence(tracker, sequence, on_frame)
        folder.write(sequence.name, boxes, seconds)
        outcome = Outcome(sequence.name, len(boxes), float(seconds.sum()))
    except Exception as error:  # one sequence must not take the others with it; it is listed and the exit code says so
        summary = str(error) if isinstance(error, SeqTrackError) else f"{type(error).__name__}: {error}"
        outcome = Outcome(sequence.name, counter.total, error=summary, details=traceback.format_exc())
    counter.flush()
    report(outcome)
