"""Alpha-Refine (CVPR 2021): from the box of a tracker to the mask of the target, in plain PyTorch."""

from external.AR.predictor import AlphaRefine, find_checkpoint, load_network

__all__ = ["AlphaRefine", "find_checkpoint", "load_network"]
