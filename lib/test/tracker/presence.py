"""How likely it is that a box is on the target: the likelihoods of its tokens as a probability.

The published confidence (ten times the sum of the four likelihoods) has another scale for every network: with 4000
coordinate tokens, or soft targets in training, each token gets a small share.
"""

import math

DEFAULT_THRESHOLD = 0.6
_STEEPNESS = 2.0  # twice the threshold gives 0.8, half of it 0.2


class PresenceScore:
    """Score of weights that nothing was fitted for: 0.5 at the confidence from which on a template may be taken.

    Args:
        threshold: that confidence, 0 to 40; where it is not above 0 (which takes every template), the default.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold if threshold > 0 else DEFAULT_THRESHOLD

    def __call__(self, confidence: float) -> float:
        """Score, 0 to 1, of a confidence from 0 to 40."""
        if confidence <= 0:
            return 0.0
        return 1 / (1 + math.exp(_STEEPNESS * (math.log(self.threshold) - math.log(confidence))))
