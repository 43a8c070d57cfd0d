"""Benchmark data sets, result files, and running a tracker over many sequences."""

from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.datasets import BENCHMARKS, get_dataset

__all__ = ["BENCHMARKS", "Sequence", "SequenceList", "get_dataset"]
