"""Giving a network the device and the precision it runs in."""

from __future__ import annotations

import logging

import torch
from torch import Tensor, nn

from lib.models.seqtrack.cpu import (
    BLOCK_LINEARS,
    cpu_has,
    multiplies_bfloat16,
    optimize_for_cpu,
    quantize,
    replace_submodule,
)
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.utils.device import DTYPES, resolve_dtype
from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

BFLOAT16_CAPABILITY = (8, 0)  # of CUDA devices: Ampere

PRECISIONS = (*DTYPES, "tf32", "int8")


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
            ``tf32`` lets CUDA round the inputs of float32 products to 10 bits, from now on in the whole process; any
            other precision on CUDA forbids it. Elsewhere it is float32.
        device: where it goes.

    Returns:
        The network. bfloat16 and float16 narrow linear layers and attention of the encoder's blocks, on every device;
        the residual stream stays in float32, as in training with mixed precision, and so do decoder and vocabulary
        head, whose scores of neighboring tokens bfloat16 cannot tell apart.

    Raises:
        InputError: for an unknown precision, or one that the device cannot do.
    """
    check_precision(precision, device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    elif precision == "tf32":
        logger.info("tf32 is float32 on %s", device)
    network.to(device=device, dtype=torch.float32)
    if precision == "int8":
        return quantize(network)
    dtype = torch.float32 if precision == "tf32" else supported_dtype(resolve_dtype(precision), device)
    if dtype == torch.float32:
        return network
    for block in network.vit.blocks:
        for name in BLOCK_LINEARS:
            replace_submodule(block, name, NarrowLinear(block.get_submodule(name), dtype))
    return network


def supported_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """``dtype``, or float32 on a GPU without bfloat16 arithmetic."""
    if dtype != torch.bfloat16:
        return dtype
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < BFLOAT16_CAPABILITY:
        logger.warning("%s has no bfloat16 arithmetic: float32 instead", torch.cuda.get_device_name(device))
        return torch.float32
    if device.type == "cpu" and not cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        logger.warning("this processor seems to have no bfloat16 arithmetic: float32 may be faster")
    return dtype


def training_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """``supported_dtype``, or float32 on a processor without kernels for bfloat16, where it is 17 times as fast.

    Tracking there computes what was asked for: its results name their precision.
    """
    if dtype == torch.bfloat16 and device.type == "cpu" and not multiplies_bfloat16():
        logger.warning("this processor has no bfloat16 arithmetic: float32 instead")
        return torch.float32
    return supported_dtype(dtype, device)


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
