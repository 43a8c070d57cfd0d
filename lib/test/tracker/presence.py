"""How likely it is that a box is on the target: the likelihoods of its tokens as a calibrated probability.

The published confidence (ten times the sum of the four likelihoods) has another scale for every network: with 4000
coordinate tokens, or soft targets in training, each token gets a small share. ``tracking/calibrate_score.py`` fits the
probability for given weights and writes it into a file beside them.

Source: Platt, "Probabilistic Outputs for Support Vector Machines" (1999); isotonic regression, Zadrozny and Elkan,
"Transforming Classifier Scores into Accurate Multiclass Probability Estimates" (KDD 2002).
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lib.utils.errors import CheckpointError, DataError, printable
from lib.utils.files import read_text

NUM_FEATURES = 5
DEFAULT_THRESHOLD = 0.6
_STEEPNESS = 2.0  # twice the threshold gives 0.8, half of it 0.2
_SMALLEST = 1e-6  # likelihood


@dataclass(frozen=True)
class PresenceScore:
    """A logistic regression, or a monotonic curve behind one.

    Attributes:
        weights: of the five features of ``features``.
        bias: added to the weighted features.
        points: (weighted features, probability) in ascending order, between which probabilities are interpolated
            (isotonic regression); empty for the logistic curve (Platt scaling).
        fitted: whether it was fitted for these weights.
    """

    weights: tuple[float, ...]
    bias: float
    points: tuple[tuple[float, float], ...] = ()
    fitted: bool = True

    def __call__(self, likelihoods: np.ndarray) -> np.ndarray:
        """Probability, (B,) in [0, 1], for the likelihoods (B, 4) of the tokens of B boxes."""
        values = features(likelihoods) @ np.array(self.weights) + self.bias
        if self.points:
            return np.interp(values, *np.array(self.points).T)
        return 1 / (1 + np.exp(-values.clip(-500, 500)))


def features(likelihoods: np.ndarray) -> np.ndarray:
    """Logarithms of the mean likelihood and of the four: (B, 5) for (B, 4)."""
    likelihoods = np.maximum(np.asarray(likelihoods, dtype=np.float64).reshape(-1, 4), _SMALLEST)
    return np.log(np.concatenate((likelihoods.mean(axis=1, keepdims=True), likelihoods), axis=1))


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
    """Score that was fitted for a checkpoint, or the default.

    Raises:
        CheckpointError: if the file beside the checkpoint is damaged.
    """
    path = None if checkpoint is None else score_path(checkpoint)
    if path is None or not path.is_file():
        return default_score(update_threshold)
    try:
        content = json.loads(read_text(path))
        score = PresenceScore(
            tuple(_number(value) for value in content["weights"]),
            _number(content["bias"]),
            tuple((_number(value), _number(probability)) for value, probability in content.get("points", ())),
        )
    except (DataError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a file of calibrate_score.py: {printable(repr(error), 200)}") from error
    values, probabilities = [point[0] for point in score.points], [point[1] for point in score.points]
    if len(score.weights) != NUM_FEATURES or values != sorted(values) or any(not 0 <= p <= 1 for p in probabilities):
        raise CheckpointError(f"{path}: expected {NUM_FEATURES} weights and ascending points of probabilities")
    return score


def score_text(score: PresenceScore, facts: dict[str, Any]) -> str:
    """Content of the file that ``load_score`` reads; ``facts`` say what it was fitted on."""
    points = [[round(value, 6), round(probability, 6)] for value, probability in score.points]
    weights = [round(value, 6) for value in score.weights]
    method = "isotonic" if points else "platt"
    content = {"method": method, "weights": weights, "bias": round(score.bias, 6), "points": points, **facts}
    return json.dumps(content, indent=1) + "\n"


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no number")
    return float(value)
