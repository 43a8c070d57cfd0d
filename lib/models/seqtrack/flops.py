"""How much a network computes: multiply-accumulate operations (MACs) per frame, and parameters.

Two conventions are in use, and the published numbers follow the first:

* published: what the profiler ``thop`` sees. Linear and convolution layers, one decoder pass over one token; no
  attention products, no templates kept. Parameters of layers only: position and token tables do not count.
* true: every matrix product, attention included, for all four tokens.

Norms, activations, softmax and the window are left out in both: below 1 % of the operations.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lib.models.seqtrack.seqtrack import SeqTrack


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        published_macs: per frame, in the published convention.
        plain_macs: per frame, true: template images embedded every time, four full decoder passes over ever longer
            sequences, each of which projects the image memory again.
        our_macs: per frame, true: what a tracker computes here, templates embedded before.
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


@torch.no_grad()
def count_cost(network: SeqTrack) -> Cost:
    """Count what a network costs per frame, with one search crop and all its templates.

    Args:
        network: on any device; a copy of it runs on ``meta``, where nothing is computed.
    """
    network = copy.deepcopy(network).to("meta").eval()
    network.precompute()
    vit, token = network.vit, torch.zeros(1, 4, dtype=torch.int64, device="meta")
    template, search = (
        vit.pos_embed.new_empty(1, count, 3, size, size)
        for count, size in ((network.num_templates, vit.template_size), (1, vit.search_size))
    )
    embedded = network.embed_template(template)
    memory, positions = network.select_memory(network.encode(template, search))
    needed = network.encode_embedded(embedded, search, search_only=True)

    def encode_all() -> None:
        network.select_memory(network.encode(template, search))

    def decode(length: int) -> None:
        states = network.decoder(token[:, :length], network.decoder.project_memory(memory, positions))
        network.vocab_embed(states[:, -1:])

    encoder = _count(lambda: network.encode_embedded(embedded, search, search_only=True))
    layers = {torch.ops.aten.mm, torch.ops.aten.addmm}  # linear layers; attention is other products
    published = _count(encode_all, layers) + _count(lambda: decode(1), layers)
    tables = [network.pos_embed, vit.pos_embed, *(m.weight for m in network.modules() if isinstance(m, nn.Embedding))]
    skipped = len(network.decoder.body.layers) * 2 * memory.shape[-1]  # attention from one token to itself
    params = sum(parameter.numel() for parameter in network.parameters())
    return Cost(
        published_macs=published,
        plain_macs=_count(lambda: (encode_all(), *map(decode, range(1, 5)))) + skipped,
        our_macs=encoder + _count(lambda: network.generate(needed)),
        our_encoder_macs=encoder,
        published_params=params - sum(table.numel() for table in tables),
        params=params,
    )


def _count(work: Callable[[], object], operators: set | None = None) -> int:
    """MACs of all matrix products, or of some operators."""
    with FlopCounterMode(display=False) as counter:
        work()
    counts = counter.get_flop_counts().get("Global", {})
    return sum(flops for operator, flops in counts.items() if operators is None or operator in operators) // 2
