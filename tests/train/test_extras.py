"""What our small trainings may be told beyond the published loss: soft targets, a guide for the encoder, a cosine."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.optim import SGD

from lib.config.seqtrack.config import default_config
from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.train.actors.extras import GUIDE_SCALE, ExtrasActor, guide_loss
from lib.train.data.batch import TrainingBatch
from lib.train.optimization import build_scheduler
from lib.utils.box_ops import box_xywh_to_cxcywh
from lib.utils.errors import ConfigError
from tests.models import tiny
from tests.models.tiny import tiny_images, tiny_model
from tests.train.world import make_loader, make_trainer, tiny_config

BOXES = torch.tensor([[[0.1, 0.3, 0.4, 0.3]], [[0.55, 0.0, 0.2, 0.9]]])  # (B, S, 4) xywh


@pytest.mark.parametrize("seq_format", ["xywh", "whxy", "corner"])
def test_words_are_truncated_positions(seq_format):
    vocabulary = CoordinateVocabulary(100, seq_format)
    positions = vocabulary.positions(BOXES)
    assert torch.equal(vocabulary.encode(BOXES), positions.long())
    assert (positions != positions.round()).any()


def test_soft_targets_are_normal_curves_around_the_coordinate():
    vocabulary = CoordinateVocabulary(100)
    positions = vocabulary.positions(BOXES)
    soft = vocabulary.soft_targets(positions, sigma=3.0)
    assert soft.shape == (2, 1, 4, 100)
    torch.testing.assert_close(soft.sum(dim=-1), torch.ones(2, 1, 4))
    words = torch.arange(100.0)
    middle = positions[0, 0, 0]  # far from both ends
    torch.testing.assert_close((soft[0, 0, 0] * words).sum(), middle, atol=1e-3, rtol=0)
    torch.testing.assert_close(
        (soft[0, 0, 0] * (words - middle) ** 2).sum().sqrt(), torch.tensor(3.0), atol=1e-2, rtol=0
    )


def actor_and_logits(sigma):
    network = tiny_model().float()
    actor = ExtrasActor(network, network.vocabulary, mean=[0.0] * 3, std=[1.0] * 3, label_sigma=sigma)
    torch.manual_seed(0)
    return actor, torch.randn(2, 5, network.vocabulary.size)


def test_a_narrow_curve_is_the_published_loss():
    """With the whole curve on one token nothing but the published weighted mean is left."""
    actor, logits = actor_and_logits(1e-3)
    tokens = actor.vocabulary.encode(BOXES)
    soft = actor.vocabulary.soft_targets(tokens.float(), 1e-3)
    torch.testing.assert_close(actor.soft_loss(logits, soft), actor.score(logits, tokens).loss)


def test_soft_loss_is_least_for_the_curve_itself():
    actor, _ = actor_and_logits(2.0)
    vocabulary = actor.vocabulary
    soft = vocabulary.soft_targets(vocabulary.positions(BOXES), 2.0)
    logits = torch.full((2, 1, 5, vocabulary.size), -30.0)
    logits[..., :4, : vocabulary.bins] = soft.clamp_min(1e-13).log()
    logits[..., 4, vocabulary.end] = 0
    entropy = -(soft * soft.clamp_min(1e-30).log()).sum(dim=(-1, -2)).mean() / 4.01
    torch.testing.assert_close(actor.soft_loss(logits.flatten(1, 2), soft), entropy, atol=1e-4, rtol=1e-4)


def perfect_features(boxes, side):
    """Search tokens (B, S * side * side, 8) that say where the boxes are."""
    middles = (torch.arange(side) + 0.5) / side
    x, y, w, h = boxes.unbind(-1)
    inside_x = (x[..., None] <= middles) & (middles < (x + w)[..., None])
    inside_y = (y[..., None] <= middles) & (middles < (y + h)[..., None])
    inside = (inside_y.unsqueeze(-1) & inside_x.unsqueeze(-2)).flatten(-2)  # (B, S, N)
    tokens = torch.zeros(*inside.shape, 8)
    tokens[..., 0] = torch.where(inside, 5.0, -5.0)
    wanted = box_xywh_to_cxcywh(boxes) - torch.tensor([0.5, 0.5, 0.25, 0.25])
    tokens[..., 1:5] = wanted.unsqueeze(2) * GUIDE_SCALE
    return tokens.flatten(1, 2), inside


def test_guide_is_content_with_features_that_know():
    features, inside = perfect_features(BOXES, side=8)
    assert inside.any(dim=-1).all() and not inside.all()
    assert guide_loss(features, BOXES) < 1e-6


@pytest.mark.parametrize("channel", range(5))
def test_guide_reads_each_of_its_channels(channel):
    features, _ = perfect_features(BOXES, side=8)
    features[..., channel] += 6 if channel == 0 else 0.4
    assert guide_loss(features, BOXES) > 0.2


def test_guide_values():
    """Worked out by hand: nothing is known, so both parts of the cross entropy are log 2."""
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.25]]])
    expected = math.log(2) + GUIDE_SCALE * (0 + 0.125 + 0.25 + 0)
    torch.testing.assert_close(guide_loss(torch.zeros(1, 16, 8), boxes), torch.tensor(expected))


def test_guide_is_the_mean_over_crops():
    """The second target fills its crop: no token is off it, so only log 2 of the tokens on it is left."""
    boxes = torch.tensor([[[0.25, 0.25, 0.5, 0.25]], [[-0.2, 0.0, 1.4, 1.0]]])
    features = torch.zeros(2, 16, 8, requires_grad=True)
    alone = [guide_loss(features[row : row + 1], boxes[row : row + 1]) for row in range(2)]
    torch.testing.assert_close(alone[1], torch.tensor(0.5 * math.log(2) + GUIDE_SCALE * (0.75 + 0.75)))
    both = guide_loss(features, boxes)
    torch.testing.assert_close(both, (alone[0] + alone[1]) / 2)
    both.backward()
    assert torch.isfinite(features.grad).all()


def test_a_box_between_the_tokens_has_one():
    boxes = torch.tensor([[[0.26, 0.26, 0.05, 0.05]]])  # holds the middle of no token of 4 x 4
    assert torch.isfinite(guide_loss(torch.zeros(1, 16, 8), boxes))
    features = torch.zeros(1, 16, 8)
    features[0, 5, 0] = 5.0
    assert guide_loss(features, boxes) < guide_loss(torch.zeros(1, 16, 8), boxes)


@pytest.mark.parametrize("options", [{}, {"label_sigma": 2.0}, {"guide_weight": 0.5}])
def test_all_losses_reach_the_encoder(options):
    network = tiny_model().float()
    actor = ExtrasActor(network, network.vocabulary, mean=[0.0] * 3, std=[1.0] * 3, **options)
    batch = next(iter(make_loader(tiny.tiny_config()).epoch(1)))
    output = actor(batch)
    assert isinstance(batch, TrainingBatch) and 0 <= output.iou <= 1
    output.loss.backward()
    assert network.encoder.body.patch_embed.proj.weight.grad.abs().sum() > 0


def test_features_come_with_the_logits():
    network = tiny_model()
    template, search = tiny_images()
    tokens = torch.zeros(3, 5, dtype=torch.int64)
    logits, features = network(template, search, tokens, with_features=True)
    assert torch.equal(logits, network(template, search, tokens))
    assert torch.equal(features, network.encode(template, search)[:, : network.vit.num_search_tokens])


def test_cosine_falls_to_zero_over_all_epochs():
    cfg = default_config({"TRAIN.SCHEDULER.TYPE": "cosine", "TRAIN.EPOCH": 4})
    optimizer = SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = build_scheduler(optimizer, cfg)
    rates = []
    for _ in range(4):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([(1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)])


def test_smoothing_averages_neighboring_words_and_leaves_the_rest():
    network = tiny_model().float()
    layer, bins = network.vocab_embed.layers[-1], network.vocabulary.bins
    with torch.no_grad():
        layer.bias.zero_()
        layer.bias[10] = 1.0
    before = layer.weight[bins:].clone()
    network.smooth_tokens(2.0)
    distance = torch.arange(bins) - 10.0
    expected = torch.exp(-(distance**2) / 8) / (2 * math.sqrt(2 * math.pi))
    torch.testing.assert_close(layer.bias[3:20], expected[3:20], atol=1e-3, rtol=0.05)
    assert torch.equal(layer.weight[bins:], before)
    constant = tiny_model().float()
    with torch.no_grad():
        constant.vocab_embed.layers[-1].weight[:bins] = 3.0
    constant.smooth_tokens(2.0)
    torch.testing.assert_close(constant.vocab_embed.layers[-1].weight[:bins], torch.full((bins, 16), 3.0))


def test_words_are_smoothed_after_each_epoch(tmp_path, monkeypatch):
    widths = []
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=2, TRAIN__SMOOTH_TOKENS=1.5), tmp_path)
    monkeypatch.setattr(trainer.network, "smooth_tokens", widths.append)
    trainer.train()
    assert widths == [1.5, 1.5]


@pytest.mark.parametrize("key", ["LABEL_SIGMA", "GUIDE_WEIGHT", "SMOOTH_TOKENS"])
def test_negative_weights_are_refused(key):
    with pytest.raises(ConfigError, match=f"TRAIN.{key}: expected a number from 0"):
        default_config({f"TRAIN.{key}": -1.0})


def test_attention_on_a_cpu_in_bfloat16_is_attention():
    """Training in bfloat16 spells attention out; the result is that of the fused kernel."""
    from lib.models.seqtrack.vit import attend

    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 7, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    expected = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    torch.testing.assert_close(attend(query, key, value).float(), expected, atol=0.03, rtol=0.03)
