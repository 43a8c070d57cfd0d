"""The causal decoder: generates the tokens of the box from the image memory.

Source: SeqTrack, section 3.1. A layer is that of DETR with causal self-attention; position embeddings are added to
queries and keys in every layer, never to values; here they are folded into the biases of the projections.

In all classes ``tokens`` are (B, L, C), or (B, L) int64 before they are embedded; ``memory`` is the image, (B, M, C);
``memory_positions`` (1, M, C) are added to its keys; ``token_positions`` (L, C) are those of all places of a sequence.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class KeyValue(NamedTuple):
    """Projected keys and values of one attention layer, each (B, heads, N, C / heads)."""

    key: Tensor
    value: Tensor

    def append(self, other: KeyValue) -> KeyValue:
        """Put the tokens of ``other`` behind these."""
        return KeyValue(torch.cat((self.key, other.key), dim=2), torch.cat((self.value, other.value), dim=2))


class LayerContext(NamedTuple):
    """What one layer needs in every step and no token changes.

    Attributes:
        image: keys and values of the image memory.
        self_bias: (L, 3 * C) bias of the query, key and value projections of self-attention; the position embeddings
            of the L places of a sequence are in it, so that they need not be added to every token.
        cross_bias: (L, C) as above, of the queries to the image.
    """

    image: KeyValue
    self_bias: Tensor
    cross_bias: Tensor


class Precomputed(NamedTuple):
    """What one layer computes once for all images, when its weights stay as they are.

    Attributes:
        image: projects keys and values of the image memory in one product, (B, M, C) -> (B, M, 2 * C), without a bias.
        image_bias: (M, 2 * C), with the positions of the memory in the half of the keys.
        self_bias: as in ``LayerContext``.
        cross_bias: as above.
    """

    image: nn.Module
    image_bias: Tensor
    self_bias: Tensor
    cross_bias: Tensor


class Attention(nn.Module):
    """Multi-head attention with the parameter names of ``nn.MultiheadAttention``, in pieces that can be cached.

    Args:
        dim: width C of a token.
        num_heads: number of heads, divides ``dim``.
        dropout: probability of dropping an attention weight in training.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.num_heads = num_heads
        self.dropout = dropout
        self.linear = F.linear  # a faster one may take its place for inference, see cpu.py
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def _project(self, tokens: Tensor, first: int, last: int, bias: Tensor | None = None) -> Tensor:
        """Apply parts ``first .. last - 1`` of (query, key, value): (B, N, C) -> (B, N, (last - first) * C)."""
        rows = slice(first * self.dim, last * self.dim)
        if bias is None:
            return self.linear(tokens, self.in_proj_weight[rows], self.in_proj_bias[rows])
        if len(bias) == 1:
            return self.linear(tokens, self.in_proj_weight[rows], bias[0])
        return F.linear(tokens, self.in_proj_weight[rows]) + bias

    def _split_heads(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads)."""
        B, N, C = tokens.shape
        return tokens.view(B, N, self.num_heads, C // self.num_heads).transpose(1, 2)

    def query(self, tokens: Tensor, bias: Tensor | None = None) -> Tensor:
        """Project queries: (B, N, C) -> (B, heads, N, C / heads); ``bias`` (N, C) replaces the layer's own."""
        return self._split_heads(self._project(tokens, 0, 1, bias))

    def key_value(self, key_tokens: Tensor, value_tokens: Tensor) -> KeyValue:
        """Project keys and values, both from (B, N, C)."""
        return KeyValue(
            self._split_heads(self._project(key_tokens, 1, 2)), self._split_heads(self._project(value_tokens, 2, 3))
        )

    def split_key_value(self, projected: Tensor) -> KeyValue:
        """Take keys and values apart that were projected in one product: (B, N, 2 * C)."""
        B, N, _ = projected.shape
        key, value = projected.view(B, N, 2, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        return KeyValue(key, value)

    def key_value_layer(self) -> nn.Linear:
        """The product that projects keys and values, without its bias; it shares the weights."""
        layer = nn.Linear(self.dim, 2 * self.dim, bias=False, device="meta")
        layer.weight = nn.Parameter(self.in_proj_weight[self.dim :].detach(), requires_grad=False)
        return layer

    def query_key_value(self, tokens: Tensor, bias: Tensor) -> tuple[Tensor, KeyValue]:
        """Project for self-attention, in one product: (B, N, C); ``bias`` (N, 3 * C) replaces the layer's own."""
        B, N, C = tokens.shape
        projected = self._project(tokens, 0, 3, bias).view(B, N, 3, self.num_heads, C // self.num_heads)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        return query, KeyValue(key, value)

    def position_bias(self, positions: Tensor, first: int, last: int) -> Tensor:
        """Fold position embeddings into the bias: W (token + position) + b = W token + (W position + b).

        Args:
            positions: (L, C), for queries and keys; values have none.
            first: first part that is wanted of (query, key, value).
            last: the part after the last one that is wanted.

        Returns:
            (L, (last - first) * C).
        """
        folded = F.linear(positions, self.in_proj_weight[first * self.dim : min(last, 2) * self.dim])
        folded = F.pad(folded, (0, (last - first) * self.dim - folded.shape[1]))
        return folded + self.in_proj_bias[first * self.dim : last * self.dim]

    def attend(self, query: Tensor, memory: KeyValue, *, causal: bool = False) -> Tensor:
        """Mix the values.

        Args:
            query: (B, heads, L, C / heads).
            memory: keys and values, N of them.
            causal: query i sees keys 0 .. i only.

        Returns:
            (B, L, C).
        """
        if causal and query.shape[2] == 1 and not self.training:
            mixed = memory.value  # the softmax of one score is 1
        else:
            dropout = self.dropout if self.training else 0.0
            mixed = F.scaled_dot_product_attention(query, memory.key, memory.value, dropout_p=dropout, is_causal=causal)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class DecoderLayer(nn.Module):
    """Self-attention over the tokens so far, cross-attention to the image memory, feed-forward.

    Arguments as for ``CausalDecoder``; dropout is used in six places.
    """

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = Attention(dim, num_heads, dropout)
        self.multihead_attn = Attention(dim, num_heads, dropout)
        self.linear1 = nn.Linear(dim, ffn_dim)
        self.linear2 = nn.Linear(ffn_dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)
        self.precomputed: Precomputed | None = None

    def forward(
        self, tokens: Tensor, places: slice, context: LayerContext, past: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Process all tokens of a sequence at once, or the next one.

        Args:
            tokens: (B, L, C). With ``past`` L is 1.
            places: where in the sequence these tokens are, L of them.
            context: from ``prepare``.
            past: keys and values of the tokens before these; None if these are the first.

        Returns:
            (B, L, C), and the keys and values up to and including these tokens.
        """
        inner = self.norm1(tokens) if self.pre_norm else tokens
        query, present = self.self_attn.query_key_value(inner, context.self_bias[places])
        if past is not None:
            present = past.append(present)
        tokens = self._add(tokens, self.self_attn.attend(query, present, causal=past is None), self.norm1)

        inner = self.norm2(tokens) if self.pre_norm else tokens
        query = self.multihead_attn.query(inner, context.cross_bias[places])
        tokens = self._add(tokens, self.multihead_attn.attend(query, context.image), self.norm2)

        inner = self.norm3(tokens) if self.pre_norm else tokens
        hidden = self._drop(F.relu(self.linear1(inner)))
        return self._add(tokens, self.linear2(hidden), self.norm3), present

    def _drop(self, values: Tensor) -> Tensor:
        return self.dropout(values) if self.training else values

    def _add(self, tokens: Tensor, update: Tensor, norm: nn.LayerNorm) -> Tensor:
        """Residual connection, and the norm that follows it in a post-norm layer."""
        tokens = tokens + self._drop(update)
        return tokens if self.pre_norm else norm(tokens)

    def prepare(self, memory: Tensor, memory_positions: Tensor, token_positions: Tensor) -> LayerContext:
        """Compute what no token changes."""
        if self.precomputed is not None and len(self.precomputed.image_bias) == memory.shape[1]:
            image = self.multihead_attn.split_key_value(self.precomputed.image(memory) + self.precomputed.image_bias)
            return LayerContext(image, self.precomputed.self_bias, self.precomputed.cross_bias)
        image = self.multihead_attn.key_value(memory + memory_positions, memory)
        return LayerContext(image, *self._biases(token_positions))

    def _biases(self, token_positions: Tensor) -> tuple[Tensor, Tensor]:
        """``self_bias`` and ``cross_bias`` of a LayerContext."""
        return (
            self.self_attn.position_bias(token_positions, 0, 3),
            self.multihead_attn.position_bias(token_positions, 0, 1),
        )

    def precompute(self, memory_positions: Tensor, token_positions: Tensor) -> None:
        """Compute once what no image changes; for inference, with weights that stay as they are.

        ``prepare`` has to be called with the same positions; it projects memories of another length in full.
        """
        image = self.multihead_attn.key_value_layer()
        image_bias = self.multihead_attn.position_bias(memory_positions[0], 1, 3)
        self.precomputed = Precomputed(image, image_bias, *self._biases(token_positions))


class TokenEmbedding(nn.Module):
    """Embeds tokens; also holds the table of query positions, which is added inside the layers.

    Arguments as for ``CausalDecoder``.
    """

    def __init__(self, vocab_size: int, dim: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, dim)
        self.position_embeddings = nn.Embedding(max_length, dim)
        self.LayerNorm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed tokens (B, L) int64 as (B, L, C)."""
        return self.dropout(self.LayerNorm(self.word_embeddings(tokens)))


class LayerStack(nn.Module):
    """The layers, in order, and the final norm, under the names they have in published checkpoints."""

    def __init__(self, layers: list[DecoderLayer], dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(dim)  # Faithful: also applied after post-norm layers, which end in a norm already.


class CausalDecoder(nn.Module):
    """Transformer decoder over box tokens.

    Args:
        vocab_size: number of tokens V.
        dim: width C of a token and of the memory.
        num_layers: number of layers.
        num_heads: attention heads of a layer.
        ffn_dim: width of the feed-forward layers.
        max_length: longest sequence.
        dropout: dropout probability in training.
        pre_norm: layers normalize before each of their parts instead of after it.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        dim: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        max_length: int,
        dropout: float = 0.0,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.embedding = TokenEmbedding(vocab_size, dim, max_length, dropout)
        layers = [DecoderLayer(dim, num_heads, ffn_dim, dropout, pre_norm) for _ in range(num_layers)]
        self.body = LayerStack(layers, dim)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def project_memory(self, memory: Tensor, memory_positions: Tensor) -> list[LayerContext]:
        """Compute what no token changes, once per image: each layer's keys and values of the memory, and its biases."""
        positions = self.embedding.position_embeddings.weight
        return [layer.prepare(memory, memory_positions, positions) for layer in self.body.layers]

    @torch.no_grad()
    def precompute(self, memory_positions: Tensor) -> None:
        """Precompute what depends on the weights alone; for inference, with the weights and the device of now."""
        for layer in self.body.layers:
            layer.precompute(memory_positions, self.embedding.position_embeddings.weight)

    def forward(self, tokens: Tensor, memory: list[LayerContext]) -> Tensor:
        """Teacher forcing: every token attends to itself and to the tokens before it.

        Args:
            tokens: (B, L) int64, L at most ``max_length``.
            memory: from ``project_memory``.

        Returns:
            (B, L, C) after the final norm.
        """
        states = self.embedding(tokens)
        for layer, context in zip(self.body.layers, memory, strict=True):
            states, _ = layer(states, slice(tokens.shape[1]), context)
        return self.body.norm(states)

    def step(
        self, token: Tensor, index: int, memory: list[LayerContext], past: list[KeyValue] | None
    ) -> tuple[Tensor, list[KeyValue]]:
        """Process the next token of a sequence.

        Args:
            token: (B, 1) int64.
            index: its place in the sequence, from 0.
            memory: from ``project_memory``.
            past: what the step before returned; None at index 0.

        Returns:
            (B, 1, C) after the final norm, and the cache for the next step.
        """
        states = self.embedding(token)
        present = []
        for number, layer in enumerate(self.body.layers):
            cache = None if past is None else past[number]
            states, cache = layer(states, slice(index, index + 1), memory[number], cache)
            present.append(cache)
        return self.body.norm(states), present
