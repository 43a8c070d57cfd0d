"""The network has the published parameters and computes the published numbers."""

import numpy as np
import pytest
import torch

from external.AR.neck import pixelwise_correlation
from external.AR.network import AlphaRefineNetwork
from tests.ar.numbers import check_stage, golden
from tests.golden import load_json
from tests.golden.ar.recipe import make_patch, make_weights


def test_against_published_parameters(network: AlphaRefineNetwork) -> None:
    state = network.state_dict()
    expected = load_json("ar/state_dict_keys.json")
    assert len(expected) == 477
    assert {key: list(value.shape) for key, value in state.items()} == expected
    assert list(state) == list(expected)
    assert all(value.dtype == (torch.float32 if value.ndim else torch.int64) for value in state.values())
    assert sum(value.numel() for value in network.parameters()) == 30_161_573


def test_reference_weights_and_inputs_are_reproduced(network: AlphaRefineNetwork) -> None:
    names = [key.removeprefix("b/weights/") for key in golden() if key.startswith("b/weights/")]
    assert len(names) == 6
    for name in names:
        found = network.state_dict()[name].flatten()[:8]
        np.testing.assert_allclose(found, golden()["b/weights/" + name], atol=1e-7)
    for name, patch in {"net/input_ref": make_patch(1), "net/input_test": make_patch(2)}.items():
        np.testing.assert_allclose(patch.flatten()[:8], golden()[name], atol=1e-6)


def run_stages(network: AlphaRefineNetwork) -> dict[str, np.ndarray]:
    """Every stage of the network for the seeded patches."""
    x, y, w, h = golden()["net/box"].tolist()
    stages: dict[str, torch.Tensor] = {}

    def keep(name):
        return lambda module, inputs, output: stages.update({name: output})

    hooks = [
        network.neck.channel_attention.register_forward_hook(
            lambda module, inputs, output: stages.update(corr=inputs[0])
        ),
        network.neck.channel_attention.register_forward_hook(keep("se")),
        network.neck.register_forward_hook(keep("neck")),
        network.feature_extractor.register_forward_hook(lambda module, inputs, output: stages.update(output)),
        *(network.refiner.RRB2[f"layer{i}"].register_forward_hook(keep(f"x{i}")) for i in (5, 4, 3, 2)),
    ]
    with torch.inference_mode():
        kernel = network.encode_reference(make_patch(1), torch.tensor([[x, y, x + w, y + h]]))
        logits = network(make_patch(2), kernel)
    for hook in hooks:
        hook.remove()
    stages |= {"ref_kernel": kernel, "logits": logits, "mask": logits.sigmoid()}
    return {name: value.numpy() for name, value in stages.items()}


@pytest.mark.parametrize("recipe", ["a", "b"])
def test_against_published_stages(recipe: str) -> None:
    network = AlphaRefineNetwork().eval()
    network.load_state_dict(make_weights(network.state_dict(), recipe))
    stages = run_stages(network)
    names = [key.split("/")[2] for key in golden() if key.startswith(f"{recipe}/net/") and key.endswith("/stats")]
    assert set(names) == set(stages) and len(names) == 14
    for name in names:
        check_stage(f"{recipe}/net/{name}", stages[name], {"mask": 1e-4}.get(name, 1e-5))
    grid = golden()[f"{recipe}/net/mask_grid"]
    np.testing.assert_allclose(stages["mask"][0, 0, ::16, ::16], grid, atol=1e-4, rtol=0)


def test_correlation_filters_with_each_position_of_the_kernel() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(2, 5, 2, 3, generator=generator)
    features = torch.randn(2, 5, 4, 7, generator=generator)
    scores = pixelwise_correlation(kernel, features)
    assert scores.shape == (2, 6, 4, 7)
    expected = (kernel[1, :, 1, 2][:, None, None] * features[1]).sum(0)  # position 5: row 1, column 2
    torch.testing.assert_close(scores[1, 5], expected)
