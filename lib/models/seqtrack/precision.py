"""Giving a network the precision it runs in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

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


def set_precision(network: SeqTrack, precision: str, device: torch.device) -> SeqTrack:
    """Move a network to a device in a precision.

    Args:
        network: with its weights, in eval mode; it is changed in place.
        precision: one of ``PRECISIONS``. ``int8`` (CPU only) quantises the linear layers of the encoder's blocks.
        device: where it goes.

    Returns:
        The network. On a CPU only the encoder is narrowed: one word at a time the decoder is not faster in fewer bits.

    Raises:
        InputError: for an unknown precision, or one that the device cannot do.
    """
    if precision == "int8":
        return _quantise(network.to(device=device, dtype=torch.float32), device)
    dtype = resolve_dtype(precision)
    if device.type != "cpu" or dtype == torch.float32:
        return network.to(device=device, dtype=dtype)
    if dtype == torch.bfloat16 and not _cpu_has("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        logger.warning("this processor seems to have no bfloat16 arithmetic: float32 may be faster")
    network.to(device=device, dtype=torch.float32)
    network.encoder.to(dtype=dtype)
    return network


def _quantise(network: SeqTrack, device: torch.device) -> SeqTrack:
    if device.type != "cpu":
        raise InputError(f"int8 runs on a CPU only, not on {device}; use bfloat16 there")
    try:
        for block in network.encoder.body.blocks:
            for parent, name in ((block.attn, "qkv"), (block.attn, "proj"), (block.mlp, "fc1"), (block.mlp, "fc2")):
                setattr(parent, name, Int8Linear(getattr(parent, name)))
    except (RuntimeError, NotImplementedError, AttributeError) as error:
        raise InputError(f"this build of PyTorch cannot quantise: {error}") from error
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
