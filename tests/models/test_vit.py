import pytest
import timm
import torch
from torch import nn

from lib.config.seqtrack.config import SCHEMA, get_option
from lib.models.seqtrack import layers
from lib.models.seqtrack.vit import VARIANTS, build_vit, find_variant
from lib.utils.errors import ConfigError, InputError
from tests.models.tiny import tiny_images

TEST_VARIANT = VARIANTS["vit_test_patch16"]


def tiny_encoder(**options):
    torch.manual_seed(0)
    return build_vit(TEST_VARIANT, search_size=32, template_size=16, **options).double()


def encode(encoder, template, search):
    return encoder(encoder.embed_search(search), encoder.embed_template(template))


def test_the_configuration_allows_the_encoders_that_exist():
    assert set(get_option(SCHEMA, "MODEL.ENCODER.TYPE").choices) == set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_can_be_built(name):
    variant = find_variant(name, declared_stride=VARIANTS[name].stride)
    with torch.device("meta"):
        encoder = build_vit(variant, search_size=16 * 14, template_size=8 * 14)
        search, template = torch.empty(2, 1, 3, 224, 224), torch.empty(2, 2, 3, 112, 112)
        features = encode(encoder, template, search)
    num_tokens = (224 // variant.stride) ** 2 + 2 * (112 // variant.stride) ** 2
    assert features.shape == (2, num_tokens, variant.dim)


def test_search_tokens_come_first():
    encoder = tiny_encoder()
    template, search = tiny_images()
    search_tokens, template_tokens = encoder.embed_search(search), encoder.embed_template(template)
    assert search_tokens.shape == (3, 4, 32) and template_tokens.shape == (3, 2, 32)
    encoder.blocks = nn.ModuleList()  # what remains is the order of the tokens and the final norm
    features = encoder(search_tokens, template_tokens)
    torch.testing.assert_close(features[:, :4], encoder.norm(search_tokens))
    torch.testing.assert_close(features[:, 4:], encoder.norm(template_tokens))


def test_every_token_sees_search_and_templates():
    encoder = tiny_encoder().eval()
    template, search = tiny_images()
    features = encode(encoder, template, search)
    changed = template.clone()
    changed[:, 1] += 1
    difference = (encode(encoder, changed, search) - features).abs().amax(dim=(0, 2))
    assert (difference > 1e-9).all()


def test_all_templates_share_their_positions():
    encoder = tiny_encoder().eval()
    template, search = tiny_images()
    swapped = encode(encoder, template.flip(1), search)
    torch.testing.assert_close(swapped[:, :4], encode(encoder, template, search)[:, :4])


def test_checkpointing_changes_neither_features_nor_gradients():
    template, search = tiny_images()
    results = []
    for use_checkpoint in (False, True):
        encoder = tiny_encoder(use_checkpoint=use_checkpoint).train()
        features = encode(encoder, template, search)
        features.square().mean().backward()
        results.append((features.detach(), {name: p.grad for name, p in encoder.named_parameters()}))
    (plain, plain_grads), (recomputed, recomputed_grads) = results
    torch.testing.assert_close(recomputed, plain)
    assert all(grad is not None for grad in plain_grads.values())
    torch.testing.assert_close(recomputed_grads, plain_grads)


def test_checkpointing_stores_fewer_activations():
    def stored(use_checkpoint):
        encoder, template, search = tiny_encoder(use_checkpoint=use_checkpoint).train(), *tiny_images()
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            encode(encoder, template, search)
        return sum(sizes)

    assert stored(True) < 0.6 * stored(False)


def test_drop_path_rises_with_depth_and_acts_in_training_only():
    encoder = tiny_encoder(drop_path=0.5)
    plain = tiny_encoder(drop_path=0.0)
    assert isinstance(encoder.blocks[0].drop_path, nn.Identity)
    assert encoder.blocks[1].drop_path.drop_prob == 0.5
    images = tiny_images(batch=8)
    torch.testing.assert_close(encode(encoder.eval(), *images), encode(plain.eval(), *images))
    assert not torch.allclose(encode(encoder.train(), *images), encode(plain.train(), *images))


def test_without_drop_path_training_is_deterministic():
    encoder, images = tiny_encoder(), tiny_images()
    assert torch.equal(encode(encoder.train(), *images), encode(encoder.eval(), *images))


@pytest.mark.parametrize("shape", [(1, 1, 3, 16, 16), (1, 1, 1, 32, 32), (1, 3, 32, 32)])
def test_a_search_crop_of_another_shape_is_refused(shape):
    with pytest.raises(InputError, match=r"search images have shape .* expected \(B, n, 3, 32, 32\)"):
        tiny_encoder().embed_search(torch.zeros(shape, dtype=torch.float64))


def test_an_unknown_encoder_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"vit_base_path16.*known: .*vit_tiny_patch16.*did you mean vit_base_patch16"):
        find_variant("vit_base_path16")


def test_a_stride_that_is_not_the_encoders_is_refused():
    with pytest.raises(ConfigError, match=r"STRIDE: patches of vit_huge_patch14 have 14 pixels, not 16"):
        find_variant("vit_huge_patch14", declared_stride=16)


@pytest.mark.parametrize(("search", "template", "key"), [(40, 16, "SEARCH"), (32, 24, "TEMPLATE")])
def test_a_crop_that_is_no_multiple_of_the_stride_is_refused(search, template, key):
    with pytest.raises(ConfigError, match=f"DATA.{key}.SIZE"):
        build_vit(TEST_VARIANT, search_size=search, template_size=template)


def test_a_drop_path_of_one_is_refused():
    with pytest.raises(ConfigError, match="DROP_PATH"):
        tiny_encoder(drop_path=1.0)


def test_layers_are_those_of_timm():
    """The same names, results, and random numbers from the same seed."""
    tokens = torch.randn(8, 5, 4)
    images = torch.randn(2, 3, 8, 8)
    for ours, theirs, values in (
        (lambda: layers.Mlp(4), lambda: timm.layers.Mlp(4, hidden_features=16), tokens),
        (lambda: layers.DropPath(0.3), lambda: timm.layers.DropPath(0.3), tokens),
        (
            lambda: layers.PatchEmbed(4, 6),
            lambda: timm.layers.PatchEmbed(img_size=None, patch_size=4, embed_dim=6),
            images,
        ),
    ):
        results = []
        for make in (ours, theirs):
            torch.manual_seed(0)
            layer = make().train()
            results.append((layer(values), list(layer.state_dict())))
        assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]
    torch.manual_seed(0)
    drawn = layers.trunc_normal_(torch.empty(50, 60), std=0.02)
    torch.manual_seed(0)
    assert torch.equal(drawn, timm.layers.trunc_normal_(torch.empty(50, 60), std=0.02))
