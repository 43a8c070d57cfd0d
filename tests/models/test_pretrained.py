import copy

import pytest
import timm
import torch

from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.pretrained import load_pretrained, load_vit_weights, resample_pos_embed
from lib.models.seqtrack.vit import VARIANTS, build_vit
from lib.utils.errors import CheckpointError, ConfigError
from tests.models.tiny import tiny_config

VARIANT = VARIANTS["vit_test_patch16"]


def tiny_body():
    return build_vit(VARIANT, search_size=32, template_size=16)


def image_model_weights(grid=3):
    """State dict of an image model whose encoder is the tiny one, every value different from a fresh one's."""
    torch.manual_seed(5)
    weights = {key: torch.randn_like(value) for key, value in tiny_body().state_dict().items()}
    weights["pos_embed"] = torch.randn(1, 1 + grid * grid, 32)
    weights["cls_token"] = torch.randn(1, 1, 32)
    return weights


def load(body, source):
    load_pretrained(body, VARIANT, str(source), encoder_name="vit_test_patch16")


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("asked timm for weights")

    monkeypatch.setattr(timm, "create_model", refuse)


def test_weights_are_copied_and_positions_resampled():
    body, weights = tiny_body(), image_model_weights()
    load_vit_weights(body, weights, origin="here")
    for key, value in body.state_dict().items():
        if key == "pos_embed":
            expected = resample_pos_embed(weights["pos_embed"], search_grid=2, template_grid=1)
            assert torch.equal(value, expected)
        else:
            assert torch.equal(value, weights[key]), key


def test_sincos_changes_the_positions_only_and_tells_neighbors_from_strangers():
    body = build_vit(VARIANT, search_size=64, template_size=32)
    before = copy.deepcopy(body.state_dict())
    load(body, "sincos")
    for key, value in body.state_dict().items():
        assert torch.equal(value, before[key]) == (key != "pos_embed"), key
    search = body.pos_embed[0, :16]  # 4 x 4, row by row
    likeness = search @ search.T
    assert likeness[5].argmax() == 5
    assert likeness[5, 6] > likeness[5, 7] and likeness[5, 9] > likeness[5, 13]  # along the row, along the column
    torch.testing.assert_close(body.pos_embed[0, 16:18], search[:2])  # the template's corner has the same coordinates


def test_resampling_keeps_the_corners_and_copies_an_equal_grid():
    table = torch.randn(1, 1 + 9, 4)
    resampled = resample_pos_embed(table, search_grid=5, template_grid=3)
    assert torch.equal(resampled[:, 25:], table[:, 1:])
    for place, source in ((0, 0), (4, 2), (20, 6), (24, 8)):  # align_corners puts corners on corners
        torch.testing.assert_close(resampled[:, place], table[:, 1 + source])


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w}, lambda w: {"state_dict": w, "epoch": 3}])
def test_a_file_bare_or_wrapped_loads(tmp_path, no_network, wrap):
    weights = image_model_weights() | {"head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)}
    torch.save(wrap(weights), tmp_path / "vit.pth")
    body = tiny_body()
    load(body, tmp_path / "vit.pth")
    assert torch.equal(body.norm.bias, weights["norm.bias"])


def test_building_reads_the_file_only_when_asked(tmp_path, no_network):
    weights = image_model_weights()
    torch.save(weights, tmp_path / "vit.pth")
    cfg = tiny_config(MODEL__ENCODER__PRETRAIN_TYPE=str(tmp_path / "vit.pth"))
    assert torch.equal(build_seqtrack(cfg, pretrained=True).encoder.body.norm.bias, weights["norm.bias"])
    assert torch.equal(build_seqtrack(cfg).encoder.body.norm.bias, torch.zeros(32))


def test_nothing_is_fetched_unless_asked(no_network):
    build_seqtrack(tiny_config(MODEL__ENCODER__PRETRAIN_TYPE="mae"))
    build_seqtrack(tiny_config(MODEL__ENCODER__PRETRAIN_TYPE="scratch"), pretrained=True)


@pytest.mark.parametrize("kind", ["mae", "default"])
def test_named_weights_come_through_timm(monkeypatch, kind):
    asked = []

    class ImageModel:
        def state_dict(self):
            return image_model_weights()

    def create_model(name, *, pretrained, num_classes):
        asked.append((name, pretrained, num_classes))
        return ImageModel()

    monkeypatch.setattr(timm, "create_model", create_model)
    variant = copy.deepcopy(VARIANT)
    variant.timm_weights.update({"mae": "tiny.mae", "default": "tiny.augreg"})
    body = tiny_body()
    load_pretrained(body, variant, kind, encoder_name="vit_test_patch16")
    assert asked == [(variant.timm_weights[kind], True, 0)]
    assert torch.equal(body.norm.bias, image_model_weights()["norm.bias"])


def test_timm_knows_every_name_of_the_table():
    known = set(timm.list_pretrained("vit_*"))
    names = [name for variant in VARIANTS.values() for name in variant.timm_weights.values()]
    assert len(names) == 6 and set(names) <= known


def test_a_failed_download_is_one_line(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host\nTraceback ...")

    monkeypatch.setattr(timm, "create_model", fail)
    variant = VARIANTS["vit_base_patch16"]
    with pytest.raises(CheckpointError, match=r"vit_base_patch16_224.mae: .*no route to host") as caught:
        load_pretrained(tiny_body(), variant, "mae", encoder_name="vit_base_patch16")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vit_large_patch16", "vit_huge_patch14"])
def test_weights_that_do_not_exist_are_a_config_error(no_network, name):
    with pytest.raises(ConfigError, match=rf"{name} has no 'default' weights; it has mae, scratch"):
        load_pretrained(tiny_body(), VARIANTS[name], "default", encoder_name=name)


def test_an_unknown_source_is_a_config_error(no_network):
    with pytest.raises(
        ConfigError, match="PRETRAIN_TYPE: 'foo' is neither one of mae, default, scratch, sincos nor an existing"
    ):
        load(tiny_body(), "foo")


def test_a_truncated_file_is_named(tmp_path):
    path = tmp_path / "vit.pth"
    torch.save(image_model_weights(), path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(CheckpointError, match=r"vit\.pth: truncated"):
        load(tiny_body(), path)


def _add_mask_token(weights):
    weights["mask_token"] = torch.zeros(1, 1, 32)


def _set_positions(*shape):
    return lambda weights: weights.update(pos_embed=torch.zeros(*shape))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_add_mask_token, "unexpected: mask_token"),
        (lambda weights: weights.pop("norm.bias"), r"missing: norm\.bias"),
        (lambda weights: weights.pop("cls_token"), "no cls_token"),
        (lambda weights: weights.pop("pos_embed"), "no pos_embed"),
        (lambda weights: weights.update({"norm.bias": torch.zeros(7)}), r"norm\.bias \(7,\) instead of \(32,\)"),
        (_set_positions(1, 10, 64), r"pos_embed is \(1, 10, 64\)"),
        (_set_positions(1, 11, 32), "10 rows after the class token"),
        (_set_positions(1, 1, 32), "0 rows after the class token"),
        (lambda weights: weights.update(pos_embed=3), "pos_embed is int"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_change_nothing(damage, message):
    body, weights = tiny_body(), image_model_weights()
    damage(weights)
    before = copy.deepcopy(body.state_dict())
    with pytest.raises(CheckpointError, match=f"^here: .*{message}") as caught:
        load_vit_weights(body, weights, origin="here")
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(body.state_dict(), before)


@pytest.mark.parametrize(
    ("encoder_name", "name"),
    [(key, name) for key, variant in VARIANTS.items() for name in variant.timm_weights.values()],
)
def test_the_networks_of_timm_have_the_names_and_shapes_that_are_loaded(encoder_name, name):
    variant = VARIANTS[encoder_name]
    with torch.device("meta"):
        body = build_vit(variant, search_size=16 * variant.stride, template_size=8 * variant.stride)
        weights = timm.create_model(name, pretrained=False, num_classes=0).state_dict()
    load_vit_weights(body, weights, origin=name)
