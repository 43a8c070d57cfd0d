"""The camera: how it moves over the background, and what it does to the image (light, blur, noise)."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from lib.synthetic.presets import Preset
from lib.synthetic.sprite import blur_taps
from lib.synthetic.stable import TURN, Draws, cosine, derive_seed, shifted_mean, sine, warp

_NOISE_SIDE = 256
_NOISE_SHIFT = 128  # frames differ by where in the sheet of noise they begin


@dataclass(frozen=True)
class Camera:
    """Pose of the camera over the background in each frame.

    Attributes:
        pan_x: (F,) background column, relative to the middle, that the middle of the view shows.
        pan_y: (F,) background row.
        zoom: (F,) view pixels per background pixel.
        roll: (F,) int64, 1/4096 turn.
        shake_x: (F,) hand shake, view pixels; moves everything.
        shake_y: (F,) hand shake.
    """

    pan_x: np.ndarray
    pan_y: np.ndarray
    zoom: np.ndarray
    roll: np.ndarray
    shake_x: np.ndarray
    shake_y: np.ndarray

    @classmethod
    def plan(cls, draws: Draws, preset: Preset, num_frames: int, unit: float) -> "Camera":
        """Draw the camera's way; ``unit`` is the shorter image side in pixels."""
        period = draws.uniform(*preset.period) * 1.3
        moving = draws.choice([0.0, 0.3, 1.0, 1.0])
        reach = preset.pan * unit * moving * 0.6
        pan_x, pan_y = (walk(draws, num_frames, period, 0.0, reach) for _ in range(2))
        jerks = event_times(draws, num_frames, int(draws.uniform(*preset.jolts) / 2))
        pan_x = pan_x + steps(draws, num_frames, jerks, 0.15 * unit)
        zoom = 1 + wander(draws, num_frames, period, -preset.camera_zoom * moving, preset.camera_zoom * moving)
        roll = np.floor(wander(draws, num_frames, period, -preset.roll, preset.roll) * moving).astype(np.int64)
        shaken = preset.shake * unit * draws.choice([0.0, 0.3, 1.0])
        shake_x, shake_y = (draws.uniforms(-shaken, shaken, num_frames) for _ in range(2))
        return cls(pan_x, pan_y, zoom, roll, shake_x, shake_y)

    def to_view(
        self, x: np.ndarray | float, y: np.ndarray | float, width: int, height: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """View position (F,), (F,) of a background point given relative to the middle of the background."""
        cos, sin = cosine(self.roll), sine(self.roll)
        dx, dy = (x - self.pan_x) * self.zoom, (y - self.pan_y) * self.zoom
        return width / 2 + cos * dx + sin * dy + self.shake_x, height / 2 - sin * dx + cos * dy + self.shake_y

    def show(self, background: np.ndarray, frame: int, width: int, height: int) -> np.ndarray:
        """The part of the background (h, w, 3) that a frame shows, (height, width, 3) uint8."""
        zoom = float(self.zoom[frame])
        cos, sin = float(cosine(self.roll[frame])) / zoom, float(sine(self.roll[frame])) / zoom
        dx, dy = -width / 2 - float(self.shake_x[frame]), -height / 2 - float(self.shake_y[frame])
        middle_x = background.shape[1] / 2 + float(self.pan_x[frame])
        middle_y = background.shape[0] / 2 + float(self.pan_y[frame])
        inverse = (cos, -sin, cos * dx - sin * dy + middle_x, sin, cos, sin * dx + cos * dy + middle_y)
        return warp(background, inverse, width, height, border=cv2.BORDER_REFLECT_101)

    def smear(self, frame: int, shutter: float, limit: float) -> tuple[float, float]:
        """Motion of the background during the exposure of a frame, (x, y) view pixels."""
        other = frame - 1 if frame else min(1, len(self.zoom) - 1)
        sign = 1 if frame else -1
        factor = -sign * shutter * float(self.zoom[frame])
        dx = (float(self.pan_x[frame]) - float(self.pan_x[other])) * factor
        dy = (float(self.pan_y[frame]) - float(self.pan_y[other])) * factor
        return min(max(dx, -limit), limit), min(max(dy, -limit), limit)


def smeared(image: np.ndarray, smear: tuple[float, float]) -> np.ndarray:
    """A whole image with motion blur."""
    taps = blur_taps(smear)
    return image if taps == 1 else shifted_mean(image, *smear, min(taps, 8), border=cv2.BORDER_REPLICATE)


@lru_cache(maxsize=16)
def _noise_sheet(level: int, coarse: bool, grey: bool, height: int, width: int) -> np.ndarray:
    # (height + 128, width + 128, 3) int16, nearly normal with sigma level / 2: four uniform bytes added up.
    draws = Draws("noise tile")
    total = sum(draws.field(_NOISE_SIDE, _NOISE_SIDE * 3).astype(np.int32) for _ in range(4)) - 510
    tile = ((total * level + 148) // 296).astype(np.int16).reshape(_NOISE_SIDE, _NOISE_SIDE, 3)
    if grey:
        tile = tile[:, :, :1].repeat(3, axis=2)
    if coarse:  # as after a denoiser: blotches of two pixels
        tile = tile.repeat(2, axis=0).repeat(2, axis=1)
    height, width = height + _NOISE_SHIFT, width + _NOISE_SHIFT
    return np.tile(tile, (-(-height // tile.shape[0]), -(-width // tile.shape[1]), 1))[:height, :width].copy()


class Sensor:
    """Light and image quality of one sequence.

    Args:
        draws: random stream.
        preset: the ranges.
        num_frames: frames.

    Attributes:
        shutter: share of the frame time that the shutter is open.
        quality: JPEG quality, 1 to 100.
    """

    def __init__(self, draws: Draws, preset: Preset, num_frames: int) -> None:
        self.shutter = draws.uniform(*preset.shutter)
        self.quality = draws.integer(*preset.quality)
        self._grey = draws.chance(0.04)
        self._noise = round(draws.uniform(*preset.noise) * draws.choice([0, 0.5, 1]) * 2)  # sigma in half grey levels
        self._noise_key = draws.integer(0, 1 << 30)
        self._coarse_noise = draws.chance(0.3)
        self._defocus = draws.choice([3, 5]) if draws.chance(preset.defocus) else 0
        self._gain = self._plan_light(draws, preset, num_frames)
        contrast = 1 + draws.uniform(-1, 1) * min(0.3, preset.light)
        haze = draws.uniform(0, 60) * min(0.4, preset.light) if draws.chance(0.3) else 0.0
        levels = np.arange(256) * contrast + 128 * (1 - contrast)
        self._levels = np.floor((levels * (1 - haze / 100) + haze) * 256).astype(np.int64)

    @staticmethod
    def _plan_light(draws: Draws, preset: Preset, num_frames: int) -> np.ndarray:
        # (F, 3) int64: gain of each channel in 1/256.
        period = draws.uniform(*preset.period)
        knots = draws.uniforms(1 - preset.light, 1 + 0.6 * preset.light, int(num_frames / period) + 3)
        flashes = event_times(draws, num_frames, draws.integer(0, int(preset.flicker[1])))
        light = spline(knots, num_frames, period) + steps(draws, num_frames, flashes, 0.4)
        base = [draws.uniform(-preset.tint, preset.tint) for _ in range(3)]
        drift = [wander(draws, num_frames, period * 2, -preset.tint / 2, preset.tint / 2) for _ in range(3)]
        gains = [np.clip(light, 0.45, 1.6) * (1 + base[k] + drift[k]) for k in range(3)]
        return np.floor(np.stack(gains, axis=1) * 256).astype(np.int64)

    def expose(self, image: np.ndarray, frame: int, exposure: int = 256) -> np.ndarray:
        """What the sensor makes of a clean image (H, W, 3) uint8 RGB in a frame; ``exposure`` is a gain in 1/256."""
        gain = (self._gain[frame] * exposure) >> 8
        table = np.clip((self._levels[:, None] * gain) >> 16, 0, 255).astype(np.uint8)
        if self._grey:
            image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            table = table[:, 1:2].repeat(3, axis=1)
        image = cv2.LUT(image, np.ascontiguousarray(table[None]))
        if self._defocus:
            image = cv2.GaussianBlur(image, (self._defocus, self._defocus), self._defocus / 3.5)
        return cv2.add(image, self._noise_in(frame, *image.shape[:2]), dtype=cv2.CV_8U) if self._noise else image

    def _noise_in(self, frame: int, height: int, width: int) -> np.ndarray:
        sheet = _noise_sheet(self._noise, self._coarse_noise, self._grey, height, width)
        shift = derive_seed(self._noise_key, frame)
        y, x = shift % _NOISE_SHIFT, (shift >> 8) % _NOISE_SHIFT
        return sheet[y : y + height, x : x + width]


def spline(knots: np.ndarray, num_frames: int, period: float) -> np.ndarray:
    """Catmull-Rom curve (F,) through ``knots`` that are ``period`` frames apart; the ends are repeated."""
    position = np.arange(num_frames) / period
    index = np.minimum(np.floor(position).astype(np.int64), len(knots) - 2)
    t = position - index
    last = len(knots) - 1
    p0, p1 = knots[np.maximum(index - 1, 0)], knots[index]
    p2, p3 = knots[index + 1], knots[np.minimum(index + 2, last)]
    return p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0)))


def _knot_count(num_frames: int, period: float) -> int:
    return int(num_frames / period) + 3


def wander(draws: Draws, num_frames: int, period: float, low: float, high: float) -> np.ndarray:
    """A smooth random curve (F,) within ``[low, high]`` with a new aim every ``period`` frames."""
    knots = draws.uniforms(low, high, _knot_count(num_frames, period))
    return np.clip(spline(knots, num_frames, period), low, high)


def walk(draws: Draws, num_frames: int, period: float, start: float, reach: float) -> np.ndarray:
    """A smooth random walk (F,) from ``start``: every ``period`` frames a step of up to ``reach``; unbounded."""
    steps = draws.uniforms(-reach, reach, _knot_count(num_frames, period))
    steps[0] = start
    return spline(np.cumsum(steps), num_frames, period)


def fold(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Reflect values at ``low`` and ``high`` as often as needed to be between them."""
    span = high - low
    offset = values - low
    offset = offset - np.floor(offset / (2 * span)) * (2 * span)
    return low + np.minimum(offset, 2 * span - offset)


def wave(draws: Draws, num_frames: int, period: float, amplitude: float) -> np.ndarray:
    """A sine (F,) of random phase."""
    angle = np.floor(np.arange(num_frames) * (TURN / period)).astype(np.int64) + draws.integer(0, TURN - 1)
    return amplitude * sine(angle)


def excursion(num_frames: int, start: int, ramp: int, hold: int) -> np.ndarray:
    """(F,): 0, from ``start`` on a smooth rise of ``ramp`` frames to 1, ``hold`` frames of 1, and down again."""
    frame = np.arange(num_frames)
    up = np.clip((frame - start) / ramp, 0, 1)
    down = np.clip((start + 2 * ramp + hold - frame) / ramp, 0, 1)
    level = np.minimum(up, down)
    return level * level * (3 - 2 * level)


def steps(draws: Draws, num_frames: int, times: list[int], size: float) -> np.ndarray:
    """(F,): 0 at first, at each of ``times`` a jump of up to ``size`` either way."""
    jumps = np.zeros(num_frames)
    for time in times:
        jumps[time] += draws.sign() * draws.uniform(0.5, 1) * size
    return np.cumsum(jumps)


def event_times(draws: Draws, num_frames: int, count: int, clear: float = 0.15) -> list[int]:
    """``count`` frames, one in each equal part of the video after its first ``clear`` share, in order."""
    first = max(2, int(num_frames * clear))
    if count < 1 or first >= num_frames:
        return []
    part = (num_frames - first) / count
    return [min(num_frames - 1, first + int(part * (k + draws.uniform(0, 1)))) for k in range(count)]
