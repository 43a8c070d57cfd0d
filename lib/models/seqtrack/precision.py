"""Giving a network the device and the precision it runs in."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lib.models.seqtrack.cpu import BLOCK_LINEARS, cpu_has, optimize_for_cpu, quantize, replace_submodule
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.utils.device import DTYPES, resolve_dtype
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

PRECISIONS = (*DTYPES, "int8")


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


def check_precision(precision: str, device: torch.device) -> None:
    """Raise InputError for an unknown precision, or one that the device cannot do."""
    if precision not in PRECISIONS:
        raise InputError(f"unknown dtype {precision!r}; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and device.type != "cpu":
        raise InputError(f"int8 runs on a CPU only, not on {device}; use bfloat16 there")
    if precision == "int8" and not set(torch.backends.quantized.supported_engines) - {"none"}:
        raise InputError("this build of PyTorch cannot quantize: it has no engine for int8 kernels")


def set_precision(network: SeqTrack, precision: str, device: torch.device) -> SeqTrack:
    """Move a network to a device in a precision.

    Args:
        network: with its weights, in eval mode; it is changed in place.
        precision: one of ``PRECISIONS``. ``int8`` (CPU only) quantizes the linear layers of the encoder's blocks.
        device: where it goes.

    Returns:
        The network. On a CPU only linear layers and attention of the encoder's blocks are narrowed; the residual stream
        stays in float32, as in training with mixed precision. One token at a time the decoder is not faster in fewer
        bits.

    Raises:
        InputError: for an unknown precision, or one that the device cannot do.
    """
    check_precision(precision, device)
    if precision == "int8":
        return quantize(network.to(device=device, dtype=torch.float32))
    dtype = resolve_dtype(precision)
    if device.type != "cpu" or dtype == torch.float32:
        return network.to(device=device, dtype=dtype)
    if dtype == torch.bfloat16 and not cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        logger.warning("this processor seems to have no bfloat16 arithmetic: float32 may be faster")
    network.to(device=device, dtype=torch.float32)
    for block in network.vit.blocks:
        for name in BLOCK_LINEARS:
            replace_submodule(block, name, NarrowLinear(block.get_submodule(name), dtype))
    return network


def prepare_for_tracking(network: SeqTrack, precision: str, device: torch.device) -> SeqTrack:
    """``set_precision``, and what makes tracking faster with weights that stay as they are.

    Args:
        network: with the weights it is to keep, in eval mode; it is changed in place and cannot be trained afterwards.
        precision: one of ``PRECISIONS``.
        device: where it goes.

    Raises:
        InputError: as ``set_precision``.
    """
    network = set_precision(network, precision, device)
    network.precompute()
    return optimize_for_cpu(network)
