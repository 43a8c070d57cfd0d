"""Facts about data sets, as tables."""
