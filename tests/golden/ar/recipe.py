"""Weights and inputs of the reference numbers, from seeds alone.

Recipe "a" draws everything with standard deviation 0.02; its mask is nearly constant and cannot see a wrong neck.
Recipe "b" scales the layers so that the mask spreads over 0..1 and shows every mistake that was tried (at least 6e-3).
"""

import zlib
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

GAINS_B = {
    "neck.channel_attention.fc1.": 1e-3,
    "neck.spatial_attention.theta.": 3e-3,
    "neck.spatial_attention.phi.": 3e-3,
    ".transform.0.": 3e-3,
    "refiner.project.conv2.": -20.0,
}


def make_weights(state: Mapping[str, Tensor], recipe: str) -> dict[str, Tensor]:
    """Tensors of the names and shapes of ``state``, for recipe "a" or "b"."""
    norms = {key.removesuffix("running_mean") for key in state if key.endswith("running_mean")}
    return {key: _make_weight(key, value, norms, recipe) for key, value in state.items()}


def _make_weight(key: str, value: Tensor, norms: set[str], recipe: str) -> Tensor:
    if key.endswith("num_batches_tracked"):
        return torch.zeros_like(value)
    noise = torch.randn(value.shape, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
    if key.endswith("running_var"):
        return 1 + 0.02 * noise.abs()
    if key.endswith(".weight"):
        if key.removesuffix("weight") in norms:
            return 1 + 0.02 * noise
        if recipe == "b":
            gain = next((gain for part, gain in GAINS_B.items() if part in key), 1.0)
            return noise * (gain / value[0].numel() ** 0.5)
    return 0.02 * noise


def make_patch(seed: int) -> Tensor:
    """(1, 3, 384, 384) input of the network: 1 is the reference, 2 the search patch."""
    return torch.randn(1, 1, 3, 384, 384, generator=torch.Generator().manual_seed(seed))[0]


def make_frame(t: int, width: int = 320, height: int = 240) -> np.ndarray:
    """Frame of a moving ellipse by a closed formula, (height, width, 3) uint8 RGB."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    background = np.stack(
        [96 + 60 * np.sin(0.11 * x + 0.07 * y + k) + 30 * np.cos(0.05 * x - 0.19 * y + 2 * k) for k in range(3)], -1
    )
    cx, cy, angle = 150 + 6 * t, 120 + 4 * t, 0.3 + 0.1 * t
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
    inside = (u / 38) ** 2 + (v / 22) ** 2 <= 1
    foreground = np.stack([200 - 25 * np.sin(0.4 * u + k) - 15 * k for k in range(3)], -1)
    return np.clip(np.rint(np.where(inside[..., None], foreground, background)), 0, 255).astype(np.uint8)
