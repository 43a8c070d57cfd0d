"""From what a user hands over (images, boxes) to what the network takes."""

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.utils.device import upload
from lib.utils.errors import InputError, printable

MAX_TIMES_IMAGE = 10  # a target may stick out of the image, but not by any measure


class Preprocessor(nn.Module):
    """Uploads uint8 crops and normalizes them on the device.

    Args:
        mean: of RGB values in [0, 1].
        std: of RGB values in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, crops: Sequence[np.ndarray], dtype: torch.dtype = torch.float32) -> Tensor:
        """Normalize crops of one size.

        Args:
            crops: B arrays (S, S, 3) uint8 RGB.
            dtype: of the result; the arithmetic is float32.

        Returns:
            (B, 3, S, S) on the device of the buffers.
        """
        return self.normalize(self.upload(torch.from_numpy(np.stack(crops))), dtype)

    def upload(self, crops: Tensor) -> Tensor:
        """Bring uint8 crops from the CPU to the device, a quarter of the bytes of float32; no wait on CUDA."""
        return upload(crops, self.mean.device)

    def normalize(self, crops: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normalize crops that are on the device.

        Args:
            crops: (B, S, S, 3) uint8 RGB.
            dtype: of the result; the arithmetic is float32.

        Returns:
            (B, 3, S, S).
        """
        return self.normalize_planes(crops.permute(0, 3, 1, 2)).to(dtype)

    def normalize_planes(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) uint8 RGB -> float32."""
        return (images.float() / 255.0 - self.mean) / self.std


def check_image(image: Any) -> None:
    """Refuse what is not an RGB uint8 image ``(H, W, 3)``; ``lib.utils.image_io.to_rgb`` makes one of grey and RGBA.

    Raises:
        InputError: naming what was given.
    """
    if not isinstance(image, np.ndarray):
        raise InputError(f"expected an RGB uint8 image (H, W, 3), got {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(f"expected an RGB uint8 image (H, W, 3), got {image.dtype} {image.shape}")


def check_init_box(box_xywh: Any, height: int, width: int) -> list[float]:
    """Return an initial box as four Python floats.

    Args:
        box_xywh: four numbers: top-left corner and size in pixels; the box may stick out of the image.
        height: of the image.
        width: of the image.

    Raises:
        InputError: if it is not four finite numbers, has no area, is outside the image, or is more than
            ``MAX_TIMES_IMAGE`` times as large as the image.
    """
    image = f"in an image of {width}x{height} pixels"
    try:
        box = [] if isinstance(box_xywh, (str, bytes, Set, Mapping)) else [float(value) for value in box_xywh]
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last one is what a tensor raises
        box = []
    if len(box) != 4 or not all(math.isfinite(value) for value in box):
        raise InputError(f"the initial box must be four finite numbers x, y, w, h, got {_shown(box_xywh)} {image}")
    x, y, w, h = box
    if w <= 0 or h <= 0:
        raise InputError(f"the initial box must have a width and a height above 0, got {_shown(box)} {image}")
    if x >= width or y >= height or x + w <= 0 or y + h <= 0:
        raise InputError(f"the initial box {_shown(box)} is outside the image of {width}x{height} pixels")
    if w > MAX_TIMES_IMAGE * width or h > MAX_TIMES_IMAGE * height:
        raise InputError(
            f"the initial box {_shown(box)} is too large: over {MAX_TIMES_IMAGE} times the {width}x{height} image"
        )
    return box


def _shown(value: Any) -> str:
    """Give ``value`` as short text on one line."""
    if isinstance(value, (list, tuple)) and all(type(item) is float for item in value):
        return ", ".join(f"{item:g}" for item in value) or "nothing"
    return printable(" ".join(repr(value).split()), 80)
