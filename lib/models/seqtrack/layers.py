"""Small layers of the encoder, with the names, the arithmetic and the random numbers of timm's.

Importing timm takes longer than everything else that a tracker needs, so only pretrained weights are left to it.
"""

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def trunc_normal_(tensor: Tensor, std: float) -> Tensor:
    """Fill with a normal distribution cut at -2 and 2; PyTorch's function draws other numbers from the same seed."""
    low, high = (math.erf(edge / std / math.sqrt(2)) for edge in (-2, 2))
    return tensor.uniform_(low, high).erfinv_().mul_(std * math.sqrt(2)).clamp_(-2, 2)


class PatchEmbed(nn.Module):
    """Holds the convolution that turns patches into tokens.

    Args:
        stride: side of a patch in pixels.
        dim: width C of a token.
    """

    def __init__(self, stride: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=stride, stride=stride)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, C)."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Mlp(nn.Module):
    """Feed-forward part of a block: four times as wide inside, exact GELU.

    Args:
        dim: width C of a token.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.fc2(self.act(self.fc1(tokens)))


class DropPath(nn.Module):
    """Stochastic depth: in training, 0 for some samples and ``1 / (1 - drop_prob)`` times the input for the others.

    Args:
        drop_prob: probability of 0.
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        if not self.training:
            return tokens
        kept = tokens.new_empty(len(tokens), 1, 1).bernoulli_(1 - self.drop_prob)
        return tokens * kept.div_(1 - self.drop_prob)
