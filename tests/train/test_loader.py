"""Loading: workers that die or hang, damaged files, reduced decoding, and the same samples as a plain pipeline."""

import os
import shutil
import signal
import time

import numpy as np
import pytest
import torch

from benchmarks.plain_training import PlainSampler, collate_plain
from lib.data.lasot import Lasot
from lib.train.data import loader as loader_module
from lib.train.data.batch import collate
from lib.train.data.loader import EpochKeys, TrainingLoader
from lib.train.data.processing import Augmentation
from lib.train.data.sampler import DamageBudget, SampleKey
from lib.train.train_script import build_processing
from lib.utils.errors import DataError
from lib.utils.image_io import EncodedImage, write_image
from lib.utils.seed import SampleRng
from lib.utils.storage import DirectoryStorage
from tests.train.world import Squares, make_loader, make_sampler, tiny_config


class Stuck(Squares):
    def frames(self, sequence, frame_ids):
        time.sleep(60)


class Dying(Squares):
    def frames(self, sequence, frame_ids):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_stuck_worker_is_an_error(monkeypatch):
    monkeypatch.setattr(loader_module, "BATCH_TIMEOUT", 1)
    start = time.monotonic()
    with pytest.raises(DataError, match=r"loading of epoch 1 broke off: DataLoader timed out after 1 seconds"):
        list(make_loader(tiny_config(), num_workers=1, datasets=[Stuck()]).epoch(1))
    assert time.monotonic() - start < 30


def test_a_killed_worker_is_an_error():
    with pytest.raises(DataError, match=r"DataLoader worker .* take fewer with TRAIN\.NUM_WORKER"):
        list(make_loader(tiny_config(), num_workers=2, datasets=[Dying()]).epoch(1))


@pytest.fixture(scope="module")
def lasot(tmp_path_factory):
    """Two sequences of 24 large frames with an object of some 60 pixels, in the layout of LaSOT."""
    root = tmp_path_factory.mktemp("lasot")
    for number in (1, 2):
        folder = root / "bird" / f"bird-{number}"
        (folder / "img").mkdir(parents=True)
        ground = np.random.RandomState(number).randint(0, 255, (24, 32, 3)).astype(np.uint8).repeat(15, 0).repeat(15, 1)
        for frame in range(24):
            image = ground.copy()
            image[100 + frame : 160 + frame, 200 : 270 + number] = (250, 30, 90)
            write_image(folder / "img" / f"{frame + 1:08d}.jpg", image, quality=90)
        (folder / "groundtruth.txt").write_text("".join(f"200,{100 + k},{70 + number},60\n" for k in range(24)))
        for flag in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / flag).write_text(",".join("0" * 24))
    (root / "split.txt").write_text("bird-1\nbird-2\n")
    return root


def open_lasot(root):
    return Lasot(DirectoryStorage(root), str(root / "split.txt"))


def test_samples_equal_those_of_the_plain_pipeline(lasot):
    """Whole frames copied, masks, floats on the processor: the same numbers in the end."""
    cfg = tiny_config(DATA__TEMPLATE__NUMBER=2, TEST__NUM_TEMPLATES=2)
    ours = make_sampler(cfg, datasets=[open_lasot(lasot)])
    plain = PlainSampler(
        mean=(0, 0, 0), std=(1, 1, 1), datasets=ours.datasets, ratios=[1], mode="order", policy=ours.policy,
        processing=ours.processing, seed=ours.seed,
    )  # fmt: skip
    keys = [SampleKey(1, index) for index in range(24)]
    batch = collate([ours.sample(key) for key in keys])
    template, search = collate_plain([plain.sample(key).views for key in keys])
    for (images, boxes, *_), kind in ((template, "template"), (search, "search")):
        gain = getattr(batch, f"{kind}_gain")[..., None, None, None]
        pixels = (getattr(batch, kind) * gain).clamp(0, 1).permute(1, 0, 4, 2, 3)
        torch.testing.assert_close(pixels, images, atol=1e-6, rtol=0)
        torch.testing.assert_close(getattr(batch, f"{kind}_boxes_xywh").transpose(0, 1), boxes, atol=1e-5, rtol=0)


def test_reduced_decoding_changes_pixels_a_little_and_nothing_else(lasot, monkeypatch):
    decoded = []
    monkeypatch.setattr(EncodedImage, "pixels", recording(EncodedImage.pixels, decoded))
    batches = []
    for reduced in (False, True):
        sampler = make_sampler(tiny_config(DATA__REDUCED_DECODE=reduced), datasets=[open_lasot(lasot)])
        batches.append(collate([sampler.sample(SampleKey(1, index)) for index in range(16)]))
        reductions, decoded[:] = set(decoded), []
        assert reductions == ({2, 4} if reduced else {1})
    full, small = batches
    assert torch.equal(full.search_boxes_xywh, small.search_boxes_xywh) and torch.equal(
        full.search_gain, small.search_gain
    )
    assert full.sources == small.sources and full.keys == small.keys
    for kind in ("template", "search"):
        difference = (getattr(full, kind).float() - getattr(small, kind).float()).abs()
        assert 0 < difference.mean() < 12  # hard edges of blocks, which averaging blurs; 60 and more if misplaced


def recording(function, reductions):
    def record(image, reduction=1, rows=None):
        reductions.append(reduction)
        return function(image, reduction, rows)

    return record


def test_a_frame_in_two_crops_is_decoded_once_and_finely_enough(lasot):
    dataset = open_lasot(lasot)
    cfg = tiny_config(DATA__REDUCED_DECODE=True, DATA__TEMPLATE__SIZE=64, TEST__TEMPLATE_SIZE=64)
    processing = build_processing(cfg, Augmentation(0, 0, 0, 0))
    (frame,) = set(dataset.lazy_frames(0, [3, 3]))
    boxes = torch.from_numpy(dataset.sequence_info(0).boxes_xywh[[3]])
    processing([frame], boxes, [frame], boxes, SampleRng.from_seed(0))
    # The template (factor 2) is shrunk twice, the search crop (factor 4) four times: half size serves both.
    assert [key[0] for key in frame._decoded] == [2]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_corrupt_jpeg_is_named_and_replaced(lasot, tmp_path, num_workers, caplog):
    """One sequence is damaged from end to end: under `skip` its samples come from the other one."""
    root = shutil.copytree(lasot, tmp_path / "lasot")
    for path in (root / "bird/bird-2/img").iterdir():
        path.write_bytes(path.read_bytes()[:700])
    sampler = make_sampler(tiny_config(), datasets=[open_lasot(root)])
    sampler.damage = DamageBudget("skip", 100)
    loader = TrainingLoader(sampler, EpochKeys(12, 4), num_workers=num_workers)
    batches = list(loader.epoch(1))
    assert {source for batch in batches for source in batch.sources} == {"LASOT/bird-1"}
    if num_workers == 0:
        assert any("bird-2/img/000000" in record.message and "truncated" in record.message for record in caplog.records)
    for path in (root / "bird/bird-1/img").iterdir():
        path.write_bytes(b"")
    sampler.damage = DamageBudget("raise")
    loader = TrainingLoader(sampler, EpochKeys(12, 4), num_workers=num_workers)
    with pytest.raises(DataError, match=r"sample \d+ of epoch 2: .*bird-\d/img/\d+\.jpg: .*; 3 others in its place"):
        list(loader.epoch(2))
