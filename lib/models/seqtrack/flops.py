"""How much a network computes: multiply-accumulate operations (MACs) per frame, and parameters.

Two conventions are in use, and the published numbers follow the first:

* published: what the profiler ``thop`` sees. Linear and convolution layers, one decoder pass over one word; no products
  of attention, no templates kept. Parameters of layers only: tables of positions and words do not count.
* true: every matrix product, attention included, for all four words.

Norms, activations, softmax and the window are left out in all of them: below 1 % of the operations.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from lib.models.seqtrack.seqtrack import SeqTrack


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        published_macs: per frame, in the published convention.
        plain_macs: per frame, true: template images embedded anew, four full decoder passes over ever longer sequences,
            each of which projects the image memory again.
        our_macs: per frame, true: what ``SeqTrack.read_box`` computes, templates embedded before.
        our_encoder_macs: the part of ``our_macs`` up to the encoder's output.
        published_params: in the published convention.
        params: all of them.
    """

    published_macs: int
    plain_macs: int
    our_macs: int
    our_encoder_macs: int
    published_params: int
    params: int


def count_cost(network: SeqTrack) -> Cost:
    """Count what a network costs per frame, with one search crop and all its templates.

    Args:
        network: on any device, also ``meta``; no value is looked at.
    """
    encoder = network.encoder.body
    search, template = encoder.num_search_tokens, network.num_templates * encoder.num_template_tokens
    tokens = search + template
    only_search = network.feature_type == "x"
    blocks = len(encoder.blocks)
    layers = blocks * 12 * encoder.dim**2 * tokens
    attention = blocks * 2 * tokens**2 * encoder.dim
    patch = encoder.patch_embed.proj.weight.numel()
    # In our last block only some tokens are queries, and go through projection and MLP (1 + 8 of 12 C x C products).
    unread = template if only_search else 0
    saved = unread * (9 * encoder.dim**2 + 2 * tokens * encoder.dim)
    our_encoder = layers + attention - saved + patch * search

    memory_tokens = {"x": search, "xz": tokens, "token": 1}[network.feature_type]
    narrowing = network.bottleneck.weight.numel() * memory_tokens if encoder.dim != _dim(network) else 0
    keys_values = 2 * len(network.decoder.body.layers) * memory_tokens * _dim(network) ** 2
    word, score = _word_macs(network), sum(layer.weight.numel() for layer in network.vocab_embed.layers)
    passes = sum(
        keys_values + length * word + score + _attention_macs(network, length**2, length * memory_tokens)
        for length in range(1, 5)
    )
    # Ours: each word once, seeing itself and those before it; the positions of words are folded once per frame.
    position_bias = 3 * len(network.decoder.body.layers) * network.decoder.max_length * _dim(network) ** 2
    ours = keys_values + position_bias + 4 * (word + score) + _attention_macs(network, 1 + 2 + 3 + 4, 4 * memory_tokens)
    return Cost(
        published_macs=layers + patch * tokens + narrowing + keys_values + word + score,
        plain_macs=layers + attention + patch * tokens + narrowing + passes,
        our_macs=our_encoder + narrowing + ours,
        our_encoder_macs=our_encoder,
        published_params=_layer_params(network),
        params=sum(parameter.numel() for parameter in network.parameters()),
    )


def _dim(network: SeqTrack) -> int:
    return network.decoder.body.norm.normalized_shape[0]


def _word_macs(network: SeqTrack) -> int:
    """Decoder layers for one word, without attention products and without the projection of the memory."""
    return sum(6 * _dim(network) ** 2 + 2 * layer.linear1.weight.numel() for layer in network.decoder.body.layers)


def _attention_macs(network: SeqTrack, word_pairs: int, memory_pairs: int) -> int:
    """Products of queries and keys, and of weights and values."""
    return len(network.decoder.body.layers) * 2 * (word_pairs + memory_pairs) * _dim(network)


def _layer_params(network: SeqTrack) -> int:
    """Parameters of linear, convolution and norm layers and of attention."""
    tables = [network.pos_embed, network.encoder.body.pos_embed]
    tables += [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
    return sum(parameter.numel() for parameter in network.parameters()) - sum(table.numel() for table in tables)
