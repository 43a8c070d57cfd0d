"""Benchmark data sets, result files, and running a tracker over many sequences."""
