"""Encoder, teacher-forced decoder and greedy generation agree with the published network."""

from functools import cache

import numpy as np
import pytest
import torch

from lib.config.seqtrack.config import default_config, load_config
from lib.models.seqtrack import build_seqtrack
from tests.golden import load_json, load_npz, recipe

CASES = load_json("model_parity_cases.json")
KEYS = load_json("state_dict_keys.json")
DTYPES = {"f32": torch.float32, "f64": torch.float64}
# From an independent check of the reference; a probe holds sums over all values.
TOLERANCES = {
    "f32": {"features": 2e-4, "logits": 2e-3, "likelihoods": 1e-4, "probe": 0.1},
    "f64": {"features": 1e-9, "logits": 1e-9, "likelihoods": 1e-9, "probe": 1e-7},
}
SLOW = ("small_large", "seqtrack_b256")
# Cases with an encoder or with images of their own; all others share those of the first case.
OWN_ENCODER = ("small_t64n1", "small_search2", *SLOW)


def runs(cases):
    """A parameter for each case and precision on record."""
    return [
        pytest.param(case, precision, marks=pytest.mark.slow if case in SLOW else (), id=f"{case}-{precision}")
        for case in cases
        for precision in DTYPES
        if (case, precision) != ("small_large", "f64")
    ]


@pytest.fixture(scope="module")
def golden():
    yield load_npz("model_parity.npz")
    _weight.cache_clear()
    _features.cache_clear()


def config(case, **overrides):
    options = CASES[case]["overrides"] | overrides
    return load_config(CASES[case]["yaml"], options) if CASES[case]["yaml"] else default_config(options)


@cache
def _weight(key, shape, dtype):
    """Cached: the cases share most of their weights."""
    return recipe.weight_for(key, shape).to(dtype)


def recipe_model(case, precision, **overrides):
    """The network of a case with the weights of the recipe."""
    with torch.device("meta"):  # no time is lost on fresh weights
        model = build_seqtrack(config(case, **overrides))
    large = case in SLOW  # these would fill the memory
    weight = _weight.__wrapped__ if large else _weight
    weights = {key: weight(key, tuple(shape), DTYPES[precision]) for key, shape, _ in KEYS[case]}
    model.load_state_dict(weights, assign=True)
    return model.eval()


@cache
def _features(case, precision):
    cfg = config(case)
    template, search = cfg.DATA.TEMPLATE, cfg.DATA.SEARCH
    images = recipe.model_inputs(CASES[case]["batch"], template.SIZE, search.SIZE, template.NUMBER, search.NUMBER)
    images = [image.to(DTYPES[precision]) for image in images]
    model = recipe_model(case, precision)
    with torch.inference_mode():
        return model.encode(torch.stack(images[: template.NUMBER], 1), torch.stack(images[template.NUMBER :], 1))


def recipe_features(case, precision):
    """Encoder output of a case, computed once for all cases that differ in the decoder only."""
    return _features(case if case in OWN_ENCODER else "small_x_post", precision)


def assert_close(actual, expected, tolerance):
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance)


def test_the_recipe_makes_the_weights_and_inputs_on_record():
    record = load_json("recipe_selfcheck.json")
    for key, shape, _, probe, first in record["weights"]:
        weight = recipe.weight_for(key, shape)
        assert_close(weight.flatten()[: len(first)], first, 1e-5)
        np.testing.assert_allclose(recipe.probe(weight), probe, rtol=1e-5, atol=1e-5)
    images = recipe.model_inputs(2, 128, 128, 2, 1)
    for image, (_, probe, first) in zip(images, record["model_inputs(2,128,128,2,1)"], strict=True):
        assert_close(image.flatten()[: len(first)], first, 1e-5)
        np.testing.assert_allclose(recipe.probe(image), probe, rtol=1e-5, atol=1e-5)
    assert recipe.teacher_tokens(2, 4000).tolist() == record["teacher_tokens(2,4000)"]


@pytest.mark.parametrize("case", KEYS)
def test_state_dict_keys_and_their_order(case):
    cfg = config(case) if case in CASES else load_config(case)
    with torch.device("meta"):
        model = build_seqtrack(cfg)
    entries = [
        [key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in model.state_dict().items()
    ]
    assert entries == KEYS[case]


@pytest.mark.parametrize(("case", "precision"), runs(("small_x_post", *OWN_ENCODER)))
def test_encoder_features(golden, case, precision):
    features = recipe_features(case, precision)
    prefix, tolerance = f"{case}/{precision}/enc_", TOLERANCES[precision]
    assert features.shape == tuple(golden[prefix + "shape"])
    assert_close(features[0, :6, :16], golden[prefix + "head"], tolerance["features"])
    assert_close(features[-1, -6:, -16:], golden[prefix + "tail"], tolerance["features"])
    assert_close(recipe.probe(features), golden[prefix + "probe"], tolerance["probe"])


@pytest.mark.parametrize(("case", "precision"), runs(CASES))
def test_teacher_forced_logits(golden, case, precision):
    model = recipe_model(case, precision)
    tokens = recipe.teacher_tokens(CASES[case]["batch"], model.vocabulary.bins, model.num_search)
    with torch.inference_mode():
        logits = model.decode(recipe_features(case, precision), tokens)
    prefix, tolerance = f"{case}/{precision}/logits_", TOLERANCES[precision]
    assert (1, *logits.shape) == tuple(golden[prefix + "shape"])
    assert_close(logits[..., :16], golden[prefix + "head"], tolerance["logits"])
    assert_close(logits[..., -16:], golden[prefix + "tail"], tolerance["logits"])
    assert_close(logits.double().logsumexp(-1), golden[prefix + "lse"], tolerance["logits"])
    assert_close(recipe.probe(logits), golden[prefix + "probe"], tolerance["probe"])
    assert np.array_equal(logits.argmax(-1), golden[prefix + "argmax"])


@pytest.mark.parametrize(("case", "precision"), runs([case for case in CASES if case != "small_search2"]))
def test_generated_tokens_and_likelihoods(golden, case, precision):
    prefixes = sorted({key.rsplit("/", 1)[0] for key in golden if key.startswith(f"{case}/{precision}/infer_")})
    assert prefixes
    for prefix in prefixes:
        _, windowed, seq_format = prefix.rsplit("/", 1)[1].split("_")
        model = recipe_model(case, precision, **{"DATA.SEQ_FORMAT": seq_format})
        window = model.vocabulary.window() if windowed == "win" else None
        with torch.inference_mode():
            generated = model.generate(recipe_features(case, precision), window)
        assert np.array_equal(generated.tokens, golden[f"{prefix}/pred_boxes"]), prefix
        expected = golden[f"{prefix}/confidence"]
        assert str(generated.likelihoods.dtype) == f"torch.{expected.dtype}"
        assert_close(generated.likelihoods, expected, TOLERANCES[precision]["likelihoods"])
