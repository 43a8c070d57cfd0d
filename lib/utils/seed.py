"""Randomness as a value: a sample's random numbers follow from the run's seed, the epoch and the sample's index."""

import hashlib
import random
from typing import NamedTuple

import numpy as np
import torch
from numpy.random.bit_generator import ISeedSequence


class _NoEntropy(ISeedSequence):
    """Zeros in place of NumPy's entropy, which takes longer to gather than all else and is seeded over at once."""

    def generate_state(self, n_words: int, dtype: type = np.uint32) -> np.ndarray:
        return np.zeros(n_words, dtype)


_NO_ENTROPY = _NoEntropy()


class SampleRng(NamedTuple):
    """The three generators that one training sample draws from.

    The published code draws choices from Python, brightness from NumPy and jitter from torch; keeping the three apart
    keeps its distributions testable against recorded runs.
    """

    python: random.Random
    numpy: np.random.RandomState
    torch: torch.Generator

    @classmethod
    def from_seed(cls, seed: int) -> "SampleRng":
        """Seed each with ``seed`` in ``[0, 2**32)``, as ``random.seed`` and its kin in NumPy and torch do."""
        bits = np.random.RandomState(np.random.MT19937(_NO_ENTROPY))
        bits.seed(seed)
        return cls(random.Random(seed), bits, torch.Generator().manual_seed(seed))


def sample_rng(seed: int, epoch: int, index: int) -> SampleRng:
    """Generators of sample ``index`` of ``epoch``: a pure function of the triple, whatever worker or rank asks."""
    digest = hashlib.blake2b(f"{seed}/{epoch}/{index}".encode(), digest_size=4).digest()
    return SampleRng.from_seed(int.from_bytes(digest, "little"))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, NumPy and torch (weights' initialization, dropout)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
