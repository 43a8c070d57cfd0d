"""Image augmentations and the arithmetic that turns uint8 crops into network input.

Mirroring and greying act on views and slices, so that no whole frame is ever copied; brightness and normalization run
on the device, on whole batches.
"""

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.utils.seed import SampleRng

BRIGHTNESS_NEUTRAL = 1.0


def draw_brightness(rng: SampleRng, jitter: float) -> float:
    """Brightness factor from U(1 - jitter, 1 + jitter), drawn from NumPy; neutral and undrawn for ``jitter`` 0."""
    return float(rng.numpy.uniform(max(0.0, 1 - jitter), 1 + jitter)) if jitter else BRIGHTNESS_NEUTRAL


def draw_chance(rng: SampleRng, probability: float) -> bool:
    """Whether an event of this probability happens, drawn from Python; nothing is drawn for probability 0."""
    return probability > 0 and rng.python.random() < probability


def to_gray(patch: np.ndarray) -> np.ndarray:
    """Grey version of a patch, (H, W, 3) uint8 RGB in and out."""
    gray = cv2.cvtColor(np.ascontiguousarray(patch), cv2.COLOR_RGB2GRAY)
    return cv2.cvtColor(gray, cv2.COLOR_GRAY2RGB)


def mirror_view(image: np.ndarray) -> np.ndarray:
    """The mirrored image as a view with a negative stride: nothing is copied, (H, W, 3)."""
    return image[:, ::-1]


def mirror_box(box_xywh: Tensor, mirrored: bool, last: float) -> Tensor:
    """Mirror a box at the vertical middle of its image.

    Args:
        box_xywh: (4,) float32.
        mirrored: if false the box is only rebuilt from its corners.
        last: coordinate of the last column: ``width - 1`` in pixels, 1 for a normalized crop.

    Returns:
        (4,) xywh float32 with a non-negative size.
    """
    # Faithful: the box is rebuilt from its corners with or without a flip, which rounds it in float32 and turns a
    # negative size into a positive one.
    # NumPy's scalars, because torch takes ten times as long for so few numbers, and arrays three times.
    x, y, w, h = box_xywh.numpy()
    right, bottom = x + w, y + h
    if mirrored:
        x, right = np.float32(last) - x, np.float32(last) - right
    if not x <= right:
        x, right = right, x
    if not y <= bottom:
        y, bottom = bottom, y
    return torch.from_numpy(np.array((x, y, right - x, bottom - y)))


def normalize_crops(crops: Tensor, gain: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Brightness, clamping and normalization of uint8 crops, on the device where they are.

    Args:
        crops: (B, K, H, W, 3) uint8 RGB.
        gain: (B, K) float32, brightness factor / 255.
        mean: (3,) float32, of pixels in [0, 1].
        std: (3,) float32.

    Returns:
        (B, K, 3, H, W) float32.
    """
    pixels = (crops.float() * gain[:, :, None, None, None]).clamp_(0, 1)
    return ((pixels - mean) / std).permute(0, 1, 4, 2, 3).contiguous()
