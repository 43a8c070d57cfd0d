"""Evaluation: benchmark datasets, the tracker, running it over sequences, and scoring the results.

The name is a habit of the tracker family; the project's own unit tests live in ``tests/``.
"""
