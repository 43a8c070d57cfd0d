"""What follows for ground truth boxes from the size of their images alone."""

import struct

import numpy as np

from lib.utils.errors import DataError
from lib.utils.lazy_image import EncodedImage

MARGIN = 2.0
"""Pixels by which annotations may miss the edge of an image, for counting from 1 and rounding."""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG or BMP image as it is decoded; None if it is none of them.

    They are read from the header, unless the image says that it is turned.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24 and b"eXIf" not in data[:4096]:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return width, abs(height)
    if data[:2] != b"\xff\xd8" and data[:4] != b"\x89PNG":
        return None
    try:
        return EncodedImage(data, "").size
    except DataError:
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

    That is so if, read as x, y, w, h, most of them stick out of the image, while all are in it read as corners.
    """
    rows = boxes[has_area(boxes)]
    if len(rows) == 0:
        return False
    limit = np.array([width, height]) + MARGIN
    sticks_out = (rows[:, :2] + rows[:, 2:] > limit).any(axis=1)
    fits = (rows[:, 2:] > rows[:, :2]).all(axis=1) & (rows[:, 2:] <= limit).all(axis=1) & (rows >= -MARGIN).all(axis=1)
    return bool(sticks_out.mean() > 0.5 and fits.all())
