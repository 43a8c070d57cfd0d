"""Crops, boxes and pasted masks are those of the published code, to the last bit where pixels are concerned."""

import zlib

import numpy as np
import pytest

from external.AR.geometry import CropWindow, box_in_patch, crop_patch, crop_window, paste_mask
from lib.utils.errors import InputError
from tests.ar.numbers import golden, stats
from tests.golden.ar.recipe import make_frame


def frame_and_box(t: int) -> tuple[np.ndarray, list[float]]:
    frame = make_frame(t)
    assert zlib.crc32(frame.tobytes()) == int(golden()[f"e2e/frame{t}_crc32"])
    box = golden()["e2e/init_box"] if t == 0 else golden()["e2e/boxes"][t - 1]
    return frame, box.tolist()


def ramp() -> np.ndarray:
    y, x = np.mgrid[0:384, 0:384]
    return ((3 * y + 2 * x) % 97 / 96).astype(np.float32)


def count_and_bounds(binary: np.ndarray) -> list[int]:
    ys, xs = np.nonzero(binary)
    return [len(xs), xs.min(), ys.min(), xs.max(), ys.max()]


@pytest.mark.parametrize("t", range(7))
def test_against_published_crops(t: int) -> None:
    frame, box = frame_and_box(t)
    name = "e2e/init_crop" if t == 0 else f"e2e/crop{t}"
    patch = crop_patch(frame, crop_window(box))
    assert patch.shape == (384, 384, 3) and patch.dtype == np.uint8
    np.testing.assert_array_equal(patch[::24, ::24], golden()[name])
    np.testing.assert_array_equal(stats(patch), golden()[name + "/stats"])


def test_box_in_the_reference_patch() -> None:
    _, box = frame_and_box(0)
    window = crop_window(box)
    assert [384 / window.height, 384 / window.width] == golden()["e2e/init_factors_h_w"].tolist()
    x, y, w, h = golden()["e2e/init_box_in_crop"].tolist()
    assert box_in_patch(box, window) == [x, y, x + w, y + h]


def test_box_of_fractional_size_keeps_its_share_of_the_window() -> None:
    window = crop_window([10.2, 20.7, 30.3, 8.4])  # 60.6 and 16.8 are rounded up
    assert (window.width, window.height) == (61, 17)
    x1, y1, x2, y2 = box_in_patch([10.2, 20.7, 30.3, 8.4], window)
    np.testing.assert_allclose([x2 - x1, y2 - y1], [30.3 / 61 * 384, 8.4 / 17 * 384])
    np.testing.assert_allclose([x1 + x2, y1 + y2], [383, 383])


@pytest.mark.parametrize("t", range(1, 7))
def test_against_published_paste(t: int) -> None:
    frame, box = frame_and_box(t)
    pasted = paste_mask(ramp(), crop_window(box), *frame.shape[:2])
    assert pasted.shape == frame.shape[:2] and pasted.dtype == np.float32
    np.testing.assert_allclose(pasted[::10, ::10], golden()[f"e2e/paste{t}"], atol=1e-6, rtol=0)
    np.testing.assert_allclose(stats(pasted), golden()[f"e2e/paste{t}/stats"], rtol=1e-6)
    assert count_and_bounds(pasted > 0.65) == golden()[f"e2e/paste{t}/bin_count_bounds"].tolist()


def test_region_that_ends_at_the_border_loses_its_last_column() -> None:
    """Kept from the published code: the patch is black there, though the image has pixels."""
    image = np.full((384, 600, 3), 200, dtype=np.uint8)
    patch = crop_patch(image, CropWindow(600 - 384, 0, 384, 384))
    assert not patch[:, -1].any() and not patch[-1].any()
    assert (patch[:-1, :-1] == 200).all()
    assert (crop_patch(image, CropWindow(10, 0, 384, 383))[:, -1] == 200).all()


def test_mask_returns_to_where_the_patch_was_cut() -> None:
    image = np.zeros((120, 160, 3), dtype=np.uint8)
    image[40:80, 60:100] = 255
    window = crop_window([58, 42, 44, 36])
    mask = paste_mask(crop_patch(image, window)[..., 0].astype(np.float32) / 255, window, 120, 160)
    assert (np.abs(mask - image[..., 0] / 255) > 0.5).sum() == 0


def test_region_wholly_outside_is_black_and_pastes_nothing() -> None:
    image = np.full((50, 60, 3), 9, dtype=np.uint8)
    for window in (CropWindow(60, 5, 20, 20), CropWindow(-20, 5, 20, 20), CropWindow(5, 80, 20, 20)):
        assert not crop_patch(image, window).any()
        assert not paste_mask(np.ones((384, 384), np.float32), window, 50, 60).any()


REFUSED = {
    "positive and finite": [[1, 2, 0, 4], [1, 2, 3, -4], [1, 2, float("nan"), 4], [float("inf"), 2, 3, 4]],
    "too large": [[-1e9, -1e9, 2e9, 2e9]],
    "four numbers": [[1, 2, 3], ["a", 2, 3, 4], None],
}


@pytest.mark.parametrize(("message", "box"), [(message, box) for message, boxes in REFUSED.items() for box in boxes])
def test_useless_boxes_are_refused(message: str, box) -> None:
    with pytest.raises(InputError, match=message):
        crop_window(box)
