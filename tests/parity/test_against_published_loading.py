"""Pretrained weights end up in the encoder as the published code puts them there."""

import numpy as np
import pytest
import torch

from lib.models.seqtrack.pretrained import load_vit_weights
from lib.models.seqtrack.vit import JointViT
from tests.golden import load_json, load_npz, recipe

CASES = {name: case for name, case in load_json("loading_parity_cases.json").items() if name != "failures"}
GOLDEN = load_npz("loading_parity.npz")


@pytest.mark.parametrize("name", CASES)
def test_position_table_and_copied_weights(name):
    case = CASES[name]
    # One block is enough: the others are copied the same way.
    body = JointViT(
        dim=768,
        depth=1,
        num_heads=12,
        stride=16,
        search_size=case["search_size"],
        template_size=case["template_size"],
    )
    shapes = {key: tuple(value.shape) for key, value in body.state_dict().items()}
    shapes |= {"pos_embed": (1, 1 + case["source_grid"] ** 2, 768), "cls_token": (1, 1, 768)}
    if case["pretrain_type"] == "default":
        shapes |= {"head.weight": (1000, 768), "head.bias": (1000,)}
    weights = {key: recipe.pretrained_weight(key, shape) for key, shape in shapes.items()}

    load_vit_weights(body, weights, origin=name)

    table = body.pos_embed.detach()
    assert table.shape == tuple(GOLDEN[f"{name}/shape"])
    search, template = table[0, : body.num_search_tokens, :3], table[0, body.num_search_tokens :, :3]
    np.testing.assert_allclose(search, GOLDEN[f"{name}/search_ch0_3"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(template, GOLDEN[f"{name}/template_ch0_3"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(recipe.probe(table), GOLDEN[f"{name}/probe"], rtol=1e-5, atol=1e-4)
    unchanged = case["search_size"] == 16 * case["source_grid"]
    assert unchanged == bool(GOLDEN[f"{name}/search_equals_source"])
    if unchanged:
        assert torch.equal(table[:, : body.num_search_tokens], weights["pos_embed"][:, 1:])
    for key, value in body.state_dict().items():
        assert key == "pos_embed" or torch.equal(value, weights[key])
