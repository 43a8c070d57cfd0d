"""Between masks (H, W), whose pixels on the target are not 0, and boxes ``[x, y, w, h]`` in pixels."""

from collections.abc import Sequence

import numpy as np

from lib.utils.errors import InputError


def mask_to_box(mask: np.ndarray) -> list[float]:
    """Tight box ``[x, y, w, h]`` of the pixels of a mask (H, W) that are not 0, as SeqTrack+AR starts from a VOT mask.

    Raises:
        InputError: if there is none.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        raise InputError("cannot start from an empty mask")
    x, y = float(columns[0]), float(rows[0])
    return [x, y, float(columns[-1]) - x + 1, float(rows[-1]) - y + 1]


def box_to_mask(box_xywh: Sequence[float], height: int, width: int) -> np.ndarray:
    """Mask (height, width) uint8 that fills a box, which may stick out of the image."""
    x, y, w, h = box_xywh
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[max(round(y), 0) : max(round(y + h), 0), max(round(x), 0) : max(round(x + w), 0)] = 1
    return mask
