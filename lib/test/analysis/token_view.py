"""What the four tokens of a box mean on a crop, for those who draw it."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from lib.models.seqtrack import CoordinateVocabulary

TOKEN_NAMES = {"xywh": ("x", "y", "w", "h"), "whxy": ("w", "h", "x", "y"), "corner": ("x1", "y1", "x2", "y2")}


class TokenView:
    """What the four tokens mean on a crop.

    Args:
        vocabulary: of the network.
    """

    def __init__(self, vocabulary: CoordinateVocabulary) -> None:
        self.vocabulary, self.bins = vocabulary, vocabulary.bins
        self.names = TOKEN_NAMES[vocabulary.seq_format]

    def box(self, tokens: np.ndarray) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 of (4,) tokens, normalized to the crop."""
        return tuple(self.vocabulary.decode_to_xyxy(torch.as_tensor(tokens)).tolist())

    def weigh(self, probabilities: np.ndarray, window: np.ndarray) -> np.ndarray:
        """(4, bins) probabilities as the tracker compares them: those of the center times the window."""
        weighted = probabilities.astype(np.float64)
        weighted[list(self.vocabulary.window_steps())] *= window
        return weighted

    def edges(self, tokens: Sequence[int]) -> tuple[list[float], list[float]]:
        """Where upright and level lines of the box are on a crop of side 1, as far as the first tokens say it."""
        known = {name: token / (self.bins - 1) for name, token in zip(self.names, tokens, strict=False)}
        return _lines(known, "x", "w"), _lines(known, "y", "h")

    def places(self, tokens: np.ndarray, step: int) -> list[np.ndarray]:
        """Where each bin of a step would put lines of the box on a crop of side 1: one or two of (bins,)."""
        bins, name = np.linspace(0, 1, self.bins), self.names[step]
        if name not in "wh":
            return [bins]
        center = self.names.index("x" if name == "w" else "y")
        middle = tokens[center] / (self.bins - 1) if center < step else 0.5
        return [middle - bins / 2, middle + bins / 2]


def _lines(known: Mapping[str, float], center: str, size: str) -> list[float]:
    if center in known and size in known:
        return [known[center] - known[size] / 2, known[center] + known[size] / 2]
    return [known[name] for name in (center, f"{center}1", f"{center}2") if name in known]
