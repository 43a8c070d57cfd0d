"""Records of a training run: running statistics and TensorBoard."""
