"""Procedural textures: palettes, fractal noise and patterns, turned into colors.

A texture is a grey pattern ``(H, W)`` uint8 that a color ramp of 256 entries turns into RGB.
"""

from functools import lru_cache

import cv2
import numpy as np

from lib.synthetic.stable import TURN, Draws, coordinates, cosine, sine

Color = tuple[int, int, int]

# Hue (degrees), saturation and value (percent) ranges of the moods that a scene can have.
_MOODS: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "meadow": ((60, 140), (20, 65), (25, 80)),
    "forest": ((70, 160), (15, 55), (10, 55)),
    "sand": ((20, 50), (15, 55), (45, 95)),
    "soil": ((10, 40), (20, 60), (15, 60)),
    "concrete": ((0, 360), (0, 12), (30, 85)),
    "asphalt": ((180, 260), (0, 14), (12, 50)),
    "water": ((170, 225), (20, 75), (25, 85)),
    "snow": ((180, 240), (0, 15), (65, 100)),
    "night": ((200, 280), (10, 60), (3, 30)),
    "brick": ((0, 28), (25, 70), (30, 75)),
    "pastel": ((0, 360), (10, 40), (65, 100)),
    "vivid": ((0, 360), (50, 100), (30, 100)),
    "grey": ((0, 360), (0, 5), (5, 100)),
}
MOODS = tuple(_MOODS)


def hsv(hue: float, saturation: float, value: float) -> Color:
    """RGB 0..255 from a hue in degrees and saturation and value in ``[0, 1]``."""
    sector = (hue % 360) / 60
    channels = []
    for offset in (5, 3, 1):
        k = (sector + offset) % 6
        channels.append(round(255 * value * (1 - saturation * max(0.0, min(k, 4 - k, 1.0)))))
    return channels[0], channels[1], channels[2]


def draw_color(draws: Draws, mood: str) -> Color:
    """One random color of a mood."""
    hues, saturations, values = _MOODS[mood]
    return hsv(draws.uniform(*hues), draws.uniform(*saturations) / 100, draws.uniform(*values) / 100)


def draw_palette(draws: Draws, mood: str, count: int = 4) -> list[Color]:
    """Colors that go together: hues within a part of the mood's range, values spread over it, dark to bright."""
    hues, saturations, values = _MOODS[mood]
    center = draws.uniform(*hues)
    reach = min(40.0, (hues[1] - hues[0]) / 2)
    low, high = values
    middle, contrast = draws.uniform(low, high), draws.uniform(0.25, 0.9) * (high - low)
    colors = []
    for k in range(count):
        value = middle + contrast * (k / max(1, count - 1) - 0.5)
        saturation = draws.uniform(*saturations) / 100
        colors.append(hsv(center + draws.uniform(-reach, reach), saturation, min(max(value, low), high) / 100))
    return colors


def ramp(colors: list[Color], *, hard: bool = False) -> np.ndarray:
    """Color table (256, 1, 3) uint8 through the given colors; ``hard`` makes steps instead of a gradient."""
    stops = np.array(colors, dtype=np.int32)
    position = np.arange(256, dtype=np.int32) * ((len(colors) if hard else len(colors) - 1) or 1)
    lower = np.minimum(position // 256, len(colors) - 1)
    upper = lower if hard else np.minimum(lower + 1, len(colors) - 1)
    part = (position % 256)[:, None]
    return ((stops[lower] * (256 - part) + stops[upper] * part) >> 8).astype(np.uint8)[:, None, :]


def stretch(values: np.ndarray) -> np.ndarray:
    """Spread an integer field over 0..255 uint8."""
    low, high = int(values.min()), int(values.max())
    scale = (255 << 12) // max(1, high - low)
    return (((values.astype(np.int32) - low) * scale) >> 12).astype(np.uint8)


def fractal_noise(draws: Draws, height: int, width: int, *, cell: int, octaves: int, gain: float = 0.55) -> np.ndarray:
    """Smooth noise (height, width) uint8: random lattices of halving cell size, each ``gain`` times weaker.

    Args:
        draws: random stream.
        height: pixels.
        width: pixels.
        cell: lattice spacing of the coarsest octave, a power of two, pixels.
        octaves: at most ``log2(cell) + 1`` are used.
        gain: amplitude of an octave relative to the one before.
    """
    rows, columns = -(-height // cell) + 2, -(-width // cell) + 2
    total = (draws.field(rows, columns).astype(np.int16) - 128) << 5
    strength = 1.0
    while cell > 1:
        cell //= 2
        rows, columns = -(-height // cell) + 2, -(-width // cell) + 2
        total = cv2.pyrUp(total)[1 : rows + 1, 1 : columns + 1]
        octaves -= 1
        strength *= gain
        if octaves > 0 and strength > 0.02:
            detail = draws.field(*total.shape).astype(np.int16) - 128
            total = total + ((detail * round(strength * 128)) >> 2)
    return stretch(total[:height, :width])


def soft_gradient(draws: Draws, height: int, width: int) -> np.ndarray:
    """A slanted linear gradient (height, width) uint8."""
    x, y = coordinates(height, width)
    angle = draws.integer(0, TURN - 1)
    return stretch(x * int(cosine(angle) * 256) + y * int(sine(angle) * 256))


@lru_cache(maxsize=64)
def _wave(sharpness: int) -> np.ndarray:
    # One period of a wave in 256 steps, from a soft triangle (1) to nearly a square (8 and more).
    triangle = np.abs(np.arange(256, dtype=np.int32) - 128) * 2 - 128
    return np.clip(triangle * sharpness + 128, 0, 255).astype(np.uint8)


def _slanted(draws: Draws, height: int, width: int, period: int) -> tuple[np.ndarray, np.ndarray]:
    # Two perpendicular coordinates in 1/256 of a period, turned by a random angle and bent by a little noise.
    x, y = coordinates(height, width)
    angle = draws.choice([0, 0, TURN // 8, draws.integer(0, TURN - 1)])
    c, s = round(float(cosine(angle)) * 65536 / period), round(float(sine(angle)) * 65536 / period)
    u, v = (x * c + y * s) >> 8, (y * c - x * s) >> 8
    if draws.chance(0.5):
        bend = fractal_noise(draws, height, width, cell=64, octaves=1).astype(np.int32) * draws.integer(1, 3)
        u, v = u + bend, v + (bend >> 1)
    return u, v


def _stripes(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    u, _ = _slanted(draws, height, width, size)
    return _wave(draws.choice([1, 2, 4, 12]))[u & 255]


def _checker(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    u, v = _slanted(draws, height, width, size)
    return ((((u ^ v) >> 7) & 1) * 200 + 28).astype(np.uint8)


def _bricks(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    # Cells of random brightness with dark or bright joints; every second row is shifted by half a cell.
    u, v = _slanted(draws, height, width, size)
    v = v * draws.choice([1, 2, 3])
    row = v >> 8
    u = u + (row & 1) * draws.choice([0, 128])
    tone = draws.field(64, 64)[row & 63, (u >> 8) & 63]
    joint = draws.integer(10, 40)
    is_joint = ((u & 255) < joint) | ((v & 255) < joint)
    tone = (tone >> 1) + np.uint8(64)
    tone[is_joint] = draws.choice([0, 10, 245])
    return tone


def _grain(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    # Noise stretched along one axis: wood, grass, water, brushed metal.
    factor = draws.choice([4, 8, 16])
    flat = draws.chance(0.5)
    small_height, small_width = (height, -(-width // factor)) if flat else (-(-height // factor), width)
    noise = fractal_noise(draws, small_height, small_width, cell=max(2, min(16, size // 2)), octaves=4, gain=0.75)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)


def _spots(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    noise = fractal_noise(draws, height, width, cell=size, octaves=2)
    level, steep = draws.integer(90, 165), draws.choice([3, 6, 16])
    return np.clip((noise.astype(np.int32) - level) * steep + 128, 0, 255).astype(np.uint8)


def _clouds(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    return fractal_noise(draws, height, width, cell=size, octaves=6, gain=draws.uniform(0.4, 0.75))


def _plain(draws: Draws, height: int, width: int, size: int) -> np.ndarray:
    return (soft_gradient(draws, height, width) >> 2) + np.uint8(draws.integer(0, 190))


_PATTERNS = {
    "clouds": _clouds,
    "grain": _grain,
    "spots": _spots,
    "stripes": _stripes,
    "checker": _checker,
    "bricks": _bricks,
    "plain": _plain,
}
PATTERNS = tuple(_PATTERNS)


def texture(
    draws: Draws, height: int, width: int, colors: list[Color], *, pattern: str, size: int, roughness: float = 0.2
) -> np.ndarray:
    """Render a texture.

    Args:
        draws: random stream.
        height: pixels.
        width: pixels.
        colors: of the ramp, pattern value 0 to 255.
        pattern: one of ``PATTERNS``.
        size: of the pattern's features in pixels; noise patterns round it down to a power of two.
        roughness: strength in ``[0, 1]`` of the fine noise that is mixed in.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    size = max(4, size)
    if pattern in ("clouds", "spots"):
        size = 1 << (size.bit_length() - 1)
    values = _PATTERNS[pattern](draws, height, width, size)
    hard = pattern not in ("plain", "clouds", "grain") or draws.chance(0.12)
    table = ramp(colors, hard=hard and roughness < 0.12)
    if roughness > 0:
        fine = fractal_noise(draws, height, width, cell=draws.choice([4, 8, 16]), octaves=3, gain=0.8)
        share = round(roughness * 256)
        values = ((values.astype(np.uint16) * (256 - share) + fine.astype(np.uint16) * share) >> 8).astype(np.uint8)
    return cv2.applyColorMap(values, table)


def draw_texture(draws: Draws, height: int, width: int, colors: list[Color], *, scale: float = 1.0) -> np.ndarray:
    """A texture of random pattern, feature size and roughness; ``scale`` 1 suits a whole scene of ``height``."""
    pattern = draws.choice(("clouds", "clouds", "grain", *PATTERNS))
    size = round(height * scale * draws.choice([0.03, 0.06, 0.12, 0.25]))
    return texture(
        draws, height, width, colors, pattern=pattern, size=size, roughness=draws.choice([0.0, 0.1, 0.2, 0.4])
    )
