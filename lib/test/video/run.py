"""One target, or several, through one video."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.test.evaluation.protocol import Tracker
from lib.test.tracker.preprocess import check_init_box
from lib.test.video.display import draw_overlay, draw_targets, has_display, select_box, show_frame
from lib.test.video.encoders import letterbox
from lib.test.video.outputs import DEFAULT_FORMATS, OutputPaths, RunOutputs, Seen, open_outputs, output_paths
from lib.test.video.sources import FrameSource
from lib.test.video.targets import TargetBatch
from lib.test.vot20.seqtrack_vot20 import Segmenter
from lib.utils.child import stop_signals
from lib.utils.errors import InputError, SeqTrackError, printable

logger = logging.getLogger(__name__)

_UNEVEN = 1.5  # longest over shortest time between frames from which on a video counts as unevenly spaced


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
        init_box: the target in the first frame, xywh in pixels, or several by their numbers; None lets the user draw
            it.
        folder: where the files are written.
        max_frames: stop after so many frames.
        formats: of the files (``outputs.SUFFIXES``); by default a video, the boxes (MOT for several targets) and JSON.

    Raises:
        InputError: if the source has no frame, the box cannot be used, a file is in the way, or another process tracks
            the same source to the same folder.
        DataError: if the first image is damaged.
        OSError: if the folder cannot be written to.
    """

    def __init__(
        self,
        source: FrameSource,
        init_box: Sequence[float] | Mapping[int, Sequence[float]] | None,
        folder: Path,
        max_frames: int | None = None,
        formats: Sequence[str] | None = None,
    ) -> None:
        self.source = source
        self.several = isinstance(init_box, Mapping) and len(init_box) > 1
        formats = default_formats(init_box) if formats is None else formats
        if self.several and "txt" in formats:
            raise InputError("the format txt holds one target; with several use mot")
        self.paths = output_paths(folder, source, formats)
        frames = source.frames()
        self.first = next(frames)
        self.height, self.width = self.first.shape[:2]
        boxes = (
            init_box if isinstance(init_box, Mapping) else {1: select_box(self.first) if init_box is None else init_box}
        )
        self.init_boxes = {id: check_init_box(box, self.height, self.width) for id, box in boxes.items()}
        self._frames = islice(chain([self.first], frames), None if max_frames is None else min(max_frames, sys.maxsize))
        self.total = min((n for n in (source.num_frames, max_frames) if n is not None), default=None)
        with self.paths.lock():
            pass

    def run(self, tracker: Tracker, header: Mapping[str, Any] | None = None, *, show: bool = False) -> VideoRun:
        """Track to the end of the video; a signal (Ctrl-C, SIGTERM, SIGHUP) or q ends it early.

        However it ends, the files with the frames up to then are written.

        Args:
            tracker: follows the target; of several its ``engine`` is used, a ``SeqTrackEngine``.
            header: facts for the head of the JSON (experiment, checkpoint, ...).
            show: open a window.

        Raises:
            InputError: if the video could not be written; the boxes are.
            DataError: if an image is damaged, a video is cut short, or a camera stops.
        """
        if show and not has_display():
            raise InputError("--show needs a display")
        self._busy, begin, stopped = 0.0, time.perf_counter(), False
        tracker = TargetBatch(tracker.engine) if self.several else tracker
        outputs = RunOutputs(self.paths, self._facts(header or {}), self.several)
        with _stop_signals(self.source.stop) as signals:
            try:
                with open_outputs(outputs):
                    if "video" in self.paths.formats:
                        outputs.open_video(self.source.fps, self.width, self.height)
                    try:
                        stopped = self._track(tracker, outputs, signals, show) or bool(signals)
                    finally:
                        count, outputs.header = outputs.count, outputs.header | self._end_of_source()
                        tracker_fps = round((count - 1) / self._busy, 2) if self._busy else 0.0
                        total_fps = round(count / (time.perf_counter() - begin), 2)
                        timing = {"tracker_fps": tracker_fps, "total_fps": total_fps, **self._timing(outputs.frames)}
                        outputs.header |= {**timing, "interrupted": stopped or bool(signals)}
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
        return {
            **header,
            "source": str(self.source if self.source.path is None else self.source.path.absolute()),
            **({"init_boxes": self.init_boxes} if self.several else {"init_box": self._init_box}),
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
        format = next(format for format in self.paths.formats if format != "video")
        return f"the boxes of {outputs.count} frames are in {self.paths.file(format)}"

    @property
    def _init_box(self) -> list[float]:
        return next(iter(self.init_boxes.values()))

    def _track(self, tracker: Tracker, outputs: RunOutputs, signals: list[int], show: bool) -> bool:
        """Track all frames; True if the user ended it."""
        other_sizes = 0
        with tqdm(self._frames, total=self.total, unit="frame", desc=printable(self.source.name, 40)) as frames:
            for index, frame in enumerate(frames):
                if frame.shape != self.first.shape:
                    other_sizes += 1
                    if other_sizes == 1:
                        sizes = f"{frame.shape[1]}x{frame.shape[0]} pixels, the first one {self.width}x{self.height}"
                        logger.warning("frame %d has %s: scaled to fit; its box is in its own pixels", index, sizes)
                annotated = self._one_frame(tracker, index, frame, outputs)
                if signals or (show and not show_frame(annotated)):
                    return True
        if other_sizes > 1:
            logger.warning("%d frames have another size than the first one", other_sizes)
        return False

    def _one_frame(self, tracker: Tracker, index: int, frame: np.ndarray, outputs: RunOutputs) -> np.ndarray:
        """Track and store a frame; returns the annotated frame."""
        size = None if frame.shape == self.first.shape else [frame.shape[1], frame.shape[0]]
        frame, scale, corner = letterbox(frame, self.width, self.height)  # where the last box is known
        begin = time.perf_counter()
        if index == 0:
            tracker.initialize(frame, self.init_boxes if self.several else {"init_bbox": self._init_box})
            seen, mask = {id: (box, None) for id, box in self.init_boxes.items()}, None
        else:
            answer = tracker.track(frame)
            self._busy += time.perf_counter() - begin
            seen, mask = self._seen(answer), answer.get("mask")
        if self.several:
            annotated = draw_targets(frame, seen)
        else:
            annotated = draw_overlay(frame, *next(iter(seen.values())), index, mask)
        seconds = None if self.source.time is None else round(self.source.time, 6)
        offsets = (*corner, 0, 0)
        own = {
            id: ([(value - offset) / scale for value, offset in zip(box, offsets, strict=True)], confidence)
            for id, (box, confidence) in seen.items()
        }
        outputs.add(annotated, own, time=seconds, size=size, dropped=self.source.dropped)
        return annotated

    def _seen(self, answer: Any) -> Seen:
        """What the tracker answers, by target."""
        return answer if self.several else {id: (answer["target_bbox"], answer["confidence"]) for id in self.init_boxes}


def default_formats(init_box: object) -> tuple[str, ...]:
    """Formats of the files of a run, by the boxes that it begins with; see ``Job``."""
    return ("video", "mot", "json") if isinstance(init_box, Mapping) and len(init_box) > 1 else DEFAULT_FORMATS


class MaskedTracker:
    """Adds ``mask``, (H, W) uint8, to what a tracker answers; the masks do not influence it.

    Args:
        tracker: follows the box.
        segmenter: makes masks of boxes, such as ``external.AR.AlphaRefine``.
    """

    def __init__(self, tracker: Any, segmenter: Segmenter) -> None:
        self.tracker = tracker
        self.segmenter = segmenter

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence, as the tracker does."""
        self.tracker.initialize(image, info)
        self.segmenter.initialize(image, info["init_bbox"])

    def track(self, image: np.ndarray) -> dict[str, Any]:
        """Track the next frame."""
        answer = self.tracker.track(image)
        return {**answer, "mask": self.segmenter.segment(image, answer["target_bbox"])}


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
