"""Benchmark datasets, result files, and running a tracker over many sequences."""

from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.datasets import BENCHMARKS, find_benchmark, get_dataset

__all__ = ["BENCHMARKS", "Sequence", "SequenceList", "find_benchmark", "get_dataset"]
