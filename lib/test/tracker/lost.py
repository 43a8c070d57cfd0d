"""Noticing that a target is lost, and finding it again. Ours; not in the paper, and benchmarks run without it.

The score of every frame moves a target between three states: ``tracking``, ``uncertain`` (the score has fallen) and
``lost`` (it has stayed low for some frames). While a target is lost its box moves nothing: the search looks around the
last box that was sure, in a region that grows with every frame up to the whole image, by search crops side by side that
are one batch. Where a crop scores high the next frame looks there again; if it agrees, the target is found.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from numbers import Integral, Real
from typing import TYPE_CHECKING, Literal

import numpy as np

from lib.test.tracker.presence import Look, PresenceScore
from lib.utils.errors import InputError, printable

if TYPE_CHECKING:  # the engine imports PyTorch, which `import seqtrack` leaves out
    from lib.test.tracker.engine import SeqTrackEngine, TrackResult, TrackState

Status = Literal["tracking", "uncertain", "lost"]
_STRIDE = 0.6  # of the crops of a search over their side; a target is a quarter of a side, so one crop holds it whole
_EDGE = 2.0  # pixels: a box this near to the edge of the image may be cut by it
_SAME_OVERLAP = 0.5  # of the boxes of two frames in a row that agree


@dataclass(frozen=True)
class LostOptions:
    """When a target is lost and found.

    Attributes:
        lost_below: score, 0 to 1, below which a frame is doubtful. None: 0.5, or 0.3 with a score that knows nothing of
            the look of the target, which is often low while the box is right.
        found_above: score from which on a frame is sure; in between nothing changes.
        patience: doubtful frames in a row after which the target is lost.
        confirm: sure frames in a row, in one place, after which it is found.
        growth: factor by which the side of the search region grows with each frame while it is lost.
        most_crops: crops of one target in a frame; what does not fit is searched in the frames that follow.
        search: search for lost targets. Off, boxes stay those of the plain tracker and only the state is reported.
            None: on for weights whose score was fitted (``calibrate_score.py``).

    Raises:
        InputError: if a value is out of range.
    """

    lost_below: float | None = None
    found_above: float = 0.85
    patience: int = 3
    confirm: int = 2
    growth: float = 1.5
    most_crops: int = 16
    search: bool | None = None

    def __post_init__(self) -> None:
        for name in ("lost_below", "found_above", "growth", "patience", "confirm", "most_crops"):
            value, whole = getattr(self, name), name in ("patience", "confirm", "most_crops")
            is_number = isinstance(value, Integral if whole else Real) and not isinstance(value, bool)
            if not is_number and not (name == "lost_below" and value is None):
                raise InputError(f"{name} must be a {'whole ' * whole}number, got {printable(repr(value), 60)}")
        if self.search not in (None, True, False):
            raise InputError(f"search must be True, False or None, got {printable(repr(self.search), 60)}")
        limits = [value for value in (0, self.lost_below, self.found_above, 1) if value is not None]
        if not all(low <= high for low, high in pairwise(limits)):
            given = f"{self.lost_below!r} and {self.found_above!r}"
            raise InputError(f"lost_below and found_above must be from 0 to 1 and in this order, got {given}")
        for name in ("patience", "confirm", "most_crops"):
            if not getattr(self, name) >= 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not 1 <= self.growth <= 100:
            raise InputError(f"growth must be from 1 to 100, got {self.growth!r}")


@dataclass
class Target:
    """All that is remembered of one target.

    Attributes:
        state: of the plain tracker.
        look: of the first box, which never changes.
        sure_box: xywh in pixels, the last one that was sure.
        whole_size: (w, h) in pixels of the last sure box that lay in the image; what leaves it is cut by its edge.
        status: see the head of this file.
        streak: frames in a row that speak for another status: doubtful ones, or while it is lost sure ones.
        lost_for: frames since it was lost.
        candidate: while it is lost, where it may be: the box of the last frame, if that was sure.
    """

    state: "TrackState"
    look: Look
    sure_box: list[float]
    whole_size: tuple[float, float]
    status: Status = "tracking"
    streak: int = 0
    lost_for: int = 0
    candidate: list[float] | None = None


@dataclass(frozen=True)
class Sighting:
    """What one step says about one target.

    Attributes:
        box_xywh: in image pixels; of a lost target the best guess of this frame.
        score: 0 to 1.
        confidence: the published confidence, 0 to 40.
        status: after this frame.
    """

    box_xywh: list[float]
    score: float
    confidence: float
    status: Status


class LostAndFound:
    """Starts targets and follows any number of them at once.

    Args:
        engine: the plain tracker.
        score: presence score of its weights.
        options: when a target is lost and found.
    """

    def __init__(self, engine: "SeqTrackEngine", score: PresenceScore, options: LostOptions) -> None:
        self.engine = engine
        self.score = score
        default = 0.3 if score.with_look is None else 0.5
        self.lost_below = default if options.lost_below is None else options.lost_below
        self.options = replace(options, lost_below=self.lost_below)  # checks the order of both
        self.searches = score.fitted if options.search is None else options.search

    def start(self, image: np.ndarray, box_xywh: Sequence[float]) -> Target:
        """Begin with a target; see ``SeqTrackEngine.start``."""
        state = self.engine.start(image, box_xywh)
        x, y, w, h = state.box_xywh
        return Target(state, Look(image, state.box_xywh), [x, y, w, h], (w, h))

    def step(self, targets: Sequence[Target], images: Sequence[np.ndarray]) -> list[Sighting]:
        """Follow each target into its next frame, all in one batch; see ``SeqTrackEngine.step``."""
        probes = [self._probes(target, image.shape[:2]) for target, image in zip(targets, images, strict=True)]
        flat = [state for states in probes for state in states]
        views = [image for states, image in zip(probes, images, strict=True) for _ in states]
        results = self.engine.step(flat, views)
        if not results:
            return []
        looked_for = [target.look for target, states in zip(targets, probes, strict=True) for _ in states]
        scores = self._scores(results, views, looked_for)
        sightings, begin = [], 0
        for target, states, image in zip(targets, probes, images, strict=True):
            rows = range(begin, begin + len(states))
            best = max(rows, key=scores.__getitem__)
            sightings.append(self._judge(target, results[best], scores[best], image.shape[:2]))
            begin += len(states)
        return sightings

    def _scores(
        self, results: "Sequence[TrackResult]", images: Sequence[np.ndarray], looks: Sequence[Look]
    ) -> list[float]:
        likelihoods = np.stack([result.likelihoods for result in results])
        if self.score.with_look is None:
            return self.score(likelihoods).tolist()
        rows = zip(results, images, looks, strict=True)
        likeness = [Look(image, result.box_xywh).likeness(look) for result, image, look in rows]
        return self.score.with_look(likelihoods, np.array(likeness)).tolist()

    def _probes(self, target: Target, size: tuple[int, int]) -> "list[TrackState]":
        """States to step for a target: its own, or while it is lost one for each place to look at."""
        if target.status != "lost" or not self.searches:
            return [target.state]
        if target.candidate is not None:
            places = [target.candidate]
        else:
            params, options = self.engine.params, self.options
            x, y, w, h = target.sure_box
            whole_w, whole_h = target.whole_size
            around = [x + 0.5 * (w - whole_w), y + 0.5 * (h - whole_h), whole_w, whole_h]
            side = params.search_factor * math.sqrt(whole_w * whole_h)
            # The exponent is bounded, or the number would overflow in a long absence.
            region = side * options.growth ** min(target.lost_for, 20)
            places = search_places(around, size, side, region)
            if len(places) > options.most_crops:
                first = target.lost_for * options.most_crops % len(places)
                places = (places + places)[first : first + options.most_crops]
        # Copies: what the engine changes in them, the box and the templates, is thrown away.
        return [replace(target.state, box_xywh=place) for place in places]

    def _judge(self, target: Target, result: "TrackResult", score: float, size: tuple[int, int]) -> Sighting:
        """Move a target on by the best result for it in a frame of ``size`` (height, width)."""
        options = self.options
        if target.status == "lost":
            self._judge_lost(target, result.box_xywh, score)
        elif score < self.lost_below:
            target.streak += 1
            target.status = "lost" if target.streak >= options.patience else "uncertain"
            if target.status == "lost":
                target.streak, target.lost_for, target.candidate = 0, 0, None
        elif score >= options.found_above or target.status == "tracking":
            target.status, target.streak, target.sure_box = "tracking", 0, list(result.box_xywh)
            x, y, w, h = result.box_xywh
            if min(x, y) > _EDGE and x + w < size[1] - _EDGE and y + h < size[0] - _EDGE:
                target.whole_size = (w, h)
        else:
            target.streak = 0
        return Sighting(list(result.box_xywh), score, result.confidence, target.status)

    def _judge_lost(self, target: Target, box: list[float], score: float) -> None:
        """Move a lost target on: found, perhaps found, or still lost."""
        target.lost_for += 1
        target.state.frame += self.searches  # the engine has counted in the copies
        if score < self.options.found_above:
            target.candidate, target.streak = None, 0
            return
        agrees = target.candidate is not None and _overlap(target.candidate, box) >= _SAME_OVERLAP
        target.streak = target.streak + 1 if agrees else 1
        target.candidate = list(box)
        if target.streak >= self.options.confirm:
            place(target, box)


def place(target: Target, box_xywh: Sequence[float]) -> None:
    """Go on tracking a target, with the templates that it has, from a box."""
    target.state.box_xywh = list(box_xywh)
    target.sure_box = list(box_xywh)
    target.status, target.streak, target.lost_for, target.candidate = "tracking", 0, 0, None


def search_places(around_xywh: Sequence[float], size: tuple[int, int], side: float, region: float) -> list[list[float]]:
    """Boxes whose search crops cover a square around a box, as far as it is in the image.

    Args:
        around_xywh: the box; all boxes have its size.
        size: (height, width) of the image.
        side: of a search crop in image pixels.
        region: side of the square.

    Returns:
        Boxes xywh, the nearest one to the middle of the square first.
    """
    x, y, w, h = around_xywh
    middle = (x + 0.5 * w, y + 0.5 * h)
    axes = []
    for center, length in zip(middle, (size[1], size[0]), strict=True):
        low, high = max(center - 0.5 * region, 0.0), min(center + 0.5 * region, float(length))
        extent = max(high - low, 0.0)
        count = 1 + max(0, math.ceil((extent - side) / (_STRIDE * side)))
        half = min(0.5 * side, 0.5 * extent)
        axes.append(np.linspace(low + half, high - half, count) if count > 1 else [0.5 * (low + high)])
    centers = [(float(cx), float(cy)) for cx in axes[0] for cy in axes[1]]
    centers.sort(key=lambda point: math.dist(point, middle))
    return [[cx - 0.5 * w, cy - 0.5 * h, w, h] for cx, cy in centers]


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two boxes xywh."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    inner = max(width, 0.0) * max(height, 0.0)
    return inner / (one[2] * one[3] + other[2] * other[3] - inner)
