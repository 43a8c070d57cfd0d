"""Cut-out images that are moved, turned and scaled into a frame, with the geometry of their silhouettes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from lib.synthetic.stable import cosine, halve, shifted_mean, sine, warp

Vector = tuple[float, float]

_MARGIN = 2
_LEVELS = 4
_SAMPLES = 14  # the visible fraction is counted on a grid of at most 14 x 14 points


class Sprite:
    """Images of one thing, one per phase of its gait, all of one size.

    Coordinates of a sprite are pixels relative to the middle of its image.

    Args:
        silhouettes: alpha (h, w) uint8 of each phase.
        image: gives the RGBA image (h, w, 4) uint8 of a phase, RGB multiplied by alpha; called when first needed.
        solid: False for shadows and the like, which hide nothing.
    """

    def __init__(
        self, silhouettes: Sequence[np.ndarray], image: Callable[[int], np.ndarray], *, solid: bool = True
    ) -> None:
        self.solid = solid
        self._paint = image
        rows = np.flatnonzero(np.max([alpha.max(axis=1) for alpha in silhouettes], axis=0))
        columns = np.flatnonzero(np.max([alpha.max(axis=0) for alpha in silhouettes], axis=0))
        self._crop = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        self.alpha = np.stack([self._trim(alpha) for alpha in silhouettes])  # (phases, h, w)
        self._images: dict[tuple[int, int], np.ndarray] = {}
        self._silhouettes: dict[tuple[int, int], np.ndarray] = {}
        self._hulls: dict[tuple[int, int], np.ndarray] = {}

    @property
    def phases(self) -> int:
        """Number of images."""
        return len(self.alpha)

    @cached_property
    def middle(self) -> tuple[float, float]:
        """The origin (x, y) of sprite coordinates in pixels of the image."""
        return self.alpha.shape[2] / 2, self.alpha.shape[1] / 2

    @cached_property
    def extent(self) -> tuple[float, float]:
        """Width and height in pixels of the silhouette of phase 0."""
        hull = self.hull(0, 0)
        width, height = hull.max(axis=0) - hull.min(axis=0)
        return float(width), float(height)

    def hull(self, phase: int, level: int) -> np.ndarray:
        """Convex hull (N, 2) of the pixels whose alpha is above one half, their corners included.

        ``level`` says how often the silhouette was halved before; thin tips vanish as they do in a small image.
        """
        if (phase, level) not in self._hulls:
            solid = self.silhouette(phase, level) > (127 if self.solid else 0)
            if not solid.any():
                return self.hull(phase, level - 1)
            row = np.flatnonzero(solid.any(axis=1))
            left, right = solid[row].argmax(axis=1), solid.shape[1] - solid[row, ::-1].argmax(axis=1)
            x, y = np.concatenate([left, right, left, right]), np.concatenate([row, row, row + 1, row + 1])
            hull = cv2.convexHull(np.stack([x, y], axis=1).astype(np.int32))[:, 0, :]
            self._hulls[phase, level] = hull * (1 << level) - np.array(self.middle)
        return self._hulls[phase, level]

    @cached_property
    def samples(self) -> list[np.ndarray]:
        """Per phase a regular grid of points (P, 2) inside the silhouette; of one that it misses, all points."""
        grids = []
        for alpha in self.alpha:
            height, width = alpha.shape
            step = max(1, -(-max(height, width) // _SAMPLES))
            rows, columns = np.nonzero(alpha[step // 2 :: step, step // 2 :: step] > 127)
            if not rows.size:  # a thread, or a thing with holes that fall on the grid
                step = 1
                rows, columns = np.nonzero(alpha >= min(128, alpha.max()))
            grid = np.stack([columns, rows], axis=1) * step + step // 2 + 0.5
            grids.append(grid - np.array(self.middle))
        return grids

    def _trim(self, image: np.ndarray) -> np.ndarray:
        return cv2.copyMakeBorder(image[self._crop], *[_MARGIN] * 4, cv2.BORDER_CONSTANT, value=0)

    def image(self, phase: int, level: int) -> np.ndarray:
        """RGBA (h, w, 4) uint8 of a phase, halved ``level`` times."""
        if (phase, level) not in self._images:
            smaller = self._trim(self._paint(phase)) if level == 0 else halve(self.image(phase, level - 1))
            self._images[phase, level] = smaller
        return self._images[phase, level]

    def silhouette(self, phase: int, level: int) -> np.ndarray:
        """Alpha (h, w) uint8 of a phase, halved ``level`` times: that of ``image`` without painting it."""
        if (phase, level) not in self._silhouettes:
            smaller = self.alpha[phase] if level == 0 else halve(self.silhouette(phase, level - 1))
            self._silhouettes[phase, level] = smaller
        return self._silhouettes[phase, level]


@dataclass(frozen=True)
class Track:
    """Where a sprite is in each frame.

    Attributes:
        x: (F,) float64, column of the sprite's origin in the view; 0 is the left edge of the image.
        y: (F,) float64, row.
        scale_x: (F,) float64, view pixels per sprite pixel; negative mirrors.
        scale_y: (F,) float64, positive.
        angle: (F,) int64, clockwise, in 1/4096 turn.
        phase: (F,) int64, which image.
    """

    x: np.ndarray
    y: np.ndarray
    scale_x: np.ndarray
    scale_y: np.ndarray
    angle: np.ndarray
    phase: np.ndarray


class Actor:
    """A sprite on its track.

    Args:
        sprite: what it looks like.
        track: where it is.
    """

    def __init__(self, sprite: Sprite, track: Track) -> None:
        self.sprite = sprite
        self.track = track

    @cached_property
    def _matrix(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        # Sprite to view, each (F,): [[a, b], [c, d]].
        t = self.track
        cos, sin = cosine(t.angle), sine(t.angle)
        return cos * t.scale_x, -sin * t.scale_y, sin * t.scale_x, cos * t.scale_y

    def _to_view(self, frames: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # (F', P) columns and rows of (P, 2) sprite points in some frames.
        a, b, c, d = (m[frames, None] for m in self._matrix)
        px, py = points[None, :, 0], points[None, :, 1]
        return a * px + b * py + self.track.x[frames, None], c * px + d * py + self.track.y[frames, None]

    @cached_property
    def corners(self) -> np.ndarray:
        """(F, 4) float64: x0, y0, x1, y1 of the silhouette in each frame, whether inside the image or not."""
        result = np.empty((len(self.track.x), 4))
        group = self.track.phase * _LEVELS + self._level
        for value in np.unique(group).tolist():
            frames = np.flatnonzero(group == value)
            x, y = self._to_view(frames, self.sprite.hull(*divmod(value, _LEVELS)))
            result[frames] = np.stack([x.min(1), y.min(1), x.max(1), y.max(1)], axis=1)
        return result

    @cached_property
    def _level(self) -> np.ndarray:
        # (F,) how often the image is halved before it is drawn.
        size = np.minimum(np.abs(self.track.scale_x), self.track.scale_y)
        return sum((size < 0.6 / (1 << k)).astype(np.int64) for k in range(_LEVELS - 1))

    def covers(self, frames: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether the sprite is on view points.

        Args:
            frames: (F',) frame numbers.
            x: (F', P) columns in those frames.
            y: (F', P) rows.

        Returns:
            (F', P) bool.
        """
        a, b, c, d = (m[frames, None] for m in self._matrix)
        dx, dy = x - self.track.x[frames, None], y - self.track.y[frames, None]
        scale = a * d - b * c
        middle_x, middle_y = self.sprite.middle
        column = np.floor((d * dx - b * dy) / scale + middle_x).astype(np.int64)
        row = np.floor((a * dy - c * dx) / scale + middle_y).astype(np.int64)
        _, height, width = self.sprite.alpha.shape
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        phase = self.track.phase[frames, None]
        alpha = self.sprite.alpha[phase, np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)]
        return inside & (alpha > 127)

    def visibility(self, width: int, height: int, in_front: Sequence["Actor"]) -> tuple[np.ndarray, np.ndarray]:
        """How much of the silhouette is in the image, and how much of it can be seen.

        Args:
            width: of the image.
            height: of the image.
            in_front: actors that may hide this one.

        Returns:
            (F,) float64 fraction inside the image and (F,) float64 fraction inside and not hidden.
        """
        inside, seen = np.zeros(len(self.track.x)), np.zeros(len(self.track.x))
        for phase, points in enumerate(self.sprite.samples):
            frames = np.flatnonzero(self.track.phase == phase)
            if not frames.size:
                continue
            x, y = self._to_view(frames, points)
            free = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            inside[frames] = np.count_nonzero(free, axis=1) / len(points)
            for other in in_front:
                if other.sprite.solid:
                    near = other.near(self)[frames]
                    if near.any():
                        free[near] &= ~other.covers(frames[near], x[near], y[near])
            seen[frames] = np.count_nonzero(free, axis=1) / len(points)
        return inside, seen

    def near(self, other: "Actor") -> np.ndarray:
        """(F,) bool: in which frames the bounding boxes of two actors overlap."""
        a, b = self.corners, other.corners
        return (a[:, 0] < b[:, 2]) & (b[:, 0] < a[:, 2]) & (a[:, 1] < b[:, 3]) & (b[:, 1] < a[:, 3])

    def smear(self, frame: int, shutter: float, limit: float) -> Vector:
        """Motion (x, y) in pixels, each within ``limit``, while the shutter is open for a share of the frame time."""
        other = frame - 1 if frame else min(1, len(self.track.x) - 1)
        factor = shutter if frame else -shutter
        motion = [(float(path[frame]) - float(path[other])) * factor for path in (self.track.x, self.track.y)]
        return min(max(motion[0], -limit), limit), min(max(motion[1], -limit), limit)

    def render(
        self, frame: int, width: int, height: int, smear: Vector = (0.0, 0.0), *, alpha_only: bool = False
    ) -> tuple[int, int, np.ndarray] | None:
        """The part of the actor that falls into the image.

        Args:
            frame: number of the frame.
            width: of the image.
            height: of the image.
            smear: motion during the exposure, (x, y) pixels.
            alpha_only: leave the colors out.

        Returns:
            ``(x0, y0, patch)``, patch (h, w, 4) uint8 with RGB multiplied by alpha, or (h, w) if ``alpha_only``;
            None if nothing falls into the image.
        """
        taps = blur_taps(smear)
        pad_x, pad_y = (2 + abs(s) / 2 * (taps > 1) for s in smear)
        left, top, right, bottom = self.corners[frame].tolist()
        x0, y0 = max(0, int(np.floor(left - pad_x))), max(0, int(np.floor(top - pad_y)))
        x1, y1 = min(width, int(np.ceil(right + pad_x))), min(height, int(np.ceil(bottom + pad_y)))
        if x1 <= x0 or y1 <= y0:
            return None
        # A smeared patch needs the pixels beside the image too, so it is cut to the image only afterwards.
        extra_x, extra_y = (int(abs(s)) // 2 + 1 if taps > 1 else 0 for s in smear)
        patch = self._warp(frame, x0 - extra_x, y0 - extra_y, x1 - x0 + 2 * extra_x, y1 - y0 + 2 * extra_y, alpha_only)
        if taps > 1:
            patch = shifted_mean(patch, *smear, taps, border=cv2.BORDER_CONSTANT)
            patch = patch[extra_y : extra_y + y1 - y0, extra_x : extra_x + x1 - x0]
        return x0, y0, patch

    def _warp(self, frame: int, x0: int, y0: int, width: int, height: int, alpha_only: bool) -> np.ndarray:
        a, b, c, d = (float(m[frame]) for m in self._matrix)
        x, y = float(self.track.x[frame]), float(self.track.y[frame])
        scale = a * d - b * c
        phase, level = int(self.track.phase[frame]), int(self._level[frame])
        shrink = 1 << level
        ia, ib, ic, id_ = d / scale / shrink, -b / scale / shrink, -c / scale / shrink, a / scale / shrink
        dx, dy = x0 - x, y0 - y
        middle_x, middle_y = (m / shrink for m in self.sprite.middle)
        inverse = (ia, ib, ia * dx + ib * dy + middle_x, ic, id_, ic * dx + id_ * dy + middle_y)
        source = self.sprite.silhouette if alpha_only else self.sprite.image
        return warp(source(phase, level), inverse, width, height, border=cv2.BORDER_CONSTANT)


def blur_taps(smear: Vector) -> int:
    """How many copies, a power of two, a motion of ``smear`` pixels needs to look continuous; 1 means sharp."""
    length = max(abs(smear[0]), abs(smear[1]))
    return 1 if length < 1.5 else 4 if length < 7 else 8 if length < 14 else 16


def compose(image: np.ndarray, x0: int, y0: int, patch: np.ndarray) -> None:
    """Lay an RGBA patch (h, w, 4), RGB multiplied by alpha, over ``image`` (H, W, 3) uint8 in place."""
    window = image[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]]
    keep = patch[:, :, 3:].astype(np.uint16)
    keep = 256 - keep - (keep >> 7)
    below = window * keep
    below >>= 8
    np.add(below, patch[:, :, :3], out=window, casting="unsafe")
