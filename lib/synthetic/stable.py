"""Arithmetic that gives the same bits on every machine, the ground that the renderer stands on.

What is safe, and therefore used here: integers; single IEEE operations (``+ - * /`` and ``sqrt``) in Python or element
by element in numpy; the bits and uniform numbers of Python's ``random.Random`` (frozen by Python); and of OpenCV
``remap`` with fixed-point maps, ``fillPoly`` with ``LINE_AA``, ``circle``, ``GaussianBlur``, ``pyrUp``, ``LUT`` and
``add`` on integers, ``resize`` with ``INTER_LINEAR_EXACT``.

What is not, and therefore avoided: ``warpAffine`` (fused multiply-add, other pixels with AVX2 than with SSE), ``line``
and ``fillPoly`` without anti-aliasing (changed between OpenCV 4 and 5), float sums (their order depends on the SIMD
width), ``sin`` and ``exp`` of the C library (last bit) unless the result is rounded far from a tie, as in the sine
table.
"""

import hashlib
import math
import random
from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np

T = TypeVar("T")

TURN = 4096
"""Angle units of a full turn; angles are integers so that sine and cosine come from a table."""

_SINE = np.array([round(math.sin(2 * math.pi * k / TURN) * 65536) for k in range(TURN)], dtype=np.float64) / 65536


def sine(angle: np.ndarray | int) -> np.ndarray | float:
    """Sine of integer angles in units of 1/4096 turn, as multiples of 1/65536."""
    return _SINE[np.asarray(angle) % TURN]


def cosine(angle: np.ndarray | int) -> np.ndarray | float:
    """Cosine of integer angles in units of 1/4096 turn, as multiples of 1/65536."""
    return _SINE[(np.asarray(angle) + TURN // 4) % TURN]


def derive_seed(*key: object) -> int:
    """A 32-bit seed from any printable parts; different parts give unrelated seeds."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=4).digest(), "little")


class Draws:
    """A stream of random draws named by ``key``; the same key gives the same stream everywhere."""

    def __init__(self, *key: object) -> None:
        self._random = random.Random(derive_seed(*key))  # starts 50 times faster than numpy's generators

    def uniform(self, low: float, high: float) -> float:
        """One number in ``[low, high)``."""
        return low + (high - low) * self._random.random()

    def uniforms(self, low: float, high: float, count: int) -> np.ndarray:
        """(count,) float64 in ``[low, high)``."""
        return np.array([self.uniform(low, high) for _ in range(count)])

    def integer(self, low: int, high: int) -> int:
        """One integer from ``low`` to ``high``, both included."""
        return low + int(self._random.random() * (high - low + 1))

    def sign(self) -> int:
        """Minus one or one."""
        return 1 if self.chance(0.5) else -1

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random.random() < probability

    def choice(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.integer(0, len(items) - 1)]

    def field(self, height: int, width: int) -> np.ndarray:
        """(height, width) uint8, all values equally likely."""
        return np.frombuffer(self._random.randbytes(height * width), dtype=np.uint8).reshape(height, width)


@lru_cache(maxsize=16)
def _axes(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(width, dtype=np.int32)[None, :], np.arange(height, dtype=np.int32)[:, None]


def coordinates(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel columns ``(1, W)`` and rows ``(H, 1)`` as int32; they broadcast against each other."""
    return _axes(height, width)


def warp(image: np.ndarray, inverse: tuple[float, ...], width: int, height: int, *, border: int) -> np.ndarray:
    """Resample an image bilinearly with a fixed-point affine map.

    Args:
        image: (h, w) or (h, w, C) uint8, sides below 16384.
        inverse: ``(a, b, c, d, e, f)``: the output point (x, y) shows the image point (a x + b y + c, d x + e y + f).
            Points are continuous: the center of pixel (0, 0) is (0.5, 0.5).
        width: of the output.
        height: of the output.
        border: an OpenCV border mode.

    Returns:
        (height, width[, C]) uint8.
    """
    x, y = coordinates(height, width)
    maps = np.empty((height, width, 2), dtype=np.int16)
    fractions = []
    for axis, (a, b, c) in enumerate((inverse[:3], inverse[3:])):
        a_fixed, b_fixed = round(a * 65536), round(b * 65536)
        c_fixed = round((0.5 * a + 0.5 * b + c - 0.5) * 65536)
        position = (x * a_fixed + c_fixed + y * b_fixed) >> 11  # in 1/32 pixel
        maps[:, :, axis] = position >> 5
        fractions.append(position & 31)
    fraction = (fractions[1] << 5 | fractions[0]).astype(np.uint16)
    return cv2.remap(image, maps, fraction, cv2.INTER_LINEAR, borderMode=border)


def halve(image: np.ndarray) -> np.ndarray:
    """Half-size copy by averaging 2 x 2 pixels; odd last rows and columns are doubled first."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    wide = image.astype(np.uint16)
    total = wide[0::2, 0::2] + wide[1::2, 0::2] + wide[0::2, 1::2] + wide[1::2, 1::2]
    return ((total + 2) >> 2).astype(np.uint8)


def shrink(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize to ``(height, width)`` without aliasing: halvings, then an exact bilinear step."""
    while image.shape[0] >= 2 * height and image.shape[1] >= 2 * width:
        image = halve(image)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def blend(under: np.ndarray, over: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """``under`` where ``weight`` is 0, ``over`` where it is 255; (H, W, 3) uint8 images, (H, W) uint8 weight."""
    share = weight.astype(np.int32)
    share += share >> 7
    result = over.astype(np.int32)
    result -= under
    result *= share[:, :, None]
    result >>= 8
    result += under
    return result.astype(np.uint8)


def shifted_mean(image: np.ndarray, shift_x: float, shift_y: float, taps: int, *, border: int) -> np.ndarray:
    """Mean of ``taps`` (a power of two) copies of a uint8 image, shifted evenly along a segment centerd on zero.

    This is linear motion blur in integers. ``shift_x`` and ``shift_y`` are the length of the segment in pixels.
    """
    height, width = image.shape[:2]
    steps = [(2 * k + 1 - taps) / (2 * taps) for k in range(taps)]
    offsets = [(round(shift_x * step), round(shift_y * step)) for step in steps]
    pad_x = max(abs(x) for x, _ in offsets)
    pad_y = max(abs(y) for _, y in offsets)
    padded = cv2.copyMakeBorder(image, pad_y, pad_y, pad_x, pad_x, border).astype(np.uint16)
    total = np.full(image.shape, taps >> 1, dtype=np.uint16)
    for x, y in offsets:
        total += padded[pad_y - y : pad_y - y + height, pad_x - x : pad_x - x + width]
    return (total >> (taps.bit_length() - 1)).astype(np.uint8)
