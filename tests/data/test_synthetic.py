"""Rendered sequences as a training dataset."""

import pickle

import numpy as np
import pytest

from lib.data.registry import build_dataset
from lib.data.synthetic import MIN_VISIBLE_FRACTION, Synthetic
from lib.train.data.sampler import SampleKey
from lib.utils.image_io import write_image
from tests.train.world import make_sampler, tiny_config


def make(**changes):
    options = {"num_sequences": 6, "num_frames": 24, "size": (160, 120), "difficulty": "hard"}
    return Synthetic(**(options | changes))


def test_annotations_and_frames_fit():
    dataset = make()
    info = dataset.sequence_info(2)
    assert len(dataset) == 6 and len(info) == 24
    assert info.boxes_xywh.shape == (24, 4) and info.boxes_xywh.dtype == np.float32
    assert (info.visible <= info.valid).all() and info.visible.any()
    frames = dataset.frames(2, [5, 1, 5])
    assert [frame.shape for frame in frames] == [(120, 160, 3)] * 3
    np.testing.assert_array_equal(frames[0], frames[2])
    assert 0 < MIN_VISIBLE_FRACTION < 1


def test_order_of_reading_and_pickling_change_nothing():
    dataset, small = make(), make(cache_sequences=1)
    wanted = [(0, 3), (1, 4), (0, 3), (5, 9)]
    expected = [dataset.frames(sequence, [frame])[0] for sequence, frame in wanted]
    for other in (small, pickle.loads(pickle.dumps(dataset))):
        for (sequence, frame), image in reversed(list(zip(wanted, expected, strict=True))):
            np.testing.assert_array_equal(other.frames(sequence, [frame])[0], image)


def test_splits_differ():
    assert not np.array_equal(make().frames(0, [0])[0], make(split="val").frames(0, [0])[0])


@pytest.mark.parametrize("difficulty", ["easy", "hard"])
def test_samples_can_be_drawn(difficulty):
    sampler = make_sampler(tiny_config(), datasets=[make(difficulty=difficulty)])
    sample = sampler.sample(SampleKey(1, 0))
    assert sample.views.search.crops.std() > 1


def test_painted_worlds_leave_the_images_alone(tmp_path):
    """Folders of images may be given for one dataset and not for the other of the same training."""
    write_image(tmp_path / "photo.png", np.full((300, 400, 3), 77, dtype=np.uint8))
    cfg = tiny_config(DATA__SYNTHETIC__BACKGROUNDS=str(tmp_path), DATA__SYNTHETIC__CACHE=3)
    photos, painted = (build_dataset(name, cfg, None) for name in ("SYNTHETIC", "SYNTHETIC_painted"))
    assert photos.cache_sequences == painted.cache_sequences == 3
    assert not np.array_equal(photos.frames(0, [0])[0], painted.frames(0, [0])[0])
    plain = build_dataset("SYNTHETIC", tiny_config(), None)
    np.testing.assert_array_equal(plain.frames(0, [0])[0], painted.frames(0, [0])[0])
