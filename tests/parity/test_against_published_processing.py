"""Crops, augmentations and targets agree with the published processing (tests/golden/processing_parity.npz)."""

import zlib

import numpy as np
import pytest
import torch

from lib.train.data.processing import Augmentation, CropSet, CropSettings, SeqTrackProcessing, jitter_box
from lib.train.data.transforms import mirror_box, normalize_crops, to_gray
from lib.utils.seed import SampleRng
from tests.golden import load_json, load_npz, recipe

GOLDEN = load_npz("processing_parity.npz")
CASES = load_json("processing_parity_cases.json")
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
FRAMES, BOXES = recipe.tracking_sequence()
TEMPLATE_BOXES = torch.from_numpy(BOXES[[0, 5]] + [0.25, -0.5, 1.5, -2]).float()
SEARCH_BOXES = torch.from_numpy(BOXES[[12]] + [-0.75, 0.5, 2.5, 3]).float()


def off_center_jitter(box, settings, rng):
    size = torch.stack((1.2 * box[2], 0.9 * box[3]))
    center = box[:2] + 0.5 * box[2:] + torch.stack((0.3 * box[2], -0.2 * box[3]))
    return torch.cat((center - 0.5 * size, size))


def no_jitter(box, settings, rng):
    return box


def normalized(crops: CropSet) -> torch.Tensor:
    return normalize_crops(torch.from_numpy(crops.crops)[None], crops.gain[None], MEAN, STD)[0]


def run(processing, rng=None, template=(0, 5), search=12):
    return processing(
        [FRAMES[i] for i in template], TEMPLATE_BOXES, [FRAMES[search]], SEARCH_BOXES, rng or SampleRng.from_seed(0)
    )


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("validity")])
def test_crops_and_boxes(name):
    case = CASES[name]
    sizes, factors = case.get("sz", (64, 64)), case.get("fac", (4.0, 4.0))
    processing = SeqTrackProcessing(
        template=CropSettings(sizes[0], factors[0]),
        search=CropSettings(sizes[1], factors[1]),
        # Every transform is present in the recorded runs; probability 0 or above 1 switches it off or on.
        augmentation=Augmentation(
            gray=case.get("gray", 0), joint_flip=case.get("jflip", 0), brightness=0, frame_flip=case.get("nflip", 1e-12)
        ),
        jitter=no_jitter if name == "plain_centered" else off_center_jitter,
    )
    sample = run(processing)
    for kind, crops in (("template", sample.template), ("search", sample.search)):
        pixels = normalized(crops)
        size = pixels.shape[-1]
        assert list(pixels.shape) == GOLDEN[f"{name}/{kind}_shape"].tolist()
        np.testing.assert_allclose(crops.boxes_xywh, GOLDEN[f"{name}/{kind}_anno"], atol=1e-5)
        np.testing.assert_allclose(pixels[0, :, size // 2], GOLDEN[f"{name}/{kind}_row"], atol=1e-5)
        np.testing.assert_allclose(pixels[-1, :, :, size // 3], GOLDEN[f"{name}/{kind}_col"], atol=1e-5)
        np.testing.assert_allclose(recipe.probe(pixels), GOLDEN[f"{name}/{kind}_probe"], rtol=1e-4, atol=1e-2)


RNG_SEEDS = sorted({int(key.split("/")[0][4:]) for key in GOLDEN if key.startswith("rng_")})


def published_processing(**changes):
    search = CropSettings(128, 4.0, center_jitter=3.5, scale_jitter=0.5)
    settings = {"template": CropSettings(128, 4.0), "search": search, "augmentation": Augmentation()}
    return SeqTrackProcessing(**(settings | changes))


@pytest.mark.parametrize("seed", RNG_SEEDS)
def test_random_numbers_are_drawn_in_the_published_order(seed):
    sample = run(published_processing(), SampleRng.from_seed(seed))
    assert (sample is not None) == bool(GOLDEN[f"rng_{seed}/valid"])
    for kind, crops in (("template", sample.template), ("search", sample.search)):
        np.testing.assert_allclose(crops.boxes_xywh, GOLDEN[f"rng_{seed}/{kind}_anno"], atol=1e-5)
        np.testing.assert_allclose(
            recipe.probe(normalized(crops)), GOLDEN[f"rng_{seed}/{kind}_probe"], rtol=1e-5, atol=1e-2
        )


def test_jitter(monkeypatch):
    search, template = CropSettings(128, 4.0, center_jitter=3.5, scale_jitter=0.5), CropSettings(128, 4.0)
    rng = SampleRng.from_seed(0)
    for row in torch.from_numpy(GOLDEN["jitter/box4_randn2_rand2__search4_template4"]):
        box, normal, uniform, expected_search, expected_template = row.split([4, 2, 2, 4, 4])
        monkeypatch.setattr(torch, "randn", lambda *_, normal=normal, **__: normal)
        monkeypatch.setattr(torch, "rand", lambda *_, uniform=uniform, **__: uniform)
        torch.testing.assert_close(jitter_box(box, search, rng), expected_search, rtol=1e-6, atol=1e-5)
        torch.testing.assert_close(jitter_box(box, template, rng), expected_template, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.2])
def test_brightness_and_normalization(factor):
    crop = torch.from_numpy(recipe.crop_image(32, 40))[None, None]
    gain = torch.tensor([[factor / 255.0]])
    plain = normalize_crops(crop, gain, torch.zeros(3), torch.ones(3))[0, 0]
    assert (plain.min() >= 0) and (plain.max() <= 1)
    np.testing.assert_allclose(recipe.probe(plain), GOLDEN[f"bright_{factor}/probe"], rtol=1e-5, atol=1e-3)
    np.testing.assert_allclose(plain[:, :4, :4], GOLDEN[f"bright_{factor}/corner"], atol=1e-6)
    corner = normalize_crops(crop, gain, MEAN, STD)[0, 0][:, :4, :4]
    np.testing.assert_allclose(corner, GOLDEN[f"bright_{factor}/normalized_corner"], atol=1e-5)


def test_gray_and_mirror():
    gray = to_gray(recipe.crop_image(32, 40))
    assert zlib.crc32(np.ascontiguousarray(gray).tobytes()) == int(GOLDEN["gray/crc32"])
    box = torch.from_numpy(GOLDEN["flip/in"])
    np.testing.assert_array_equal(mirror_box(box, True, 319), GOLDEN["flip/pixel_box_W320"])
    np.testing.assert_array_equal(mirror_box(box / 320, True, 1.0), GOLDEN["flip/norm_box_of_/320"])


@pytest.mark.parametrize(
    ("name", "box"),
    [
        ("tiny", (50, 60, 1e-3, 1e-3)),
        ("zero", (50, 60, 0, 10)),
        ("neg", (50, 60, -5, 10)),
        ("outside", (900, 900, 20, 20)),
    ],
)
def test_which_boxes_make_a_sample(name, box):
    boxes = torch.tensor([box], dtype=torch.float32)
    sample = published_processing(augmentation=Augmentation(0, 0, 0, 0))(
        [FRAMES[0], FRAMES[5]], TEMPLATE_BOXES, [FRAMES[12]], boxes, SampleRng.from_seed(0)
    )
    assert (sample is not None) == CASES[f"validity_{name}"]["valid"]


def test_nan_box_makes_no_sample():
    """The published code raises here; a NaN annotation is not a visible target, so another sample is drawn."""
    boxes = torch.tensor([[50, 60, float("nan"), 10]])
    assert published_processing()([FRAMES[0]], TEMPLATE_BOXES[:1], [FRAMES[1]], boxes, SampleRng.from_seed(0)) is None
