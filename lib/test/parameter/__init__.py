"""Settings of the trackers: one module per tracker, each with ``parameters(config, dataset, **overrides)``."""

from lib.test.parameter import seqtrack

PARAMETERS = {"seqtrack": seqtrack.parameters}
"""Trackers by name."""
