"""Tracking sequences, whatever process it happens in: one, or several in lock-step through one network."""

import time
import traceback
from collections.abc import Callable, Mapping
from collections.abc import Sequence as AbstractSequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lib.data.sequence import Sequence
from lib.test.evaluation.prefetch import FrameReader
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError, SeqTrackError, printable

REPORT_SECONDS = 0.2
"""How often progress within a sequence is reported at most."""


class Tracker(Protocol):
    """What testing asks of a tracker; images are (H, W, 3) uint8 RGB, boxes x, y, w, h in pixels."""

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence; ``info`` is ``{"init_bbox": [x, y, w, h]}``."""

    def track(self, image: np.ndarray) -> Mapping[str, Any]:
        """Follow the target into the next frame; the answer holds ``target_bbox``."""


class BoxResult(Protocol):
    """An answer of a batch tracker."""

    box_xywh: AbstractSequence[float]


class BatchTracker(Protocol):
    """A tracker that follows many sequences at once; a tracker offers it as its attribute ``engine``."""

    def start(self, image: np.ndarray, box_xywh: AbstractSequence[float]) -> Any:
        """Begin a sequence and return its state."""

    def step(self, states: AbstractSequence[Any], images: AbstractSequence[np.ndarray]) -> AbstractSequence[BoxResult]:
        """Follow each target into its next frame; the states move on in place."""


TrackerFactory = Callable[[str], Tracker]
"""Makes a tracker on a device; must be picklable to run in several processes."""


@dataclass(frozen=True)
class Outcome:
    """What became of a sequence.

    Attributes:
        sequence: its name.
        frames: number of frames that were tracked.
        seconds: its share of the time spent in the tracker, without reading images.
        error: why it failed, in one line; empty if it did not.
        details: traceback of the failure, if there is one.
        again: it failed together with others, and none of them is known to be the cause: it deserves a second attempt.
        shared: another run, which shares the folder, has made the result.
    """

    sequence: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    details: str = ""
    again: bool = False
    shared: bool = False


Report = Callable[[int | Outcome], None]
"""Hears of progress: a number of frames (below 0: they are tracked again), or what became of a sequence."""


@dataclass(frozen=True)
class Assignment:
    """A sequence to track; ``alone`` if no other may be tracked in the same batch."""

    sequence: Sequence
    alone: bool = False


NextSequence = Callable[[int], Assignment | None]
"""Gives the next sequence, told how many are live; None if there is none for now."""


@dataclass(frozen=True)
class _Box:
    box_xywh: AbstractSequence[float]


class _OneAtATime:
    """The batch form of a tracker that knows one sequence only."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def start(self, image: np.ndarray, box_xywh: AbstractSequence[float]) -> None:
        """Begin a sequence."""
        self._tracker.initialize(image, {"init_bbox": list(box_xywh)})

    def step(self, states: AbstractSequence[None], images: AbstractSequence[np.ndarray]) -> list[_Box]:
        """Follow the target into the next frame."""
        return [_Box(self._tracker.track(image)["target_bbox"]) for image in images]


def batch_form(tracker: Tracker, batch_size: int) -> BatchTracker:
    """The side of a tracker that steps up to ``batch_size`` sequences at once.

    Raises:
        InputError: if the tracker follows one sequence only and more are asked for.
    """
    engine = getattr(tracker, "engine", None)
    if engine is not None:
        return engine
    if batch_size > 1:
        raise InputError(f"this tracker follows one sequence at a time, so --batch_size must be 1, not {batch_size}")
    return _OneAtATime(tracker)


@dataclass
class _Live:
    """A sequence that is being tracked."""

    sequence: Sequence
    alone: bool
    reader: FrameReader
    state: Any = None
    boxes: list[list[float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return len(self.boxes) == len(self.sequence.frames)


class SequenceRunner:
    """Tracks sequences in lock-step: each step is one batch, and a finished sequence is replaced at once.

    Args:
        tracker: made once, used for all sequences.
        folder: where the results go.
        report: hears of frames and of outcomes; a failure is reported, not raised.
        batch_size: how many sequences are live at most.
        readers: number of threads that decode frames ahead.
    """

    def __init__(
        self, tracker: Tracker, folder: ResultFolder, report: Report, *, batch_size: int = 1, readers: int = 1
    ) -> None:
        self._tracker = batch_form(tracker, batch_size)
        self._folder = folder
        self._report = report
        self._batch_size = batch_size
        self._readers = readers
        self._live: list[_Live] = []
        self._frames = 0
        self._reported_at = time.perf_counter()

    def run(self, next_sequence: NextSequence, check: Callable[[], None] = lambda: None) -> None:
        """Track until there is no sequence left.

        Args:
            next_sequence: where the sequences come from.
            check: called after each step; may raise a ``BaseException`` to stop.
        """
        threads = ThreadPoolExecutor(self._readers, thread_name_prefix="decode")
        try:
            exhausted = False
            while self._live or not exhausted:
                exhausted = self._fill(next_sequence, threads, exhausted)
                live = len(self._live)
                if live:
                    self._advance()
                exhausted = exhausted and len(self._live) == live  # a free place is a reason to ask again
                check()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _fill(self, next_sequence: NextSequence, threads: ThreadPoolExecutor, exhausted: bool) -> bool:
        """Begin sequences until all places are taken; returns whether there are no more for now."""
        while len(self._live) < self._batch_size and not exhausted and not any(live.alone for live in self._live):
            given = next_sequence(len(self._live))
            if given is None:
                return True
            reader = FrameReader(given.sequence, threads, 1 / self._batch_size)
            self._begin(_Live(given.sequence, given.alone, reader))
        return exhausted

    def _begin(self, live: _Live) -> None:
        self._live.append(live)
        try:
            image, box = live.reader.next_frame(), live.sequence.init_box_xywh
            start = time.perf_counter()
            live.state = self._tracker.start(image, box)
        except Exception as error:  # one sequence must not take the others with it; the exit code says so
            self._fail([live], error)
            return
        self._accept(live, box, time.perf_counter() - start)

    def _advance(self) -> None:
        """Track one frame of every live sequence."""
        ready, images = [], []
        for live in list(self._live):
            try:
                images.append(live.reader.next_frame())
                ready.append(live)
            except Exception as error:  # as above: an unreadable frame ends its own sequence
                self._fail([live], error)
        if not ready:
            return
        start = time.perf_counter()
        try:
            results = self._tracker.step([live.state for live in ready], images)
        except Exception as error:  # as above
            self._fail(ready, error)
            return
        seconds = (time.perf_counter() - start) / len(ready)
        for live, result in zip(ready, results, strict=True):
            self._accept(live, list(result.box_xywh), seconds)

    def _accept(self, live: _Live, box_xywh: list[float], seconds: float) -> None:
        """Keep the answer for a frame; write the result after the last one."""
        live.boxes.append(box_xywh)
        live.seconds.append(seconds)
        self._frames += 1
        if live.is_done:
            try:
                self._folder.write(live.sequence.name, np.array(live.boxes, dtype=np.float64), live.seconds)
            except Exception as error:  # as above: a box that is not a number, or a full disk
                self._fail([live], error)
            else:
                self._end(live, Outcome(live.sequence.name, len(live.boxes), float(sum(live.seconds))))
        elif time.perf_counter() - self._reported_at > REPORT_SECONDS:
            self._flush()

    def _fail(self, culprits: list[_Live], error: Exception) -> None:
        """End sequences that failed; of several, each gets another chance by itself."""
        summary = str(error) if isinstance(error, SeqTrackError) else printable(f"{type(error).__name__}: {error}", 500)
        details = "".join(traceback.format_exception(error))
        for live in culprits:
            outcome = Outcome(live.sequence.name, len(live.boxes), 0.0, summary, details, again=len(culprits) > 1)
            self._end(live, outcome)

    def _end(self, live: _Live, outcome: Outcome) -> None:
        live.reader.close()
        self._live.remove(live)
        self._flush()
        self._report(outcome)

    def _flush(self) -> None:
        """Report the frames since the last report."""
        if self._frames:
            self._report(self._frames)
        self._frames, self._reported_at = 0, time.perf_counter()
