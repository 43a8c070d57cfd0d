"""From data sets to batches: frame sampling, cropping and augmentation, loading."""
