"""Maps are those of the network's own queries and keys, and recording them changes nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.models.seqtrack.maps import MapRecorder, central_tokens, overlay
from lib.models.seqtrack.precision import prepare_for_tracking
from lib.utils.errors import InputError
from tests.models.tiny import tiny_images, tiny_model

CASES = {
    "published": {},
    "pre_norm": {"MODEL__DECODER__PRE_NORM": True},
    "one_template": {"DATA__TEMPLATE__NUMBER": 1, "TEST__NUM_TEMPLATES": 1},
    "xz": {"MODEL__FEATURE_TYPE": "xz"},
    "trained_on_two_frames": {"DATA__SEARCH__NUMBER": 2},
}


def spy_on_attention(monkeypatch) -> list[torch.Tensor]:
    """Weights of every call of the fused kernel, (B, heads, L, N), in order."""
    seen, kernel = [], F.scaled_dot_product_attention

    def attend(query, key, value, **options):
        seen.append((query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1))
        return kernel(query, key, value, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", attend)
    return seen


@pytest.mark.parametrize("case", CASES)
def test_maps_are_the_weights_of_the_fused_kernel(case: str, monkeypatch) -> None:
    network = tiny_model(**CASES[case])
    templates, search = tiny_images(num_templates=network.num_templates)
    window = network.vocabulary.window()
    features = network.encode(templates, search)
    plain = network.generate(features, window)
    with MapRecorder(network, template_factor=4.0) as recorder:
        seen = spy_on_attention(monkeypatch)
        generated = network.generate(network.encode(templates, search), window)
    maps = recorder.read()
    assert torch.equal(generated.tokens, plain.tokens) and torch.equal(generated.likelihoods, plain.likelihoods)

    encoder, decoder = seen[:2], seen[2:]
    for block, weights in enumerate(encoder):  # a template of the tiny network is one token
        expected = weights[:, :, 4:, :4].transpose(1, 2).unflatten(-1, (2, 2))
        torch.testing.assert_close(maps.encoder[:, :, block].double(), expected, atol=1e-6, rtol=0)
    cross = decoder[:2] + decoder[3::2]  # the first token attends to itself alone, without a kernel
    expected = torch.stack([weights[:, :, 0, :4] for weights in cross], dim=1)
    expected = expected.unflatten(1, (4, 2)).unflatten(-1, (2, 2))
    torch.testing.assert_close(maps.cross.double(), expected, atol=1e-6, rtol=0)

    weighted = maps.probabilities.double().clone()
    weighted[:, list(network.vocabulary.window_steps())] *= window
    assert torch.equal(weighted.argmax(dim=-1), generated.tokens)
    torch.testing.assert_close(weighted.amax(dim=-1), generated.likelihoods, atol=1e-6, rtol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_recording_changes_nothing_in_any_precision(precision: str) -> None:
    network = prepare_for_tracking(tiny_model(), precision, torch.device("cpu"))
    templates, search = (images.float() for images in tiny_images())
    with torch.inference_mode():
        plain = network.generate(network.encode(templates, search))
        with MapRecorder(network, template_factor=4.0) as recorder:
            recorded = network.generate(network.encode_embedded(network.embed_template(templates), search))
    assert torch.equal(recorded.tokens, plain.tokens) and torch.equal(recorded.likelihoods, plain.likelihoods)
    maps = recorder.read()
    assert torch.equal(maps.probabilities.amax(dim=-1), plain.likelihoods)
    torch.testing.assert_close(maps.cross.sum(dim=(-2, -1)), torch.ones(3, 4, 2, 2))  # nowhere but on the crop


def test_central_tokens_are_those_of_the_target() -> None:
    assert central_tokens(16, 4.0).view(16, 16).nonzero().aminmax().max == 9
    assert central_tokens(16, 4.0).sum() == 16 and central_tokens(4, 2.0).sum() == 4
    assert central_tokens(1, 9.0).all() and central_tokens(7, 100.0).sum() == 1


def test_a_decoder_without_a_crop_has_no_maps() -> None:
    with pytest.raises(InputError, match="FEATURE_TYPE token"):
        MapRecorder(tiny_model(MODEL__FEATURE_TYPE="token"), template_factor=4.0)


def test_the_brightest_place_of_a_map_is_the_brightest_of_the_image() -> None:
    values = np.zeros((4, 4))
    values[1, 2] = 0.01
    image = overlay(np.zeros((64, 64, 3), np.uint8), values)
    row, column = np.unravel_index(image.sum(axis=2).argmax(), (64, 64))
    assert 16 <= row < 32 and 32 <= column < 48
