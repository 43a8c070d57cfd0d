"""A sequence played back: the frames with the ground truth and the boxes of several trackers, as an MP4 video."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from lib.test.analysis.plots import line_styles
from lib.test.analysis.tables import shortened
from lib.test.evaluation.data import Sequence
from lib.test.video.outputs import VideoWriter
from lib.utils.errors import InputError
from lib.utils.files import atomic_path

FPS = 30.0
GROUND_TRUTH = "ground truth"
WHITE, DARK = (255, 255, 255), (16, 18, 22)
PANEL_COLOR = (245, 245, 245)
LONGEST_LABEL = 32
FONT = cv2.FONT_HERSHEY_SIMPLEX

Style = tuple[tuple[int, ...], tuple[float, ...]]
"""Color (RGB) and dashes."""


def write_playback(sequence: Sequence, boxes: Mapping[str, np.ndarray], path: Path, fps: float = FPS) -> None:
    """Write the video, whole or not at all; the legend is beside the frames and hides nothing.

    Args:
        sequence: F frames; those of another size than the first are scaled to it.
        boxes: (F, 4) xywh by tracker, in pixels.
        path: the MP4 file.
        fps: frames per second.

    Raises:
        DataError: if a frame cannot be read.
        InputError: if OpenCV can write no MP4 here, or not to this folder.
    """
    try:
        os.fsencode(path.parent).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.parent}: OpenCV can write no video into a folder whose name is not UTF-8") from error
    styles = _styles(boxes)
    first = sequence.read_frame(0)
    height, width = first.shape[:2]
    legend = draw_legend(
        {**styles, **({GROUND_TRUTH: (WHITE, ())} if sequence.has_ground_truth else {})}, height, width
    )
    with atomic_path(path) as temporary:
        sides = (width + legend.shape[1], legend.shape[0])
        writer = VideoWriter(temporary, fps, *(side + side % 2 for side in sides))  # the codecs want even sides
        try:
            for index in range(len(sequence.frames)):
                frame = first if index == 0 else sequence.read_frame(index)
                frame = draw_frame(frame, sequence, {label: rows[index] for label, rows in boxes.items()}, index)
                if frame.shape[:2] != (height, width):
                    frame = cv2.resize(frame, (width, height))
                writer.write(_with_legend(frame, legend, f"frame {index}"))
        except BaseException:
            writer.release()
            raise
        writer.close()


def _styles(labels: Mapping[str, object]) -> dict[str, Style]:
    """Those of the plots, with colors as numbers."""
    return {
        label: (tuple(int(color[start : start + 2], 16) for start in (1, 3, 5)), dashes)
        for label, (color, dashes) in line_styles(labels).items()
    }


def draw_frame(image: np.ndarray, sequence: Sequence, boxes: Mapping[str, np.ndarray], index: int) -> np.ndarray:
    """A copy of a frame with the ground truth and, above it, the boxes of the trackers.

    Args:
        image: (H, W, 3) uint8 RGB.
        sequence: where the ground truth comes from; a hidden or absent one is not drawn.
        boxes: x, y, w, h by tracker, finite.
        index: number of the frame, from 0.
    """
    canvas = np.ascontiguousarray(image).copy()
    half = round(min(canvas.shape[:2]) / 480)
    if (
        sequence.has_ground_truth and (ground_truth := sequence.ground_truth_rect[index])[2:].min() > 0
    ):  # not so for NaN
        _draw_box(canvas, ground_truth, (WHITE, ()), half + 2)  # seen on both sides of a box that fits
    for label, style in _styles(boxes).items():
        _draw_box(canvas, boxes[label], style, half)
    return canvas


def _draw_box(canvas: np.ndarray, box_xywh: np.ndarray, style: Style, half: int) -> None:
    """A line on a seam of the opposite brightness, so that it shows on any ground."""
    height, width = canvas.shape[:2]
    x, y, w, h = (float(value) for value in np.clip(box_xywh, -1e5, 1e5))
    # Beyond the image a corner may be anywhere: the line is not seen there, and dashes cost time.
    left, right = (round(min(max(value, -width), 2 * width)) for value in (x, x + w))
    top, bottom = (round(min(max(value, -height), 2 * height)) for value in (y, y + h))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    for start, end in zip(corners, [*corners[1:], corners[0]], strict=True):
        _draw_line(canvas, start, end, style, half)


def _draw_line(canvas: np.ndarray, start: tuple[int, int], end: tuple[int, int], style: Style, half: int) -> None:
    """An upright or level line of ``2 * half + 1`` pixels with its seam, in dashes if the style says so."""
    color, dashes = style
    seam = DARK if sum(color) > 255 else WHITE
    lengths = [(2 * half + 2) * value + (2 * half + 2) * (part % 2) for part, value in enumerate(dashes)]
    for shade, around in ((seam, half + 1), (color, half)):
        for ends in _dashes(start, end, lengths):
            (left, right), (top, bottom) = (sorted(values) for values in zip(*ends, strict=True))
            rows = slice(max(top - around, 0), max(bottom + around + 1, 0))
            canvas[rows, max(left - around, 0) : max(right + around + 1, 0)] = shade


def _dashes(
    start: tuple[int, int], end: tuple[int, int], lengths: list[float]
) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """The drawn parts of a line; ``lengths``: pixels drawn and left out in turn, none for a solid line."""
    whole = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    if not lengths or whole == 0:
        yield start, end
        return
    position, part = 0.0, 0
    while position < whole:
        step = lengths[part % len(lengths)]
        if part % 2 == 0:
            shares = (position / whole, min(position + step, whole) / whole)
            first, last = (tuple(round(a + s * (b - a)) for a, b in zip(start, end, strict=True)) for s in shares)
            yield first, last
        position, part = position + step, part + 1


def draw_legend(styles: Mapping[str, Style], height: int, width: int) -> np.ndarray:
    """The panel beside a frame of that size: (at least ``height``, P, 3) uint8, with room for a line on top."""
    scale = max(0.4, min(height, width) / 1100)
    step, sample = round(32 * scale) + 2, round(56 * max(scale, 1))
    names = [name.encode("ascii", "backslashreplace").decode() for name in shortened(list(styles), LONGEST_LABEL)]
    text_width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text in (*names, "frame 0000000"))
    panel = np.full((max(height, step * (len(names) + 2)), sample + text_width + 18, 3), PANEL_COLOR, dtype=np.uint8)
    for row, (name, style) in enumerate(zip(names, styles.values(), strict=True), start=2):
        middle = row * step - round(step * 0.2)
        _draw_line(panel, (6, middle), (sample, middle), style, round(2 * max(scale, 1)))
        cv2.putText(panel, name, (sample + 10, row * step), FONT, scale, DARK, 1, cv2.LINE_AA)
    return panel


def _with_legend(frame: np.ndarray, legend: np.ndarray, title: str) -> np.ndarray:
    """The frame, the legend with a title at its right, and black where the sides have to be filled."""
    height, width = legend.shape[0], frame.shape[1] + legend.shape[1]
    canvas = np.zeros((height + height % 2, width + width % 2, 3), dtype=np.uint8)
    canvas[: frame.shape[0], : frame.shape[1]] = frame
    panel = canvas[:, frame.shape[1] :]
    panel[:] = PANEL_COLOR
    panel[:height, : legend.shape[1]] = legend
    scale = max(0.4, min(frame.shape[:2]) / 1100)
    cv2.putText(panel, title, (6, round(32 * scale) + 2), FONT, scale, DARK, 1, cv2.LINE_AA)
    return canvas
