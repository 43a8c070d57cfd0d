"""One target, or several, through one video."""

import logging
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
from tqdm import tqdm

from lib.test.tracker.preprocess import check_init_box
from lib.test.video.display import draw_overlay, draw_targets, has_display, select_box, show_frame
from lib.test.video.encoders import letterbox
from lib.test.video.outputs import RunOutputs, open_outputs
from lib.test.video.paths import OutputPaths
from lib.test.video.sources import FrameSource
from lib.test.video.targets import Seen, Start, Starts, TargetBatch
from lib.utils.child import stop_signals
from lib.utils.errors import InputError, SeqTrackError, printable

logger = logging.getLogger(__name__)

_UNEVEN = 1.5  # longest over shortest time between frames from which on a video counts as unevenly spaced


class Segmenter(Protocol):
    """Turns the boxes of the one target into masks."""

    def initialize(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        """Remember the target of the first frame."""

    def segment(self, image: np.ndarray, box_xywh: Sequence[float]) -> np.ndarray:
        """(H, W) uint8, 1 on the target."""


@dataclass(frozen=True)
class VideoRun:
    """What a run came to.

    Attributes:
        paths: the files it wrote.
        num_frames: frames, the first one included.
        tracker_fps: frames per second of the tracker alone; 0 if there was nothing to track.
        total_fps: with decoding, drawing and encoding.
        interrupted: whether the user ended it.
        signum: the signal that ended it, 0 if none did.
        has_video: whether there is an annotated video.
    """

    paths: OutputPaths
    num_frames: int
    tracker_fps: float
    total_fps: float
    interrupted: bool
    signum: int = 0
    has_video: bool = True


class Job:
    """A video that can be opened, with a target in it and free places for its results.

    Reading the first frame and checking everything comes before the network is loaded: a mistake costs no time.

    Args:
        source: the frames.
        starts: where the targets begin, by their numbers; None lets the user draw one in the first frame.
        paths: the files to write.
        max_frames: stop after so many frames.

    Raises:
        InputError: if the source has no frame, a box cannot be used, no target begins before the end, or another
            process tracks the same source to the same folder.
        DataError: if the first image is damaged.
        OSError: if the folder cannot be written to.
    """

    def __init__(
        self, source: FrameSource, starts: Starts | None, paths: OutputPaths, max_frames: int | None = None
    ) -> None:
        self.source, self.paths = source, paths
        self.several = starts is not None and len(starts) > 1
        self.total = min((n for n in (source.num_frames, max_frames) if n is not None), default=None)
        frames = source.frames()
        self.first = next(frames)
        self.height, self.width = self.first.shape[:2]
        self.starts = {1: Start(select_box(self.first))} if starts is None else starts
        one_size = source.path is None or not source.path.is_dir()  # the images of a folder may differ
        for id, start in self.starts.items():
            if start.frame == 0 or one_size:
                self._check(id, start, self.first)
        earliest = min(start.frame for start in self.starts.values())
        if self.total is not None and earliest >= self.total:
            raise InputError(
                f"no target begins before frame {earliest} (from 0), but {source} ends after {self.total} frames"
            )
        self._frames = islice(chain([self.first], frames), None if max_frames is None else min(max_frames, sys.maxsize))
        with self.paths.lock():
            pass

    def _check(self, id: int, start: Start, frame: np.ndarray) -> Start:
        """Refuse a box that cannot be used in its frame."""
        try:
            return Start(check_init_box(start.box_xywh, *frame.shape[:2]), start.frame)
        except InputError as error:
            place = f"target {id}, frame {start.frame} (from 0): " if self.several or start.frame else ""
            raise InputError(f"{place}{error}") from error

    def run(
        self,
        batch: TargetBatch,
        header: Mapping[str, Any] | None = None,
        *,
        segmenter: Segmenter | None = None,
        show: bool = False,
    ) -> VideoRun:
        """Track to the end of the video; a signal (Ctrl-C, SIGTERM, SIGHUP) or q ends it early.

        However it ends, the files with the frames up to then are written.

        Args:
            batch: follows the targets; it has none yet.
            header: facts for the head of the JSON (experiment, checkpoint, ...).
            segmenter: makes the mask of the one target that is drawn; it does not influence the box.
            show: open a window.

        Raises:
            InputError: if the video could not be written, or a box cannot be used in its frame; the boxes are written.
            DataError: if an image is damaged, a video is cut short, or a camera stops.
        """
        if show and not has_display():
            raise InputError("--show needs a display")
        self._batch, self._segmenter = batch, segmenter
        self._busy, self._tracked, begin, stopped = 0.0, 0, time.perf_counter(), False
        outputs = RunOutputs(self.paths, self._facts(header or {}), self.starts, batch.searches)
        with _stop_signals(self.source.stop) as signals:
            try:
                with open_outputs(outputs):
                    if "video" in self.paths.files:
                        outputs.open_video(self.source.fps, self.width, self.height)
                    try:
                        stopped = self._track(outputs, signals, show) or bool(signals)
                    finally:
                        count, outputs.header = outputs.count, outputs.header | self._end_of_source()
                        tracker_fps = round(self._tracked / self._busy, 2) if self._busy else 0.0
                        total_fps = round(count / (time.perf_counter() - begin), 2)
                        timing = {"tracker_fps": tracker_fps, "total_fps": total_fps, **self._timing(outputs.frames)}
                        lost = {"times_lost": batch.times_lost} if batch.has_states else {}
                        outputs.header |= {**timing, "interrupted": stopped or bool(signals), **lost}
            except SeqTrackError as error:
                if outputs.count:
                    raise type(error)(f"{error}; {self._saved(outputs)}") from error
                raise
        if outputs.problem is not None:
            raise InputError(f"{outputs.problem}; {self._saved(outputs)}") from outputs.problem
        rates, signum = (tracker_fps, total_fps), signals[0] if signals else 0
        return VideoRun(self.paths, count, *rates, stopped, signum, outputs.writer is not None)

    def _facts(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Head of the JSON."""
        boxes = {id: list(start.box_xywh) for id, start in self.starts.items()}
        frames = {id: start.frame for id, start in self.starts.items()}
        begin: dict[str, Any] = {"init_boxes": boxes, "init_frames": frames}
        if not self.several:
            (id,) = self.starts
            begin = {"init_box": boxes[id], "init_frame": frames[id]}
        if not any(frames.values()):
            begin.popitem()
        return {
            **header,
            "source": str(self.source if self.source.path is None else self.source.path.absolute()),
            **begin,
            "fps": self.source.fps,
            "width": self.width,
            "height": self.height,
        }

    def _end_of_source(self) -> dict[str, int]:
        """End a live source, and say how it went."""
        self.source.stop()
        if self.source.dropped is None:
            return {}
        dropped, reconnects = self.source.dropped, self.source.reconnects
        logger.info("%s: %d frames dropped, connected again %d times", self.source, dropped, reconnects)
        return {"dropped_frames": dropped, "reconnects": reconnects}

    def _timing(self, frames: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
        """Whether the frames of a video file are unevenly spaced in time, where it tells times."""
        steps = np.diff([frame["time"] for frame in frames if "time" in frame])
        if self.source.path is None or not len(steps) or steps.max() <= 0:
            return {}
        uneven = bool(steps.max() > _UNEVEN * steps.min())
        if uneven:
            apart = f"{steps.min():.3f} to {steps.max():.3f} s"
            logger.info("frames are %s apart: the video shows them at a constant rate, the JSON has their times", apart)
        return {"variable_frame_rate": uneven}

    def _saved(self, outputs: RunOutputs) -> str:
        """What a run that fails has come to."""
        path = next(path for format, path in self.paths.files.items() if format != "video")
        return f"the boxes of {outputs.count} frames are in {path}"

    def _track(self, outputs: RunOutputs, signals: list[int], show: bool) -> bool:
        """Track all frames; True if the user ended it."""
        other_sizes = 0
        name = printable(self.source.name, 40)
        with tqdm(self._frames, total=self.total, unit="frame", desc=name) as frames:
            for index, frame in enumerate(frames):
                if frame.shape != self.first.shape:
                    other_sizes += 1
                    if other_sizes == 1:
                        sizes = f"{frame.shape[1]}x{frame.shape[0]} pixels, the first one {self.width}x{self.height}"
                        logger.warning("frame %d has %s: scaled to fit; its box is in its own pixels", index, sizes)
                annotated, states = self._one_frame(index, frame, outputs)
                frames.set_description(f"{name} ({states})" if states else name, refresh=False)
                if signals or (show and not show_frame(annotated)):
                    return True
        if other_sizes > 1:
            logger.warning("%d frames have another size than the first one", other_sizes)
        self._check_all_began(outputs.count)
        return False

    def _check_all_began(self, count: int) -> None:
        """Warn of targets that begin after the end. Raises InputError if all do."""
        late = [f"{id} (frame {start.frame} from 0)" for id, start in self.starts.items() if start.frame >= count]
        if late:
            text = f"after the {count} frames of {self.source} begin the targets {printable(', '.join(late), 200)}"
            if len(late) == len(self.starts):
                raise InputError(f"{text}: nothing was tracked")
            logger.warning("%s: they were not tracked", text)

    def _one_frame(self, index: int, frame: np.ndarray, outputs: RunOutputs) -> tuple[np.ndarray, str]:
        """Track and store a frame; returns the annotated frame, and which states there are in it."""
        new = {id: self._check(id, start, frame) for id, start in self.starts.items() if start.frame == index}
        size = None if frame.shape == self.first.shape else [frame.shape[1], frame.shape[0]]
        frame, scale, corner = letterbox(frame, self.width, self.height)  # where the last box is known
        offsets = np.array((*corner, 0, 0))
        begin = time.perf_counter()
        seen: dict[int, Seen] = {}
        if len(self._batch):
            seen = self._batch.track(frame)
            self._busy += time.perf_counter() - begin
            self._tracked += 1
        if new:
            boxes = {id: (np.array(start.box_xywh) * scale + offsets).tolist() for id, start in new.items()}
            seen |= self._batch.add(frame, boxes)
        annotated = self._draw(index, frame, seen, bool(new))
        seconds = None if self.source.time is None else round(self.source.time, 6)
        own = {
            id: replace(target, box_xywh=((np.array(target.box_xywh) - offsets) / scale).tolist())
            for id, target in sorted(seen.items())
        }
        outputs.add(annotated, own, time=seconds, size=size, dropped=self.source.dropped)
        states = Counter(target.state for target in seen.values() if target.state)
        return annotated, ", ".join(f"{n} {state}" if self.several else state for state, n in sorted(states.items()))

    def _draw(self, index: int, frame: np.ndarray, seen: Mapping[int, Seen], begins: bool) -> np.ndarray:
        """Draw what was seen in a frame on a copy of it."""
        if self.several:
            return draw_targets(frame, seen)
        target, mask = next(iter(seen.values()), None), None
        if self._segmenter is not None and target is not None:
            if begins:
                self._segmenter.initialize(frame, list(target.box_xywh))
            elif target.state != "lost":
                mask = self._segmenter.segment(frame, list(target.box_xywh))
        return draw_overlay(frame, target, index, mask)


@contextmanager
def _stop_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Give a list that gets the number of a signal that asks for an end, so that no frame is cut in half.

    ``stop`` is called then.

    A second Ctrl-C ends at once. Signals that the process was started to ignore (``nohup``) stay ignored.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield seen
        return

    def note(number: int, _frame: object) -> None:
        seen.append(number)
        stop()
        if seen.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt

    numbers = [number for number in stop_signals() if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
