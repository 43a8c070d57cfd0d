"""Precise RoI pooling: the exact mean of a bilinearly interpolated map over each bin of a box.

Source: Acquisition of Localization Confidence for Accurate Object Detection (ECCV 2018), section 3.3. The interpolation
kernel is a product of two hat functions, so the mean over a bin is one weight per column times one weight per row, and
the pooling is two matrix products. No compiled extension is needed, and autograd differentiates map and box.
"""

import torch
from torch import Tensor


def precise_roi_pool(features: Tensor, boxes_xyxy: Tensor, bins: int, scale: float) -> Tensor:
    """Average one box of each map over ``bins`` x ``bins`` cells.

    Args:
        features: (B, C, H, W) float; pixel centers are at whole numbers, and what is outside the map counts as 0.
        boxes_xyxy: (B, 4) float, corners in pixels of the network's input; the device may be another.
        bins: cells per side.
        scale: map pixels per input pixel.

    Returns:
        (B, C, bins, bins); zeros for a box without area.
    """
    height, width = features.shape[-2:]
    # Differences of nearly equal integrals: double costs nothing at this size.
    x1, y1, x2, y2 = (boxes_xyxy.double() * scale).unbind(-1)
    columns = _bin_weights(x1, x2, bins, width).to(features)  # (B, bins, W)
    rows = _bin_weights(y1, y2, bins, height).to(features)  # (B, bins, H)
    return torch.einsum("bph,bchw,bqw->bcpq", rows, features, columns).contiguous()


def _bin_weights(start: Tensor, end: Tensor, bins: int, size: int) -> Tensor:
    """(B, bins, size) share of each pixel in the mean over each bin of [start, end]; zeros if the interval is empty."""
    length = (end - start).clamp(min=0)[:, None, None] / bins  # (B, 1, 1)
    steps = torch.arange(bins, dtype=start.dtype, device=start.device)[:, None]
    pixels = torch.arange(size, dtype=start.dtype, device=start.device)
    left = start[:, None, None] + steps * length  # (B, bins, 1)
    integral = _hat_integral(left + length - pixels) - _hat_integral(left - pixels)
    empty = length == 0
    return (integral / length.masked_fill(empty, 1)).masked_fill(empty, 0)


def _hat_integral(t: Tensor) -> Tensor:
    """Integral of the hat function ``max(0, 1 - |s|)`` from minus infinity to ``t``."""
    u = t.clamp(-1, 1)
    return 0.5 + u - 0.5 * u * u.abs()
