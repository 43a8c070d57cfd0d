"""Matrix products for inference on a CPU, where PyTorch's linear layer is not as fast as its own kernels allow.

Eager code calls the kernels directly. ``torch.compile`` cannot look into packed weights, and takes a product with one
word apart into something slower, so compiled code calls the same kernels as operators of this project.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_numbers = count()
_packed_layers: WeakValueDictionary[int, PackedLinear] = WeakValueDictionary()
"""By number, which is what an operator can be given."""


class PackedLinear(nn.Module):
    """A linear layer whose weights lie as oneDNN multiplies them, for inference on a CPU; a GELU may follow.

    A plain layer brings its weights into that order again in every frame. Same numbers up to rounding.

    Args:
        linear: the layer to replace, in float32 or bfloat16.
        rows: rows of the input that it is mostly called with.
        gelu: whether the exact GELU follows.

    Raises:
        RuntimeError: if this PyTorch or this processor has no such product.
    """

    def __init__(self, linear: nn.Linear, rows: int, gelu: bool = False) -> None:
        super().__init__()
        self.out_features = linear.out_features
        self.dtype = linear.weight.dtype
        # The operators that torch.compile calls on a CPU; there are no public ones.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._after = ("gelu", [], "none") if gelu else ("none", [], "")
        self._number = next(_numbers)
        _packed_layers[self._number] = self

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) of any type -> (..., out_features) in the type of the layer replaced."""
        tokens = tokens.to(self.dtype)
        if torch.compiler.is_compiling():
            return torch.ops.seqtrack.multiply_packed(tokens, self._number)
        return self.multiply(tokens)

    def multiply(self, tokens: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features), both in the type of the layer replaced."""
        return torch.ops.mkldnn._linear_pointwise(tokens, self._weight, self._bias, *self._after)


def linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, up to rounding; faster for single words on a CPU.

    A product with one word is bound by reading the weights, and ``F.linear`` has one thread read them. As two products
    with half of the rows each it takes less time, on one thread, too (docs/performance.md). Where gradients are wanted
    it is ``F.linear``.

    Args:
        tokens: (B, L, C).
        weight: (N, C).
        bias: (N,).

    Returns:
        (B, L, N).
    """
    if tokens.shape[1] > 1 or len(weight) % 2 or tokens.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(tokens, weight, bias)
    if torch.compiler.is_compiling():
        return torch.ops.seqtrack.multiply_words(tokens, weight, bias)
    return _multiply_words(tokens, weight, bias)


class WordLinear(nn.Linear):
    """A linear layer of the decoder that multiplies by ``linear``; it shares the parameters of the one it replaces.

    Args:
        layer: the layer to replace, with a bias.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, in_features) -> (B, L, out_features)."""
        return linear(tokens, self.weight, self.bias)


def _multiply_words(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, 1, C) -> (B, 1, N), N even."""
    B, _, C = tokens.shape
    halves = torch.baddbmm(bias.view(2, -1, 1), weight.view(2, -1, C), tokens.view(B, C).t().expand(2, C, B))
    return halves.view(-1, B).t().contiguous().unsqueeze(1)  # attention is slow where the last dimension has a stride


def _multiply_packed(tokens: Tensor, number: int) -> Tensor:
    return _packed_layers[number].multiply(tokens)


def _multiply_packed_shape(tokens: Tensor, number: int) -> Tensor:
    return tokens.new_empty(*tokens.shape[:-1], _packed_layers[number].out_features)


def _add_operator(name: str, schema: str, on_cpu: Callable[..., Tensor], shape: Callable[..., Tensor]) -> None:
    """Make an operator that compiled code calls as it is; ``shape`` gives it results without values."""
    torch.library.define(name, schema)
    torch.library.impl(name, "CPU")(on_cpu)
    torch.library.register_fake(name)(shape)


_add_operator(
    "seqtrack::multiply_packed", "(Tensor tokens, int number) -> Tensor", _multiply_packed, _multiply_packed_shape
)
_add_operator(
    "seqtrack::multiply_words",
    "(Tensor tokens, Tensor weight, Tensor bias) -> Tensor",
    _multiply_words,
    _multiply_words,
)
