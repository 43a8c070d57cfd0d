"""The one thread that computes: requests are jobs, and the next frames of all running jobs are one batch.

A job is a generator. It yields targets with the next image of each, is sent what was seen, and returns its answer; so
it holds frames only while it lives, and closing it, at any frame, frees them.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import numpy as np

from lib.test.serving.limits import Limits, Refused
from lib.test.tracker.lost import LostAndFound, Sighting, Target
from lib.utils.errors import DataError, InputError, SeqTrackError

logger = logging.getLogger(__name__)

Steps = Generator[tuple[Sequence[Target], Sequence[np.ndarray]], list[Sighting], Any]
"""What a job is; while it has nothing to compute it yields two empty lists, so that others get their turn."""
MakeSteps = Callable[[LostAndFound], Steps]

MOST_IN_BATCH = 16
"""Jobs that run at a time; the others wait for one to end."""
MOST_TARGETS = 64
"""Targets in a batch; one that is lost is several crops."""


class Job:
    """A request on its way; what it will answer is in ``future``.

    Args:
        steps: nothing of it runs before its turn has come.
    """

    def __init__(self, steps: Steps) -> None:
        self.future: Future[Any] = Future()
        self.cancelled = False
        self._steps: Steps | None = steps

    def cancel(self) -> None:
        """Give the job up, from any thread: one that waits frees what it holds at once, another after its frame."""
        self.cancelled = True
        if self.future.cancel():
            self._steps = None

    def begin(self) -> bool:
        """Whether it is wanted still; after that only the worker touches it."""
        return self.future.set_running_or_notify_cancel()

    def advance(self, sightings: list[Sighting] | None) -> tuple[Sequence[Target], Sequence[np.ndarray]] | None:
        """Send in what was seen (None at first) and return what to look at next; None if the job has ended."""
        assert self._steps is not None
        if self.cancelled:
            self.fail(Refused(503, "the request was cancelled"))
            return None
        try:
            return self._steps.send(sightings)
        except StopIteration as end:
            self._steps = None
            self.future.set_result(end.value)
        except SeqTrackError as error:
            self.fail(error)
        except Exception:  # a bug is the end of this job, not of the others
            logger.exception("a request failed")
            self.fail(Refused(500, "an internal error, which the log of the service describes"))
        return None

    def fail(self, error: Exception) -> None:
        """End the job with an error."""
        assert self._steps is not None
        self._steps.close()
        self._steps = None
        # Its frames hold the images: a future that somebody keeps, as a log does, is not to keep those.
        self.future.set_exception(error.with_traceback(None))


class Worker:
    """Runs jobs in a thread of its own.

    Args:
        follower: what starts and steps targets; nobody else may use it.

    Attributes:
        jobs: all that run or wait.
    """

    def __init__(self, follower: LostAndFound) -> None:
        self.jobs: set[Job] = set()
        self._follower = follower
        self._stopping = False
        self._waiting: SimpleQueue[Job | None] = SimpleQueue()  # may be put into by a signal handler
        self._thread = threading.Thread(target=self._run, name="tracker", daemon=True)
        self._thread.start()

    def submit(self, make: MakeSteps) -> Job:
        """Queue a job. Raises Refused if the worker is stopping."""
        job = Job(make(self._follower))
        self.jobs.add(job)
        job.future.add_done_callback(lambda _: self.jobs.discard(job))
        self._waiting.put(job)
        if self._stopping:
            job.cancel()
            raise Refused(503, "the service is stopping")
        return job

    def stop(self) -> None:
        """Cancel all jobs, now and later, and end after the frame in hand; safe in a signal handler."""
        self._stopping = True
        self._waiting.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the thread to end after ``stop``."""
        self._thread.join(seconds)

    def _run(self) -> None:
        seen: dict[Job, list[Sighting] | None] = {}
        while not self._stopping:
            self._take_in(seen)
            seen = self._round(seen)
        for job in list(self.jobs):
            job.cancel()
        for job in seen:
            job.advance(None)

    def _take_in(self, seen: dict[Job, list[Sighting] | None]) -> None:
        """Begin with waiting jobs while there is room; wait for one if none runs."""
        while len(seen) < MOST_IN_BATCH and not self._stopping and (not seen or not self._waiting.empty()):
            job = self._waiting.get()
            if job is not None and job.begin():
                seen[job] = None

    def _round(self, seen: dict[Job, list[Sighting] | None]) -> dict[Job, list[Sighting] | None]:
        """One frame of every job; returns those that go on with what was seen for them."""
        wanted = {job: step for job, sightings in seen.items() if (step := job.advance(sightings)) is not None}
        targets = [target for step in wanted.values() for target in step[0]]
        images = [image for step in wanted.values() for image in step[1]]
        try:
            found = iter(self._step(targets, images))
        except Exception as error:  # memory that is short, a device that breaks
            logger.exception("a step of %d targets failed", len(targets))
            for job in wanted:
                job.fail(Refused(500, f"tracking failed: {type(error).__name__}"))
            return {}
        return {job: list(itertools.islice(found, len(step[0]))) for job, step in wanted.items()}

    def _step(self, targets: Sequence[Target], images: Sequence[np.ndarray]) -> list[Sighting]:
        parts = [slice(begin, begin + MOST_TARGETS) for begin in range(0, len(targets), MOST_TARGETS)]
        return [seen for part in parts for seen in self._follower.step(targets[part], images[part])]


@dataclass(frozen=True)
class Start:
    """Where a target is in its first frame.

    Attributes:
        frame: from 0 on.
        box_xywh: in pixels, or in percent of the frame.
        where: what an error calls it, such as ``boxes[0]``.
        percent: whether the box is in percent.
    """

    frame: int
    box_xywh: tuple[float, float, float, float]
    where: str
    percent: bool = False

    def begin(self, follower: LostAndFound, image: np.ndarray) -> Target:
        """Begin with the target. Raises InputError if the box cannot be used."""
        height, width = image.shape[:2]
        x, y, w, h = self.box_xywh
        if self.percent:
            x, y, w, h = x * width / 100, y * height / 100, w * width / 100, h * height / 100
        try:
            return follower.start(image, (x, y, w, h))
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None


@dataclass
class Tracked:
    """What tracking a video gave.

    Attributes:
        tracks: of each target what was seen by frame, its first frame included.
        size: (width, height) of the frames.
        num_frames: how many were read.
        complete: whether the video was tracked to its end.
    """

    tracks: list[dict[int, Sighting]] = field(default_factory=list)
    size: tuple[int, int] = (0, 0)
    num_frames: int = 0
    complete: bool = True


def track_video(
    follower: LostAndFound, frames: Iterator[np.ndarray], starts: Sequence[Start], limits: Limits, deadline: float
) -> Generator[tuple[Sequence[Target], Sequence[np.ndarray]], list[Sighting], Tracked]:
    """Follow targets through frames, until they end, or a limit of frames or time is reached.

    Raises:
        InputError: if a box cannot be used.
        DataError: if a frame is too large, of another size than the first, or the video ends before a target begins.
    """
    result = Tracked([{} for _ in starts])
    targets: dict[int, Target] = {}
    first = min(start.frame for start in starts)
    with closing(frames):
        for index, image in enumerate(frames):
            if index - first >= limits.frames or time.monotonic() > deadline:
                result.complete = False
                break
            check_frame(image, result, limits)
            going = list(targets)
            sightings = yield list(targets.values()), [image] * len(targets)
            for number, sighting in zip(going, sightings, strict=True):
                result.tracks[number][index] = sighting
            for number, start in enumerate(starts):
                if start.frame == index:
                    targets[number] = start.begin(follower, image)
                    box = targets[number].state.box_xywh
                    result.tracks[number][index] = Sighting(list(box), 1.0, 40.0, "tracking")
    late = next((start for start, track in zip(starts, result.tracks, strict=True) if not track), None)
    if late is not None:
        ends = "the video ends" if result.complete else "the limits of frames and seconds end"
        raise DataError(f"{late.where}: begins in frame {late.frame}, {ends} before frame {result.num_frames}")
    return result


def check_frame(image: np.ndarray, result: Tracked, limits: Limits) -> None:
    """Count a frame; raises DataError if it is too large, or of another size than the first one."""
    height, width = image.shape[:2]
    limits.check_pixels(width, height, f"frame {result.num_frames}")
    if result.num_frames and (width, height) != result.size:
        first = "x".join(map(str, result.size))
        raise DataError(f"frame {result.num_frames}: {width}x{height} pixels, the first one has {first}")
    result.size = (width, height)
    result.num_frames += 1
