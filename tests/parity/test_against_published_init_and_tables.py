"""A fresh network has the published distributions; fixed tables have the published values."""

import math

import numpy as np
import pytest
import torch

from lib.config.seqtrack.config import default_config
from lib.models.seqtrack import CoordinateVocabulary, build_seqtrack
from lib.models.seqtrack.seqtrack import sinusoid_table
from tests.golden import load_json, load_npz, recipe

TABLES = load_npz("tables.npz")
STATISTICS = load_json("init_statistics.json")  # mean, standard deviation, min, max
SIZES = sorted(key.split("/")[0].removeprefix("sinusoid_") for key in TABLES if key.endswith("x256/head"))


@pytest.fixture(scope="module")
def fresh():
    torch.manual_seed(0)
    return build_seqtrack(default_config({"MODEL.DECODER.DEC_LAYERS": 2})).state_dict()


@pytest.mark.parametrize("key", STATISTICS)
def test_fresh_parameters_are_distributed_as_published(fresh, key):
    mean, std, low, high = STATISTICS[key]
    values = fresh[key]
    count = values.numel()
    assert values.mean().item() == pytest.approx(mean, abs=6 * std / math.sqrt(count) * math.sqrt(2) + 1e-7)
    assert values.std().item() == pytest.approx(std, rel=6 / math.sqrt(count), abs=1e-7)
    # The extremes tell a uniform distribution from a normal one, which reaches much further than 1.8 deviations.
    bound = max(abs(low), abs(high))
    assert values.abs().max().item() == pytest.approx(bound, rel=0.25 if bound > 3 * std else 0.02, abs=1e-7)


def test_every_kind_of_parameter_is_on_record(fresh):
    def kind(key):
        return ".".join(part for part in key.split(".") if not part.isdigit())

    assert {kind(key) for key in fresh} == {kind(key) for key in STATISTICS}


@pytest.mark.parametrize("size", SIZES)
def test_sinusoid_table(size):
    rows, dim = map(int, size.split("x"))
    table = sinusoid_table(rows, dim)
    head, tail = TABLES[f"sinusoid_{size}/head"], TABLES[f"sinusoid_{size}/tail"]
    np.testing.assert_allclose(table[: len(head), : head.shape[1]], head, rtol=0, atol=1e-7)
    np.testing.assert_allclose(table[-len(tail) :, -tail.shape[1] :], tail, rtol=0, atol=1e-7)
    np.testing.assert_allclose(recipe.probe(table), TABLES[f"sinusoid_{size}/probe"], rtol=1e-6, atol=1e-4)


def test_memory_positions_start_as_the_sinusoid_table(fresh):
    assert torch.equal(fresh["pos_embed"][0, :64], torch.from_numpy(TABLES["decoder_pos_embed_init_64x256"]))


def test_window():
    window = CoordinateVocabulary(4000).window()
    assert np.array_equal(window[:8], TABLES["hanning4000_head"])
    np.testing.assert_allclose(recipe.probe(window), TABLES["hanning4000_probe"], rtol=1e-12, atol=1e-12)
    middle = TABLES["hanning4000_mid"]
    assert any(np.array_equal(window[start : start + len(middle)], middle) for start in range(1990, 2002))
    assert np.array_equal(CoordinateVocabulary(1000).window()[:8], TABLES["hanning1000_head"])
