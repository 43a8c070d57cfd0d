"""From datasets to batches: frame sampling, cropping and augmentation, loading."""
