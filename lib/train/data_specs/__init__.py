"""Facts about datasets, as tables."""
