"""Every dataset gives the same frames and boxes from files and packed, in this process and in workers."""

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import lmdb
import pytest
import torch

from lib.config.paths import load_paths
from lib.config.seqtrack.config import default_config
from lib.train.dataset.packing import PACKABLE, pack_dataset
from lib.train.train_script import build_loader
from lib.utils.errors import ConfigError
from lib.utils.storage import open_storage
from tests.train.dataset import fabricate
from tests.train.dataset.fabricate import FABRICATE
from tests.train.dataset.reading import assert_same, read_all


@pytest.mark.parametrize("kind", PACKABLE)
def test_directory_equals_lmdb(kind: str, tmp_path: Path) -> None:
    FABRICATE[kind](tmp_path / kind)
    files = PACKABLE[kind].open(open_storage(tmp_path / kind))
    pack_dataset(kind, open_storage(tmp_path / kind), tmp_path / "packed")
    packed = PACKABLE[kind].open(open_storage(tmp_path / "packed"))
    assert type(packed.storage) is not type(files.storage)
    assert_same(read_all(files), read_all(packed))


EXPECTED_KEYS = {
    "lasot": ("", {"bird/bird-1/groundtruth.txt", "car/car-1/img/00000004.jpg"}),
    "got10k": ("", {"train/list.txt", "train/GOT-10k_Train_000001/absence.label"}),
    "trackingnet": ("TRAIN_3_lmdb", {"anno/vid3_0.txt", "frames/vid3_1/1.jpg"}),
    "coco": ("", {"annotations/instances_train2017.json", "images/train2017/000000000002.jpg"}),
    "vid": ("", {"cache.json", "Data/VID/train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00000007/000000.JPEG"}),
}


@pytest.mark.parametrize("kind", EXPECTED_KEYS)
def test_keys_are_the_published_ones(kind: str, tmp_path: Path) -> None:
    FABRICATE[kind](tmp_path / kind)
    pack_dataset(kind, open_storage(tmp_path / kind), tmp_path / "packed")
    folder, expected = EXPECTED_KEYS[kind]
    with lmdb.open(str(tmp_path / "packed" / folder), readonly=True, lock=False) as database, database.begin() as txn:
        keys = {key.decode() for key, _ in txn.cursor()}
    assert expected <= keys
    if kind == "trackingnet":
        assert (
            (tmp_path / "packed" / "seq_list.json")
            .read_text()
            .startswith('[[0, "vid0_0"], [1, "vid1_0"], [1, "vid1_1"]')
        )


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_read_the_same(method: str, tmp_path: Path) -> None:
    """Handles that are open in the parent are not used after a fork, and nothing that is open is pickled."""
    FABRICATE["lasot"](tmp_path / "lasot")
    pack_dataset("lasot", open_storage(tmp_path / "lasot"), tmp_path / "packed")
    dataset = PACKABLE["lasot"].open(open_storage(tmp_path / "packed"))
    here = read_all(dataset)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for rows in pool.map(read_all, [dataset, dataset], timeout=60):
            assert_same(here, rows)


def test_two_data_sets_share_one_database(tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path / "lasot")
    pack_dataset("lasot", open_storage(tmp_path / "lasot"), tmp_path / "packed")
    first, second = (PACKABLE["lasot"].open(open_storage(tmp_path / "packed")) for _ in range(2))
    assert_same(read_all(first), read_all(second))
    assert_same(read_all(first), read_all(pickle.loads(pickle.dumps(second))))


def test_training_batches_are_the_same(tmp_path: Path) -> None:
    """From the name in the configuration to the batch, with workers: files and packed give the same bytes."""
    fabricate.lasot(tmp_path / "lasot", ("bird-1",), frames=24)
    fabricate.coco(tmp_path / "coco")
    (tmp_path / "split.txt").write_text("bird-1\n")
    for kind in ("lasot", "coco"):
        pack_dataset(kind, open_storage(tmp_path / kind), tmp_path / f"{kind}_lmdb")
    batches = {}
    for suffix in ("", "_lmdb"):
        for workers in (0, 2):
            overrides = {
                "DATA.TRAIN.DATASETS_NAME": [f"LASOT{suffix}:split.txt", f"COCO17{suffix}"],
                "DATA.TRAIN.SAMPLE_PER_EPOCH": 8,
                "TRAIN.BATCH_SIZE": 4,
                "TRAIN.NUM_WORKER": workers,
            }
            overrides |= {f"DATA.{part}.SIZE": 64 for part in ("SEARCH", "TEMPLATE")}
            overrides |= {f"TEST.{part}_SIZE": 64 for part in ("SEARCH", "TEMPLATE")}
            paths = load_paths("train", data_dir=tmp_path, save_dir=tmp_path / "save")
            loader = build_loader(default_config(overrides), paths, "TRAIN", torch.device("cpu"))
            batches[suffix, workers] = list(loader.epoch(3))
    first, *others = batches.values()
    for other in others:
        for a, b in zip(first, other, strict=True):
            assert torch.equal(a.search, b.search) and torch.equal(a.search_boxes_xywh, b.search_boxes_xywh)


def test_unknown_kind_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown dataset to pack 'lasott'; known: coco, .*did you mean lasot"):
        pack_dataset("lasott", open_storage(tmp_path), tmp_path / "packed")
