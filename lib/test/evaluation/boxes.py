"""What can be said of truth boxes from the size of their images alone."""

import struct

import numpy as np

MARGIN = 2.0
"""Pixels by which annotations may miss the edge of an image, for counting from 1 and rounding."""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG or BMP image, read from its header; None if it is none of them."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return width, abs(height)
    if data[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xFF:  # filling
            place += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        else:
            place += 2 + length
    return None


def has_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Whether boxes (F, 4) have a positive width and height, (F,) bool; False for NaN."""
    return (boxes_xywh[:, 2:] > 0).all(axis=1)


def outside(boxes_xywh: np.ndarray, width: np.ndarray | float, height: np.ndarray | float) -> np.ndarray:
    """Whether boxes (F, 4) with an area do not touch their image at all, (F,) bool."""
    x, y, w, h = boxes_xywh.T
    with np.errstate(invalid="ignore"):
        beyond = (x >= width + MARGIN) | (y >= height + MARGIN) | (x + w <= -MARGIN) | (y + h <= -MARGIN)
    return beyond & has_area(boxes_xywh)


def corners_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes x1, y1, x2, y2 (F, 4) as x, y, w, h."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def looks_like_corners(boxes: np.ndarray, width: float, height: float) -> bool:
    """Whether boxes (F, 4) make sense as x1, y1, x2, y2 only.

    That is so if, read as x, y, w, h, most of them stick out of the image, while all lie in it read as corners.
    """
    rows = boxes[has_area(boxes)]
    if len(rows) == 0:
        return False
    limit = np.array([width, height]) + MARGIN
    sticks_out = (rows[:, :2] + rows[:, 2:] > limit).any(axis=1)
    fits = (rows[:, 2:] > rows[:, :2]).all(axis=1) & (rows[:, 2:] <= limit).all(axis=1) & (rows >= -MARGIN).all(axis=1)
    return bool(sticks_out.mean() > 0.5 and fits.all())
