"""One target through one video."""

import logging
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lib.test.evaluation.loop import Tracker
from lib.test.tracker.preprocess import check_init_box
from lib.test.video.encoders import letterbox
from lib.test.video.outputs import OutputPaths, RunOutputs, open_outputs, output_paths, reserve_outputs
from lib.test.video.overlay import draw_overlay
from lib.test.video.screen import Preview, select_box
from lib.test.video.sources import FrameSource
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
        init_box: the target in the first frame, xywh in pixels; None lets the user draw it.
        folder: where the files are written.
        max_frames: stop after so many frames.

    Raises:
        InputError: if the source has no frame, the box cannot be used, a file is in the way, or another process tracks
            the same source to the same folder.
        DataError: if the first image is damaged.
        OSError: if the folder cannot be written to.
    """

    def __init__(
        self, source: FrameSource, init_box: Sequence[float] | None, folder: Path, max_frames: int | None = None
    ) -> None:
        self.source = source
        self.paths = output_paths(folder, source)
        frames = source.frames()
        self.first = next(frames)
        self.height, self.width = self.first.shape[:2]
        box = select_box(self.first) if init_box is None else init_box
        self.init_box = check_init_box(box, self.height, self.width)
        self._frames = islice(chain([self.first], frames), None if max_frames is None else min(max_frames, sys.maxsize))
        self.total = min((n for n in (source.num_frames, max_frames) if n is not None), default=None)
        with reserve_outputs(self.paths):
            pass

    def run(
        self, tracker: Tracker, header: Mapping[str, Any] | None = None, *, show: bool = False, video: bool = True
    ) -> VideoRun:
        """Track to the end of the video; a signal (Ctrl-C, SIGTERM, SIGHUP) or q ends it early.

        However it ends, the files with the frames up to then are written.

        Args:
            tracker: follows the target.
            header: facts for the head of the JSON (experiment, checkpoint, ...).
            show: open a window.
            video: write the annotated video.

        Raises:
            InputError: if the video could not be written; the boxes are.
            DataError: if an image is damaged, a video is cut short, or a camera stops.
        """
        preview = Preview() if show else None
        speed, stopped = _Speed(), False
        outputs = RunOutputs(self.paths, self._facts(header or {}))
        with _stop_signals() as signals:
            try:
                with open_outputs(outputs):
                    if video:
                        outputs.open_video(self.source.fps, self.width, self.height)
                    try:
                        stopped = self._track(tracker, outputs, speed, signals, preview)
                    finally:
                        outputs.header.update(speed.facts(len(outputs.frames)), **self._timing(outputs.frames))
                        outputs.header["interrupted"] = stopped or bool(signals)
            except SeqTrackError as error:
                if outputs.frames:
                    raise type(error)(f"{error}; {self._saved(outputs)}") from error
                raise
        if outputs.problem is not None:
            raise InputError(f"{outputs.problem}; {self._saved(outputs)}") from outputs.problem
        signum, count = signals[0] if signals else 0, len(outputs.frames)
        return VideoRun(self.paths, count, *speed.facts(count).values(), stopped, signum, outputs.writer is not None)

    def _facts(self, header: Mapping[str, Any]) -> dict[str, Any]:
        """Head of the JSON."""
        return {
            **header,
            "source": str(self.source if self.source.path is None else self.source.path.absolute()),
            "init_box": self.init_box,
            "fps": self.source.fps,
            "width": self.width,
            "height": self.height,
        }

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
        return f"the boxes of {len(outputs.frames)} frames are in {self.paths.boxes}"

    def _track(
        self, tracker: Tracker, outputs: RunOutputs, speed: "_Speed", signals: list[int], preview: Preview | None
    ) -> bool:
        """Track all frames; True if the user ended it."""
        other_sizes = 0
        with tqdm(self._frames, total=self.total, unit="frame", desc=printable(self.source.name, 40)) as frames:
            for index, frame in enumerate(frames):
                if frame.shape != self.first.shape:
                    other_sizes += 1
                    if other_sizes == 1:
                        sizes = f"{frame.shape[1]}x{frame.shape[0]} pixels, the first one {self.width}x{self.height}"
                        logger.warning("frame %d has %s: scaled to fit; its box is in its own pixels", index, sizes)
                annotated = self._one_frame(tracker, index, frame, outputs, speed)
                if signals or (preview is not None and not preview.show(annotated)):
                    return True
        if other_sizes > 1:
            logger.warning("%d frames have another size than the first one", other_sizes)
        return False

    def _one_frame(
        self, tracker: Tracker, index: int, frame: np.ndarray, outputs: RunOutputs, speed: "_Speed"
    ) -> np.ndarray:
        """Track and store a frame; returns the annotated frame."""
        size = None if frame.shape == self.first.shape else [frame.shape[1], frame.shape[0]]
        frame, scale, corner = letterbox(frame, self.width, self.height)  # where the last box is known
        begin = time.perf_counter()
        if index == 0:
            tracker.initialize(frame, {"init_bbox": self.init_box})
            box, confidence, mask = self.init_box, None, None
        else:
            answer = tracker.track(frame)
            speed.busy += time.perf_counter() - begin
            box, confidence, mask = answer["target_bbox"], answer["confidence"], answer.get("mask")
        annotated = draw_overlay(frame, box, confidence, index, mask)
        seconds = None if self.source.time is None else round(self.source.time, 6)
        own = [(value - offset) / scale for value, offset in zip(box, (*corner, 0, 0), strict=True)]
        outputs.add(annotated, own, confidence, time=seconds, size=size)
        return annotated


class _Speed:
    """Measures a run.

    Attributes:
        busy: seconds spent in ``track``.
    """

    def __init__(self) -> None:
        self.busy = 0.0
        self._begin = time.perf_counter()

    def facts(self, count: int) -> dict[str, float]:
        """Frames per second after ``count`` frames."""
        tracker_fps = (count - 1) / self.busy if self.busy else 0.0
        return {
            "tracker_fps": round(tracker_fps, 2),
            "total_fps": round(count / (time.perf_counter() - self._begin), 2),
        }


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Give a list that gets the number of a signal that asks for an end, so that no frame is cut in half.

    A second Ctrl-C ends at once. Signals that the process was started to ignore (``nohup``) stay ignored.
    """
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield seen
        return

    def note(number: int, _frame: object) -> None:
        seen.append(number)
        if seen.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, note) for number in numbers}
    try:
        yield seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


BOX_FLAGS = ("--init_box", "--optional_box")
_PART_OF_BOX = re.compile(r"[\s,;()\[\]]*[-+]?[\d.][\w.+-]*([\s,;()\[\]]+[-+]?[\w.+-]*)*")


def join_box(argv: Sequence[str]) -> list[str]:
    """Make one argument of a box that is written as several (``--init_box 10 20 30 40``), or begins with a minus sign.

    ``argparse`` could take several, but then also the arguments after a box that is written as one.
    """
    joined: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in BOX_FLAGS:
            parts: list[str] = []
            while rest and len(_numbers(" ".join(parts))) < 4 and _PART_OF_BOX.fullmatch(rest[0]):
                parts.append(rest.pop(0))
            argument = f"{argument}={' '.join(parts)}" if parts else argument
        joined.append(argument)
    return joined


def _numbers(text: str) -> list[str]:
    return re.sub(r"[\s,;()\[\]]+", " ", text).split()


def parse_box(text: str) -> list[float]:
    """Read a box as written on a command line: four numbers between commas or blanks, brackets around them or not.

    Raises:
        InputError: if it is not four numbers.
    """
    try:
        box = [float(part) for part in _numbers(text)]
    except ValueError:
        box = []
    if len(box) != 4:
        raise InputError(f"--init_box: expected four numbers x,y,w,h, got {printable(repr(text))}")
    return box
