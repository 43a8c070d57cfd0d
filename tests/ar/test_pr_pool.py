"""The pooling is the exact mean of the bilinear interpolation over each bin."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from external.AR.pr_pool import precise_roi_pool

SCALE = 1 / 16
# Corners in map pixels, for a map of 14 rows and 16 columns.
BOXES = {
    "inside": (3.3, 2.7, 11.2, 9.9),
    "bins below one pixel": (5.2, 5.1, 6.0, 5.9),
    "bins above one pixel": (0.4, 0.3, 14.8, 12.9),
    "partly outside": (-3.4, 8.2, 6.1, 17.5),
    "in the border strip": (15.1, 13.2, 15.9, 13.7),
    "wholly outside": (20.0, 20.0, 25.0, 24.0),
}


def random_map(channels: int = 2) -> Tensor:
    return torch.randn(1, channels, 14, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def integrate(features: Tensor, box: tuple[float, ...], bins: int, steps: int) -> Tensor:
    """Mean of bilinear samples at the midpoints of a fine grid in each bin, (1, C, bins, bins)."""
    x1, y1, x2, y2 = box
    fractions = (torch.arange(bins * steps, dtype=torch.float64) + 0.5) / (bins * steps)
    x, y = x1 + fractions * (x2 - x1), y1 + fractions * (y2 - y1)
    height, width = features.shape[-2:]
    # grid_sample: -1 and 1 are the centers of the border pixels, zeros outside.
    grid_y, grid_x = torch.meshgrid(2 * y / (height - 1) - 1, 2 * x / (width - 1) - 1, indexing="ij")
    grid = torch.stack((grid_x, grid_y), -1)[None]
    samples = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=True)
    return F.avg_pool2d(samples, steps)


@pytest.mark.parametrize("case", BOXES)
def test_equals_numerical_integration(case: str) -> None:
    features, box = random_map(), BOXES[case]
    pooled = precise_roi_pool(features, torch.tensor([box], dtype=torch.float64) / SCALE, 4, SCALE)
    expected = integrate(features, box, 4, 400)
    assert pooled.shape == (1, 2, 4, 4)
    assert float((pooled - expected).abs().max()) < 5e-5  # error of the midpoint rule at the kinks
    assert (float(pooled.abs().max()) == 0) == (case == "wholly outside")


def test_coarser_integration_is_further_away() -> None:
    """The difference above is the error of the integration, not of the pooling: it shrinks with the step."""
    features, box = random_map(), BOXES["bins above one pixel"]
    pooled = precise_roi_pool(features, torch.tensor([box], dtype=torch.float64) / SCALE, 4, SCALE)
    errors = [float((pooled - integrate(features, box, 4, steps)).abs().max()) for steps in (10, 200)]
    assert errors[1] < errors[0] / 20


def test_whole_pixels_are_average_pooling() -> None:
    features = random_map()
    pooled = precise_roi_pool(features, torch.tensor([[16.0, 32.0, 16.0 * 9, 16.0 * 10]]), 8, SCALE)
    corners = features[:, :, 2:11, 1:10]
    expected = F.avg_pool2d(corners, 2, stride=1)  # the mean over one pixel step is that of its four corners
    torch.testing.assert_close(pooled, expected, atol=1e-14, rtol=0)


@pytest.mark.parametrize("box", [(80, 80, 80, 120), (80, 80, 120, 80), (120, 80, 60, 120), (80, 120, 120, 60)])
def test_box_without_area_gives_zero(box: tuple[float, ...]) -> None:
    features = random_map().requires_grad_()
    boxes = torch.tensor([box], dtype=torch.float64, requires_grad=True)
    pooled = precise_roi_pool(features, boxes, 3, SCALE)
    assert not pooled.any()
    pooled.sum().backward()
    assert not boxes.grad.any() and not features.grad.any()


def test_gradients_of_map_and_box() -> None:
    features = random_map(1).requires_grad_()
    for case in ("inside", "bins below one pixel", "partly outside"):
        boxes = (torch.tensor([BOXES[case]], dtype=torch.float64) / SCALE).requires_grad_()
        assert torch.autograd.gradcheck(lambda f, b: precise_roi_pool(f, b, 3, SCALE), (features, boxes))


def test_each_map_has_its_own_box_and_keeps_its_type() -> None:
    features = torch.cat((random_map(), random_map().flip(-1))).float()
    boxes = torch.tensor([BOXES["inside"], BOXES["partly outside"]]) / SCALE
    together = precise_roi_pool(features, boxes, 12, SCALE)
    alone = [precise_roi_pool(features[i : i + 1], boxes[i : i + 1], 12, SCALE) for i in range(2)]
    assert together.dtype == torch.float32 and together.is_contiguous()
    np.testing.assert_allclose(together, torch.cat(alone), atol=1e-6)
