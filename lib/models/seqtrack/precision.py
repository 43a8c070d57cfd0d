"""Giving a network the precision it runs in, and the layout of weights that its processor likes best."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lib.models.seqtrack.products import PackedLinear, WordLinear
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.utils.device import DTYPES, resolve_dtype
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

PRECISIONS = (*DTYPES, "int8")


class Int8Linear(nn.Module):
    """A linear layer whose weights are int8, one scale per output; inputs are quantised as they come.

    For CPUs only. Inputs and outputs are float32; the sums are exact.

    Args:
        linear: the layer to replace.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scales = weight.abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny).double() / 127
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # Deprecated in PyTorch 2.15 without a replacement that quantises inputs and multiplies in one operator.
            warnings.simplefilter("ignore", UserWarning)
            quantised = torch.quantize_per_channel(weight, scales, zeros, axis=0, dtype=torch.qint8)
        bias = None if linear.bias is None else linear.bias.detach().float()
        with _best_quantised_engine():
            self._packed = torch.ops.quantized.linear_prepack(quantised, bias)
        # Without VNNI instructions pairs of 8 bit products can overflow; 7 bit inputs cannot.
        self._narrow = not _cpu_has("_is_avx512_vnni_supported", "_is_vnni_supported")

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) float32 -> (..., out_features) float32."""
        return torch.ops.quantized.linear_dynamic(tokens, self._packed, self._narrow)


class NarrowLinear(nn.Linear):
    """A linear layer in bfloat16 or float16 among layers in float32: inputs are rounded to its type as they come.

    Args:
        linear: the layer to replace.
        dtype: of the weights and of the outputs.
    """

    def __init__(self, linear: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        for name, parameter in linear.named_parameters():
            setattr(self, name, nn.Parameter(parameter.detach().to(dtype), requires_grad=False))

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., in_features) of any type -> (..., out_features) of its own."""
        return super().forward(tokens.to(self.weight.dtype))


BLOCK_LINEARS = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
"""Linear layers of a block of the encoder."""


def pack_linear_layers(network: SeqTrack) -> SeqTrack:
    """Lay the weights out for inference on a CPU, in place; parameters of the encoder are gone afterwards.

    Args:
        network: after ``set_precision`` and ``freeze``, in eval mode.

    Returns:
        The network; as it was where that cannot be done: other devices, other types, a PyTorch without oneDNN.
    """
    body = network.encoder.body
    weight = body.blocks[0].attn.qkv.weight
    if weight.device.type != "cpu" or weight.dtype not in (torch.float32, torch.bfloat16):
        return network
    rows = body.num_search_tokens + body.num_template_tokens
    places = [(block, name) for block in body.blocks for name in BLOCK_LINEARS]
    decoder_layers = network.decoder.body.layers
    try:
        packed = [_pack(block.get_submodule(name), rows, gelu=name == "mlp.fc1") for block, name in places]
        bottleneck = _pack(network.bottleneck, body.num_search_tokens)
        images = [_pack(layer.kept.image, body.num_search_tokens) for layer in decoder_layers]
    except (RuntimeError, AttributeError) as error:  # what a missing operator and one without a kernel raise
        logger.info("weights stay as they are, this PyTorch cannot pack them: %s", str(error).splitlines()[0])
        return network
    for (block, name), layer in zip(places, packed, strict=True):
        replace_submodule(block, name, layer)
    for block in body.blocks:
        block.mlp.act = nn.Identity()
    network.bottleneck = bottleneck
    for layer, image in zip(decoder_layers, images, strict=True):
        layer.kept = layer.kept._replace(image=image)
    return network


def _pack(linear: nn.Linear, rows: int, gelu: bool = False) -> PackedLinear:
    """Pack a layer and try whether it works."""
    packed = PackedLinear(linear, rows, gelu)
    packed(torch.zeros(1, 1, linear.in_features))
    return packed


def replace_submodule(module: nn.Module, name: str, new: nn.Module) -> None:
    """Put ``new`` where ``module.get_submodule(name)`` is."""
    parent, _, attribute = name.rpartition(".")
    setattr(module.get_submodule(parent), attribute, new)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for an unknown precision, or one that the device cannot do."""
    if precision not in PRECISIONS:
        raise InputError(f"unknown dtype {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and device.type != "cpu":
        raise InputError(f"int8 runs on a CPU only, not on {device}; use bfloat16 there")
    if precision == "int8" and not set(torch.backends.quantized.supported_engines) - {"none"}:
        raise InputError("this build of PyTorch cannot quantise: it has no engine for int8 products")


def set_precision(network: SeqTrack, precision: str, device: torch.device) -> SeqTrack:
    """Move a network to a device in a precision.

    Args:
        network: with its weights, in eval mode; it is changed in place.
        precision: one of ``PRECISIONS``. ``int8`` (CPU only) quantises the linear layers of the encoder's blocks.
        device: where it goes.

    Returns:
        The network. On a CPU only products and attention of the encoder's blocks are narrowed; what is added up from
        block to block stays in float32, as in training with mixed precision. One word at a time the decoder is not
        faster in fewer bits.

    Raises:
        InputError: for an unknown precision, or one that the device cannot do.
    """
    check_precision(precision, device)
    if precision == "int8":
        return _quantise(network.to(device=device, dtype=torch.float32))
    dtype = resolve_dtype(precision)
    if device.type != "cpu" or dtype == torch.float32:
        return network.to(device=device, dtype=dtype)
    if dtype == torch.bfloat16 and not _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        logger.warning("this processor seems to have no bfloat16 arithmetic: float32 may be faster")
    network.to(device=device, dtype=torch.float32)
    for block in network.encoder.body.blocks:
        for name in BLOCK_LINEARS:
            replace_submodule(block, name, NarrowLinear(block.get_submodule(name), dtype))
    return network


def prepare_for_tracking(network: SeqTrack, precision: str, device: torch.device) -> SeqTrack:
    """``set_precision``, and the fastest layout of weights that goes with it.

    Args:
        network: with the weights it is to keep, in eval mode; it is changed in place and cannot be trained afterwards.
        precision: one of ``PRECISIONS``.
        device: where it goes.

    Raises:
        InputError: as ``set_precision``.
    """
    network = set_precision(network, precision, device)
    network.freeze()
    for part in (network.decoder, network.vocab_embed):
        for name, layer in [*part.named_modules()]:
            if type(layer) is nn.Linear:
                replace_submodule(part, name, WordLinear(layer))
    return network if precision == "int8" else pack_linear_layers(network)


def _quantise(network: SeqTrack) -> SeqTrack:
    for block in network.encoder.body.blocks:
        for name in BLOCK_LINEARS:
            try:
                layer = Int8Linear(block.get_submodule(name))
            except RuntimeError as error:
                raise InputError(f"this build of PyTorch cannot quantise: {error}") from error
            replace_submodule(block, name, layer)
    return network


@contextmanager
def _best_quantised_engine() -> Iterator[None]:
    """Choose the library that multiplies; packed weights stay with the one they were packed for."""
    before = torch.backends.quantized.engine
    if "onednn" in torch.backends.quantized.supported_engines:
        torch.backends.quantized.engine = "onednn"  # a fifth faster than the default of x86
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _cpu_has(*names: str) -> bool:
    """Ask PyTorch whether the processor has one of some features; older versions cannot tell, which counts as no."""
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
