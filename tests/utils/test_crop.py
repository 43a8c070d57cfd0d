"""The crop of a huge target costs what is read of the image, and its pixels are those of the plain way."""

import time
import tracemalloc

import numpy as np
import pytest

from benchmarks import crop as benchmark
from benchmarks.crop import plain_crop
from lib.train.data.transforms import mirror_view, to_gray
from lib.utils.crop import crop_side, sample_target
from lib.utils.errors import InputError


def random_boxes(rng, image, count):
    """Boxes from one pixel to more than the image, at any place that touches it."""
    height, width = image.shape[:2]
    for _ in range(count):
        w, h = (float(np.exp(rng.uniform(0, np.log(1.4 * limit)))) for limit in (width, height))
        yield [float(rng.uniform(-w, width)), float(rng.uniform(-h, height)), w, h]


@pytest.mark.parametrize("shape", [(48, 64), (37, 530), (480, 640), (2160, 3840)])
def test_pixels_are_those_of_the_plain_way(shape):
    rng = np.random.default_rng(shape[0])
    image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for box in random_boxes(rng, image, 100 if shape[0] < 1000 else 40):
        size, factor = int(rng.choice([31, 64, 97, 128, 256])), float(rng.choice([2.0, 4.0, 5.0]))
        if 1 < crop_side(box, factor) < 10_000:
            expected = plain_crop(image, box, factor, size)
            np.testing.assert_array_equal(
                sample_target(image, box, factor, size)[0], expected, str((box, size, factor))
            )


@pytest.mark.parametrize("prepare", [None, to_gray])
def test_mirrored_and_gray(prepare):
    rng = np.random.default_rng(5)
    image = mirror_view(rng.integers(0, 256, (480, 640, 3), dtype=np.uint8))
    for box in random_boxes(rng, image, 40):
        crop, _ = sample_target(image, box, 4.0, 64, prepare=prepare)
        np.testing.assert_array_equal(crop, plain_crop(np.ascontiguousarray(image), box, 4.0, 64, prepare))


def test_cost_of_a_target_that_fills_an_8k_frame():
    image = np.random.default_rng(0).integers(0, 256, (4320, 7680, 3), dtype=np.uint8)
    box = [0.0, 0.0, 7680.0, 4320.0]
    sample_target(image, box, 4.0, 256)
    tracemalloc.start()
    begin = time.process_time()
    crop, factor = sample_target(image, box, 4.0, 256)
    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (crop.any(), factor) == (True, 256 / crop_side(box, 4.0))
    assert peak < 4e6, "the padded square alone has 1.6 GB"
    assert seconds < 0.1


@pytest.mark.parametrize("box", [[-1e7, -1e7, 2e7 + 9, 2e7], [0, 0, 1e30, 1e30], [0, 0, 1e200, 1e200]])
def test_absurd_boxes_are_refused(box):
    with pytest.raises(InputError, match="too large"):
        sample_target(np.zeros((20, 20, 3), np.uint8), box, 4.0, 64)


@pytest.mark.parametrize("box", [[np.inf, 0, 9, 9], [0, np.nan, 9, 9], [0, 0, np.nan, 9], [0, 0, np.inf, 0]])
def test_boxes_that_are_no_numbers_are_refused(box):
    with pytest.raises(InputError, match="cannot crop around the box"):
        sample_target(np.zeros((20, 20, 3), np.uint8), box, 4.0, 64)


def test_a_large_crop_of_a_small_frame():
    crop, _ = sample_target(np.full((48, 64, 3), 200, np.uint8), [-1e5, -1e5, 2e5, 2e5], 4.0, 64)
    assert crop.shape == (64, 64, 3)


def test_the_benchmark_runs(capsys):
    assert benchmark.main(["--frames", "720p", "--repeats", "1", "--size", "64"]) == 0
    assert capsys.readouterr().out.count("| yes |") == len(benchmark.SHARES)
