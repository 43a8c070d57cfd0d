"""Low-rank adaptation: the encoder's matrices stay as they are and a product of two thin ones is trained on top.

Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, section 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

_STORED = ".parametrizations."


class LowRank(nn.Module):
    """``weight + up @ down``; ``up`` starts at zero, so that nothing changes at first.

    Args:
        weight: (out, in), the matrix that is adapted.
        rank: r, inner size of the product.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape
        self.down = nn.Parameter(weight.new_empty(rank, columns))
        self.up = nn.Parameter(weight.new_zeros(rows, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as nn.Linear

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return weight + self.up @ self.down


def add_low_rank(blocks: nn.Module, rank: int) -> None:
    """Freeze the parameters of an encoder's blocks and give each linear layer a low-rank part that is trained.

    Args:
        blocks: changed in place.
        rank: inner size of the products, at least 1; larger than a matrix is no mistake, just of no use.
    """
    blocks.requires_grad_(False)
    for module in [module for module in blocks.modules() if isinstance(module, nn.Linear)]:
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))


@torch.no_grad()
def merged_state_dict(network: nn.Module) -> dict[str, Tensor]:
    """State dict of a network with the low-rank parts added to their matrices: names and shapes as without them."""
    state = {name: value for name, value in network.state_dict().items() if _STORED not in name}
    for prefix, module in network.named_modules():
        if parametrize.is_parametrized(module, "weight"):
            state[f"{prefix}.weight"] = module.weight.detach()
    return state
