"""Backgrounds: places with a horizon, grounds seen from above, rooms, cluttered shelves and abstract scenes."""

from functools import lru_cache

import cv2
import numpy as np

from lib.synthetic.figures import KINDS, Figure
from lib.synthetic.outlines import Canvas, blob, box, limb, place, polygon, round_box
from lib.synthetic.sprite import Sprite, compose
from lib.synthetic.stable import TURN, Draws, blend, coordinates, halve, sine
from lib.synthetic.textures import (
    MOODS,
    draw_color,
    draw_palette,
    draw_texture,
    fractal_noise,
    ramp,
    soft_gradient,
    texture,
)

_GROUNDS = ("meadow", "forest", "sand", "soil", "concrete", "asphalt", "water", "snow", "night")
_SKIES = ("water", "water", "snow", "pastel", "night", "grey")


def _edge(draws: Draws, height: int, width: int, base: float, rough: float) -> np.ndarray:
    # Rows (1, W) of a wavy skyline around the share `base` of the height.
    x = np.arange(width, dtype=np.int64)
    line = np.full(width, base * height)
    for octave in range(4):
        turns = draws.integer(1, 3) << octave
        angle = x * TURN * turns // width + draws.integer(0, TURN - 1)
        line = line + rough * height / (1 << octave) * draws.uniform(0, 1) * sine(angle)
    return line[None, :]


def _fill_below(image: np.ndarray, skin: np.ndarray, line: np.ndarray) -> None:
    _, y = coordinates(*image.shape[:2])
    mask = (np.clip(y - line + 0.5, 0, 1) * 255).astype(np.uint8)
    if line.min() > 1:
        top = int(line.min()) - 1
        image[top:] = blend(image[top:], skin[top:], mask[top:])
    else:
        image[:] = blend(image, skin, mask)


def _sky(draws: Draws, height: int, width: int) -> np.ndarray:
    noise = fractal_noise(draws, height, width, cell=128, octaves=5, gain=0.5)
    _, y = coordinates(height, width)
    clouds = np.clip((noise.astype(np.int32) - draws.integer(90, 170)) * draws.integer(1, 4), 0, 150)
    values = np.clip(y * 130 // height + clouds, 0, 255).astype(np.uint8)
    colors = draw_palette(draws, draws.choice(_SKIES), 3)
    return cv2.applyColorMap(values, ramp(colors))


def landscape(draws: Draws, height: int, width: int) -> np.ndarray:
    """Sky, one to three ranges of hills or roofs, and a ground that comes closer towards the bottom."""
    image = _sky(draws, height, width)
    horizon = draws.uniform(0.2, 0.5)
    for _ in range(draws.integer(0, 2)):
        skin = draw_texture(draws, height, width, draw_palette(draws, draws.choice(_GROUNDS), 3), scale=0.6)
        _fill_below(image, skin, _edge(draws, height, width, horizon, draws.uniform(0.02, 0.12)))
        horizon += draws.uniform(0.03, 0.12)
    if draws.chance(0.4):
        _buildings(draws, image, horizon)
    ground = draw_texture(draws, height, width, draw_palette(draws, draws.choice(_GROUNDS), 4), scale=1.2)
    _fill_below(image, ground, _edge(draws, height, width, horizon + 0.05, draws.uniform(0, 0.03)))
    if draws.chance(0.6):
        _road(draws, image, from_above=False, horizon=horizon + 0.06)
    _scatter(draws, image, draws.integer(6, 16), lowest=horizon + 0.02)
    return image


def _buildings(draws: Draws, image: np.ndarray, ground: float) -> None:
    height, width = image.shape[:2]
    x = -draws.integer(0, 40)
    while x < width:
        wide, tall = draws.integer(width // 12, width // 5), draws.integer(height // 10, height // 3)
        y = int((ground + 0.08) * height)
        top, left, right = max(0, y - tall), max(0, x), min(width, x + wide)
        if right > left and y > top:
            wall = np.array(draw_color(draws, draws.choice(["concrete", "brick", "pastel", "sand"])), dtype=np.uint8)
            image[top:y, left:right] = wall
            glass = draw_color(draws, draws.choice(["night", "water", "snow"]))
            pitch, size = draws.integer(10, 22), draws.integer(4, 9)
            for row in range(top + 6, y - size, pitch):
                for column in range(left + 5, right - size, pitch):
                    image[row : row + size + 2, column : column + size] = glass
        x += wide + draws.choice([0, 0, draws.integer(2, 30)])


def _road(draws: Draws, image: np.ndarray, *, from_above: bool, horizon: float = 0.0) -> None:
    height, width = image.shape[:2]
    half, bend = draws.uniform(0.06, 0.2) * width, draws.uniform(-0.5, 0.5) * width
    middle = draws.uniform(0.2, 0.8) * width
    rows = np.arange(10) / 9
    narrow = np.ones(10) if from_above else 0.06 + rows
    y = (horizon + (1 - horizon) * rows) * (height + 8) - 4
    x = middle + bend * rows * rows
    color = draw_color(draws, draws.choice(["asphalt", "sand", "soil", "water"]))
    parts = [(half, color)]
    if draws.chance(0.6):
        line = draw_color(draws, draws.choice(["snow", "sand"]))
        parts += [(half * 0.86, line), (half * 0.8, color)]
    for reach, paint in parts:
        outline = np.concatenate(
            [np.stack([x - reach * narrow, y], axis=1), np.stack([x + reach * narrow, y], axis=1)[::-1]]
        )
        _fill(image, outline, paint)
    for k in range(9 if len(parts) > 1 else 0):
        w0, w1 = 0.03 * half * narrow[k], 0.03 * half * narrow[k + 1]
        y1 = y[k] + 0.5 * (y[k + 1] - y[k])
        dash = np.array([(x[k] - w0, y[k]), (x[k] + w0, y[k]), (x[k] + w1 + (x[k + 1] - x[k]) / 2, y1),
                         (x[k] - w1 + (x[k + 1] - x[k]) / 2, y1)])  # fmt: skip
        _fill(image, dash, parts[-2][1])


def _fill(image: np.ndarray, outline: np.ndarray, color: tuple[int, int, int]) -> None:
    points = np.floor(outline * 16 + 0.5).astype(np.int32)
    cv2.fillPoly(image, [points], color, lineType=cv2.LINE_AA, shift=4)


def ground(draws: Draws, height: int, width: int) -> np.ndarray:
    """The ground from above: two materials that meet along a ragged border, roads and scattered things."""
    first = draw_texture(draws, height, width, draw_palette(draws, draws.choice(_GROUNDS), 4))
    if draws.chance(0.7):
        second = draw_texture(draws, height, width, draw_palette(draws, draws.choice(_GROUNDS), 4))
        noise = fractal_noise(draws, height, width, cell=128, octaves=draws.integer(1, 5)).astype(np.int32)
        mask = np.clip((noise - draws.integer(100, 160)) * draws.choice([4, 16, 40]) + 128, 0, 255).astype(np.uint8)
        first = blend(first, second, mask)
    for _ in range(draws.integer(0, 2)):
        side = np.ascontiguousarray(first.transpose(1, 0, 2)) if draws.chance(0.5) else first
        _road(draws, side, from_above=True)
        first = side if side is first else np.ascontiguousarray(side.transpose(1, 0, 2))
    _scatter(draws, first, draws.integer(8, 24))
    return first


def room(draws: Draws, height: int, width: int) -> np.ndarray:
    """A wall and a floor with windows, pictures and furniture."""
    indoor = ("pastel", "concrete", "sand", "brick", "soil", "grey", "water")
    pattern = draws.choice(["plain", "bricks", "stripes", "clouds", "checker"])
    wall = draw_palette(draws, draws.choice(indoor), 3)
    image = texture(
        draws, height, width, wall, pattern=pattern, size=draws.integer(12, 60), roughness=draws.uniform(0, 0.3)
    )
    floor = draw_texture(
        draws, height, width, draw_palette(draws, draws.choice(indoor), 3), scale=draws.uniform(0.6, 1.5)
    )
    base = draws.uniform(0.45, 0.8)
    slope = draws.uniform(-0.15, 0.15) * height
    _fill_below(image, floor, (base * height + slope * (np.arange(width) / width - 0.5))[None, :])
    for _ in range(draws.integer(2, 7)):
        wide, tall = draws.uniform(0.06, 0.3) * width, draws.uniform(0.1, 0.4) * height
        x, y = draws.uniform(0, 0.9) * width, draws.uniform(0, base) * height
        _fill(image, box(x - 3, y - 3, x + wide + 3, y + tall + 3), draw_color(draws, draws.choice(indoor)))
        _fill(image, box(x, y, x + wide, y + tall), draw_color(draws, draws.choice(MOODS)))
        if draws.chance(0.5):
            _fill(image, box(x + wide / 2 - 1, y, x + wide / 2 + 1, y + tall), draw_color(draws, "grey"))
    _scatter(draws, image, draws.integer(3, 12), lowest=base - 0.1)
    return image


def clutter(draws: Draws, height: int, width: int) -> np.ndarray:
    """Many overlapping things, like a market, a shelf or a crowd."""
    image = draw_texture(draws, height, width, draw_palette(draws, draws.choice(MOODS), 4))
    tall = draws.chance(0.4)
    for _ in range(draws.integer(25, 70)):
        size = draws.uniform(0.02, 0.12) * height
        x, y = draws.uniform(0, width), draws.uniform(0, height)
        shape = box(-0.5, -1.6, 0.5, 1.6) if tall else draws.choice([blob(draws), polygon(draws, draws.integer(3, 7))])
        dark = draw_color(draws, "night")
        _fill(image, place(shape, x + 2, y + 3, size * 1.04), dark)
        _fill(image, place(shape, x, y, size), draw_color(draws, draws.choice(MOODS)))
        if draws.chance(0.4):
            _fill(image, place(shape, x, y, size * 0.5), draw_color(draws, draws.choice(MOODS)))
    _scatter(draws, image, draws.integer(8, 20))
    return image


def abstract(draws: Draws, height: int, width: int) -> np.ndarray:
    """Large textured patches with soft or sharp borders."""
    image = draw_texture(draws, height, width, draw_palette(draws, draws.choice(MOODS), 4), scale=draws.uniform(0.5, 2))
    for _ in range(draws.integer(1, 3)):
        skin = draw_texture(
            draws, height, width, draw_palette(draws, draws.choice(MOODS), 4), scale=draws.uniform(0.5, 2)
        )
        field = draws.choice([soft_gradient, lambda *args: fractal_noise(*args, cell=128, octaves=2)])(
            draws, height, width
        )
        mask = (field.astype(np.int32) - draws.integer(80, 176)) * draws.choice([1, 3, 10, 40]) + 128
        image = blend(image, skin, np.clip(mask, 0, 255).astype(np.uint8))
    _scatter(draws, image, draws.integer(0, 10))
    return image


def _scatter(draws: Draws, image: np.ndarray, count: int, lowest: float = 0.0) -> None:
    # A few kinds of things, each stamped several times, smaller towards the top if there is a horizon.
    height, width = image.shape[:2]
    stamps = []
    for k in range(min(count, draws.integer(1, 3))):
        side = draws.integer(height // 10, height // 4)
        seed = (draws.integer(0, 1 << 30), k)
        if draws.chance(0.5):
            stamps.append(paint_obstacle(seed, side, draws.choice(["bush", "tree", "rock", "post"])))
        else:
            stamps.append(Figure(draws.choice(list(KINDS)), seed, side).image(0))
    for y in sorted(draws.uniforms(lowest * height, height, count).tolist()):
        stamp = draws.choice(stamps) if stamps else None
        if stamp is None:
            continue
        if draws.chance(0.5):
            stamp = stamp[:, ::-1]
        if lowest and y < (lowest + 1) / 2 * height:
            stamp = halve(stamp)
        x0, y0 = draws.integer(-stamp.shape[1] // 2, width - stamp.shape[1] // 2), int(y) - stamp.shape[0]
        left, top = max(0, -x0), max(0, -y0)
        stamp = stamp[top : height - y0, left : width - x0]
        if stamp.size:
            compose(image, x0 + left, y0 + top, stamp)


def paint_obstacle(key: tuple[object, ...], side: int, kind: str) -> np.ndarray:
    """Something that stands in the way: a bush, tree, rock, post or wall; (side, side, 4) uint8 RGBA, premultiplied."""
    draws = Draws(*key, kind)
    canvas = Canvas(side)
    moods = {"bush": ("forest", "meadow"), "tree": ("forest", "meadow", "soil"), "rock": ("concrete", "sand", "soil")}
    mood = draws.choice(moods.get(kind, ("concrete", "soil", "brick", "vivid", "asphalt", "pastel")))
    skin = draw_texture(draws, side, side, draw_palette(draws, mood, 3), scale=2.0)
    if kind == "bush":
        for _ in range(3):
            x, y = draws.uniform(-0.3, 0.3), draws.uniform(-0.2, 0.4)
            canvas.paint(place(blob(draws, lobes=9, roughness=0.5), x, y, 0.65, 0.55), skin, relief=90)
    elif kind == "tree":
        bark = draw_texture(draws, side, side, draw_palette(draws, "soil", 3))
        canvas.paint(limb(0, -0.2, 0, 0.98, 0.12, 0.24), bark, relief=90)
        for _ in range(3):
            x, y = draws.uniform(-0.25, 0.25), draws.uniform(-0.55, -0.1)
            canvas.paint(place(blob(draws, lobes=8, roughness=0.5), x, y, 0.5, 0.42), skin, relief=110)
    elif kind == "rock":
        canvas.paint(place(polygon(draws, draws.integer(6, 10), roughness=0.25), 0, 0.2, 0.95, 0.7), skin, relief=120)
    elif kind == "post":
        half = draws.uniform(0.1, 0.3)
        canvas.paint(box(-half, -0.98, half, 0.98, draws.uniform(-0.05, 0.05)), skin, relief=110)
    else:
        canvas.paint(round_box(-0.98, -0.8, 0.98, 0.8, draws.choice([0.02, 0.2])), skin, relief=50)
    return canvas.image


OBSTACLES = ("bush", "tree", "rock", "post", "post", "wall")
"""Kinds that ``paint_obstacle`` knows, as often as they are wanted."""

_SCENES = (landscape, landscape, ground, ground, room, clutter, abstract)


def obstacle_sprite(key: tuple[object, ...], side: int, kind: str) -> Sprite:
    """An obstacle as a sprite."""
    image = paint_obstacle(key, side, kind)
    return Sprite([image[:, :, 3]], lambda phase: image)


@lru_cache(maxsize=1)
def shadow_sprite() -> Sprite:
    """A soft dark disc of 64 pixels that hides nothing; it is squeezed into the shadow that a figure throws."""
    image = np.zeros((64, 64, 4), dtype=np.uint8)
    cv2.circle(image, (32, 32), 26, (0, 0, 0, 110), -1)
    image[:, :, 3] = cv2.GaussianBlur(image[:, :, 3], (15, 15), 4)
    return Sprite([image[:, :, 3]], lambda phase: image, solid=False)


def draw_background(draws: Draws, height: int, width: int) -> np.ndarray:
    """Render a random background (height, width, 3) uint8 RGB."""
    image = draws.choice(_SCENES)(draws, height, width)
    if draws.chance(0.6):  # uneven light: broad soft shadows
        light = fractal_noise(draws, height, width, cell=128, octaves=draws.integer(1, 3)).astype(np.uint16)
        gain = np.uint16(draws.integer(110, 200)) + (light >> draws.integer(1, 2))
        image = ((image * np.minimum(gain, 256)[:, :, None]) >> 8).astype(np.uint8)
    return image
