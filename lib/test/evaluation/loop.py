"""Tracking sequences in lock-step through one network, whatever process it happens in."""

import copy
import logging
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as AbstractSequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.data.sequence import Sequence
from lib.test.evaluation.prefetch import FrameReader
from lib.test.evaluation.protocol import BatchTracker, BoxResult, Link, Outcome, Request, Tracker
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError, SeqTrackError, printable

logger = logging.getLogger(__name__)

REPORT_SECONDS = 0.2
"""How often progress within a sequence is reported at most."""
ERRORS_IN_A_ROW = 3
"""After so many errors of the tracker, and no frame between them, its device or process is taken for broken."""
OVERLAP_SEQUENCES = 16
"""From so many live sequences on, two half batches cost a GPU little more than a whole one."""


class BrokenTrackerError(Exception):
    """The device or the process is broken: this worker should end, and others do its work."""


class _OneAtATime:
    """The batch form of a tracker that knows one sequence only."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def start(self, image: np.ndarray, box_xywh: AbstractSequence[float]) -> None:
        self._tracker.initialize(image, {"init_bbox": list(box_xywh)})

    def step(self, states: AbstractSequence[None], images: AbstractSequence[np.ndarray]) -> list[BoxResult]:
        return [SimpleNamespace(box_xywh=self._tracker.track(image)["target_bbox"]) for image in images]


def batch_form(tracker: Tracker, batch_size: int) -> BatchTracker:
    """The side of a tracker that steps up to ``batch_size`` sequences at once.

    Raises:
        InputError: if the tracker follows one sequence only and more are asked for.
    """
    engine = getattr(tracker, "engine", None)
    if engine is None and batch_size > 1:
        raise InputError(f"this tracker follows one sequence at a time, so --batch_size must be 1, not {batch_size}")
    return _OneAtATime(tracker) if engine is None else engine


def describe_error(error: BaseException) -> str:
    """One line, short enough for a terminal."""
    is_own = isinstance(error, (SeqTrackError, BrokenTrackerError))
    return str(error) if is_own else printable(f"{type(error).__name__}: {error}", 500)


# Errors of a device are known by name: not every tracker brings torch.
def _is_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or "out of memory" in str(error).lower()


def _is_device_error(error: Exception) -> bool:
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


@dataclass(eq=False)
class _Live:
    """A sequence that is being tracked; ``image`` is its next frame, once it is read."""

    sequence: Sequence
    alone: bool
    reader: FrameReader
    state: Any = None
    image: np.ndarray | None = None
    in_step: bool = False
    boxes: list[list[float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    presence: list[float] = field(default_factory=list)

    @property
    def frames_left(self) -> int:
        return len(self.sequence.frames) - len(self.boxes)


@dataclass(frozen=True)
class _Step:
    """A step that was begun, with copies of the states, which replace the old ones if it succeeds."""

    batch: list[_Live]
    states: list[Any]
    future: Future


class _Inline(Executor):
    """Does the work at once, in the thread that submits it."""

    def submit(self, work: Callable, /, *arguments: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future


def _timed(work: Callable, *arguments: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return work(*arguments), time.perf_counter() - start


class SequenceRunner:
    """Tracks sequences in lock-step: each step is one batch, and a finished sequence is replaced at once.

    On a GPU there are two half batches: while the device works on one, in a thread of its own, the images of the other
    are read and cropped here.

    Args:
        tracker: made once, used for all sequences.
        folder: where the results go.
        link: to the host; the failure of a sequence is sent, not raised.
        batch_size: how many sequences are live at most.
        readers: number of threads that decode frames ahead.
        overlap: whether there are two half batches; by default if the tracker has ``crop`` and computes on CUDA.
    """

    def __init__(
        self,
        tracker: Tracker,
        folder: ResultFolder,
        link: Link,
        *,
        batch_size: int = 1,
        readers: int = 1,
        overlap: bool | None = None,
    ) -> None:
        self._tracker = batch_form(tracker, batch_size)
        self._folder = folder
        self._link = link
        self._batch_size = batch_size
        if overlap is None:
            device = getattr(self._tracker, "device", None)
            overlap = getattr(device, "type", "") == "cuda" and hasattr(self._tracker, "crop")
        self._overlap = overlap
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix="decode")
        self._device: Executor = ThreadPoolExecutor(1, thread_name_prefix="device") if overlap else _Inline()
        self._live: list[_Live] = []
        self._steps: deque[_Step] = deque()
        self._frames = self._errors_in_a_row = 0
        self._reported_at = time.perf_counter()

    def run(self) -> None:
        """Track until the host has no sequence left.

        Raises:
            BrokenTrackerError: if this process cannot go on; nothing was sent of its live sequences.
        """
        try:
            exhausted = False
            while self._live or not exhausted:
                exhausted = exhausted or self._fill()
                live = len(self._live)
                self._advance()
                exhausted = exhausted and len(self._live) == live  # a free place is a reason to ask again
                self._link.check()
        finally:
            self._readers.shutdown(wait=False, cancel_futures=True)
            self._device.shutdown(wait=False, cancel_futures=True)

    def _fill(self) -> bool:
        """Begin sequences until all places are taken; returns whether there are no more for now."""
        while len(self._live) < self._batch_size and not any(live.alone for live in self._live):
            longest = max((live.frames_left for live in self._live), default=0)
            given = self._link.ask(Request(len(self._live), longest))
            if given is None:
                return True
            reader = FrameReader(given.sequence, self._readers, 1 / self._batch_size)
            self._begin(_Live(given.sequence, given.alone, reader))
        return False

    def _begin(self, live: _Live) -> None:
        self._live.append(live)
        try:
            image, box = live.reader.next_frame(), live.sequence.init_box_xywh
        except Exception as error:  # one sequence must not take the others with it; the exit code says so
            self._fail([live], error)
            return
        try:
            live.state, seconds = self._device.submit(_timed, self._tracker.start, image, box).result()
        except Exception as error:  # as above
            self._fail_in_tracker([live], error)
        else:
            self._accept(live, box, seconds)

    def _advance(self) -> None:
        """Begin a step of sequences that are in none, and end the one before it."""
        halves = 2 if self._overlap and len(self._live) >= OVERLAP_SEQUENCES else 1
        size = min(self._batch_size, -(-len(self._live) // halves))
        batch = self._read([live for live in self._live if not live.in_step][:size])
        if batch:
            self._begin_step(batch)
        while self._steps and (len(self._steps) >= halves or not batch):
            self._end_step(self._steps.popleft())

    def _read(self, batch: list[_Live]) -> list[_Live]:
        """Read the next image of each; returns those that have one."""
        for live in batch:
            try:
                if live.image is None:
                    live.image = live.reader.next_frame()
            except Exception as error:  # as above: an unreadable frame ends its own sequence
                self._fail([live], error)
        return [live for live in batch if live.image is not None]

    def _begin_step(self, batch: list[_Live]) -> None:
        states, images = [copy.copy(live.state) for live in batch], [live.image for live in batch]
        crops = _Inline().submit(_timed, self._tracker.crop, states, images) if self._overlap else None
        for live in batch:
            live.in_step = True
        self._live.sort(key=lambda live: live.in_step)  # if they do not fit into one batch, they take turns
        self._steps.append(_Step(batch, states, self._device.submit(self._compute, states, images, crops)))

    def _compute(self, states: list[Any], images: list[np.ndarray], crops: Future | None) -> tuple[Any, float]:
        if crops is None:
            return _timed(self._tracker.step, states, images)
        made, seconds = crops.result()
        results, more = _timed(self._tracker.step, states, images, made)
        return results, seconds + more

    def _end_step(self, step: _Step) -> None:
        for live in step.batch:
            live.in_step = False
        try:
            results, seconds = step.future.result()
        except Exception as error:  # as above
            if _is_out_of_memory(error) and len(step.batch) > 1:
                self._halve(len(step.batch))
            else:
                self._fail_in_tracker(step.batch, error)
            return
        present = self._presence(results) if self._folder.asks_presence else [1.0] * len(results)
        for live, state, result, presence in zip(step.batch, step.states, results, present, strict=True):
            live.state, live.image = state, None
            self._accept(live, list(result.box_xywh), seconds / len(step.batch), presence)

    def _presence(self, results: AbstractSequence[BoxResult]) -> AbstractSequence[float]:
        """How likely it is that each target is there; 1 of a tracker that does not say."""
        measure = getattr(self._tracker, "presence", None)
        return [1.0] * len(results) if measure is None else measure(results)

    def _halve(self, size: int) -> None:
        """Go on with half of what the device had no memory for; the next steps track the same images again."""
        self._batch_size = min(self._batch_size, size // 2)
        # An error, since only the first worker warns.
        logger.error("out of memory with %d sequences in a batch, going on with %d", size, self._batch_size)
        if torch := sys.modules.get("torch"):
            torch.cuda.empty_cache()

    def _accept(self, live: _Live, box_xywh: list[float], seconds: float, presence: float = 1.0) -> None:
        """Keep the answer for a frame; write the result after the last one."""
        live.boxes.append(box_xywh)
        live.seconds.append(seconds)
        live.presence.append(presence)
        self._frames += 1
        self._errors_in_a_row = 0
        if not live.frames_left:
            try:
                boxes = np.array(live.boxes, dtype=np.float64)
                self._folder.write(live.sequence.name, boxes, live.seconds, live.presence)
            except Exception as error:  # as above: a box that is not a number, or a full disk
                self._fail([live], error)
            else:
                self._end(live, Outcome(live.sequence.name, len(live.boxes), float(sum(live.seconds))))
        elif time.perf_counter() - self._reported_at > REPORT_SECONDS:
            self._flush()

    def _fail_in_tracker(self, batch: list[_Live], error: Exception) -> None:
        """End sequences that the tracker failed on, or everything if they are not the reason."""
        self._errors_in_a_row += not isinstance(error, SeqTrackError)
        in_a_row = self._errors_in_a_row >= ERRORS_IN_A_ROW
        if in_a_row or (_is_device_error(error) and not _is_out_of_memory(error)):
            self._flush()
            reason = f"{ERRORS_IN_A_ROW} errors in a row, the last one " if in_a_row else ""
            raise BrokenTrackerError(reason + describe_error(error)) from error
        self._fail(batch, error)

    def _fail(self, batch: list[_Live], error: Exception) -> None:
        """End sequences that failed; of several, each gets another chance by itself."""
        summary, details = describe_error(error), "".join(traceback.format_exception(error))
        for live in batch:
            self._end(live, Outcome(live.sequence.name, len(live.boxes), 0.0, summary, details, again=len(batch) > 1))

    def _end(self, live: _Live, outcome: Outcome) -> None:
        live.reader.close()
        self._live.remove(live)
        self._flush()
        self._link.send(outcome)

    def _flush(self) -> None:
        """Report the frames since the last report."""
        if self._frames:
            self._link.send(self._frames)
        self._frames, self._reported_at = 0, time.perf_counter()
