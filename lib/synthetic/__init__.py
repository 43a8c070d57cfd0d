"""Synthetic videos: a deterministic renderer of annotated tracking sequences, and writers of benchmark layouts."""

from lib.synthetic.layouts import write_got10k, write_lasot
from lib.synthetic.presets import DIFFICULTIES
from lib.synthetic.sequence import SyntheticSequence

__all__ = ["DIFFICULTIES", "SyntheticSequence", "write_got10k", "write_lasot"]
