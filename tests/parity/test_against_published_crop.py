"""Crops, box maps and box conversions agree with the published code (tests/golden/crop_parity.npz)."""

import numpy as np
import pytest
import torch

from lib.utils import box_ops
from lib.utils.crop import map_box_back, sample_target, transform_image_to_crop
from lib.utils.errors import InputError
from tests.golden import load_npz, recipe

GOLDEN = load_npz("crop_parity.npz")
WHOLLY_OUTSIDE = range(24, 31)
INVALID = [index for index, text in enumerate(GOLDEN["test/error"]) if str(text)]
REGULAR = [i for i in range(len(GOLDEN["boxes"])) if i not in WHOLLY_OUTSIDE and i not in INVALID]


@pytest.mark.parametrize("row", REGULAR)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_crop_is_bit_identical(row: int, as_tensor: bool) -> None:
    box = [float(value) for value in GOLDEN["boxes"][row]]
    image = recipe.crop_image()
    crop, factor = sample_target(
        image,
        torch.tensor(box, dtype=torch.float32) if as_tensor else box,
        float(GOLDEN["factors"][row]),
        int(GOLDEN["output_sz"][row]),
    )
    np.testing.assert_array_equal(crop, GOLDEN[f"test/crop_{row:02d}"])
    assert factor == GOLDEN["test/resize_factor"][row]


@pytest.mark.parametrize("row", WHOLLY_OUTSIDE)
def test_crop_wholly_outside_is_black(row: int) -> None:
    size = int(GOLDEN["output_sz"][row])
    crop, factor = sample_target(recipe.crop_image(), GOLDEN["boxes"][row], float(GOLDEN["factors"][row]), size)
    assert crop.shape == (size, size, 3)
    assert not crop.any()
    assert factor > 0


@pytest.mark.parametrize("row", INVALID)
def test_box_without_area_is_refused(row: int) -> None:
    with pytest.raises(InputError, match="too small"):
        sample_target(recipe.crop_image(), GOLDEN["boxes"][row], float(GOLDEN["factors"][row]), 64)


def test_a_mirrored_view_gives_the_crop_of_the_mirrored_copy() -> None:
    image = recipe.crop_image()
    box = [40.0, 30.0, 50.0, 60.0]
    from_view, _ = sample_target(image[:, ::-1], box, 4.0, 64)
    from_copy, _ = sample_target(np.ascontiguousarray(image[:, ::-1]), box, 4.0, 64)
    np.testing.assert_array_equal(from_view, from_copy)


def test_image_to_crop() -> None:
    for row, plain, normalized in zip(
        GOLDEN["to_crop/in_box4_extract4_factor_size"],
        GOLDEN["to_crop/out"],
        GOLDEN["to_crop/out_normalized"],
        strict=True,
    ):
        values = torch.tensor(row, dtype=torch.float32)
        for normalize, expected, atol in ((False, plain, 1e-4), (True, normalized, 1e-6)):
            actual = transform_image_to_crop(values[:4], values[4:8], values[8], values[9], normalize)
            np.testing.assert_allclose(actual.numpy(), expected, atol=atol)


def test_clip_box() -> None:
    for row in GOLDEN["clip_box/in_box4_H_W_margin__out4"]:
        *box, height, width, margin = row[:7].tolist()
        assert box_ops.clip_box(box, height, width, margin) == row[7:].tolist()


def test_map_box_back() -> None:
    for row in GOLDEN["map_box_back/state4_size_factor_pred4__out4"]:
        values = row.tolist()
        assert map_box_back(values[6:10], values[:4], values[5], int(values[4])) == values[10:]


@pytest.mark.parametrize(
    "name", ["box_xywh_to_xyxy", "box_xyxy_to_cxcywh", "box_cxcywh_to_xyxy", "box_xywh_to_cxcywh", "box_xyxy_to_xywh"]
)
def test_box_conversion(name: str) -> None:
    actual = getattr(box_ops, name)(torch.from_numpy(GOLDEN["box_ops/in1"]))
    np.testing.assert_allclose(actual.numpy(), GOLDEN[f"box_ops/{name}"], rtol=0, atol=1e-7)


def test_overlaps() -> None:
    first, second = (box_ops.box_cxcywh_to_xyxy(torch.from_numpy(GOLDEN[f"box_ops/in{i}"])) for i in (1, 2))
    np.testing.assert_allclose(box_ops.box_iou(first, second)[0], GOLDEN["box_ops/iou_cxcywh"], atol=1e-6)
    np.testing.assert_allclose(box_ops.generalized_box_iou(first, second)[0], GOLDEN["box_ops/giou_cxcywh"], atol=1e-6)
