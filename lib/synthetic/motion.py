"""Curves over time: smooth random walks, waves, steps and excursions, by sums and products only."""

import numpy as np

from lib.synthetic.stable import TURN, Draws, sine


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
