"""Conversions between box formats and masks, overlaps, and clipping. The format is part of every name.

``xywh`` is top-left corner and size, ``xyxy`` two corners, ``cxcywh`` center and size. All tensors are ``(..., 4)``.
Masks are (H, W); pixels on the target are not 0.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError


def box_xywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Top-left corner and size to two corners, ``(..., 4)``."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x, y, x + w, y + h), dim=-1)


def box_xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Two corners to top-left corner and size, ``(..., 4)``."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack((x0, y0, x1 - x0, y1 - y0), dim=-1)


def box_cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """Center and size to two corners, ``(..., 4)``."""
    cx, cy, w, h = boxes.unbind(-1)
    return torch.stack((cx - 0.5 * w, cy - 0.5 * h, cx + 0.5 * w, cy + 0.5 * h), dim=-1)


def box_xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """Two corners to center and size, ``(..., 4)``."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack(((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0), dim=-1)


def box_xywh_to_cxcywh(boxes: Tensor) -> Tensor:
    """Top-left corner and size to center and size, ``(..., 4)``."""
    x, y, w, h = boxes.unbind(-1)
    return torch.stack((x + 0.5 * w, y + 0.5 * h, w, h), dim=-1)


def _area(boxes_xyxy: Tensor) -> Tensor:
    return (boxes_xyxy[..., 2] - boxes_xyxy[..., 0]) * (boxes_xyxy[..., 3] - boxes_xyxy[..., 1])


def box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection over union, row by row.

    Args:
        first_xyxy: (N, 4) corners.
        second_xyxy: (N, 4) corners.

    Returns:
        ``(iou, union)``, each (N,). Two boxes of zero area have a union of 0 and an IoU of NaN; the caller decides what
        that means.
    """
    top_left = torch.maximum(first_xyxy[..., :2], second_xyxy[..., :2])
    bottom_right = torch.minimum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
    intersection = width * height
    union = _area(first_xyxy) + _area(second_xyxy) - intersection
    return intersection / union, union


def generalized_box_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    """Generalized IoU, row by row (Rezatofighi et al., CVPR 2019).

    Args:
        first_xyxy: (N, 4) corners.
        second_xyxy: (N, 4) corners.

    Returns:
        ``(giou, iou)``, each (N,).
    """
    iou, union = box_iou(first_xyxy, second_xyxy)
    top_left = torch.minimum(first_xyxy[..., :2], second_xyxy[..., :2])
    bottom_right = torch.maximum(first_xyxy[..., 2:], second_xyxy[..., 2:])
    width, height = (bottom_right - top_left).clamp(min=0).unbind(-1)
    hull = width * height
    return iou - (hull - union) / hull, iou


def clip_box(box_xywh: Sequence[float], height: int, width: int, margin: float = 0) -> list[float]:
    """Push a box back into the image.

    Both sides of the result are at least ``margin`` pixels and it overlaps the image by at least ``margin`` pixels in
    each direction.

    Args:
        box_xywh: the box in pixels.
        height: image height in pixels.
        width: image width in pixels.
        margin: pixels.

    Returns:
        ``[x, y, w, h]``.
    """
    x0, y0, w, h = box_xywh
    x1, y1 = x0 + w, y0 + h
    x0 = min(max(0, x0), width - margin)
    x1 = min(max(margin, x1), width)
    y0 = min(max(0, y0), height - margin)
    y1 = min(max(margin, y1), height)
    return [x0, y0, max(margin, x1 - x0), max(margin, y1 - y0)]


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
