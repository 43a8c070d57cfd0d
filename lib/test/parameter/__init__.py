"""Settings of the trackers: one module per tracker, each with ``parameters(config, dataset, **overrides)``."""
