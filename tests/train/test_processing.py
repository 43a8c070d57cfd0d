"""Cropping touches the crop only, and mirroring and greying do what they say."""

import numpy as np
import pytest
import torch

from benchmarks.plain_training import jittered, mirrored
from lib.train.data.processing import Augmentation, CropSettings, SeqTrackProcessing, jitter_box
from lib.train.data.transforms import draw_brightness, draw_chance, mirror_box, mirror_view, normalize_crops, to_gray
from lib.utils.seed import SampleRng

SEARCH = CropSettings(64, 4.0, center_jitter=1.0, scale_jitter=0.2)


def make(augmentation, **changes):
    return SeqTrackProcessing(
        **({"template": CropSettings(32, 2.0), "search": SEARCH} | changes), augmentation=augmentation
    )


def process(processing, frame, box=(300.0, 200.0, 30.0, 40.0), seed=0):
    boxes = torch.tensor([box])
    return processing([frame], boxes, [frame], boxes, SampleRng.from_seed(seed))


ALL_ON = Augmentation(gray=1.1, joint_flip=1.1, brightness=0.2, frame_flip=1.1)


def test_no_whole_frame_is_copied():
    """A frame of 300 gigapixels is one pixel of memory behind a view; copying it once would not end well."""
    frame = np.lib.stride_tricks.as_strided(
        np.array([[[9, 90, 200]]], dtype=np.uint8), shape=(300_000, 1_000_000, 3), strides=(0, 0, 1), writeable=False
    )
    sample = process(make(ALL_ON), frame, box=(700_000.0, 100_000.0, 30.0, 40.0))
    assert sample.search.crops.shape == (1, 64, 64, 3)
    assert (sample.search.crops == to_gray(frame[:1, :1])[0, 0]).all()


def test_frames_are_only_read():
    frame = np.random.RandomState(0).randint(0, 256, size=(480, 640, 3)).astype(np.uint8)
    before = frame.copy()
    frame.setflags(write=False)
    process(make(ALL_ON), frame)
    np.testing.assert_array_equal(frame, before)


def plain(seed=0, **augmentation):
    frame = np.random.RandomState(3).randint(0, 256, size=(480, 640, 3)).astype(np.uint8)
    switches = {"gray": 0.0, "joint_flip": 0.0, "brightness": 0.0, "frame_flip": 0.0} | augmentation
    return process(make(Augmentation(**switches), search=CropSettings(64, 4.0)), frame, seed=seed)


def test_joint_mirror_equals_mirroring_the_frame_first():
    frame = np.random.RandomState(3).randint(0, 256, size=(480, 640, 3)).astype(np.uint8)
    processing = make(Augmentation(gray=0, joint_flip=0, brightness=0, frame_flip=0))
    mirrored = process(processing, np.ascontiguousarray(frame[:, ::-1]), box=(639 - 330.0, 200.0, 30.0, 40.0))
    view = process(make(Augmentation(gray=0, joint_flip=1.1, brightness=0, frame_flip=0)), frame)
    np.testing.assert_array_equal(mirrored.search.crops, view.search.crops)
    torch.testing.assert_close(mirrored.search.boxes_xywh, view.search.boxes_xywh)


def test_frame_mirror_flips_the_crop_and_its_box():
    straight, flipped = plain(), plain(frame_flip=1.1)
    np.testing.assert_array_equal(flipped.search.crops, straight.search.crops[:, :, ::-1])
    torch.testing.assert_close(
        flipped.search.boxes_xywh[0], mirror_box(straight.search.boxes_xywh[0], True, 1.0), atol=1e-6, rtol=0
    )


def test_gray_has_equal_channels():
    crops = plain(gray=1.1).search.crops
    assert (crops == crops[..., :1]).all() and crops.std() > 1


def test_per_frame_draws_are_independent():
    frame = np.zeros((480, 640, 3), dtype=np.uint8)
    boxes = torch.tensor([[300.0, 200.0, 30.0, 40.0]] * 4)
    processing = make(Augmentation())
    sample = processing([frame] * 4, boxes, [frame] * 4, boxes, SampleRng.from_seed(1))
    gains = torch.cat((sample.template.gain, sample.search.gain)) * 255
    assert len(set(gains.tolist())) == 8
    assert (gains >= 0.8).all() and (gains <= 1.2).all()


def test_validation_keeps_the_joint_augmentations_only():
    augmentation = Augmentation.for_validation()
    assert (augmentation.gray, augmentation.joint_flip) == (0.05, 0.5)
    gain = plain(brightness=augmentation.brightness).search.gain
    assert gain.item() == pytest.approx(1 / 255)


def test_mirroring_twice_is_the_identity():
    box = torch.tensor([10.0, 20.0, 30.0, 40.0])
    assert torch.equal(mirror_box(mirror_box(box, True, 99), True, 99), box)
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert np.shares_memory(mirror_view(image), image)
    np.testing.assert_array_equal(mirror_view(mirror_view(image)), image)


def test_boxes_are_those_of_plain_torch_to_the_last_bit():
    """A bit more or less moves a crop by a pixel now and then."""
    boxes = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)) * 400
    ours, plain_rng = SampleRng.from_seed(0), SampleRng.from_seed(0)
    for number, box in enumerate(boxes):
        straight = mirror_box(box, number % 2 == 0, 1279)
        assert torch.equal(straight, mirrored(box, number % 2 == 0, 1279))
        assert torch.equal(jitter_box(straight, SEARCH, ours), jittered(straight, SEARCH, plain_rng))


def test_a_box_that_is_no_number_stays_none():
    box = torch.tensor([10.0, 20.0, float("nan"), 40.0])
    for flip in (False, True):
        assert mirror_box(box, flip, 99).isnan().tolist() == [True, False, True, False]


def test_distribution_of_the_draws():
    rng = SampleRng.from_seed(0)
    factors = np.array([draw_brightness(rng, 0.2) for _ in range(4000)])
    assert factors.min() >= 0.8 and factors.max() <= 1.2
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    assert np.mean([draw_chance(rng, 0.05) for _ in range(8000)]) == pytest.approx(0.05, abs=0.01)


def test_normalisation_keeps_frames_apart():
    crops = torch.full((1, 2, 4, 4, 3), 100, dtype=torch.uint8)
    pixels = normalize_crops(crops, torch.tensor([[1 / 255, 3 / 255]]), torch.zeros(3), torch.ones(3))
    assert pixels.shape == (1, 2, 3, 4, 4)
    assert pixels[0, 0].unique().item() == pytest.approx(100 / 255)
    assert pixels[0, 1].unique().item() == 1  # clamped
