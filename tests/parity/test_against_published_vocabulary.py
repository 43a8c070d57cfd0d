"""Boxes become the published token sequences."""

import numpy as np
import pytest
import torch

from lib.models.seqtrack import CoordinateVocabulary
from tests.golden import load_npz

GOLDEN = load_npz("actor_parity.npz")


@pytest.mark.parametrize("seq_format", ["xywh", "whxy", "corner"])
@pytest.mark.parametrize("bins", [4000, 1000])
def test_input_and_target_sequences(bins, seq_format):
    vocabulary = CoordinateVocabulary(bins, seq_format)
    tokens = vocabulary.encode(torch.from_numpy(GOLDEN["boxes"]))
    prefix = f"bins{bins}/{seq_format}/"
    assert np.array_equal(vocabulary.input_sequence(tokens), GOLDEN[prefix + "input_seq"])
    assert np.array_equal(vocabulary.target_sequence(tokens), GOLDEN[prefix + "target_seq"])


def test_sequences_of_two_search_frames():
    vocabulary = CoordinateVocabulary(4000)
    tokens = vocabulary.encode(torch.from_numpy(GOLDEN["search2/boxes"])).transpose(0, 1)  # (B, S, 4)
    assert np.array_equal(vocabulary.input_sequence(tokens), GOLDEN["search2/input_seq"])
    assert np.array_equal(vocabulary.target_sequence(tokens).flatten(), GOLDEN["search2/target_seq"])


@pytest.mark.parametrize("bins", [4000, 1000])
def test_loss_weights(bins):
    weights = CoordinateVocabulary(bins).loss_weights()
    assert np.array_equal(weights[-4:], GOLDEN[f"bins{bins}/ce_weight_last4"])
    assert len(weights) == bins + 2 and (weights[:bins] == 1).all()
