"""What ``varied`` adds for training: things that turn out of the plane, limbs, crowds of look-alikes, poor video."""

from dataclasses import dataclass, replace
from itertools import permutations

import cv2
import numpy as np

from lib.synthetic.camera import wander
from lib.synthetic.presets import Preset
from lib.synthetic.sprite import Sprite, Track
from lib.synthetic.stable import TURN, Draws, cosine, halve, sine, warp
from lib.utils.image_io import decode_image, encode_image

_STEEP = 790  # an angle in 1/4096 turn at which a side is foreshortened to 35 %
_PHASES = 6
_CROWDED = {
    "zoom_out": 0.75, "zoom_in": 1.3, "reach": 0.3, "twins": (3, 6), "front_twins": (0, 2), "pan": 0.3,
}  # fmt: skip


@dataclass(frozen=True)
class Variety:
    """What is special about one varied sequence.

    Attributes:
        preset: the ranges that the rest of the world draws from.
        yaw: largest turn about the upright axis, 1/4096 turn.
        pitch: largest turn about the horizontal axis.
        lean: largest turn in the plane beyond what the kind of figure does.
        shear: largest lean of the upper part over the lower, in widths per height.
        slim: how much taller figures are than their images; the width shrinks alike.
        peeks: the target leaves the image often, and only in part.
        interlaced: odd rows come from the frame before.
        quality: JPEG quality of each frame; 0 leaves it as it is.
        coarse: it was compressed at half the size.
    """

    preset: Preset
    yaw: int
    pitch: int
    lean: int
    shear: float
    slim: float
    peeks: bool
    interlaced: bool
    quality: int
    coarse: bool

    @classmethod
    def plan(cls, draws: Draws, preset: Preset, unit: float) -> "Variety":
        """Draw one; ``unit`` is the shorter image side in pixels."""
        changes = {"shake": draws.choice([preset.shake, preset.shake, 0.03])}
        low, high = draws.choice([(0, 0)] * 6 + [(8, 14), (12, 24), (20, 40), (40, 60)])
        tiny = 0 < low < 20
        if high:
            changes |= {**_CROWDED, "target_size": (low / unit, high / unit)}
        yaw, pitch = draws.choice([0, _STEEP // 2, _STEEP]), draws.choice([0, 0, _STEEP // 2, _STEEP])
        if yaw:
            changes["flip"] = 0.0  # another way to turn about the same axis
        peeks = draws.chance(0.5)
        if peeks:
            changes["exits"] = (0.5, 2)
        return cls(
            preset=replace(preset, **changes),
            yaw=yaw,
            pitch=pitch,
            lean=draws.choice([0, 0, TURN // 24, TURN // 10]),
            shear=draws.choice([0.0, 0.15, 0.4]),
            slim=draws.choice([1.0, 1.5]) if high else 1.0,  # as upright as people
            peeks=peeks,
            interlaced=draws.chance(0.08),
            quality=draws.integer(30 if tiny else 10, 50) if draws.chance(0.5) else 0,
            coarse=not tiny and draws.chance(0.2),
        )

    def pose(self, draws: Draws, track: Track, sprite: Sprite) -> Track:
        """A track with the turns out of the plane and the lean."""
        frames, period = len(track.x), draws.uniform(*self.preset.period) * 1.5
        yaw, pitch, lean = (
            np.floor(wander(draws, frames, period, -most, most)).astype(np.int64)
            for most in (self.yaw, self.pitch, self.lean)
        )
        shear = wander(draws, frames, period, -self.shear, self.shear)
        near = draws.uniform(0.1, 0.3)  # half the size of the thing relative to how far away it is
        bend = [shear, near * 2 / sprite.extent[0] * sine(yaw), near * 2 / sprite.extent[1] * sine(pitch)]
        return replace(
            track,
            scale_x=track.scale_x * cosine(yaw) / self.slim,
            scale_y=track.scale_y * cosine(pitch) * self.slim,
            angle=track.angle + lean,
            bend=np.stack(bend, axis=1),
        )

    def stored(self, image: np.ndarray) -> np.ndarray:
        """A frame (H, W, 3) uint8 after the compression of a poor video."""
        if not self.quality:
            return image
        small = halve(image) if self.coarse else image
        small = decode_image(encode_image(small, ".jpg", self.quality), "frame")
        height, width = image.shape[:2]
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR_EXACT) if self.coarse else small


def swinging(draws: Draws, image: np.ndarray) -> Sprite:
    """A cut-out (h, w, 4) uint8, RGB multiplied by alpha, whose limbs swing about their joints.

    The lower part is cut into one or two legs; sometimes the strip at one side is an arm.
    """
    height, width = image.shape[:2]
    hip, middle = int(height * draws.uniform(0.4, 0.65)), int(width * draws.uniform(0.4, 0.6))
    pad, overlap = height // 3 + width // 6 + 2, max(1, height // 20)
    both, swing = draws.chance(0.75), draws.uniform(0.25, 1.0) * TURN / 12
    columns = [(0, middle), (middle, width)] if both else [(0, width)]
    parts = [(slice(hip - overlap, height), slice(*cut), ((cut[0] + cut[1]) / 2, hip)) for cut in columns]
    body = image.copy()
    body[hip + overlap :] = 0
    if draws.chance(0.5):
        arm = int(width * draws.uniform(0.2, 0.35))
        side, shoulder = slice(0, arm), int(height * draws.uniform(0.1, 0.4))
        side, joint = (side, arm) if draws.chance(0.5) else (slice(width - arm, width), width - arm)
        parts.append((slice(shoulder, hip + overlap), side, (joint, shoulder)))
        body[shoulder : hip + overlap, side] = 0

    def phase_image(phase: int) -> np.ndarray:
        canvas = np.zeros((height + 2 * pad, width + 2 * pad, 4), dtype=np.uint8)
        for number, (rows, cut, joint) in enumerate(parts):
            limb = np.zeros_like(image)
            limb[rows, cut] = image[rows, cut]
            beat = phase * TURN // _PHASES + TURN // 9 + (TURN // 2 if number == 1 else 0)
            _lay(canvas, _turned(limb, joint, int(swing * float(sine(beat))), pad))
        _lay(canvas[pad : pad + height, pad : pad + width], body)
        return canvas

    images = [phase_image(phase) for phase in range(_PHASES)]
    return Sprite([painted[:, :, 3] for painted in images], images.__getitem__)


def _turned(image: np.ndarray, joint: tuple[float, float], angle: int, pad: int) -> np.ndarray:
    # The image turned about a point of it, on a canvas that is larger by `pad` on each side.
    cos, sin = float(cosine(angle)), float(sine(angle))
    x, y = joint
    dx, dy = -pad - x, -pad - y
    inverse = (cos, sin, cos * dx + sin * dy + x, -sin, cos, -sin * dx + cos * dy + y)
    return warp(image, inverse, image.shape[1] + 2 * pad, image.shape[0] + 2 * pad, border=cv2.BORDER_CONSTANT)


def _lay(canvas: np.ndarray, over: np.ndarray) -> None:
    # In place; both (h, w, 4) with RGB multiplied by alpha.
    alpha = over[:, :, 3:].astype(np.uint16)
    canvas[:] = over + (canvas * (256 - alpha - (alpha >> 7)) >> 8).astype(np.uint8)


def look_alike(draws: Draws, sprite: Sprite) -> Sprite:
    """The same thing in other colors: all of it, or its upper or lower part."""
    order = draws.choice(list(permutations(range(3))))
    gains = np.array([draws.integer(110, 256) for _ in range(3)], dtype=np.uint16)
    height = sprite.alpha.shape[1]
    border = int(height * draws.uniform(0.3, 0.6))
    rows = draws.choice([slice(0, height), slice(0, border), slice(border, height)])

    def paint(phase: int) -> np.ndarray:
        image = sprite.image(phase, 0).copy()
        image[rows, :, :3] = image[rows][:, :, order] * gains >> 8
        return image

    return Sprite(list(sprite.alpha), paint)
