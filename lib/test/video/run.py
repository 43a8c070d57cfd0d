"""One target through one video."""

import signal
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
from lib.test.video.outputs import OutputPaths, RunOutputs, open_outputs, output_paths
from lib.test.video.overlay import draw_overlay
from lib.test.video.screen import Preview, select_box
from lib.test.video.sources import FrameSource
from lib.utils.errors import InputError


@dataclass(frozen=True)
class VideoRun:
    """What a run came to.

    Attributes:
        paths: the files it wrote.
        num_frames: frames, the first one included.
        tracker_fps: frames per second of the tracker alone; 0 if there was nothing to track.
        total_fps: with decoding, drawing and encoding.
        interrupted: whether the user ended it.
    """

    paths: OutputPaths
    num_frames: int
    tracker_fps: float
    total_fps: float
    interrupted: bool


class Job:
    """A video that can be opened, with a target in it and free places for its results.

    Reading the first frame and checking everything comes before the network is loaded: a mistake costs no time.

    Args:
        source: the frames.
        init_box: the target in the first frame, xywh in pixels; None lets the user draw it.
        folder: where the three files are written.
        max_frames: stop after so many frames.

    Raises:
        InputError: if the source has no frame, the box cannot be used, or a file is in the way.
        DataError: if the first image is damaged.
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
        self._frames = islice(chain([self.first], frames), max_frames)
        self.total = min((n for n in (source.num_frames, max_frames) if n is not None), default=None)

    def run(self, tracker: Tracker, header: Mapping[str, Any] | None = None, *, show: bool = False) -> VideoRun:
        """Track to the end of the video; Ctrl-C or q ends it early and keeps the frames so far.

        Args:
            tracker: follows the target.
            header: facts for the head of the JSON (experiment, checkpoint, ...).
            show: open a window.

        Raises:
            InputError: if a frame has another size, or the video cannot be written; then nothing is written.
            DataError: if an image is damaged; likewise.
        """
        preview = Preview() if show else None
        facts = {
            **(header or {}),
            "source": str(self.source),
            "init_box": self.init_box,
            "fps": self.source.fps,
            "width": self.width,
            "height": self.height,
        }
        begin, busy, stopped = time.perf_counter(), 0.0, False
        with (
            open_outputs(self.paths, self.source.fps, self.width, self.height, facts) as outputs,
            _interrupt_flag() as interrupt,
            tqdm(self._frames, total=self.total, unit="frame", desc=self.source.name) as frames,
        ):
            for index, frame in enumerate(frames):
                seconds, annotated = self._one_frame(tracker, index, frame, outputs)
                busy += seconds
                stopped = bool(interrupt) or (preview is not None and not preview.show(annotated))
                if stopped:
                    break
            count = len(outputs.boxes)
            tracker_fps = (count - 1) / busy if busy else 0.0
            total_fps = count / (time.perf_counter() - begin)
            speeds = {"tracker_fps": round(tracker_fps, 2), "total_fps": round(total_fps, 2)}
            outputs.header.update(num_frames=count, **speeds, interrupted=stopped)
        return VideoRun(self.paths, count, tracker_fps, total_fps, stopped)

    def _one_frame(
        self, tracker: Tracker, index: int, frame: np.ndarray, outputs: RunOutputs
    ) -> tuple[float, np.ndarray]:
        """Track and store a frame; gives the seconds spent in ``track``, and the annotated frame."""
        begin = time.perf_counter()
        if index == 0:
            tracker.initialize(frame, {"init_bbox": self.init_box})
            seconds, box, confidence, mask = 0.0, self.init_box, None, None
        else:
            answer = tracker.track(frame)
            seconds = time.perf_counter() - begin
            box, confidence, mask = answer["target_bbox"], answer["confidence"], answer.get("mask")
        annotated = draw_overlay(frame, box, confidence, index, mask)
        outputs.add(annotated, box, confidence)
        return seconds, annotated


@contextmanager
def _interrupt_flag() -> Iterator[list[int]]:
    """Give a list that becomes non-empty on Ctrl-C, so that no frame is cut in half; a second Ctrl-C ends at once."""
    seen: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield seen
        return

    def note(number: int, _frame: object) -> None:
        if seen:
            raise KeyboardInterrupt
        seen.append(number)

    previous = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, previous)


def parse_box(text: str) -> list[float]:
    """Read ``x,y,w,h`` as written on a command line.

    Raises:
        InputError: if it is not four numbers.
    """
    try:
        box = [float(part) for part in text.split(",")]
    except ValueError:
        box = []
    if len(box) != 4:
        raise InputError(f"--init_box: expected four numbers x,y,w,h, got {text!r}")
    return box
