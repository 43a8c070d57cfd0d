"""Fitting the presence score to what a tracker did on videos with ground truth, and measuring how good it is.

A frame counts as positive if its box overlaps a visible target by more than ``POSITIVE_OVERLAP``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.data.sequence import Sequence, SequenceList
from lib.test.analysis.protocols import overlap_of_pairs
from lib.test.analysis.style import COLORS, STYLE
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.presence import PresenceScore, features
from lib.utils.errors import DataError
from lib.utils.files import atomic_path

POSITIVE_OVERLAP = 0.3
FOLDS = 5
BINS = 10
_RIDGE = 1.0  # pulls the weights to 0, by as much as one frame: features of four likelihoods go together
_MARGIN = 1e-3  # of the probabilities of a log loss


@dataclass(frozen=True)
class Observations:
    """What a tracker did in N frames.

    Attributes:
        likelihoods: (N, 4) of the tokens.
        overlap: (N,) intersection over union with the ground truth; 0 where the target is absent.
        absent: (N,) bool.
        video: (N,) number of the sequence.
    """

    likelihoods: np.ndarray
    overlap: np.ndarray
    absent: np.ndarray
    video: np.ndarray

    @property
    def positive(self) -> np.ndarray:
        """(N,) bool: the box was on the target."""
        return self.overlap > POSITIVE_OVERLAP

    def where(self, chosen: np.ndarray) -> "Observations":
        """Part of the frames; ``chosen`` is (N,) bool."""
        return Observations(*(getattr(self, name)[chosen] for name in ("likelihoods", "overlap", "absent", "video")))


def observe(engine: SeqTrackEngine, sequences: SequenceList, batch_size: int = 8) -> Iterator[Observations]:
    """Track sequences, several at once, and yield what is observed in each group of them."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].frames))
    for begin in range(0, len(order), batch_size):
        group = order[begin : begin + batch_size]
        states = {
            index: engine.start(sequences[index].read_frame(0), sequences[index].init_box_xywh) for index in group
        }
        rows: dict[int, list] = {index: [] for index in group}
        for frame in range(1, len(sequences[group[-1]].frames)):
            alive = [index for index in group if frame < len(sequences[index].frames)]
            images = [sequences[index].read_frame(frame) for index in alive]
            for index, result in zip(alive, engine.step([states[index] for index in alive], images), strict=True):
                rows[index].append((*result.likelihoods.tolist(), *result.box_xywh))
        yield join([_observed(np.array(rows[index]), sequences[index], index) for index in group if rows[index]])


def _observed(rows: np.ndarray, sequence: Sequence, number: int) -> Observations:
    if not sequence.has_ground_truth:
        raise DataError(f"sequence {sequence.name}: without ground truth no score can be fitted")
    ground_truth = sequence.ground_truth_rect[1:]
    absent = ~((ground_truth[:, 2:] > 0).all(axis=1) & np.isfinite(ground_truth).all(axis=1))
    for flags in (sequence.target_visible, sequence.target_present):
        if flags is not None:
            absent |= ~flags[1:]
    overlap = np.where(absent, 0.0, np.nan_to_num(overlap_of_pairs(rows[:, 4:], ground_truth)))
    return Observations(rows[:, :4], overlap, absent, np.full(len(rows), number))


def join(parts: list[Observations]) -> Observations:
    """Put observations together."""
    names = ("likelihoods", "overlap", "absent", "video")
    return Observations(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


# Fitting --------------------------------------------------------------------------------------------------------


def fit(seen: Observations, columns: tuple[int, ...], isotonic: bool) -> PresenceScore:
    """Fit a score to some of the features.

    Args:
        seen: with frames of both kinds.
        columns: positions of the features; the weights of the others are 0.
        isotonic: put a monotonic curve behind the logistic regression.
    """
    solution = _logistic(features(seen.likelihoods)[:, columns], seen.positive.astype(float))
    weights = np.zeros(5)
    weights[list(columns)] = solution[:-1]
    score = PresenceScore(tuple(weights.tolist()), float(solution[-1]))
    if not isotonic:
        return score
    values = features(seen.likelihoods) @ weights + score.bias
    return PresenceScore(score.weights, score.bias, _isotonic(values, seen.positive.astype(float)))


def _logistic(inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Weights and bias of a logistic regression, by Newton's method."""
    inputs = np.concatenate((inputs, np.ones((len(inputs), 1))), axis=1)
    ridge = np.diag([_RIDGE] * (inputs.shape[1] - 1) + [1e-6])
    solution = np.zeros(inputs.shape[1])
    for _ in range(50):
        probabilities = 1 / (1 + np.exp(-(inputs @ solution).clip(-30, 30)))
        gradient = inputs.T @ (probabilities - targets) + ridge @ solution
        curvature = (inputs * (probabilities * (1 - probabilities) + 1e-9)[:, None]).T @ inputs + ridge
        step = np.linalg.solve(curvature, gradient)
        solution = solution - step * min(1.0, 5.0 / (np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return solution


def _isotonic(values: np.ndarray, targets: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Points of the ascending step curve with the least squared error, by pooling neighbors that descend."""
    order = np.argsort(values, kind="stable")
    blocks: list[list[float]] = []  # sum of targets, count, sum of values
    for value, target in zip(values[order].tolist(), targets[order].tolist(), strict=True):
        blocks.append([target, 1.0, value])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    # Half a frame of each kind more in each block: a block of few frames says nothing certain.
    heights = np.maximum.accumulate([(hits + 0.5) / (count + 1) for hits, count, _ in blocks])
    return tuple((total / count, height) for (_, count, total), height in zip(blocks, heights.tolist(), strict=True))


CANDIDATES = {
    "platt, confidence": ((0,), False),
    "isotonic, confidence": ((0,), True),
    "platt, four likelihoods": ((1, 2, 3, 4), False),
    "isotonic, four likelihoods": ((1, 2, 3, 4), True),
}


def choose(seen: Observations) -> tuple[str, PresenceScore, dict[str, float]]:
    """Fit the candidate with the smallest log loss on videos that it was not fitted to (cross-validation).

    Returns:
        Name and score of the best one, fitted to all, and the log loss of each.

    Raises:
        DataError: if there are too few videos, or frames of one kind only.
    """
    videos = np.unique(seen.video)
    if len(videos) < 2 or seen.positive.all() or not seen.positive.any():
        raise DataError(
            f"cannot fit a score: {len(videos)} videos, {seen.positive.sum()} frames with the box on the target and "
            f"{(~seen.positive).sum()} without; at least two videos and frames of both kinds are needed"
        )
    folds = np.searchsorted(videos, seen.video) % min(FOLDS, len(videos))
    losses = {}
    for name, (columns, isotonic) in CANDIDATES.items():
        guesses = np.zeros(len(folds))
        for fold in np.unique(folds):
            guesses[folds == fold] = fit(seen.where(folds != fold), columns, isotonic)(seen.likelihoods[folds == fold])
        losses[name] = log_loss(guesses, seen.positive)
    best = min(losses, key=losses.__getitem__)
    return best, fit(seen, *CANDIDATES[best]), losses


# Measuring ------------------------------------------------------------------------------------------------------


def log_loss(guesses: np.ndarray, positive: np.ndarray) -> float:
    """Mean negative logarithm of the probability given to what was the case."""
    guesses = guesses.clip(_MARGIN, 1 - _MARGIN)
    return float(-np.log(np.where(positive, guesses, 1 - guesses)).mean())


def roc_auc(guesses: np.ndarray, positive: np.ndarray) -> float:
    """How often a positive frame has the higher score of two; ties count half. NaN where there is but one kind."""
    _, ranks, counts = np.unique(guesses, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    hits, misses = positive.sum(), (~positive).sum()
    if not hits or not misses:
        return float("nan")
    return float((middle[ranks][positive].sum() - hits * (hits + 1) / 2) / (hits * misses))


def reliability(guesses: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Mean score, share of positive frames and number of frames of each bin of scores that is not empty: (b, 3)."""
    bins = (guesses * BINS).astype(int).clip(0, BINS - 1)
    chosen = [bins == index for index in range(BINS) if (bins == index).any()]
    return np.array([(guesses[rows].mean(), positive[rows].mean(), rows.sum()) for rows in chosen])


def expected_calibration_error(guesses: np.ndarray, positive: np.ndarray) -> float:
    """Mean distance of score and share of positive frames over the bins, weighted by their frames."""
    table = reliability(guesses, positive)
    return float((np.abs(table[:, 0] - table[:, 1]) * table[:, 2]).sum() / table[:, 2].sum())


def write_reliability_plot(path: Path, guesses: np.ndarray, positive: np.ndarray, title: str) -> None:
    """Write the reliability diagram, with the number of frames of each bin below it, as PNG."""
    table = reliability(guesses, positive)
    with rc_context(STYLE), atomic_path(path) as temporary:
        figure = Figure(figsize=(5, 6), layout="constrained")
        FigureCanvasAgg(figure)
        curve, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        curve.plot((0, 1), (0, 1), color="#888888", linestyle=(0, (2, 2)), label="perfect")
        curve.plot(table[:, 0], table[:, 1], "o-", color=COLORS[0], label="measured")
        curve.set(ylabel=f"share of frames with IoU > {POSITIVE_OVERLAP:g}", xlim=(0, 1), ylim=(0, 1), title=title)
        curve.legend(loc="upper left", frameon=False)
        centers = (np.arange(BINS) + 0.5) / BINS
        for values, color, label in ((guesses[~positive], COLORS[1], "off"), (guesses[positive], COLORS[0], "on")):
            heights = np.histogram(values, BINS, (0, 1))[0]
            counts.bar(centers + (0.02 if label == "on" else -0.02), heights, 0.04, color=color, label=label)
        counts.set(xlabel="score", ylabel="frames")
        counts.legend(frameon=False, title="box on target", ncols=2)
        figure.savefig(temporary, format="png", dpi=120)
