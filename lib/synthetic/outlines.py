"""Outlines of shapes in a unit square, and the canvas that paints them with texture and shading.

Outlines are (N, 2) float64 points, x to the right and y down, in the square ``[-1, 1] x [-1, 1]``.
"""

import math

import cv2
import numpy as np

from lib.synthetic.stable import TURN, Draws, blend, cosine, sine


def ellipse(x: float, y: float, radius_x: float, radius_y: float, angle: int = 0, points: int = 28) -> np.ndarray:
    """An ellipse around (x, y), turned by ``angle`` (1/4096 turn)."""
    around = np.arange(points) * TURN // points
    u, v = radius_x * cosine(around), radius_y * sine(around)
    c, s = cosine(angle), sine(angle)
    return np.stack([x + u * c - v * s, y + u * s + v * c], axis=1)


def box(x0: float, y0: float, x1: float, y1: float, slant: float = 0.0) -> np.ndarray:
    """A rectangle whose upper edge is moved to the right by ``slant``."""
    return np.array([(x0 + slant, y0), (x1 + slant, y0), (x1, y1), (x0, y1)])


def round_box(x0: float, y0: float, x1: float, y1: float, radius: float) -> np.ndarray:
    """A rectangle with round corners."""
    radius = min(radius, (x1 - x0) / 2, (y1 - y0) / 2)
    points = []
    for quarter, (x, y) in enumerate(
        ((x1 - radius, y1 - radius), (x0 + radius, y1 - radius), (x0 + radius, y0 + radius), (x1 - radius, y0 + radius))
    ):
        for step in range(5):
            angle = (quarter * 4 + step) * TURN // 16
            points.append((x + radius * float(cosine(angle)), y + radius * float(sine(angle))))
    return np.array(points)


def limb(x0: float, y0: float, x1: float, y1: float, width0: float, width1: float) -> np.ndarray:
    """A bar from one point to another that is ``width0`` wide at the first end and ``width1`` at the second."""
    dx, dy = x1 - x0, y1 - y0
    length = math.sqrt(dx * dx + dy * dy) or 1.0
    nx, ny = -dy / length / 2, dx / length / 2
    return np.array(
        [
            (x0 + nx * width0, y0 + ny * width0),
            (x1 + nx * width1, y1 + ny * width1),
            (x1 - nx * width1, y1 - ny * width1),
            (x0 - nx * width0, y0 - ny * width0),
        ]
    )


def polygon(draws: Draws, corners: int, *, roughness: float = 0.4) -> np.ndarray:
    """A random star-shaped polygon around the origin; ``roughness`` 0 is regular."""
    around = (np.arange(corners) + draws.uniforms(-roughness, roughness, corners) * 0.6) * (TURN / corners)
    around = np.floor(around).astype(np.int64) + draws.integer(0, TURN - 1)
    radius = 1 - roughness * draws.uniforms(0, 1, corners)
    return np.stack([radius * cosine(around), radius * sine(around)], axis=1)


def star(draws: Draws) -> np.ndarray:
    """A star with four to eight points."""
    points = draws.integer(4, 8)
    around = np.arange(2 * points) * TURN // (2 * points) + draws.integer(0, TURN - 1)
    radius = np.where(np.arange(2 * points) % 2 == 0, 1.0, draws.uniform(0.35, 0.7))
    return np.stack([radius * cosine(around), radius * sine(around)], axis=1)


def blob(draws: Draws, *, lobes: int = 4, roughness: float = 0.35, points: int = 40) -> np.ndarray:
    """A smooth random closed curve around the origin: a circle plus a few waves."""
    around = np.arange(points) * TURN // points
    radius = np.ones(points)
    for wave in range(1, lobes + 1):
        radius = radius + draws.uniform(0, roughness) / wave * sine(around * wave + draws.integer(0, TURN - 1))
    radius = radius / radius.max()
    return np.stack([radius * cosine(around), radius * sine(around)], axis=1)


def place(outline: np.ndarray, x: float, y: float, scale_x: float, scale_y: float | None = None) -> np.ndarray:
    """Scale an outline around the origin and move the origin to (x, y)."""
    return outline * np.array([scale_x, scale_x if scale_y is None else scale_y]) + np.array([x, y])


class Canvas:
    """A transparent square image on which outlines are painted one over the other.

    Args:
        side: pixels; the unit square ``[-1, 1] x [-1, 1]`` fills it up to a margin of 3 pixels.
        silhouette_only: paint alpha and no colors, which is ten times faster; alpha is the same either way.

    Attributes:
        image: (side, side, 4) uint8 RGBA, colors multiplied by alpha.
    """

    def __init__(self, side: int, *, silhouette_only: bool = False) -> None:
        self.side = side
        self.silhouette_only = silhouette_only
        self.image = np.zeros((side, side, 4), dtype=np.uint8)

    def paint(self, outline: np.ndarray, skin: np.ndarray, *, relief: int = 90) -> None:
        """Paint one part.

        Args:
            outline: (N, 2) in unit coordinates.
            skin: (side, side, 3) uint8 texture; the part shows the piece of it that is below.
            relief: strength of the light from above and the left that makes the part look round; 0 paints it flat.
        """
        half = self.side / 2
        points = np.floor((outline * (half - 3) + half) * 16 + 0.5).astype(np.int32)
        low = np.maximum(points.min(axis=0) // 16 - 2, 0)
        high = np.minimum(points.max(axis=0) // 16 + 3, self.side)
        if (high <= low).any():
            return
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        mask = np.zeros((y1 - y0, x1 - x0), dtype=np.uint8)
        cv2.fillPoly(mask, [points - (low * 16 + 8).astype(np.int32)], 255, lineType=cv2.LINE_AA, shift=4)
        window = self.image[y0:y1, x0:x1]
        if not self.silhouette_only:
            color = skin[y0:y1, x0:x1]
            if relief and min(mask.shape) > 8:  # nobody sees light on smaller parts
                color = shade(color, mask, relief)
            window[:, :, :3] = blend(window[:, :, :3], color, mask)
        alpha = window[:, :, 3].astype(np.uint16)
        window[:, :, 3] = alpha + ((255 - alpha) * (mask.astype(np.uint16) + (mask >> 7)) >> 8)


def shade(color: np.ndarray, mask: np.ndarray, strength: int) -> np.ndarray:
    """Light a flat part as if it bulged: brighter towards the upper left edge, darker towards the lower right one.

    Args:
        color: (H, W, 3) uint8.
        mask: (H, W) uint8, the part.
        strength: 0 to about 200.
    """
    height, width = mask.shape
    reach = max(1, min(height, width) // 6)
    padded = cv2.copyMakeBorder(mask, reach, reach, reach, reach, cv2.BORDER_CONSTANT, value=0)
    soft = cv2.GaussianBlur(padded, (2 * reach + 1, 2 * reach + 1), reach / 2).astype(np.int32)
    slope = soft[2 * reach :, 2 * reach :] - soft[:height, :width]
    gain = 256 + ((slope * strength) >> 8)
    return np.clip((color.astype(np.int32) * gain[:, :, None]) >> 8, 0, 255).astype(np.uint8)
