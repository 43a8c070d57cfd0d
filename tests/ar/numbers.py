"""Comparing arrays with the reference numbers of Alpha-Refine."""

from functools import cache

import numpy as np

from tests.golden import load_npz


@cache
def golden() -> dict[str, np.ndarray]:
    return load_npz("ar/alpha_refine.npz")


def stats(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return np.array([x.size, x.sum(), np.abs(x).sum(), (x * x).sum(), x.min(), x.max()])


def check_stage(key: str, value: np.ndarray, tolerance: float) -> None:
    """Compare 64 numbers and the sums of an array; the tolerance is relative to its largest magnitude."""
    expected, sums = golden()[key], golden()[key + "/stats"]
    scale = max(abs(sums[4]), abs(sums[5]))
    picked = value.flatten()[:: max(1, value.size // 64)][:64]
    np.testing.assert_allclose(picked, expected, rtol=0, atol=tolerance * scale, err_msg=key)
    found = stats(value)
    bound = tolerance * scale * np.array([0, sums[0], sums[0], 2 * sums[0] * scale, 1, 1])
    assert (np.abs(found - sums) <= bound).all(), f"{key}: {found} instead of {sums}"
