"""What the network attends to and how likely it finds each token, read by forward hooks while it generates.

The network computes attention by fused kernels that never hold the weights. Here they are computed again, beside it,
from queries and keys that the hooks see; the network's own results stay as they are. Works for every precision and for
the packed layers of a CPU, but not for a step that is compiled or captured as a CUDA graph, where no hook runs.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lib.models.seqtrack.decoder import DecoderLayer, LayerContext
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.utils.errors import InputError


class NetworkMaps(NamedTuple):
    """Maps of B search crops of R x R tokens; all float32 on the CPU.

    Attributes:
        cross: (B, 4, layers, heads, R, R) attention of each generated token over the search crop: of the decoder's
            query from which that token was predicted. With FEATURE_TYPE ``xz`` the rest of the sum of 1 is on the
            templates.
        encoder: (B, T, blocks, heads, R, R) attention of each template over the search crop, a mean over the template
            tokens that are on the target. What is missing to a sum of 1 is on the templates themselves.
        probabilities: (B, 4, bins) softmax of each step, before the window; what is missing to 1 is on START and END.
    """

    cross: Tensor
    encoder: Tensor
    probabilities: Tensor


class MapRecorder:
    """Context manager: hooks into a network, whose next call of ``generate`` is recorded.

    Args:
        network: in eval mode.
        template_factor: side of a template crop over ``sqrt(w * h)`` of its target.

    Raises:
        InputError: for FEATURE_TYPE ``token``, where the decoder sees one token instead of the crop.
    """

    def __init__(self, network: SeqTrack, template_factor: float) -> None:
        if network.feature_type == "token":
            raise InputError("MODEL.FEATURE_TYPE token: the decoder sees one mean token, there is no map of the crop")
        self.network = network
        self._on_target = central_tokens(round(network.vit.num_template_tokens**0.5), template_factor)
        self._handles: list[Any] = []
        self._layer: tuple[slice, LayerContext]
        self._cross: list[Tensor] = []
        self._encoder: list[Tensor] = []
        self._probabilities: list[Tensor] = []

    def __enter__(self) -> MapRecorder:
        for block in self.network.vit.blocks:
            hook = partial(self._after_projection, block.attn.num_heads)
            self._handles.append(block.attn.qkv.register_forward_hook(hook))
        for layer in self.network.decoder.body.layers:
            self._handles.append(layer.register_forward_pre_hook(self._before_layer))
            norm = layer.norm2 if layer.pre_norm else layer.norm1  # gives what the queries to the image are made from
            self._handles.append(norm.register_forward_hook(partial(self._before_cross_attention, layer)))
        self._handles.append(self.network.vocab_embed.register_forward_hook(self._after_head))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def read(self) -> NetworkMaps:
        """Maps of the call of ``generate`` since the last time."""
        side = round(self.network.vit.num_search_tokens**0.5)
        steps = self.network.vocabulary.tokens_per_box
        cross = torch.stack(self._cross, dim=1).unflatten(1, (steps, -1))  # (B, 4, layers, heads, R * R)
        encoder = torch.stack(self._encoder, dim=2)  # (B, T, blocks, heads, R * R)
        maps = NetworkMaps(
            *(values.unflatten(-1, (side, side)).float().cpu() for values in (cross, encoder)),
            torch.cat(self._probabilities, dim=1).float().cpu(),
        )
        for values in (self._cross, self._encoder, self._probabilities):
            values.clear()
        return maps

    def _after_projection(self, heads: int, module: nn.Module, inputs: Any, projected: Tensor) -> None:
        """Of a block of the encoder; ``projected`` (B, N, 3 * C)."""
        vit = self.network.vit
        query, key, _ = projected.detach().unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        query = query[:, :, vit.num_search_tokens :].unflatten(2, (-1, vit.num_template_tokens))
        query = query[:, :, :, self._on_target.to(query.device)]  # (B, heads, T, n, C / heads)
        weights = attention_weights(query.flatten(2, 3), key)[..., : vit.num_search_tokens]
        self._encoder.append(weights.unflatten(2, query.shape[2:4]).mean(dim=3).transpose(1, 2))

    def _before_layer(self, layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._layer = inputs[1], inputs[2]

    def _before_cross_attention(self, layer: DecoderLayer, module: nn.Module, inputs: Any, tokens: Tensor) -> None:
        places, context = self._layer
        query = layer.multihead_attn.query(tokens.detach(), context.cross_bias[places])  # (B, heads, 1, C / heads)
        weights = attention_weights(query, context.image.key)
        self._cross.append(weights[:, :, 0, : self.network.vit.num_search_tokens])

    def _after_head(self, module: nn.Module, inputs: Any, logits: Tensor) -> None:
        logits = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
        self._probabilities.append(logits.softmax(dim=-1)[..., : self.network.vocabulary.bins])


def attention_weights(query: Tensor, key: Tensor) -> Tensor:
    """Softmax of the scaled products: (B, heads, L, C) and (B, heads, N, C) -> (B, heads, L, N), at least float32."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scores = query.to(dtype) @ key.detach().to(dtype).transpose(-2, -1)
    return (scores * query.shape[-1] ** -0.5).softmax(dim=-1)


def central_tokens(side: int, factor: float) -> Tensor:
    """Which tokens of a template crop are on the target: those in the middle, at least one in each direction.

    Args:
        side: tokens in a row of the crop.
        factor: side of the crop over that of a square as large as the target.

    Returns:
        (side * side,) bool.
    """
    distance = (torch.arange(side) - (side - 1) / 2).abs()
    inside = distance <= max(side / factor / 2, float(distance.min()))
    return (inside[:, None] & inside).flatten()


def overlay(crop: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draw a map over a crop in gray, from 0 to its largest value.

    Args:
        crop: (S, S, 3) uint8 RGB.
        values: (R, R), not negative.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    heat = cv2.resize(values.astype(np.float32), crop.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    heat /= max(float(heat.max()), 1e-12)
    # Inferno is told apart by color-blind readers and in print without colors.
    color = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = 0.25 + 0.55 * heat
    return (share * color + (1 - share) * cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None]).astype(np.uint8)
