"""How likely it is that a box is on the target, from the likelihoods of its tokens and from the look of the box.

The published confidence (ten times the sum of the four likelihoods) has another scale for every network: with 4000
coordinate tokens, or soft targets in training, each token gets a small share. ``tracking/calibrate_score.py`` fits the
probability for given weights and writes it into a file beside them.

The likelihoods say how sure the network is of the edges of something, not that it is the target: they are as high for a
wall that has come before the target. So a second score compares the content of the box with that of the first one, too.

Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999); isotonic regression, Zadrozny and Elkan,
"Transforming Classifier Scores into Accurate Multiclass Probability Estimates" (KDD 2002).
"""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.utils.errors import CheckpointError, DataError, printable
from lib.utils.files import file_hash, read_text, write_text_atomic

logger = logging.getLogger(__name__)

NUM_FEATURES = 5  # of the likelihoods
NUM_LOOK_FEATURES = 3
DEFAULT_THRESHOLD = 0.6
_STEEPNESS = 2.0  # twice the threshold gives 0.8, half of it 0.2
_WEIGHTS = "weights_sha256"
_SMALLEST = 1e-6  # likelihood
_SIDE = 16  # pixels of the patch that a box is reduced to
_LEVELS = 5  # of each color channel in the histogram
_BRIGHTNESS = 110.0  # gray level to which a box is brightened or dimmed before its colors are counted
_NOISE = 10.0  # gray levels: patterns that are fainter count less
_CORNERS = np.array(list(np.ndindex(2, 2, 2)))[:, None]  # (8, 1, 3): the levels below and above, of each channel
_OVAL = np.hypot(*np.meshgrid(*[np.linspace(-1, 1, _SIDE)] * 2)) < 1  # the corners show the background


@dataclass(frozen=True)
class PresenceScore:
    """A logistic regression, or a monotonic curve behind one.

    Attributes:
        weights: of the five features of ``features``, or of all eight.
        bias: added to the weighted features.
        points: (weighted features, probability) in ascending order, between which probabilities are interpolated
            (isotonic regression); empty for the logistic curve (Platt scaling).
        fitted: whether it was fitted for these weights.
        with_look: the score of all eight features, if one was fitted.
    """

    weights: tuple[float, ...]
    bias: float
    points: tuple[tuple[float, float], ...] = ()
    fitted: bool = True
    with_look: "PresenceScore | None" = None

    def __call__(self, likelihoods: np.ndarray, likeness: np.ndarray | None = None) -> np.ndarray:
        """Probability, (B,) in [0, 1], for the likelihoods (B, 4) of the tokens of B boxes.

        Args:
            likelihoods: as above.
            likeness: (B, 3) from ``Look.likeness``, for a score of eight features.
        """
        values = features(likelihoods, likeness) @ np.array(self.weights) + self.bias
        if self.points:
            scores = np.interp(values, *np.array(self.points).T)
        else:
            scores = 1 / (1 + np.exp(-values.clip(-500, 500)))
        return np.where(np.isnan(values), 0.0, scores)  # of a network that overflows: nothing is known of the target


def features(likelihoods: np.ndarray, likeness: np.ndarray | None = None) -> np.ndarray:
    """Logarithms of the mean likelihood and of the four, then the likeness: (B, 5) or (B, 8) for (B, 4) and (B, 3)."""
    likelihoods = np.maximum(np.asarray(likelihoods, dtype=np.float64).reshape(-1, 4), _SMALLEST)
    logs = np.log(np.concatenate((likelihoods.mean(axis=1, keepdims=True), likelihoods), axis=1))
    return logs if likeness is None else np.concatenate((logs, likeness), axis=1)


class Look:
    """What a box shows, reduced to a small patch; cheap beside the network.

    Args:
        image: (H, W, 3) uint8.
        box_xywh: in its pixels; what is outside the image does not count.
    """

    def __init__(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        import cv2  # here: `import seqtrack` leaves it out

        spans = []
        for low, extent, length in zip(box_xywh[:2], box_xywh[2:], image.shape[1::-1], strict=True):
            begin = min(max(int(low), 0), max(length - 2, 0))
            spans.append(slice(begin, min(max(int(low + extent), begin + 2), length)))
        patch = cv2.resize(image[spans[1], spans[0]], (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        self._pattern = (patch - patch.mean()) / (patch.std() + _NOISE)
        self._colors = np.sqrt(_histogram(patch[_OVAL].astype(np.float64)))
        self._size = 0.5 * math.log(box_xywh[2] * box_xywh[3])

    def likeness(self, first: "Look") -> tuple[float, float, float]:
        """How much it is like another one.

        Returns:
            Correlation of the patches in [-1, 1], Bhattacharyya coefficient of their color histograms in [0, 1], and
            the absolute logarithm of the ratio of their sizes.
        """
        pattern = float((self._pattern * first._pattern).mean())
        return pattern, float(self._colors @ first._colors), abs(self._size - first._size)


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """Shares (125,) of the colors of pixels (N, 3)."""
    brightened = np.minimum(pixels * (_BRIGHTNESS / (pixels.mean() + 5)), 255)
    position = brightened * ((_LEVELS - 1) / 255)
    below = np.minimum(position.astype(np.int64), _LEVELS - 2)
    above_share = position - below
    # Every pixel counts in part for the levels on both sides: a little more light does not move it as a whole.
    weights = np.where(_CORNERS, above_share, 1 - above_share).prod(axis=-1)  # (8, N)
    colors = (below + _CORNERS) @ (_LEVELS**2, _LEVELS, 1)
    return np.bincount(colors.ravel(), weights.ravel(), minlength=_LEVELS**3) / len(pixels)


def default_score(update_threshold: float) -> PresenceScore:
    """Score of weights that nothing was fitted for: 0.5 at the confidence from which on a template may be taken.

    Args:
        update_threshold: that confidence, 0 to 40; where it is not above 0 (which takes every template), 0.6.
    """
    threshold = update_threshold if update_threshold > 0 else DEFAULT_THRESHOLD
    # The confidence is 40 times the mean likelihood.
    bias = _STEEPNESS * math.log(40 / threshold)
    return PresenceScore((_STEEPNESS, *[0.0] * (NUM_FEATURES - 1)), bias, fitted=False)


def score_path(checkpoint: Path) -> Path:
    """File beside a checkpoint that holds what was fitted for its weights."""
    name = checkpoint.name
    for suffix in (".pth.tar", ".pth", ".pt", ".tar", ".safetensors", ".onnx", ".xml"):
        name = name.removesuffix(suffix)
    return checkpoint.with_name(f"{name}.score.json")


def load_score(checkpoint: Path | None, update_threshold: float) -> PresenceScore:
    """Score that was fitted for a checkpoint, or the default: also, with a warning, if the weights are others by now.

    Raises:
        CheckpointError: if the file beside the checkpoint is damaged.
    """
    path = None if checkpoint is None else score_path(checkpoint)
    if path is None or not path.is_file():
        return default_score(update_threshold)
    try:
        content = json.loads(read_text(path))
        plain = _parse(content, NUM_FEATURES)
        if _WEIGHTS in content and content[_WEIGHTS] != file_hash(checkpoint):
            logger.warning("%s: fitted for other weights than %s has: not used, fit it again", path, checkpoint.name)
            return default_score(update_threshold)
        if "with_look" not in content:
            return plain
        return replace(plain, with_look=_parse(content["with_look"], NUM_FEATURES + NUM_LOOK_FEATURES))
    except (DataError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a file of calibrate_score.py: {printable(repr(error), 200)}") from error


def copy_score(score_file: Path, checkpoint: Path) -> None:
    """Write the fitted score of weights beside another file that holds them.

    Raises:
        CheckpointError: if the score is damaged.
    """
    try:
        content = json.loads(read_text(score_file)) | {_WEIGHTS: file_hash(checkpoint)}
    except (DataError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{score_file}: not a file of calibrate_score.py") from error
    write_text_atomic(score_path(checkpoint), json.dumps(content, indent=1) + "\n")


def _parse(content: dict[str, Any], count: int) -> PresenceScore:
    """One score of a file; raises KeyError, TypeError or ValueError."""
    score = PresenceScore(
        tuple(_number(value) for value in content["weights"]),
        _number(content["bias"]),
        tuple((_number(value), _number(probability)) for value, probability in content.get("points", ())),
    )
    values, probabilities = [point[0] for point in score.points], [point[1] for point in score.points]
    if len(score.weights) != count or values != sorted(values) or any(not 0 <= p <= 1 for p in probabilities):
        raise ValueError(f"expected {count} weights and ascending points of probabilities")
    return score


def score_text(score: PresenceScore, facts: dict[str, Any]) -> str:
    """Content of the file that ``load_score`` reads; ``facts`` say what it was fitted on."""
    content = _as_json(score)
    if score.with_look is not None:
        content["with_look"] = _as_json(score.with_look)
    return json.dumps({**content, **facts}, indent=1) + "\n"


def _as_json(score: PresenceScore) -> dict[str, Any]:
    points = [[round(value, 6), round(probability, 6)] for value, probability in score.points]
    weights = [round(value, 6) for value in score.weights]
    method = "isotonic" if points else "platt"
    return {"method": method, "weights": weights, "bias": round(score.bias, 6), "points": points}


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
