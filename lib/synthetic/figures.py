"""What moves in the synthetic world: animals, people, vehicles, balls, boxes and plain shapes, drawn from parts.

Each figure is a function ``(draws, canvas, skins, swing)`` that paints itself; ``swing`` in ``[-1, 1]`` is the point of
its gait (legs, wings, tail). The same draws with another ``swing`` give the same figure one step further.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lib.synthetic.outlines import Canvas, blob, box, ellipse, limb, place, polygon, round_box, star
from lib.synthetic.stable import TURN, Draws, cosine, sine
from lib.synthetic.textures import MOODS, draw_color, draw_palette, draw_texture


@dataclass(frozen=True)
class Skins:
    """The textures of one figure, each (side, side, 3) uint8."""

    main: np.ndarray
    second: np.ndarray
    accent: np.ndarray
    dark: np.ndarray
    bright: np.ndarray


def draw_skins(draws: Draws, side: int, mood: str | None = None) -> Skins:
    """Choose the textures of a figure; ``mood`` limits its main colors."""
    mood = mood or draws.choice(("vivid", "vivid", "pastel", *MOODS))
    palette = draw_palette(draws, mood, draws.integer(2, 4))
    main = draw_texture(draws, side, side, palette, scale=draws.choice([0.5, 1.0, 2.0]))
    second = main
    if draws.chance(0.6):
        second = draw_texture(draws, side, side, draw_palette(draws, draws.choice(MOODS), 3), scale=1.5)

    def plain(color: tuple[int, int, int]) -> np.ndarray:
        return np.broadcast_to(np.array(color, dtype=np.uint8), (side, side, 3))

    grey = draws.integer(8, 60)
    accent = plain(draw_color(draws, draws.choice(["vivid", "pastel", "brick", "grey"])))
    return Skins(main, second, accent, plain((grey, grey, min(255, grey + 8))), plain((236, 240, 244)))


def _shape(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    outline = draws.choice(
        [
            polygon(draws, draws.integer(3, 8)),
            polygon(draws, draws.integer(3, 6), roughness=0.05),
            star(draws),
            blob(draws),
            blob(draws, lobes=7, roughness=0.5),
            ellipse(0, 0, 1, draws.uniform(0.45, 1)),
            round_box(-1, -draws.uniform(0.4, 1), 1, draws.uniform(0.4, 1), draws.uniform(0, 0.6)),
        ]
    )
    outline = place(outline, 0, 0, draws.uniform(0.55, 1), draws.uniform(0.55, 1))
    canvas.paint(outline, skins.main, relief=draws.integer(30, 140))
    if draws.chance(0.5):
        canvas.paint(
            place(outline, 0.06 * swing, 0, draws.uniform(0.3, 0.7)), skins.second, relief=draws.integer(0, 90)
        )
    for _ in range(draws.integer(0, 4)):
        x, y = draws.uniform(-0.45, 0.45), draws.uniform(-0.45, 0.45)
        canvas.paint(
            place(blob(draws), x, y, draws.uniform(0.06, 0.2)), draws.choice([skins.accent, skins.dark]), relief=40
        )


def _beast(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    long, deep = draws.uniform(0.5, 0.72), draws.uniform(0.2, 0.42)
    top, leg = draws.uniform(-0.25, 0.0), draws.uniform(0.35, 0.75)
    ground = min(0.98, top + deep + leg)
    thick = draws.uniform(0.1, 0.2)
    for back, phase in ((True, -1), (False, 1)):
        for x in (-0.75 * long, 0.7 * long):
            step = 0.22 * swing * phase * (1 if x > 0 else -1)
            skin = skins.second if back else skins.main
            canvas.paint(
                limb(x + (0.08 if back else 0), top + 0.2, x + step, ground, 1.5 * thick, thick), skin, relief=60
            )
    tail_x, tail_y = -long - draws.uniform(0.1, 0.3), top + draws.uniform(-0.5, 0.3) + 0.15 * swing
    canvas.paint(limb(-0.9 * long, top, tail_x, tail_y, draws.uniform(0.08, 0.25), 0.05), skins.main, relief=40)
    canvas.paint(ellipse(0, top + 0.1, long, deep), skins.main, relief=130)
    if draws.chance(0.5):
        canvas.paint(ellipse(draws.uniform(-0.2, 0.2), top + 0.25, long * 0.6, deep * 0.5), skins.second, relief=30)
    neck_x, neck_y = long + draws.uniform(0.0, 0.15), top - draws.uniform(0.1, 0.6)
    head = draws.uniform(0.16, 0.28)
    neck_y = max(neck_y, -0.97 + head)
    canvas.paint(limb(0.7 * long, top + 0.05, neck_x, neck_y, 0.35, 0.22), skins.main, relief=70)
    canvas.paint(ellipse(min(neck_x + 0.1, 0.97 - head), neck_y, head, head * 0.8), skins.main, relief=110)
    face = min(neck_x + 0.1, 0.97 - head)
    canvas.paint(limb(face, neck_y + 0.03, min(0.98, face + head * 1.5), neck_y + 0.1, head, head * 0.6), skins.second)
    ear = draws.uniform(0.08, 0.3)
    canvas.paint(
        limb(face - 0.08, neck_y - 0.05, face - 0.15, max(-0.98, neck_y - 0.1 - ear), 0.12, 0.04), skins.accent
    )
    canvas.paint(ellipse(face + 0.08, neck_y - 0.04, 0.045, 0.045), skins.dark, relief=0)


def _person(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    slim = draws.uniform(0.16, 0.28)
    hip, shoulder = 0.12, -0.5
    stride = 0.3 * swing
    tan = np.broadcast_to(np.array(draw_color(draws, draws.choice(["sand", "soil"])), dtype=np.uint8), skins.main.shape)
    canvas.paint(limb(0, shoulder + 0.08, -0.9 * stride - 0.08, hip, 0.15, 0.11), skins.main, relief=50)
    canvas.paint(limb(0.02, hip, -stride, 0.94, 0.26, 0.13), skins.dark, relief=60)
    canvas.paint(limb(-0.02, hip, stride, 0.94, 0.27, 0.14), skins.second, relief=80)
    for foot in (stride, -stride):
        canvas.paint(ellipse(foot + 0.06, 0.93, 0.14, 0.055), skins.dark, relief=20)
    canvas.paint(round_box(-slim, shoulder, slim, hip + 0.1, 0.12), skins.main, relief=110)
    if draws.chance(0.4):
        canvas.paint(round_box(-slim - 0.14, shoulder + 0.06, -slim + 0.06, hip - 0.1, 0.08), skins.accent)
    canvas.paint(limb(0, shoulder + 0.08, 0.9 * stride + 0.12, hip + 0.02, 0.16, 0.11), skins.main, relief=80)
    canvas.paint(ellipse(0.9 * stride + 0.12, hip + 0.05, 0.07, 0.07), tan, relief=40)
    canvas.paint(ellipse(0.02, -0.73, 0.17, 0.21), tan, relief=90)
    canvas.paint(
        ellipse(-0.01, -0.83, 0.185, draws.uniform(0.1, 0.16)), draws.choice([skins.dark, skins.accent]), relief=50
    )


def _car(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    floor, roof = draws.uniform(0.25, 0.4), draws.uniform(-0.55, -0.25)
    waist = draws.uniform(-0.12, 0.05)
    front, back = draws.uniform(0.35, 0.75), draws.uniform(-0.9, -0.45)
    cabin = np.array([(back, waist), (back + 0.2, roof), (front - 0.3, roof), (front, waist)])
    canvas.paint(cabin, skins.main, relief=70)
    glass = place(cabin - np.array([0, waist]), 0.03, waist + 0.01, 0.86, 0.84)
    canvas.paint(glass, skins.dark if draws.chance(0.6) else skins.bright, relief=60)
    canvas.paint(box((front + back) / 2 - 0.04, roof + 0.02, (front + back) / 2 + 0.04, waist), skins.main, relief=0)
    canvas.paint(round_box(-0.98, waist, 0.98, floor, 0.14), skins.main, relief=110)
    if draws.chance(0.5):
        canvas.paint(box(-0.95, floor - 0.16, 0.95, floor - 0.06), skins.accent, relief=0)
    canvas.paint(round_box(0.86, waist + 0.08, 0.99, waist + 0.2, 0.05), skins.bright, relief=0)
    canvas.paint(round_box(-0.99, waist + 0.08, -0.88, waist + 0.2, 0.05), skins.accent, relief=0)
    _wheels(draws, canvas, skins, (-0.58, 0.58), floor, draws.uniform(0.17, 0.26), swing)


def _wheels(
    draws: Draws, canvas: Canvas, skins: Skins, columns: tuple[float, ...], y: float, r: float, swing: float
) -> None:
    turn = int(swing * TURN / 8)
    spokes = draws.integer(2, 4)
    for x in columns:
        canvas.paint(ellipse(x, y, r, r), skins.dark, relief=60)
        canvas.paint(ellipse(x, y, 0.6 * r, 0.6 * r), skins.bright, relief=80)
        for k in range(spokes):
            angle = turn + k * TURN // (2 * spokes)
            dx, dy = 0.55 * r * float(cosine(angle)), 0.55 * r * float(sine(angle))
            canvas.paint(limb(x - dx, y - dy, x + dx, y + dy, 0.14 * r, 0.14 * r), skins.dark, relief=0)


def _truck(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    floor, roof = draws.uniform(0.3, 0.5), draws.uniform(-0.75, -0.35)
    cab = draws.uniform(0.4, 0.7)
    canvas.paint(box(-0.97, floor - 0.1, 0.97, floor), skins.dark, relief=30)
    canvas.paint(round_box(-0.98, roof, cab - 0.05, floor - 0.04, 0.05), skins.main, relief=70)
    windows = draws.integer(0, 6)
    for k in range(windows):  # a bus has windows, a lorry none
        x = -0.9 + k * (cab + 0.8) / windows
        canvas.paint(round_box(x, roof + 0.14, x + (cab + 0.6) / windows, roof + 0.42, 0.03), skins.dark, relief=50)
    canvas.paint(round_box(cab, roof + draws.uniform(0, 0.3), 0.98, floor, 0.12), skins.second, relief=90)
    canvas.paint(round_box(cab + 0.12, roof + 0.36, 0.96, roof + 0.6, 0.05), skins.bright, relief=40)
    _wheels(
        draws, canvas, skins, (-0.66, -0.3, 0.66)[draws.integer(0, 1) :], floor + 0.04, draws.uniform(0.15, 0.2), swing
    )


def _roof_view(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    # A car seen from a drone.
    half = draws.uniform(0.36, 0.5)
    for x in (-0.55, 0.55):
        canvas.paint(box(x - 0.16, -half - 0.04, x + 0.16, half + 0.04), skins.dark, relief=0)
    canvas.paint(round_box(-0.98, -half, 0.98, half, draws.uniform(0.1, 0.3)), skins.main, relief=90)
    canvas.paint(round_box(-0.62, -half + 0.07, 0.42, half - 0.07, 0.12), skins.dark, relief=40)
    canvas.paint(
        round_box(-0.42, -half + 0.1, 0.16, half - 0.1, 0.08), draws.choice([skins.main, skins.second]), relief=60
    )
    for y in (-half + 0.1, half - 0.1):
        canvas.paint(ellipse(0.92, y, 0.06, 0.08), skins.bright, relief=0)
        canvas.paint(ellipse(-0.93, y, 0.05, 0.08), skins.accent, relief=0)


def _bird(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    slim, span = draws.uniform(0.12, 0.24), draws.uniform(0.6, 0.95)
    chord = draws.uniform(0.3, 0.6)
    lift = span * (0.25 + 0.75 * (0.5 + 0.5 * swing))
    for side, skin in ((-1, skins.second), (1, skins.main)):
        tip_x = draws.uniform(-0.5, 0.0)
        wing = np.array(
            [(chord / 2, 0), (tip_x + 0.16, side * lift), (tip_x - 0.1, side * lift * 0.96), (-chord / 2, 0)]
        )
        canvas.paint(wing, skin, relief=60)
    tail = draws.uniform(0.12, 0.34)
    canvas.paint(np.array([(-0.5, 0), (-0.95, -tail), (-0.86, 0), (-0.95, tail)]), skins.second, relief=40)
    canvas.paint(ellipse(-0.05, 0, 0.7, slim), skins.main, relief=110)
    canvas.paint(ellipse(0.58, 0, 0.17, min(slim * 1.1, 0.17)), skins.accent, relief=70)
    canvas.paint(limb(0.7, 0, 0.97, 0.02, 0.1, 0.02), skins.dark, relief=0)


def _fish(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    deep = draws.uniform(0.25, 0.55)
    flip = 0.25 * swing
    canvas.paint(
        np.array([(-0.45, 0), (-0.95, -0.45 + flip), (-0.8, flip), (-0.95, 0.45 + flip)]), skins.second, relief=50
    )
    canvas.paint(np.array([(-0.25, -0.5 * deep), (-0.1, -deep - 0.3), (0.3, -0.8 * deep)]), skins.accent, relief=40)
    canvas.paint(ellipse(0.15, 0, 0.75, deep), skins.main, relief=130)
    if draws.chance(0.6):
        for k in range(draws.integer(1, 3)):
            x = -0.2 + 0.28 * k
            canvas.paint(limb(x, -deep * 0.8, x - 0.08, deep * 0.8, 0.1, 0.1), skins.second, relief=0)
    canvas.paint(np.array([(0.15, 0.1), (-0.15, 0.35 - flip / 2), (0.1, 0.3)]), skins.accent, relief=30)
    canvas.paint(ellipse(0.66, -0.08, 0.08, 0.08), skins.bright, relief=0)
    canvas.paint(ellipse(0.67, -0.08, 0.045, 0.045), skins.dark, relief=0)


def _ball(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    canvas.paint(ellipse(0, 0, 0.97, 0.97, points=48), skins.main, relief=170)
    kind = draws.integer(0, 3)
    for k in range(5 if kind == 0 else 0):
        angle = k * TURN // 5 + draws.integer(0, 50)
        spot = place(polygon(draws, 5, roughness=0.05), 0.6 * float(cosine(angle)), 0.6 * float(sine(angle)), 0.22)
        canvas.paint(spot, skins.dark, relief=0)
    if kind == 1:
        canvas.paint(ellipse(0, 0, 0.3, 0.95), skins.accent, relief=30)
    if kind == 2:
        canvas.paint(limb(-0.9, -0.25, 0.9, 0.25, 0.35, 0.35), skins.second, relief=30)
    canvas.paint(ellipse(-0.35, -0.4, 0.14, 0.1), skins.bright, relief=0)


def _parcel(draws: Draws, canvas: Canvas, skins: Skins, swing: float) -> None:
    # A box, book, sign or bottle with print on it.
    half_x, half_y = draws.uniform(0.4, 0.97), draws.uniform(0.4, 0.97)
    canvas.paint(round_box(-half_x, -half_y, half_x, half_y, draws.choice([0.02, 0.1, 0.4])), skins.main, relief=60)
    if draws.chance(0.6):
        canvas.paint(box(-half_x * 0.85, -half_y * 0.8, half_x * 0.85, half_y * 0.2), skins.second, relief=0)
    ink = draws.choice([skins.dark, skins.bright, skins.accent])
    for row in range(draws.integer(1, 4)):
        y = -0.6 * half_y + row * 0.36 * half_y
        x = -0.8 * half_x
        while x < 0.7 * half_x:
            wide = draws.uniform(0.06, 0.3) * half_x
            canvas.paint(box(x, y, min(x + wide, 0.85 * half_x), y + 0.2 * half_y), ink, relief=0)
            x += wide + 0.09 * half_x
    if draws.chance(0.5):
        canvas.paint(
            place(blob(draws), 0.3 * half_x, 0.55 * half_y, 0.3 * half_x, 0.3 * half_y), skins.accent, relief=50
        )


@dataclass(frozen=True)
class Kind:
    """A kind of figure.

    Attributes:
        paint: draws it; None for images that come from a folder.
        upright: how far it may lean, in 1/4096 turn; ``TURN`` for things that turn freely.
        phases: images of its gait.
        faces_right: whether it looks to the right, so that it is mirrored when it moves to the left.
    """

    paint: Callable[[Draws, Canvas, Skins, float], None] | None
    upright: int
    phases: int
    faces_right: bool


KINDS: dict[str, Kind] = {
    "shape": Kind(_shape, TURN, 1, False),
    "beast": Kind(_beast, TURN // 16, 4, True),
    "person": Kind(_person, TURN // 24, 4, True),
    "car": Kind(_car, TURN // 20, 2, True),
    "truck": Kind(_truck, TURN // 20, 2, True),
    "drone_car": Kind(_roof_view, TURN, 1, False),
    "bird": Kind(_bird, TURN, 4, True),
    "fish": Kind(_fish, TURN // 8, 4, True),
    "ball": Kind(_ball, TURN, 1, False),
    "parcel": Kind(_parcel, TURN // 4, 1, False),
}


class Figure:
    """One individual of a kind.

    Args:
        kind: one of ``KINDS``.
        key: names the individual: the same key is the same figure at any ``side``.
        side: pixels of the square image.
        mood: of its colors; None draws one.
        phases: at most so many images of its gait; for extras, which need not walk well.
    """

    def __init__(
        self, kind: str, key: tuple[object, ...], side: int, mood: str | None = None, *, phases: int = 4
    ) -> None:
        self.kind = KINDS[kind]
        self.phases = min(phases, self.kind.phases)
        self.side = side
        self._key = key
        self._mood = mood

    @cached_property
    def _skins(self) -> Skins:
        return draw_skins(Draws(*self._key, "skins"), self.side, self._mood)

    def _paint(self, phase: int, canvas: Canvas, skins: Skins) -> np.ndarray:
        swing = float(sine(phase * TURN // self.phases + TURN // 9)) if self.phases > 1 else 0.0
        self.kind.paint(Draws(*self._key, "parts"), canvas, skins, swing)
        return canvas.image

    def silhouette(self, phase: int) -> np.ndarray:
        """Alpha (side, side) uint8 of one image, without the cost of its colors."""
        blank = np.zeros((1, 1, 3), dtype=np.uint8)
        return self._paint(phase, Canvas(self.side, silhouette_only=True), Skins(*[blank] * 5))[:, :, 3]

    def image(self, phase: int) -> np.ndarray:
        """One image (side, side, 4) uint8, RGB multiplied by alpha."""
        return self._paint(phase, Canvas(self.side), self._skins)
