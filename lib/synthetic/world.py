"""The plan of one sequence: who is in it, where everything is in each frame, and what hides the target when."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lib.synthetic.camera import Camera, Sensor, event_times, excursion, fold, steps, walk, wander, wave
from lib.synthetic.figures import KINDS, Figure, Kind
from lib.synthetic.media import list_images, load_cutout, load_photo
from lib.synthetic.presets import DIFFICULTIES, PRESETS
from lib.synthetic.scenery import OBSTACLES, draw_background, obstacle_sprite, shadow_sprite
from lib.synthetic.sprite import Actor, Sprite, Track
from lib.synthetic.stable import TURN, Draws, cosine
from lib.utils.errors import InputError

_CUTOUT = Kind(None, TURN // 12, 1, False)
_BACKGROUND_SCALE = 1.5  # sides of a background relative to those of the view
_SPRITE_SIDES = (24, 320)


@dataclass(frozen=True)
class Recipe:
    """The arguments of ``SyntheticSequence`` that, with the code, decide every pixel of a sequence."""

    seed: int
    num_frames: int
    width: int
    height: int
    difficulty: str
    split: str
    backgrounds: Path | None
    cutouts: Path | None

    def check(self) -> None:
        """Refuse values that make no sequence.

        Raises:
            InputError: which one and why.
        """
        if self.difficulty not in DIFFICULTIES:
            raise InputError(f"unknown difficulty {self.difficulty!r}; known: {', '.join(DIFFICULTIES)}")
        if self.num_frames < 1:
            raise InputError(f"a sequence needs at least one frame, not {self.num_frames}")
        if not (32 <= self.width <= 4096 and 32 <= self.height <= 4096):
            raise InputError(f"a frame is 32 to 4096 pixels wide and high, not {self.width}x{self.height}")
        if self.seed < 0:
            raise InputError(f"a seed is not negative, unlike {self.seed}")

    def draws(self, part: str) -> Draws:
        """The random stream of one part of the world, independent of the other parts."""
        return Draws("seqtrack world", self.split, self.seed, part)


class World:
    """Everything that a recipe decides, worked out part by part when first needed.

    Args:
        recipe: checked arguments.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        draws = recipe.draws("plan")
        drawn = draws.choice(["easy", "medium", "medium", "hard"])
        self.difficulty = drawn if recipe.difficulty == "mixed" else recipe.difficulty
        self.preset = PRESETS[self.difficulty]
        self.unit = min(recipe.width, recipe.height)
        self._key = ("seqtrack world", recipe.split, recipe.seed)
        self._kind_name = draws.choice(("shape", "shape", "beast", "person", *KINDS))
        self.camera = Camera.plan(recipe.draws("camera"), self.preset, recipe.num_frames, self.unit)
        self.sensor = Sensor(recipe.draws("sensor"), self.preset, recipe.num_frames)

    @property
    def object_class(self) -> str:
        """What the target is: a kind of figure, or ``cutout``."""
        return "cutout" if self.recipe.cutouts else self._kind_name

    @cached_property
    def background(self) -> np.ndarray:
        """(h, w, 3) uint8, larger than the view."""
        recipe = self.recipe
        width, height = (round(s * _BACKGROUND_SCALE) for s in (recipe.width, recipe.height))
        draws = recipe.draws("background")
        if recipe.backgrounds is None:
            return draw_background(draws, height, width)
        photo = load_photo(draws.choice(list_images(recipe.backgrounds)), width, height)
        y = draws.integer(0, photo.shape[0] - height)
        x = draws.integer(0, photo.shape[1] - width)
        photo = photo[y : y + height, x : x + width]
        return np.ascontiguousarray(photo[:, ::-1] if draws.chance(0.5) else photo)

    @cached_property
    def exposure(self) -> int:
        """Gain in 1/256 by which the camera brightens a dark scene or dims a glaring one."""
        sparse = self.background[::8, ::8]
        mean = max(1, int(sparse.sum(dtype=np.int64)) // sparse.size)
        return min(max(70 * 256 // mean, 256), 640) if mean < 70 else max(170 * 256 // mean, 180) if mean > 170 else 256

    # --- sprites

    def _figure(self, name: str, size: float, *, own_kind: bool = False) -> tuple[Sprite, Kind]:
        # A sprite whose drawing is about as large as it will be seen at most, so that it is rarely enlarged.
        draws = self.recipe.draws(f"figure {name}")
        side = int(min(max(size, _SPRITE_SIDES[0]), _SPRITE_SIDES[1]))
        if self.recipe.cutouts is not None:
            image = load_cutout(draws.choice(list_images(self.recipe.cutouts)), side)
            return Sprite([image[:, :, 3]], lambda phase: image), _CUTOUT
        kind = self._kind_name if own_kind else draws.choice(list(KINDS))
        figure = Figure(kind, (*self._key, name), side, phases=4 if name == "target" else 2)
        return Sprite([figure.silhouette(phase) for phase in range(figure.phases)], figure.image), KINDS[kind]

    # --- tracks

    def _scales(self, draws: Draws, size: float) -> np.ndarray:
        preset = self.preset
        period = draws.uniform(*preset.period) * 1.5
        change = wander(draws, self.recipe.num_frames, period, -1, 1)
        change = change - change[0]
        return size * np.clip(1 + np.where(change < 0, change * (1 - preset.zoom_out), change * (preset.zoom_in - 1)),
                              preset.zoom_out, preset.zoom_in)  # fmt: skip

    def _path(self, draws: Draws, margin: float) -> tuple[np.ndarray, np.ndarray]:
        preset, frames = self.preset, self.recipe.num_frames
        period = draws.uniform(*preset.period)
        jolts = event_times(draws, frames, self._count(draws, preset.jolts))
        path = []
        for side in (self.recipe.width, self.recipe.height):
            raw = walk(draws, frames, period, draws.uniform(0.25, 0.75) * side, preset.reach * self.unit)
            raw = raw + wave(draws, frames, draws.uniform(8, 40), draws.uniform(0, 0.03) * preset.reach * self.unit)
            raw = raw + steps(draws, frames, jolts, draws.uniform(0.1, 0.35) * self.unit)
            low = min(margin, 0.3 * side)
            path.append(fold(raw, low, side - low))
        return path[0], path[1]

    def _count(self, draws: Draws, per_60_frames: tuple[float, float]) -> int:
        expected = draws.uniform(*per_60_frames) * max(1.0, self.recipe.num_frames / 60)
        return int(expected + draws.uniform(0, 1))

    def _pose(self, draws: Draws, sprite: Sprite, kind: Kind, path: tuple, sizes: np.ndarray) -> Track:
        preset, frames = self.preset, self.recipe.num_frames
        period = draws.uniform(*preset.period)
        scale = sizes / np.sqrt(sprite.extent[0] * sprite.extent[1])
        aspect = 1 + wander(draws, frames, period, -preset.aspect, preset.aspect)
        facing = 1.0
        if kind.faces_right:
            facing = 1.0 if path[0][-1] >= path[0][0] else -1.0
        width = np.full(frames, facing)
        if draws.chance(preset.flip):  # turns about its upright axis: narrow, then mirrored
            turn = cosine(np.floor(wander(draws, frames, period * 1.5, 0, TURN / 2)).astype(np.int64))
            width = np.where(turn < 0, -1, 1) * np.maximum(np.abs(turn), 0.4) * facing
        lean = kind.upright * preset.turn * 0.5
        angle = wander(draws, frames, period * 1.5, -lean, lean)
        if kind.upright == TURN:
            angle = angle + draws.integer(0, TURN - 1)
        pace = draws.uniform(0.15, 0.6)
        phase = np.floor(np.arange(frames) * pace + draws.uniform(0, 4)).astype(np.int64) % sprite.phases
        return Track(
            path[0] + self.camera.shake_x,
            path[1] + self.camera.shake_y,
            scale * aspect * width,
            scale / aspect,
            np.floor(angle).astype(np.int64),
            phase,
        )

    @cached_property
    def target(self) -> Actor:
        """The one that is tracked; in sight in frame 0."""
        draws = self.recipe.draws("target")
        size = draws.uniform(*self.preset.target_size) * self.unit
        sizes = self._scales(draws, size)
        x, y = self._path(draws, 0.5 * size)
        for start in event_times(draws, self.recipe.num_frames, self._count(draws, self.preset.exits), clear=0.25):
            x, y = self._leave(draws, x, y, float(sizes.max()), start)
        sprite, kind = self._figure("target", 1.3 * float(sizes.max()), own_kind=True)
        return Actor(sprite, self._pose(draws, sprite, kind, (x, y), sizes))

    def _leave(
        self, draws: Draws, x: np.ndarray, y: np.ndarray, size: float, start: int
    ) -> tuple[np.ndarray, np.ndarray]:
        ramp, hold = draws.integer(5, 14), draws.integer(1, 10)
        away = excursion(self.recipe.num_frames, start, ramp, hold)
        horizontal, low = draws.chance(0.6), draws.chance(0.5)
        side = self.recipe.width if horizontal else self.recipe.height
        beyond = draws.uniform(0.4, 1.1) * size  # some leave only in part
        goal = -beyond if low else side + beyond
        if horizontal:
            return x + (goal - x) * away, y
        return x, y + (goal - y) * away

    def _twin(self, number: int) -> Actor:
        draws = self.recipe.draws(f"twin {number}")
        target = self.target
        sizes = self._scales(draws, draws.uniform(*self.preset.target_size) * self.unit)
        sprite, kind = target.sprite, KINDS.get(self.object_class, _CUTOUT)
        if draws.chance(0.4):
            sprite, kind = self._figure(f"relative {number}", 1.2 * float(sizes.max()), own_kind=True)
        x, y = self._path(draws, 0.0)
        if draws.chance(0.6):  # comes close to the target once
            close = excursion(self.recipe.num_frames, draws.integer(0, self.recipe.num_frames), draws.integer(6, 14), 2)
            gap = draws.sign() * draws.uniform(0.4, 1.1) * float(sizes[0])
            x, y = x + (target.track.x + gap - x) * close, y + (target.track.y - y) * close
        return Actor(sprite, self._pose(draws, sprite, kind, (x, y), sizes))

    def _bystander(self, number: int) -> Actor:
        draws = self.recipe.draws(f"bystander {number}")
        sizes = self._scales(draws, draws.uniform(*self.preset.target_size) * self.unit)
        sprite, kind = self._figure(f"bystander {number}", 1.2 * float(sizes.max()))
        return Actor(sprite, self._pose(draws, sprite, kind, self._path(draws, 0.0), sizes))

    def _crossing(self, number: int, time: int) -> Actor:
        # An obstacle that meets the target at `time`, moving relative to the image as if the camera passed it.
        draws = self.recipe.draws(f"crossing {number}")
        target = self.target
        width, height = (target.corners[time, 2:] - target.corners[time, :2]).tolist()
        kind = draws.choice(OBSTACLES)
        tall = kind in ("post", "tree")
        size = draws.uniform(1.5, 2.6) * height if tall else draws.uniform(0.6, 1.5) * max(width, height)
        side = int(min(max(size, 32), 0.9 * self.unit))
        sprite = obstacle_sprite((*self._key, number), side, kind)
        frames = np.arange(self.recipe.num_frames) - time
        speed = draws.sign() * draws.uniform(0.06, 0.2) * max(width, 0.4 * sprite.extent[0] + 0.5 * width)
        middle = (target.corners[time, :2] + target.corners[time, 2:]) / 2
        x = float(middle[0]) + frames * speed
        y = float(middle[1]) + frames * speed * draws.uniform(-0.2, 0.2) + draws.uniform(-0.3, 0.3) * height
        return Actor(sprite, self._still(x + self.camera.shake_x, y + self.camera.shake_y, draws.uniform(0.9, 1.15)))

    def _standing(self, number: int) -> Actor:
        draws = self.recipe.draws(f"standing {number}")
        side = int(draws.uniform(0.2, 0.6) * self.unit)
        sprite = obstacle_sprite((*self._key, "standing", number), side, draws.choice(OBSTACLES[:-1]))
        x, y = (draws.uniform(-0.6, 0.6) * s for s in (self.recipe.width, self.recipe.height))
        x, y = self.camera.to_view(x, y, self.recipe.width, self.recipe.height)
        zoom = self.camera.zoom
        return Actor(sprite, replace(self._still(x, y, 1.0), angle=-self.camera.roll, scale_x=zoom, scale_y=zoom))

    def _still(self, x: np.ndarray, y: np.ndarray, scale: float) -> Track:
        zeros = np.zeros(self.recipe.num_frames, dtype=np.int64)
        scales = np.full(self.recipe.num_frames, scale)
        return Track(x, y, scales, scales, zeros, zeros)

    def _shadow(self) -> Actor:
        # The soft dark patch on the ground below the target.
        target = self.target
        width, height = target.corners[:, 2] - target.corners[:, 0], target.corners[:, 3] - target.corners[:, 1]
        x = (target.corners[:, 0] + target.corners[:, 2]) / 2
        track = self._still(x, target.corners[:, 3] - 0.04 * height, 1.0)
        return Actor(shadow_sprite(), replace(track, scale_x=width / 64, scale_y=np.maximum(0.16 * width, 2) / 64))

    @cached_property
    def behind(self) -> list[Actor]:
        """Actors behind the target in painting order."""
        draws, preset = self.recipe.draws("cast"), self.preset
        actors = [self._bystander(number) for number in range(draws.integer(*preset.bystanders))]
        twins = [self._twin(number) for number in range(draws.integer(*preset.twins))]
        # At first nobody could tell which of two look-alikes on one spot is meant.
        actors += [twin for twin in twins if not twin.near(self.target)[0]]
        if KINDS.get(self.object_class, _CUTOUT).upright < TURN // 10 and draws.chance(0.6):
            actors.append(self._shadow())
        return actors

    @cached_property
    def front(self) -> list[Actor]:
        """Actors in front of the target in painting order; none of them covers it in the first frame."""
        draws, preset = self.recipe.draws("front"), self.preset
        actors = [self._bystander(100 + number) for number in range(draws.integer(*preset.passers))]
        actors += [self._twin(100 + number) for number in range(draws.integer(*preset.front_twins))]
        actors += [self._standing(number) for number in range(draws.integer(*preset.obstacles))]
        times = event_times(draws, self.recipe.num_frames, self._count(draws, preset.occlusions), clear=0.3)
        actors += [self._crossing(number, time) for number, time in enumerate(times)]
        return [actor for actor in actors if not actor.near(self.target)[0]]
