"""Benchmark datasets, result files, and running a tracker over many sequences."""

from lib.data.registry import BENCHMARKS, find_benchmark, get_dataset
from lib.data.sequence import Sequence, SequenceList

__all__ = ["BENCHMARKS", "Sequence", "SequenceList", "find_benchmark", "get_dataset"]
