"""One synthetic video with its ground truth."""

from functools import cached_property
from pathlib import Path

import numpy as np

from lib.synthetic.camera import smeared
from lib.synthetic.sprite import Actor, compose
from lib.synthetic.world import Recipe, World
from lib.utils.image_io import decode_image, encode_image

MIN_VISIBLE = 0.02
"""Below this visible fraction the target counts as absent: zero box, fraction 0."""


class SyntheticSequence:
    """An annotated video that is rendered when asked, any frame in any order.

    Everything is a pure function of the arguments: the same seed gives the same pixels on every machine, in every
    process, with any number of threads. Two things are outside our hands: decoding the photos of ``backgrounds``, and
    ``jpeg``, both of which are as stable as the JPEG library in OpenCV (libjpeg-turbo has kept its output for years).

    Args:
        seed: number of the world, not negative.
        num_frames: frames, at least 1.
        size: (width, height) of a frame in pixels, 32 to 4096.
        difficulty: ``easy``, ``medium``, ``hard``, or ``mixed``: one of the three by the seed.
        split: any text; it is part of the seed, so splits never share a world.
        backgrounds: folder of photos that replace the procedural backgrounds.
        cutouts: folder of RGBA images that replace the procedural figures.
        jpeg: show each frame as it looks after JPEG compression at the sequence's own quality.

    Raises:
        InputError: if a value is out of range, or a folder is missing or holds no image.
    """

    def __init__(
        self,
        seed: int,
        *,
        num_frames: int = 60,
        size: tuple[int, int] = (320, 240),
        difficulty: str = "medium",
        split: str = "train",
        backgrounds: Path | str | None = None,
        cutouts: Path | str | None = None,
        jpeg: bool = False,
    ) -> None:
        folders = (Path(folder) if folder else None for folder in (backgrounds, cutouts))
        self.recipe = Recipe(int(seed), num_frames, int(size[0]), int(size[1]), difficulty, split, *folders)
        self.recipe.check()
        self.jpeg = jpeg
        self._world = World(self.recipe)

    def __len__(self) -> int:
        return self.num_frames

    @property
    def num_frames(self) -> int:
        """Number of frames F."""
        return self.recipe.num_frames

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of a frame in pixels."""
        return self.recipe.width, self.recipe.height

    @property
    def difficulty(self) -> str:
        """``easy``, ``medium`` or ``hard``; what ``mixed`` became for this seed."""
        return self._world.difficulty

    @property
    def object_class(self) -> str:
        """What the target is, such as ``beast`` or ``truck``; ``cutout`` if it comes from a folder."""
        return self._world.object_class

    @property
    def quality(self) -> int:
        """JPEG quality at which this sequence is stored, 1 to 100."""
        return self._world.sensor.quality

    @cached_property
    def _fractions(self) -> tuple[np.ndarray, np.ndarray]:
        return self._world.target.visibility(*self.size, self._world.front)

    @cached_property
    def _bounds(self) -> np.ndarray:
        # (F, 4) x0, y0, x1, y1 of the part of the silhouette inside the image; zeros where there is none. Geometry
        # gives fractions of a pixel, the rendered mask decides: it is never more than half a pixel away.
        target, bounds = self._world.target, np.zeros((self.num_frames, 4))
        for frame in range(self.num_frames):
            part = target.render(frame, *self.size, alpha_only=True)
            if part is None:
                continue
            solid = part[2] > 127
            rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
            if rows.size:
                x, y = part[:2]
                bounds[frame] = x + columns[0], y + rows[0], x + columns[-1] + 1, y + rows[-1] + 1
        limits = np.array([*self.size, *self.size])
        exact = np.clip(target.corners, np.maximum(bounds - 0.5, 0), np.minimum(bounds + 0.5, limits))
        return np.where((bounds > 0).any(axis=1, keepdims=True), exact, 0)

    @cached_property
    def absent(self) -> np.ndarray:
        """(F,) bool: the target is outside the image or hidden (less than 2 % of it shows)."""
        return (self._fractions[1] < MIN_VISIBLE) | ((self._bounds[:, 2:] - self._bounds[:, :2]) < 1).any(axis=1)

    @cached_property
    def out_of_view(self) -> np.ndarray:
        """(F,) bool: absent because it left the image."""
        return self.absent & (self._fractions[0] < MIN_VISIBLE)

    @cached_property
    def boxes_xywh(self) -> np.ndarray:
        """(F, 4) float64: box in pixels around the part of the target's silhouette that is in the image.

        What obstacles hide counts as part of the target. Zeros where it is ``absent``.
        """
        boxes = np.concatenate([self._bounds[:, :2], self._bounds[:, 2:] - self._bounds[:, :2]], axis=1)
        boxes[self.absent] = 0
        return boxes

    @cached_property
    def visible_fraction(self) -> np.ndarray:
        """(F,) float64 in [0, 1]: share of the silhouette that is inside the image and not hidden.

        Counted on a grid of at most 14 x 14 points.
        """
        return np.where(self.absent, 0.0, self._fractions[1])

    @cached_property
    def cut_by_image(self) -> np.ndarray:
        """(F,) bool: the border of the image cuts the target."""
        return (self._fractions[0] < 1) & ~self.absent

    def mask(self, index: int) -> np.ndarray:
        """Alpha (H, W) uint8 of the whole target in a frame, sharp and with nothing in front of it."""
        return self._alpha(self._world.target, index)

    def visible_mask(self, index: int) -> np.ndarray:
        """Alpha (H, W) uint8 of what can be seen of the target in a frame."""
        mask = self.mask(index)
        for actor in self._world.front:
            if actor.sprite.solid:
                cover = self._alpha(actor, index).astype(np.uint16)
                mask = (mask * (256 - cover - (cover >> 7)) >> 8).astype(np.uint8)
        return mask

    def _alpha(self, actor: Actor, index: int) -> np.ndarray:
        mask = np.zeros((self.recipe.height, self.recipe.width), dtype=np.uint8)
        part = actor.render(self._checked(index), *self.size, alpha_only=True)
        if part is not None:
            x0, y0, patch = part
            mask[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]] = patch
        return mask

    def frame(self, index: int) -> np.ndarray:
        """Render one frame.

        Args:
            index: 0 to ``num_frames - 1``.

        Returns:
            (H, W, 3) uint8 RGB, the caller's own.

        Raises:
            IndexError: if there is no such frame.
        """
        index, world = self._checked(index), self._world
        width, height = self.size
        shutter, limit = world.sensor.shutter, 0.1 * world.unit
        image = world.camera.show(world.background, index, width, height)
        image = smeared(image, world.camera.smear(index, shutter, limit))
        for actor in (*world.behind, world.target, *world.front):
            part = actor.render(index, width, height, actor.smear(index, shutter, limit))
            if part is not None:
                compose(image, *part)
        image = world.sensor.expose(image, index, world.exposure)
        return decode_image(encode_image(image, ".jpg", self.quality), "frame") if self.jpeg else image

    def _checked(self, index: int) -> int:
        if not 0 <= index < self.num_frames:
            raise IndexError(f"frame {index} of a sequence of {self.num_frames} frames")
        return int(index)
