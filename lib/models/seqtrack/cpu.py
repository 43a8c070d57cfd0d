"""Linear layers and attention for inference on a CPU, faster than PyTorch's; ``optimize_for_cpu`` swaps them in.

Everything here computes what it replaces, up to rounding (``Int8Linear``: up to its step).
Eager code calls the kernels directly. ``torch.compile`` cannot look into packed weights, and takes a product with one
token apart into something slower, so compiled code calls the same kernels as operators of this project. Networks that
are exported or compiled for another backend are not given to ``optimize_for_cpu``.
"""

from __future__ import annotations

import itertools
import logging
import math
import warnings
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.seqtrack.decoder import Attention
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.models.seqtrack.vit import attend
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

BLOCK_LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""Linear layers of a block of the encoder."""

SCORES_AT_ONCE = 2**22
"""Attention scores that ``attend_in_bfloat16`` holds at once: 8 MB."""

FEWEST_KEYS = 128
"""Keys from which on ``attend_in_bfloat16`` is faster than PyTorch's attention."""


class PackedLinear(nn.Module):
    """A linear layer whose weights are in the order in which oneDNN multiplies them; a GELU may follow.

    A plain layer brings its weights into that order in every frame.

    Args:
        linear: the layer to replace, in float32 or bfloat16.
        rows: rows of the input that it is mostly called with.
        gelu: whether the exact GELU follows.

    Raises:
        RuntimeError: if this PyTorch or this processor has no such kernel.
    """

    # By number, which is what an operator of compiled code can be given.
    _numbers = itertools.count()
    _layers: ClassVar[weakref.WeakValueDictionary[int, PackedLinear]] = (
        weakref.WeakValueDictionary()
    )  # for compiled code

    def __init__(self, linear: nn.Linear, rows: int, gelu: bool = False) -> None:
        super().__init__()
        self.out_features = linear.out_features
        self.dtype = linear.weight.dtype
        # The operators that torch.compile calls on a CPU; there are no public ones.
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), rows)
        self._bias = None if linear.bias is None else linear.bias.detach()
        self._after = ("gelu", [], "none") if gelu else ("none", [], "")
        self._number = next(self._numbers)
        self._layers[self._number] = self
        self(torch.zeros(1, 1, linear.in_features))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) of any type -> (..., out_features) in the type of the layer replaced."""
        tokens = tokens.to(self.dtype)
        if torch.compiler.is_compiling():
            return _packed_linear(tokens, self._number)
        return self.multiply(tokens)

    def multiply(self, tokens: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features), both in the type of the layer replaced."""
        return torch.ops.mkldnn._linear_pointwise(tokens, self._weight, self._bias, *self._after)


@torch.library.custom_op("seqtrack::packed_linear", mutates_args=(), device_types="cpu")
def _packed_linear(tokens: Tensor, number: int) -> Tensor:
    return PackedLinear._layers[number].multiply(tokens)


@_packed_linear.register_fake
def _(tokens: Tensor, number: int) -> Tensor:
    return tokens.new_empty(*tokens.shape[:-1], PackedLinear._layers[number].out_features)


def split_linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``, faster for single tokens on a CPU.

    A product with one token is bound by reading the weights, and ``F.linear`` has one thread read them. As two products
    with half of the rows each it takes less time, on one thread, too (docs/performance.md). Where gradients are wanted
    it is ``F.linear``.

    Args:
        tokens: (B, L, C).
        weight: (N, C).
        bias: (N,).

    Returns:
        (B, L, N).
    """
    if tokens.shape[1] > 1 or weight.shape[0] % 2 or tokens.device.type != "cpu" or torch.is_grad_enabled():
        return F.linear(tokens, weight, bias)
    if torch.compiler.is_compiling():
        return _token_linear(tokens, weight, bias)
    return _multiply_token(tokens, weight, bias)


def _multiply_token(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(B, 1, C) -> (B, 1, N), N even."""
    B, _, C = tokens.shape
    halves = torch.baddbmm(bias.view(2, -1, 1), weight.view(2, -1, C), tokens.view(B, C).t().expand(2, C, B))
    return halves.view(-1, B).t().contiguous().unsqueeze(1)  # attention is slow where the last dimension has a stride


@torch.library.custom_op("seqtrack::token_linear", mutates_args=(), device_types="cpu")
def _token_linear(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return _multiply_token(tokens, weight, bias)


@_token_linear.register_fake
def _(tokens: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return tokens.new_empty(tokens.shape[0], 1, weight.shape[0])


class SplitLinear(nn.Linear):
    """A linear layer of the decoder that multiplies by ``split_linear``; it shares the parameters of ``layer``."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer.in_features, layer.out_features, device="meta")
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, in_features) -> (B, L, out_features)."""
        return split_linear(tokens, self.weight, self.bias)


def attend_in_bfloat16(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as oneDNN matmuls in bfloat16 with the softmax in between, a few heads at a time; inference only.

    PyTorch's attention is no faster in bfloat16 than in float32 on processors without matrix units. Scores are rounded
    to bfloat16 before the softmax here. So that they are small, the mean key is taken from all keys: it adds the same
    number to all scores of a query, which a softmax does not see.

    Args:
        query: (B, heads, M, C / heads), of any type.
        key: (B, heads, N, C / heads).
        value: (B, heads, N, C / heads).

    Returns:
        (B, heads, M, C / heads), in the type of the query.
    """
    if key.shape[2] < FEWEST_KEYS:
        return attend(query, key, value)
    if torch.compiler.is_compiling():
        return _attention(query, key, value)
    return _attend_by_heads(query, key, value)


def _attend_by_heads(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    inputs = (query * query.shape[-1] ** -0.5, key - key.mean(dim=2, keepdim=True), value)
    queries, keys, values = (part.to(torch.bfloat16).contiguous().flatten(0, 1) for part in inputs)
    heads, M, N = *queries.shape[:2], keys.shape[1]
    groups = math.ceil(heads * M * N / SCORES_AT_ONCE)
    parts = math.ceil(M * N / SCORES_AT_ONCE)  # of the rows of a head that is too large by itself
    mixed, memory = torch.empty_like(queries), queries.new_empty(math.ceil(heads / groups) * math.ceil(M / parts) * N)
    for q, k, v, out in zip(*(part.chunk(groups) for part in (queries, keys, values, mixed)), strict=True):
        for rows, out_rows in zip(q.chunk(parts, dim=1), out.chunk(parts, dim=1), strict=True):
            scores = memory[: rows.shape[0] * rows.shape[1] * N].view(*rows.shape[:2], N)
            torch.bmm(rows, k.transpose(1, 2), out=scores)
            torch.softmax(scores, dim=-1, out=scores)
            torch.bmm(scores, v, out=out_rows)
    return mixed.view_as(query).to(query.dtype)


@torch.library.custom_op("seqtrack::attention", mutates_args=(), device_types="cpu")
def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return _attend_by_heads(query, key, value)


@_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return torch.empty(query.shape, dtype=query.dtype, device=query.device)


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, one scale per output; inputs are quantized as they come.

    Inputs and outputs are float32; the sums are exact.

    Args:
        linear: the layer to replace.
        gelu: whether the exact GELU follows.

    Raises:
        RuntimeError: if this PyTorch has no such kernel.
    """

    def __init__(self, linear: nn.Linear, gelu: bool = False) -> None:
        super().__init__()
        self._gelu = gelu
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # Deprecated in PyTorch 2.15 without a replacement that quantizes inputs and multiplies in one operator.
            warnings.simplefilter("ignore", UserWarning)
            quantized = torch.quantize_per_channel(weight, scales, zeros, axis=0, dtype=torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        with _best_quantized_engine():
            self._packed = torch.ops.quantized.linear_prepack(quantized, bias)
        # Without VNNI instructions pairs of 8 bit products can overflow; 7 bit inputs cannot.
        self._narrow = not cpu_has("_is_avx512_vnni_supported", "_is_vnni_supported")

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) float32 -> (..., out_features) float32."""
        out = torch.ops.quantized.linear_dynamic(tokens, self._packed, self._narrow)
        return torch.ops.aten.gelu_(out) if self._gelu else out  # in place: no second tensor goes through the caches


def optimize_for_cpu(network: SeqTrack) -> SeqTrack:
    """Swap in attention, packed and split linear layers, in place; the encoder's parameters are gone afterwards.

    Args:
        network: after ``set_precision`` and ``precompute``, in eval mode.

    Returns:
        The network; with plain layers where that cannot be done: other devices, other types, a PyTorch without oneDNN.
    """
    for part in (network.decoder, network.vocab_embed):
        for name, layer in [*part.named_modules()]:
            if type(layer) is nn.Linear:
                replace_submodule(part, name, SplitLinear(layer))
            elif isinstance(layer, Attention):
                layer.linear = split_linear
    vit = network.vit
    qkv = vit.blocks[0].attn.qkv
    weight = qkv.weight if isinstance(qkv, nn.Linear) else None
    packable = weight is not None and weight.device.type == "cpu" and weight.dtype in (torch.float32, torch.bfloat16)
    if isinstance(qkv, Int8Linear) or (packable and weight.dtype == torch.bfloat16):
        for block in vit.blocks if _bfloat16_helps_attention() else ():
            block.attn.attend = attend_in_bfloat16
    if not packable:
        return network
    rows = vit.num_search_tokens + vit.num_template_tokens
    places = [(block, name) for block in vit.blocks for name in BLOCK_LINEARS]
    decoder_layers = network.decoder.body.layers
    try:
        packed = [PackedLinear(block.get_submodule(name), rows, gelu=name == "mlp.fc1") for block, name in places]
        bottleneck = PackedLinear(network.bottleneck, vit.num_search_tokens)
        images = [PackedLinear(layer.precomputed.image, vit.num_search_tokens) for layer in decoder_layers]
    except (RuntimeError, AttributeError) as error:  # what a missing operator and one without a kernel raise
        logger.info("plain linear layers, since this PyTorch cannot pack weights: %s", str(error).splitlines()[0])
        return network
    for (block, name), layer in zip(places, packed, strict=True):
        replace_submodule(block, name, layer)
    for block in vit.blocks:
        block.mlp.act = nn.Identity()
    network.bottleneck = bottleneck
    for layer, image in zip(decoder_layers, images, strict=True):
        layer.precomputed = layer.precomputed._replace(image=image)
    return network


def quantize(network: SeqTrack) -> SeqTrack:
    """Swap in int8 linear layers in the encoder's blocks, in place.

    Raises:
        InputError: if this build of PyTorch has no int8 kernels.
    """
    for block in network.vit.blocks:
        for name in BLOCK_LINEARS:
            try:
                layer = Int8Linear(block.get_submodule(name), gelu=name == "mlp.fc1")
            except RuntimeError as error:
                raise InputError(f"this build of PyTorch cannot quantize: {error}") from error
            replace_submodule(block, name, layer)
        block.mlp.act = nn.Identity()
    return network


def replace_submodule(module: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``module.get_submodule(name)`` is."""
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, new)


@contextmanager
def _best_quantized_engine() -> Iterator[None]:
    """Choose the library that multiplies; packed weights stay with the one they were packed for."""
    before = torch.backends.quantized.engine
    if "onednn" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "onednn"  # a fifth faster than the default of x86
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _bfloat16_helps_attention() -> bool:
    """Whether products are fast in bfloat16 and PyTorch's attention is not; with matrix units (AMX) both are."""
    fast = cpu_has("_is_avx512_bf16_supported") and torch.backends.mkldnn.is_available()
    return fast and not cpu_has("_is_amx_tile_supported")


def cpu_has(*names: str) -> bool:
    """Ask PyTorch whether the processor has one of some features; older versions cannot tell, which counts as no."""
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def multiplies_bfloat16() -> bool:
    """Whether oneDNN has kernels in bfloat16 for this processor; yes where PyTorch cannot tell."""
    return getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)()
