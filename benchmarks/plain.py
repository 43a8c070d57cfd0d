"""SeqTrack's inference written out plainly, as the paper describes it: the oracle and the baseline of the benchmarks.

Explicit softmax attention, template images encoded again in every frame, every token through every block, and four
full decoder passes over the whole token sequence, each of which projects the image memory again. Nothing is kept
frames.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lib.models.seqtrack import SeqTrack


def attention(query: Tensor, key: Tensor, value: Tensor, num_heads: int, mask: Tensor | None = None) -> Tensor:
    """Multi-head attention with its matrix of weights spelled out: (B, L, C), (B, N, C), (B, N, C) -> (B, L, C)."""
    query, key, value = (x.unflatten(2, (num_heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1])
    if mask is not None:
        scores = scores + mask
    return (scores.softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


def encode(network: SeqTrack, template: Tensor, search: Tensor) -> Tensor:
    """Features (B, N, C) of templates (B, T, 3, Ht, Wt) and one search crop (B, 1, 3, Hs, Ws), search tokens first."""
    body = network.encoder.body
    ns = body.num_search_tokens
    tokens = [body.patch_embed(search[:, 0]) + body.pos_embed[:, :ns]]
    tokens += [body.patch_embed(image) + body.pos_embed[:, ns:] for image in template.unbind(1)]
    x = torch.cat(tokens, dim=1)
    for block in body.blocks:
        query, key, value = block.attn.qkv(block.norm1(x)).chunk(3, dim=-1)
        x = x + block.attn.proj(attention(query, key, value, block.attn.num_heads))
        x = x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))
    return body.norm(x)


def select(network: SeqTrack, features: Tensor) -> Tensor:
    """The image memory (B, M, C) that the decoder looks at."""
    ns = network.vit.num_search_tokens
    memory = {"x": features[:, :ns], "xz": features, "token": features.mean(dim=1, keepdim=True)}[network.feature_type]
    return network.bottleneck(memory) if network.vit.dim != network.bottleneck.out_features else memory


def decode(network: SeqTrack, memory: Tensor, tokens: Tensor) -> Tensor:
    """Logits (B, V) of the token that follows tokens (B, L): one full pass."""
    embedding = network.decoder.embedding
    L = tokens.shape[1]
    x = embedding.LayerNorm(embedding.word_embeddings(tokens))
    positions = embedding.position_embeddings.weight[:L]
    mask = torch.full((L, L), -torch.inf, dtype=x.dtype, device=x.device).triu(1)
    for layer in network.decoder.body.layers:
        inner = layer.norm1(x) if layer.pre_norm else x
        update = _multi_head(layer.self_attn, inner + positions, inner + positions, inner, mask)
        x = x + update if layer.pre_norm else layer.norm1(x + update)
        inner = layer.norm2(x) if layer.pre_norm else x
        update = _multi_head(layer.multihead_attn, inner + positions, memory + network.pos_embed, memory)
        x = x + update if layer.pre_norm else layer.norm2(x + update)
        inner = layer.norm3(x) if layer.pre_norm else x
        update = layer.linear2(F.relu(layer.linear1(inner)))
        x = x + update if layer.pre_norm else layer.norm3(x + update)
    return network.vocab_embed(network.decoder.body.norm(x)[:, -1])


def _multi_head(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
) -> Tensor:
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    projected = [F.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]
    return module.out_proj(attention(*projected, module.num_heads, mask))


def generate(network: SeqTrack, features: Tensor, window: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Tokens and likelihoods, each (B, 4), by four passes over ever longer sequences."""
    vocabulary = network.vocabulary
    memory = select(network, features)
    tokens = torch.full((features.shape[0], 1), vocabulary.start, dtype=torch.int64, device=features.device)
    likelihoods = []
    for step in range(4):
        logits = decode(network, memory, tokens)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        scores = logits.softmax(dim=-1)[:, : vocabulary.bins]
        if window is not None and step in vocabulary.window_steps():
            scores = scores * window
        likelihood, word = scores.max(dim=-1, keepdim=True)
        likelihoods.append(likelihood)
        tokens = torch.cat((tokens, word), dim=1)
    return tokens[:, 1:], torch.cat(likelihoods, dim=1)
