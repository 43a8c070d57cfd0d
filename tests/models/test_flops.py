"""The counts are those of the publication, and those that PyTorch counts when the work is done."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import plain
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.flops import count_cost
from lib.models.seqtrack.seqtrack import FEATURE_TYPES
from tests.models.tiny import tiny_config


def meta_network(cfg):
    with torch.device("meta"):
        return build_seqtrack(cfg).eval()


def meta_images(cfg):
    sizes = (2, cfg.DATA.TEMPLATE.SIZE), (1, cfg.DATA.SEARCH.SIZE)
    return [torch.empty(1, count, 3, size, size, device="meta") for count, size in sizes]


@pytest.mark.parametrize(
    "config, published, params, true",
    [
        ("seqtrack_b256", 65.8, 89.1, 76.9),
        ("seqtrack_b384", 148.1, 89.1, 203.6),
        ("seqtrack_l256", 232.7, 306.6, 261.9),
        ("seqtrack_l384", 523.5, 306.6, 670.7),
    ],
)
def test_published_numbers(config, published, params, true):
    cost = count_cost(meta_network(load_config(config)))
    # 148.05 was published as 148.1
    assert cost.published_macs / 1e9 == pytest.approx(published, abs=0.0501)
    assert cost.published_params / 1e6 == pytest.approx(params, abs=0.05)
    assert cost.plain_macs / 1e9 == pytest.approx(true, abs=0.05)
    assert cost.our_macs < cost.plain_macs


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
@pytest.mark.parametrize("dim", [16, 32])
@torch.no_grad()
def test_pytorch_counts_the_same_when_the_work_is_done(feature_type, dim):
    cfg = tiny_config(MODEL__FEATURE_TYPE=feature_type, MODEL__HIDDEN_DIM=dim)
    network = meta_network(cfg)
    cost = count_cost(network)
    network.precompute()
    template, search = meta_images(cfg)
    tokens = network.embed_template(template)
    with FlopCounterMode(display=False) as ours:
        network.generate(network.encode_embedded(tokens, search, search_only=True))
    assert ours.get_total_flops() == 2 * cost.our_macs
    with FlopCounterMode(display=False) as encoder:
        network.encode_embedded(tokens, search, search_only=True)
    assert encoder.get_total_flops() == 2 * cost.our_encoder_macs
    with FlopCounterMode(display=False) as four_passes:
        plain.generate(network, plain.encode(network, template, search))
    assert four_passes.get_total_flops() == 2 * cost.plain_macs


@torch.no_grad()
def test_thop_agrees_on_the_published_convention():
    """With decoder attention and patch embedding, which call no layer of their own, counted by hand."""
    thop = pytest.importorskip("thop")
    network = build_seqtrack(tiny_config()).eval()

    class OneWord(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, template, search):
            body = self.network.encoder.body
            embedded = [body.patch_embed(image) for image in (search[:, 0], *template.unbind(1))]
            features = body(embedded[0], torch.cat(embedded[1:], dim=1))
            return self.network.decode(features, torch.full((1, 1), self.network.vocabulary.start))

    template, search = torch.zeros(1, 2, 3, 16, 16), torch.zeros(1, 1, 3, 32, 32)
    macs, _ = thop.profile(
        OneWord(),
        (template, search),
        custom_ops={nn.LayerNorm: lambda module, inputs, output: None},  # newer thop counts norms
        verbose=False,
    )
    functional = sum(
        module.in_proj_weight.shape[1] ** 2 * rows
        for layer in network.decoder.body.layers
        for module, rows in ((layer.self_attn, 3), (layer.multihead_attn, 1 + 2 * network.vit.num_search_tokens))
    )
    assert macs + functional == count_cost(network).published_macs
