"""The tracker follows the published one: same crops, same tokens, same template updates, same boxes."""

import numpy as np
import pytest
import torch

import lib.test.tracker.engine as engine_module
from lib.config.seqtrack.config import default_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.precision import prepare_for_tracking
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker.engine import SeqTrackEngine
from tests.golden import load_json, load_npz, recipe

CASES = load_json("tracker_parity_cases.json")
FAST_CASES = ("A_xywh_win_upd", "C_whxy_win_upd", "G_single_template_64")
NO_UPDATE = -1


def all_cases():
    return [pytest.param(name, marks=[] if name in FAST_CASES else pytest.mark.endurance) for name in CASES]


def make_engine(case):
    """Engine of a golden run; the update settings reach it as a YAML file would set them for that benchmark."""
    benchmark = case["dataset_name"]
    cfg = default_config(
        {
            **case["overrides"],
            f"TEST.UPDATE_INTERVALS.{benchmark.upper()}": case["update_interval"],
            f"TEST.UPDATE_THRESHOLD.{benchmark.upper()}": case["update_threshold"],
        }
    )
    network = build_seqtrack(cfg).requires_grad_(False).eval()
    shapes = [(key, tuple(value.shape)) for key, value in network.state_dict().items()]
    network.load_state_dict(recipe.make_state_dict(shapes))
    params = parameters_from_config(cfg, checkpoint=None, dataset=benchmark, device="cpu")
    return SeqTrackEngine(params, prepare_for_tracking(network, params.dtype, torch.device("cpu")))


@pytest.fixture(scope="module")
def golden():
    return load_npz("tracker_parity.npz")


@pytest.fixture(scope="module")
def frames(golden):
    images, boxes = recipe.tracking_sequence()
    assert [recipe.crc32_array(image) for image in images] == golden["frame_crc32"].tolist()
    np.testing.assert_array_equal(boxes, golden["gt"])
    return images


@pytest.mark.parametrize("name", all_cases())
def test_trajectory_equals_the_published_one(name, golden, frames, monkeypatch):
    case = CASES[name]
    expected = {key.removeprefix(f"{name}/"): value for key, value in golden.items() if key.startswith(f"{name}/")}
    crops = []

    def recording_crop(*args, **kwargs):
        crop, factor = original_crop(*args, **kwargs)
        crops.append(recipe.crc32_array(crop))
        return crop, factor

    original_crop = engine_module.sample_target
    monkeypatch.setattr(engine_module, "sample_target", recording_crop)

    engine = make_engine(case)
    state = engine.start(frames[0], golden["gt"][0].tolist())
    assert crops == [expected["search_crop_crc32"][0]]
    first_template = state.templates[: len(state.templates) // case["overrides"]["TEST.NUM_TEMPLATES"]].clone()
    updates = []
    for index, image in enumerate(frames[1:]):
        crops.clear()
        result = engine.step([state], [image])[0]
        assert crops[0] == expected["search_crop_crc32"][index + 1], index
        assert result.tokens.tolist() == expected["tokens"][index].tolist(), index
        np.testing.assert_allclose(result.likelihoods, expected["confidence"][index], atol=1e-4)
        assert f"torch.{result.likelihoods.dtype}" == case["confidence_dtype"]
        assert result.confidence == pytest.approx(expected["conf_score"][index], abs=1e-3)
        np.testing.assert_allclose(result.box_xywh, expected["boxes"][index + 1], atol=1e-3)
        assert result.updated == expected["updated"][index]
        template_crop = crops[1] if len(crops) > 1 else NO_UPDATE
        assert template_crop == expected["template_crop_crc32"][index]
        if result.updated:
            updates.append(state.frame)
    assert updates == case["update_frames"]
    assert torch.equal(state.templates[: len(first_template)], first_template)
