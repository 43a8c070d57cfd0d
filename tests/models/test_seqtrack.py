import copy

import pytest
import torch

from lib.config.seqtrack.config import SCHEMA, get_option
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.seqtrack import FEATURE_TYPES, SeqTrack
from lib.utils.errors import ConfigError, InputError
from tests.models.tiny import tiny_config, tiny_images, tiny_model

FORMATS = ("xywh", "whxy", "corner")


def generate_by_full_passes(model, features, window):
    """Greedy tokens from teacher-forced passes over a growing sequence: slow, and free of any cache."""
    tokens = torch.full((len(features), 1), model.vocabulary.start)
    likelihoods = []
    for step in range(4):
        scores = model.decode(features, tokens)[:, -1].softmax(-1)[:, : model.vocabulary.bins]
        if window is not None and step in model.vocabulary.window_steps():
            scores = scores * window
        likelihood, token = scores.max(dim=1)
        likelihoods.append(likelihood)
        tokens = torch.cat((tokens, token[:, None]), dim=1)
    return tokens[:, 1:], torch.stack(likelihoods, dim=1)


def test_the_configuration_allows_the_feature_types_that_exist():
    assert set(get_option(SCHEMA, "MODEL.FEATURE_TYPE").choices) == set(FEATURE_TYPES)


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("seq_format", FORMATS)
@pytest.mark.parametrize("windowed", [False, True])
@torch.inference_mode()
def test_generate_is_the_argmax_of_teacher_forced_passes(feature_type, pre_norm, seq_format, windowed):
    model = tiny_model(MODEL__FEATURE_TYPE=feature_type, MODEL__DECODER__PRE_NORM=pre_norm, DATA__SEQ_FORMAT=seq_format)
    features = model.encode(*tiny_images(batch=6))
    window = model.vocabulary.window() if windowed else None
    tokens, likelihoods = generate_by_full_passes(model, features, window)
    said = model.generate(features, window)
    assert torch.equal(said.tokens, tokens)
    torch.testing.assert_close(said.likelihoods, likelihoods, atol=1e-12, rtol=1e-10)


@torch.inference_mode()
def test_the_words_depend_on_the_images_and_on_the_window():
    """Guards the tests of this file: a network that always says the same box would pass most of them."""
    model = tiny_model()
    features = model.encode(*tiny_images(batch=6))
    tokens = model.generate(features).tokens
    assert len({tuple(row) for row in tokens.tolist()}) > 2
    assert not torch.equal(model.generate(features, model.vocabulary.window()).tokens, tokens)


@torch.inference_mode()
def test_samples_of_a_batch_do_not_touch_each_other():
    model = tiny_model()
    template, search = tiny_images(batch=4)
    together = model.generate(model.encode(template, search))
    for index in range(4):
        alone = model.generate(model.encode(template[index : index + 1], search[index : index + 1]))
        assert torch.equal(alone.tokens[0], together.tokens[index])
        torch.testing.assert_close(alone.likelihoods[0], together.likelihoods[index], atol=1e-12, rtol=1e-10)


@torch.inference_mode()
def test_kept_template_tokens_give_the_same_features():
    model = tiny_model()
    template, search = tiny_images()
    one_by_one = [model.embed_template(template[:, index : index + 1]) for index in range(2)]
    features = model.encode_embedded(torch.cat(one_by_one, dim=1), search)
    torch.testing.assert_close(features, model.encode(template, search), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
def test_every_parameter_learns(feature_type):
    model = tiny_model(MODEL__FEATURE_TYPE=feature_type).train()
    tokens = model.vocabulary.input_sequence(torch.randint(0, 30, (3, 4)))
    logits = model(*tiny_images(), tokens)
    assert logits.shape == (3, 5, 32)
    logits.square().mean().backward()
    # One memory token gets all attention whatever its key, so the positions of `token` memory cannot matter.
    idle = {"pos_embed"} if feature_type == "token" else set()
    still = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 1e-12}
    assert still <= idle


def test_equal_widths_keep_the_bottleneck_unused():
    model = tiny_model(MODEL__HIDDEN_DIM=32)
    logits = model(*tiny_images(), torch.full((3, 1), model.vocabulary.start))
    logits.sum().backward()
    assert "bottleneck.weight" in model.state_dict()
    assert model.bottleneck.weight.grad is None


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
@torch.inference_mode()
def test_two_search_frames_train_and_one_tracks(feature_type):
    model = tiny_model(DATA__SEARCH__NUMBER=2, MODEL__FEATURE_TYPE=feature_type)
    template, search = tiny_images(num_search=2)
    tokens = model.vocabulary.input_sequence(torch.randint(0, 30, (3, 2, 4)))
    assert model(template, search, tokens).shape == (3, 10, 32)
    features = model.encode(template, search[:, :1])
    said = model.generate(features)
    assert torch.equal(said.tokens, generate_by_full_passes(model, features, None)[0])


def test_one_tracked_frame_uses_the_positions_of_the_first_trained_one():
    model = tiny_model(DATA__SEARCH__NUMBER=2, MODEL__FEATURE_TYPE="xz")
    with torch.inference_mode():
        features = model.encode(*tiny_images())
        logits = model.decode(features, torch.tensor([[31]] * 3))
        model.pos_embed[:, 4:8] = 99.0  # the second search frame
        torch.testing.assert_close(model.decode(features, torch.tensor([[31]] * 3)), logits)
        model.pos_embed[:, 8:] = 99.0 * torch.randn(1, 2, 16, dtype=torch.float64)  # the templates
        assert not torch.allclose(model.decode(features, torch.tensor([[31]] * 3)), logits)


@torch.inference_mode()
def test_feature_type_x_reads_search_tokens_only():
    model = tiny_model()
    features = model.encode(*tiny_images())
    changed = features.clone()
    changed[:, 4:] += 1
    assert torch.equal(model.generate(changed).likelihoods, model.generate(features).likelihoods)


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
@torch.inference_mode()
def test_likelihoods_are_at_least_single_precision(dtype, expected):
    model = tiny_model().to(dtype)
    template, search = (images.to(dtype) for images in tiny_images())
    features = model.encode(template, search)
    assert features.dtype == dtype
    assert model.generate(features).likelihoods.dtype == expected
    assert model.generate(features, model.vocabulary.window()).likelihoods.dtype == torch.float64
    assert model.generate(features, model.vocabulary.window(torch.float32)).likelihoods.dtype == expected


def test_nothing_is_read_back_from_the_device():
    """A meta tensor has no values: reading one, or mixing devices, raises."""
    with torch.device("meta"):
        model = build_seqtrack(tiny_config()).eval()
        images = torch.empty(2, 2, 3, 16, 16), torch.empty(2, 1, 3, 32, 32)
        said = model.generate(model.encode(*images), torch.empty(30, dtype=torch.float64))
    assert said.tokens.shape == said.likelihoods.shape == (2, 4)
    assert said.tokens.device.type == "meta"


def test_tracking_and_training_compile_without_a_graph_break():
    model, images = tiny_model(), tiny_images()
    window = model.vocabulary.window()
    track = torch.compile(
        lambda template, search: model.generate(model.encode(template, search), window), backend="eager", fullgraph=True
    )
    assert torch.equal(track(*images).tokens, model.generate(model.encode(*images), window).tokens)
    tokens = torch.full((3, 5), 31)
    train = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(train(*images, tokens), model(*images, tokens))


def test_a_copy_shares_nothing_and_building_draws_from_the_global_seed():
    model = tiny_model()
    clone = copy.deepcopy(model)
    clone.pos_embed.data.zero_()
    assert model.pos_embed.abs().sum() > 0
    assert isinstance(clone, SeqTrack)
    first, second = tiny_model(seed=3), tiny_model(seed=3)
    torch.testing.assert_close(first.state_dict(), second.state_dict())


def test_the_state_dict_holds_parameters_only():
    model = tiny_model()
    assert list(model.state_dict()) == [name for name, _ in model.named_parameters()]


def test_another_number_of_templates_is_refused():
    template, search = tiny_images(num_templates=3)
    with pytest.raises(InputError, match="made for 2 templates, got 3"):
        tiny_model().encode(template, search)


def test_a_sequence_that_is_too_long_is_refused():
    model = tiny_model()
    with pytest.raises(InputError, match="6 tokens, the decoder takes 5"):
        model(*tiny_images(), torch.zeros(3, 6, dtype=torch.int64))


@pytest.mark.parametrize("num_tokens", [2, 5, 10])
def test_features_of_another_model_are_refused(num_tokens):
    with pytest.raises(InputError, match=f"features have {num_tokens} tokens"):
        tiny_model().generate(torch.zeros(1, num_tokens, 32, dtype=torch.float64))


def test_an_unknown_feature_type_is_refused():
    cfg = tiny_config()
    cfg.MODEL.FEATURE_TYPE = "z"
    with pytest.raises(ConfigError, match="FEATURE_TYPE: 'z' is not one of x, xz, token"):
        build_seqtrack(cfg)
