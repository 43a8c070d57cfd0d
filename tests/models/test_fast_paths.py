"""Fast inference changes nothing: compared with the plain version in float64, where rounding decides no token."""

from pathlib import Path

import pytest
import torch

from benchmarks import plain
from lib.models.seqtrack import cpu
from lib.models.seqtrack.cpu import (
    Int8Linear,
    PackedLinear,
    SplitLinear,
    attend_in_bfloat16,
    optimize_for_cpu,
    split_linear,
)
from lib.models.seqtrack.precision import NarrowLinear, prepare_for_tracking, set_precision
from lib.models.seqtrack.seqtrack import FEATURE_TYPES
from lib.models.seqtrack.vit import JointViT, attend
from lib.utils.errors import InputError
from tests.models.tiny import tiny_config, tiny_images, tiny_model
from tests.threads import one_thread  # noqa: F401 - a fixture

CPU = torch.device("cpu")


def project_memory(network, features):
    return network.decoder.project_memory(*network.select_memory(features))


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("windowed", [False, True])
@pytest.mark.parametrize("pre_norm", [False, True])
@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
@torch.inference_mode()
def test_a_box_is_read_as_the_plain_version_reads_it(feature_type, pre_norm, windowed, batch):
    model = tiny_model(MODEL__FEATURE_TYPE=feature_type, MODEL__DECODER__PRE_NORM=pre_norm)
    template, search = tiny_images(batch=batch)
    window = model.vocabulary.window() if windowed else None
    tokens, likelihoods = plain.generate(model, plain.encode(model, template, search), window)
    features = model.encode_embedded(model.embed_template(template), search, search_only=True)
    said = model.generate(features, window)
    assert torch.equal(said.tokens, tokens)
    torch.testing.assert_close(said.likelihoods, likelihoods, atol=1e-12, rtol=1e-9)


@torch.inference_mode()
def test_all_features_are_those_of_the_plain_version():
    model = tiny_model()
    torch.testing.assert_close(model.encode(*tiny_images()), plain.encode(model, *tiny_images()), atol=1e-11, rtol=1e-9)


@torch.inference_mode()
def test_the_last_block_leaves_the_templates_out_and_the_search_tokens_as_they_are():
    model = tiny_model()
    template, search = tiny_images()
    tokens = model.embed_template(template)
    features = model.encode_embedded(tokens, search)
    widths = []
    for block in model.encoder.body.blocks:
        block.mlp.register_forward_hook(lambda module, args, output: widths.append(output.shape[1]))
    needed = model.encode_embedded(tokens, search, search_only=True)
    assert widths == [6, 4]  # 4 search tokens, 2 templates of 1 token
    torch.testing.assert_close(needed, features[:, :4], atol=1e-12, rtol=1e-12)


def test_patches_as_one_product_are_the_convolution():
    torch.manual_seed(0)
    body = JointViT(dim=12, depth=1, num_heads=2, stride=4, search_size=12, template_size=8).double()
    images = torch.randn(2, 3, 3, 12, 12, dtype=torch.float64)
    for layout in (images, images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)):
        tokens = body.embed_search(layout).unflatten(1, (3, 9)) - body.pos_embed[:, :9]
        expected = body.patch_embed(images.flatten(0, 1)).unflatten(0, (2, 3))
        torch.testing.assert_close(tokens, expected, atol=1e-12, rtol=1e-12)


def test_nothing_is_read_back_from_the_device():
    """Tensors on the meta device have no values: reading one is an error."""
    model = tiny_model().to("meta")
    template, search = (images.to("meta") for images in tiny_images())
    features = model.encode_embedded(model.embed_template(template), search, search_only=True)
    said = model.generate(features, torch.empty(30, dtype=torch.float64, device="meta"))
    assert said.tokens.shape == said.likelihoods.shape == (3, 4)
    with pytest.raises(RuntimeError):
        said.tokens.tolist()


@torch.inference_mode()
@pytest.mark.parametrize("gelu", [False, True])
def test_packed_layers_are_the_layers_they_replace(gelu):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    tokens = torch.randn(2, 5, 64)
    expected = torch.nn.functional.gelu(layer(tokens)) if gelu else layer(tokens)
    packed = PackedLinear(layer, rows=7, gelu=gelu)
    torch.testing.assert_close(packed(tokens), expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.ops.seqtrack.packed_linear(tokens, packed._number), expected)


@pytest.mark.parametrize("rows", [7, 8])  # odd and even: of the weights
@pytest.mark.parametrize("batch", [1, 2, 5])
@torch.inference_mode()
def test_single_words_are_multiplied_as_by_a_linear_layer(rows, batch):
    torch.manual_seed(0)
    weight, bias = torch.randn(30, 6, dtype=torch.float64)[:rows], torch.randn(rows, dtype=torch.float64)
    for words in (1, 3):
        tokens = torch.randn(batch, words, 6, dtype=torch.float64)
        expected = torch.nn.functional.linear(tokens, weight, bias)
        got = split_linear(tokens, weight, bias)
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
        assert got.is_contiguous()
        if words == 1 and rows == 8:
            torch.testing.assert_close(torch.ops.seqtrack.token_linear(tokens, weight, bias), expected)


def test_a_single_word_can_be_trained():
    weight = torch.randn(8, 6, requires_grad=True)
    split_linear(torch.randn(2, 1, 6), weight, torch.zeros(8)).sum().backward()
    assert weight.grad is not None


@pytest.mark.parametrize("feature_type", FEATURE_TYPES)
@torch.inference_mode()
def test_what_is_kept_for_tracking_changes_nothing(feature_type):
    """Two search crops in training, one in tracking; what is kept is for one, two are projected again."""
    choices = {"MODEL__FEATURE_TYPE": feature_type, "DATA__SEARCH__NUMBER": 2}
    fresh, frozen = tiny_model(**choices), tiny_model(**choices)
    frozen.precompute()
    for crops in (1, 2):
        features = fresh.encode(*tiny_images(num_search=crops))
        for a, b in zip(project_memory(frozen, features), project_memory(fresh, features), strict=True):
            torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-9)


@torch.inference_mode()
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.02)])
def test_a_packed_network_says_the_same(precision, tolerance):
    plainly = set_precision(tiny_model(spread=1.0), precision, CPU)
    packed = prepare_for_tracking(tiny_model(spread=1.0), precision, CPU)
    packs = precision == "float32" or cpu.multiplies_bfloat16()  # a matter of the processor
    assert {type(block.mlp.fc1) for block in packed.encoder.body.blocks} == {PackedLinear if packs else NarrowLinear}
    assert {type(layer) for layer in packed.vocab_embed.layers} == {SplitLinear}
    assert packed.vocab_embed.state_dict().keys() == plainly.vocab_embed.state_dict().keys()
    dtype = packed.encoder.body.pos_embed.dtype
    template, search = (images.to(dtype) for images in tiny_images(batch=16))
    expected, features = plainly.encode(template, search).float(), packed.encode(template, search).float()
    assert (features - expected).norm() / expected.norm() < tolerance
    for kept, fresh in zip(project_memory(packed, features), project_memory(plainly, features), strict=True):
        torch.testing.assert_close(kept, fresh)
    if precision == "float32":
        assert torch.equal(packed.generate(features).tokens, plainly.generate(expected).tokens)


def test_weights_stay_as_they_are_where_they_cannot_be_packed(monkeypatch, caplog):
    kinds = []
    kinds.append(optimize_for_cpu(tiny_model()))  # float64
    kinds.append(prepare_for_tracking(tiny_model(), "float32", torch.device("meta")))

    def missing(*args):
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(PackedLinear, "forward", missing)
    with caplog.at_level("INFO"):
        kinds.append(prepare_for_tracking(tiny_model(), "float32", CPU))
    assert "cannot pack weights: no such operator" in caplog.text and "and more" not in caplog.text
    for network in kinds:
        assert all(type(block.mlp.fc1) is torch.nn.Linear for block in network.encoder.body.blocks)
        assert all(type(block.mlp.act) is torch.nn.GELU for block in network.encoder.body.blocks)


def attention_inputs(dtype, batch=2, queries=150, keys=150):
    """Views of one projection, as a block makes them; keys share a large part, as those of trained networks do."""
    generator = torch.Generator().manual_seed(0)
    projected = torch.randn(batch, keys, 3, 3, 16, generator=generator, dtype=torch.float64)
    projected[:, :, 1] += 20 * torch.randn(16, generator=generator, dtype=torch.float64)
    query, key, value = projected.to(dtype).permute(2, 0, 3, 1, 4).unbind(0)
    return query[:, :, :queries], key, value


@pytest.mark.parametrize("at_once", [10**9, 150 * 150 * 2, 150 * 40])  # all heads, two of them, some rows of one
@pytest.mark.parametrize(("batch", "queries"), [(1, 150), (8, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_attention_in_bfloat16_is_attention_but_for_rounding(monkeypatch, dtype, batch, queries, at_once):
    monkeypatch.setattr(cpu, "SCORES_AT_ONCE", at_once)
    inputs = attention_inputs(dtype, batch, queries)
    expected = attend(*(x.double() for x in inputs))
    mixed = attend_in_bfloat16(*inputs)
    assert mixed.dtype == dtype and mixed.shape == expected.shape
    assert (mixed - expected).norm() / expected.norm() < 0.008  # 0.03 if the mean key stayed in the scores
    assert torch.equal(torch.ops.seqtrack.attention(*inputs), mixed)


@torch.inference_mode()
def test_attention_to_few_keys_is_that_of_pytorch():
    inputs = attention_inputs(torch.float32, queries=20, keys=cpu.FEWEST_KEYS - 1)
    assert torch.equal(attend_in_bfloat16(*inputs), attend(*inputs))


@pytest.mark.parametrize(
    ("features", "precision", "chosen"),
    [
        ({"_is_avx512_bf16_supported"}, "bfloat16", attend_in_bfloat16),
        ({"_is_avx512_bf16_supported"}, "int8", attend_in_bfloat16),
        ({"_is_avx512_bf16_supported"}, "float32", attend),
        ({"_is_avx512_bf16_supported"}, "float16", attend),
        ({"_is_avx512_bf16_supported", "_is_amx_tile_supported"}, "bfloat16", attend),
        (set(), "int8", attend),
    ],
)
@torch.inference_mode()
def test_attention_is_chosen_by_precision_and_processor(monkeypatch, features, precision, chosen):
    monkeypatch.setattr(cpu, "cpu_has", lambda *names: bool(features & set(names)))
    monkeypatch.setattr(cpu, "FEWEST_KEYS", 1)
    network = prepare_for_tracking(tiny_model(spread=1.0), precision, CPU)
    assert {block.attn.attend for block in network.vit.blocks} == {chosen}
    template, search = (images.float() for images in tiny_images())
    expected, features = tiny_model(spread=1.0).float().encode(template, search), network.encode(template, search)
    assert (features - expected).norm() / expected.norm() < (1e-5 if precision == "float32" else 0.05)


@torch.inference_mode()
@pytest.mark.parametrize("gelu", [False, True])
def test_int8_layers_are_close_to_the_layers_they_replace(gelu):
    torch.manual_seed(0)
    layer = torch.nn.Linear(64, 48)
    tokens = torch.randn(2, 5, 64)
    expected = torch.nn.functional.gelu(layer(tokens)) if gelu else layer(tokens)
    error = (Int8Linear(layer, gelu)(tokens) - expected).norm() / expected.norm()
    assert 0 < error < 0.02


@torch.inference_mode()
def test_int8_and_bfloat16_networks_say_nearly_the_same():
    template, search = (images.float() for images in tiny_images(batch=16))
    exact = tiny_model(spread=1.0).float()
    features = exact.encode(template, search)
    for precision in ("int8", "bfloat16"):
        model = set_precision(tiny_model(spread=1.0).float(), precision, CPU)
        dtype = model.encoder.body.pos_embed.dtype
        close = model.encode(template.to(dtype), search.to(dtype)).float()
        assert 0 < (close - features).norm() / features.norm() < 0.05
        likelihoods = model.generate(close).likelihoods
        torch.testing.assert_close(likelihoods, exact.generate(features).likelihoods, atol=0.02, rtol=0.1)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_only_matrix_products_of_the_encoder_are_narrowed_on_every_device(dtype, device):
    model = set_precision(tiny_model(), str(dtype).removeprefix("torch."), torch.device(device))
    for name, parameter in model.encoder.named_parameters():
        assert parameter.dtype == (dtype if ".attn." in name or ".mlp." in name else torch.float32), name
    template, search = (images.float().to(device) for images in tiny_images())
    assert model.encode(template, search).dtype == torch.float32
    for part in (model.decoder, model.vocab_embed, model.bottleneck):
        assert {parameter.dtype for parameter in part.parameters()} == {torch.float32}


def test_int8_swaps_the_linear_layers_of_the_encoder():
    model = set_precision(tiny_model(), "int8", CPU)
    kinds = {type(block.mlp.fc1) for block in model.encoder.body.blocks}
    assert kinds == {Int8Linear}


def test_tf32_is_float32_where_there_is_no_tf32(caplog):
    with caplog.at_level("INFO"):
        model = set_precision(tiny_model(), "tf32", CPU)
    assert [record.getMessage() for record in caplog.records] == ["tf32 is float32 on cpu"]
    template, search = (images.float() for images in tiny_images())
    plain = set_precision(tiny_model(), "float32", CPU)
    assert torch.equal(model.encode(template, search), plain.encode(template, search))


def test_what_a_device_cannot_do_is_refused():
    with pytest.raises(InputError, match="int8 runs on a CPU only"):
        set_precision(tiny_model(), "int8", torch.device("meta"))
    with pytest.raises(InputError, match="unknown dtype 'int4'"):
        set_precision(tiny_model(), "int4", CPU)


def test_it_can_be_exported_for_any_batch_size():
    network = tiny_model().requires_grad_(False)

    class Track(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, template_tokens, search):
            return tuple(network.generate(network.encode_embedded(template_tokens, search, search_only=True)))

    batch = torch.export.Dim("batch", min=2, max=64)
    arguments = {}
    for count in (2, 5):
        template, search = tiny_images(batch=count)
        arguments[count] = network.embed_template(template), search
    shapes = ({0: batch}, {0: batch})
    exported = torch.export.export(Track(), arguments[2], dynamic_shapes=shapes, strict=False).module()
    for a, b in zip(exported(*arguments[5]), Track()(*arguments[5]), strict=True):
        torch.testing.assert_close(a, b)


def test_the_plain_version_is_not_the_fast_one_in_disguise():
    """The oracle must not call what it judges."""
    source = Path(plain.__file__).read_text()
    for name in ("scaled_dot_product", "project_memory", ".embed_", ".decode(", ".encode("):
        assert name not in source, name
    assert tiny_config().MODEL.FEATURE_TYPE == "x"
