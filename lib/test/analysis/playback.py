"""A sequence played back: the frames with the truth and the boxes of several trackers, as an MP4 video."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from lib.test.analysis.plots import COLOURS
from lib.test.evaluation.data import Sequence
from lib.test.video.outputs import VideoWriter
from lib.utils.files import atomic_path

FPS = 30.0
TRUTH_COLOUR = (255, 255, 255)
SEAM_COLOUR = (16, 18, 22)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def write_playback(sequence: Sequence, boxes: Mapping[str, np.ndarray], path: Path, fps: float = FPS) -> None:
    """Write the video, whole or not at all.

    Args:
        sequence: F frames; those of another size than the first are scaled to it.
        boxes: (F, 4) xywh by tracker, in pixels.
        path: the MP4 file.
        fps: frames per second.

    Raises:
        DataError: if a frame cannot be read.
        InputError: if OpenCV can write no MP4 here.
    """
    first = sequence.read_frame(0)
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2  # the codecs want even sides
    with atomic_path(path) as temporary:
        writer = VideoWriter(temporary, fps, width, height)
        try:
            for index in range(len(sequence.frames)):
                frame = first if index == 0 else sequence.read_frame(index)
                frame = draw_frame(frame, sequence, {label: rows[index] for label, rows in boxes.items()}, index)
                if frame.shape[:2] != (height, width):
                    whole = frame.shape[:2] == first.shape[:2]
                    frame = frame[:height, :width] if whole else cv2.resize(frame, (width, height))
                writer.write(np.ascontiguousarray(frame))
        except BaseException:
            writer.release()
            raise
        writer.close()


def draw_frame(image: np.ndarray, sequence: Sequence, boxes: Mapping[str, np.ndarray], index: int) -> np.ndarray:
    """A copy of a frame with the boxes of the trackers, the truth on top, and a legend.

    Args:
        image: (H, W, 3) uint8 RGB.
        sequence: where the truth comes from; a hidden or absent one is not drawn.
        boxes: x, y, w, h by tracker.
        index: number of the frame, from 0.
    """
    canvas = np.ascontiguousarray(image).copy()
    line = max(1, round(min(canvas.shape[:2]) / 240))
    entries = []
    for number, (label, box) in enumerate(boxes.items()):
        hexadecimal = COLOURS[number % len(COLOURS)]
        colour = tuple(int(hexadecimal[start : start + 2], 16) for start in (1, 3, 5))
        _draw_box(canvas, box, colour, line)
        entries.append((label, colour))
    if sequence.has_truth and (truth := sequence.ground_truth_rect[index])[2:].min() > 0:  # not so for NaN
        _draw_box(canvas, truth, TRUTH_COLOUR, line)
        entries.append(("truth", TRUTH_COLOUR))
    _draw_legend(canvas, [(f"{sequence.name} {index:05d}", TRUTH_COLOUR), *entries])
    return canvas


def _draw_box(canvas: np.ndarray, box_xywh: np.ndarray, colour: tuple[int, ...], line: int) -> None:
    """A thin line on a dark seam, so that it shows on any ground."""
    x, y, w, h = (float(value) for value in np.clip(box_xywh, -1e4, 1e5))
    corners = (round(x), round(y)), (round(x + w), round(y + h))
    for shade, thickness in ((SEAM_COLOUR, line + 2), (colour, line)):
        cv2.rectangle(canvas, *corners, shade, thickness, cv2.LINE_AA)


def _draw_legend(canvas: np.ndarray, entries: list[tuple[str, tuple[int, ...]]]) -> None:
    """One line for each entry in the top left corner, on a shaded ground."""
    scale = max(0.35, min(canvas.shape[:2]) / 960)
    step = round(30 * scale) + 2
    width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text, _ in entries) + 12
    ground = canvas[: step * len(entries) + 6, :width]
    ground[:] = ground // 3
    for row, (text, colour) in enumerate(entries, start=1):
        cv2.putText(canvas, text, (6, row * step - step // 4), FONT, scale, colour, 1, cv2.LINE_AA)
