"""Loss and overlap agree with the published actor (tests/golden/actor_parity.npz)."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.models.seqtrack import CoordinateVocabulary
from lib.train.actors.seqtrack import SeqTrackActor
from tests.golden import load_npz, recipe

GOLDEN = load_npz("actor_parity.npz")
BOXES = torch.from_numpy(GOLDEN["boxes"])[:, None]  # (12, 1, 4)
FORMATS = ("xywh", "whxy", "corner")


def make_actor(bins, seq_format, **options):
    return SeqTrackActor(
        nn.Identity(), CoordinateVocabulary(bins, seq_format), mean=[0.0] * 3, std=[1.0] * 3, **options
    )


def logits_of(bins, tokens, vocabulary):
    random = recipe.actor_logits(12, 1, bins + 2, seed=100 + bins)
    target = vocabulary.target_sequence(tokens)
    return random[0], recipe.actor_near_logits(random, target, bins)[0]


@pytest.mark.parametrize("seq_format", FORMATS)
@pytest.mark.parametrize("bins", [4000, 1000])
def test_loss(bins, seq_format):
    actor, key = make_actor(bins, seq_format), f"bins{bins}/{seq_format}"
    tokens = actor.vocabulary.encode(BOXES)
    random, near = logits_of(bins, tokens, actor.vocabulary)
    rows = torch.from_numpy(GOLDEN[f"{key}/subset_rows"])
    for name, logits, subset in (
        ("random", random, slice(None)),
        ("near", near, slice(None)),
        ("near_subset", near, rows),
    ):
        loss = actor.score(logits[subset], tokens[subset]).loss.item()
        assert loss == pytest.approx(float(GOLDEN[f"{key}/loss_{name}"]), rel=1e-5)


@pytest.mark.parametrize("bins", [4000, 1000])
def test_overlap_of_center_format(bins):
    """Published numbers are right for xywh where no box is empty; an empty pair (published: NaN) counts 0."""
    actor = make_actor(bins, "xywh")
    tokens = actor.vocabulary.encode(BOXES)
    _, near = logits_of(bins, tokens, actor.vocabulary)
    rows = torch.from_numpy(GOLDEN[f"bins{bins}/xywh/subset_rows"])
    subset = actor.score(near[rows], tokens[rows]).iou.item()
    assert subset == pytest.approx(float(GOLDEN[f"bins{bins}/xywh/iou_near_subset"]), rel=1e-5)
    assert np.isnan(GOLDEN[f"bins{bins}/xywh/iou_near"])
    assert 0 < actor.score(near, tokens).iou.item() <= 1


@pytest.mark.parametrize("seq_format", FORMATS)
def test_overlap_is_right_for_every_format(seq_format):
    """The same predicted boxes have the same overlap in whatever format (published: only for xywh)."""
    actor = make_actor(4000, seq_format)
    predicted = torch.tensor([[0.1, 0.2, 0.4, 0.3], [0.5, 0.5, 0.2, 0.2]])[:, None]
    ground_truth = torch.tensor([[0.2, 0.2, 0.4, 0.3], [0.5, 0.5, 0.2, 0.2]])[:, None]
    tokens = actor.vocabulary.target_sequence(actor.vocabulary.encode(predicted))
    logits = nn.functional.one_hot(tokens, actor.vocabulary.size).float()
    iou = actor.score(logits, actor.vocabulary.encode(ground_truth)).iou.item()
    assert iou == pytest.approx((0.3 / 0.5 + 1) / 2, abs=2e-3)


def test_corners_in_the_wrong_order_overlap_nothing():
    actor = make_actor(100, "corner")
    logits = nn.functional.one_hot(torch.tensor([[80, 80, 20, 20, 100]]), 102).float()
    assert actor.score(logits, torch.tensor([[[20, 20, 80, 80]]])).iou.item() == 0


def test_two_search_frames():
    actor = make_actor(4000, "xywh")
    tokens = actor.vocabulary.encode(torch.from_numpy(GOLDEN["search2/boxes"]).transpose(0, 1))  # (3, 2, 4)
    output = actor.score(recipe.actor_logits(3, 2, 4002, 77)[0], tokens)
    assert output.loss.item() == pytest.approx(float(GOLDEN["search2/loss"]), rel=1e-5)
    assert output.iou.item() == pytest.approx(float(GOLDEN["search2/iou"]), rel=1e-4, abs=1e-6)


def test_loss_weight():
    plain, half = make_actor(1000, "xywh"), make_actor(1000, "xywh", ce_weight=0.5)
    logits, tokens = torch.randn(12, 5, 1002), plain.vocabulary.encode(BOXES)
    assert half.score(logits, tokens).loss == 0.5 * plain.score(logits, tokens).loss
