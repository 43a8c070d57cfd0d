"""The arithmetic below the renderer."""

import cv2
import numpy as np
import pytest

from lib.synthetic.camera import excursion, fold, spline
from lib.synthetic.stable import TURN, Draws, blend, cosine, derive_seed, halve, shifted_mean, shrink, sine, warp


def test_seeds_and_draws_are_frozen() -> None:
    """Numbers written down once: they hold on every platform and Python version."""
    draws = Draws("frozen")
    assert derive_seed("a", 1) == 1100933767
    assert [draws.integer(0, 99) for _ in range(5)] == [82, 2, 36, 7, 2]
    assert draws.field(1, 4).tolist() == [[127, 69, 145, 74]]


def test_sine_table_is_far_from_ties() -> None:
    """No libm can round an entry of the table the other way."""
    exact = np.sin(2 * np.pi * np.arange(TURN) / TURN) * 65536
    assert np.abs(np.abs(exact - np.floor(exact)) - 0.5).min() > 1e-6
    assert sine(TURN // 4) == 1 and cosine(TURN) == 1


def test_warp_by_whole_pixels_is_a_slice() -> None:
    image = Draws(1).field(30, 120).reshape(30, 40, 3)
    shown = warp(image, (1, 0, 7, 0, 1, 4), 20, 10, border=cv2.BORDER_CONSTANT)
    assert np.array_equal(shown, image[4:14, 7:27])


def test_warp_by_half_a_pixel_is_the_mean() -> None:
    image = np.array([[0, 100, 200, 40]], dtype=np.uint8).repeat(3, axis=0)
    assert warp(image, (1, 0, 0.5, 0, 1, 0), 3, 3, border=cv2.BORDER_REPLICATE)[0].tolist() == [50, 150, 120]


def test_halve_and_shrink_keep_the_mean_of_a_flat_picture() -> None:
    flat = np.full((37, 51, 3), 90, dtype=np.uint8)
    assert halve(flat).shape == (19, 26, 3) and (halve(flat) == 90).all()
    assert shrink(flat, 9, 7).shape == (7, 9, 3) and (shrink(flat, 9, 7) == 90).all()


def test_blend_at_both_ends() -> None:
    under, over = np.full((2, 2, 3), 10, dtype=np.uint8), np.full((2, 2, 3), 250, dtype=np.uint8)
    assert (blend(under, over, np.zeros((2, 2), np.uint8)) == 10).all()
    assert (blend(under, over, np.full((2, 2), 255, np.uint8)) == 250).all()


@pytest.mark.parametrize("taps", [4, 8, 16])
def test_motion_blur_keeps_the_light_and_its_center(taps: int) -> None:
    image = np.zeros((21, 41), dtype=np.uint8)
    image[10, 20] = 240
    blurred = shifted_mean(image, 12, 0, taps, border=cv2.BORDER_CONSTANT)
    assert abs(int(blurred.sum()) - 240) <= taps
    assert (blurred[10] * np.arange(41)).sum() / blurred.sum() == pytest.approx(20, abs=0.51)
    assert np.count_nonzero(blurred[10]) >= taps - 4


def test_spline_goes_through_its_knots() -> None:
    knots = np.array([0.0, 3.0, -1.0, 2.0, 5.0])
    assert np.allclose(spline(knots, 13, 4)[::4], knots[:4])


def test_fold_reflects() -> None:
    assert np.allclose(fold(np.array([-1.0, 0.0, 4.0, 6.0, 11.0]), 0.0, 5.0), [1, 0, 4, 4, 1])


def test_excursion_goes_and_returns() -> None:
    away = excursion(40, 10, 5, 4)
    assert away[:11].max() == 0 and away[15:19].min() == 1 and away[24:].max() == 0
