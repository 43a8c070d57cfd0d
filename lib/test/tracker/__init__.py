"""Trackers: a network, the geometry around it, and the state of each sequence."""
