"""Where Alpha-Refine looks: a region twice as wide and high as the box, resized to a square patch, and the way back.

Source: the crop and paste of Alpha-Refine's evaluation code as SeqTrack+AR used it on VOT2020. The region keeps the
proportions of the box, so the patch is stretched (unlike the square crop of the tracker).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from lib.utils.errors import InputError

INPUT_SIZE = 384  # side of the patches in pixels
SEARCH_FACTOR = 2.0
MAX_AREA = 2**28  # of a region in pixels, twice that of a target that fills an 8K frame


class CropWindow(NamedTuple):
    """Part of the image plane in whole pixels; may reach outside the image."""

    left: int
    top: int
    width: int
    height: int

    def inside(self, image_height: int, image_width: int) -> tuple[int, int, int, int]:
        """Return the part within the image as ``(x0, y0, x1, y1)``; ``x0 >= x1`` or ``y0 >= y1`` if there is none."""
        return (
            max(self.left, 0),
            max(self.top, 0),
            min(self.left + self.width, image_width),
            min(self.top + self.height, image_height),
        )


def crop_window(box_xywh: Sequence[float]) -> CropWindow:
    """Region of the search around a box.

    Args:
        box_xywh: top-left corner and size in image pixels.

    Raises:
        InputError: if these are not four finite numbers, width or height is not positive, or the region is larger than
            ``MAX_AREA``.
    """
    try:
        x, y, w, h = (float(value) for value in box_xywh)
    except (TypeError, ValueError) as error:
        raise InputError(f"a box is four numbers (x, y, width, height), got {box_xywh!r}") from error
    if not all(map(math.isfinite, (x, y, w, h))) or w <= 0 or h <= 0:
        raise InputError(f"cannot refine around the box {[x, y, w, h]}: width and height must be positive and finite")
    width, height = math.ceil(SEARCH_FACTOR * w), math.ceil(SEARCH_FACTOR * h)
    if width * height > MAX_AREA:
        raise InputError(f"cannot refine around the box {[x, y, w, h]}: it is too large")
    # Faithful: rounds half to even, and the reference box ignores the rounding.
    return CropWindow(round(x + 0.5 * w - width * 0.5), round(y + 0.5 * h - height * 0.5), width, height)


def crop_patch(image: np.ndarray, window: CropWindow) -> np.ndarray:
    """Cut the window out of an image and resize it; what is outside is black.

    Args:
        image: (H, W, 3) uint8.
        window: the region.

    Returns:
        (384, 384, 3) uint8.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = window.inside(height, width)
    region = np.zeros((window.height, window.width, image.shape[2]), dtype=image.dtype)
    # Faithful: one pixel too much is padded on the right and at the bottom, so a region that reaches the border loses
    # the last column or row of the image to black.
    x1 -= window.left + window.width >= width
    y1 -= window.top + window.height >= height
    if x0 < x1 and y0 < y1:
        region[y0 - window.top : y1 - window.top, x0 - window.left : x1 - window.left] = image[y0:y1, x0:x1]
    return cv2.resize(region, (INPUT_SIZE, INPUT_SIZE))


def box_in_patch(box_xywh: Sequence[float], window: CropWindow) -> list[float]:
    """Corners ``[x1, y1, x2, y2]`` of the box in pixels of the patch that was cut around it."""
    # Faithful: the patch is taken to be centerd exactly on the box, at (S - 1) / 2.
    center = (INPUT_SIZE - 1) / 2
    half_width = 0.5 * float(box_xywh[2]) * INPUT_SIZE / window.width
    half_height = 0.5 * float(box_xywh[3]) * INPUT_SIZE / window.height
    return [center - half_width, center - half_height, center + half_width, center + half_height]


def paste_mask(mask: np.ndarray, window: CropWindow, image_height: int, image_width: int) -> np.ndarray:
    """Put the mask of a patch back into the image.

    Args:
        mask: (384, 384) float32.
        window: the region that the patch showed.
        image_height: H in pixels.
        image_width: W in pixels.

    Returns:
        (H, W) float32, zeros outside the window.
    """
    canvas = np.zeros((image_height, image_width), dtype=np.float32)
    x0, y0, x1, y1 = window.inside(image_height, image_width)
    if x0 < x1 and y0 < y1:
        region = cv2.resize(mask, (window.width, window.height))
        canvas[y0:y1, x0:x1] = region[y0 - window.top : y1 - window.top, x0 - window.left : x1 - window.left]
    return canvas
