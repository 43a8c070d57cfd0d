"""Every dataset gives the same frames and boxes from files and packed, in this process and in workers."""

import multiprocessing
import os
import pickle
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch

from lib.config.paths import load_paths
from lib.config.seqtrack.config import default_config
from lib.data import benchmarks, lasot, layout
from lib.data.packing import PACKABLE, TRAINING_PACKABLE, pack_dataset
from lib.data.sequence import SequenceList
from lib.train.train_script import build_loader
from lib.utils.errors import ConfigError, DataError
from lib.utils.image_io import write_image
from lib.utils.storage import DirectoryStorage, LmdbStorage, open_storage
from tests.data import fabricate
from tests.data import test_newer_benchmarks as newer
from tests.data.fabricate import FABRICATE, load, write
from tests.data.reading import assert_same as assert_same_rows
from tests.data.reading import read_all
from tracking import make_lmdb

GOT10K = {split: [f"GOT-10k_{split.capitalize()}_{number:06d}" for number in (1, 2)] for split in ("val", "test")}


def write_uav(root: Path) -> None:
    fabricate.write_uav(root)
    for row in fabricate.rows("uav"):
        write(root / "anno" / "UAV123" / "att" / row["annotation"].rpartition("/")[2], "1" + 11 * ",0")


WRITERS: dict[str, Callable[[Path], None]] = {
    "lasot_extension_subset": lambda root: fabricate.write_lasot(root, "lasot_extension_subset"),
    "got10k_val": lambda root: fabricate.write_got10k(root, "val", GOT10K["val"]),
    "got10k_test": lambda root: fabricate.write_got10k(root, "test", GOT10K["test"]),
    "trackingnet_test": lambda root: fabricate.write_trackingnet(root, ["a", "b"]),
    "tnl2k": lambda root: fabricate.write_tnl2k(root, ["a", "b"]),
    "otb": fabricate.write_otb,
    "nfs": lambda root: fabricate.write_nfs(root, "official"),
    "uav": write_uav,
    "tc128": lambda root: fabricate.write_tc128(root, ["Ball_ce1", "Basketball"]),
    **{name: newer.FABRICATE[name] for name in ("vasttrack", "avist", "dtb70", "didi", "oxuva_dev")},
    "oxuva_test": newer.oxuva,
}
FOLDERS = {"got10k_val": "got10k", "got10k_test": "got10k", "trackingnet_test": "trackingnet"}
FOLDERS |= {"oxuva_dev": "oxuva", "oxuva_test": "oxuva"}
BENCHMARK = {"trackingnet_test": "trackingnet"}
SHORT = {"otb": ["Board", "Football1", "Jogging_2"], "uav": ["uav_bird1_1", "uav_car1_2"], "nfs": ["nfs_car_jumping"]}


@pytest.fixture(autouse=True)
def few_short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of benchmarks that are listed in tables, a few sequences of four frames."""
    read_table, rows = layout.read_table, fabricate.rows

    def shortened(table: list[dict[str, str]], name: str) -> list[dict[str, str]]:
        if name == "lasot_extension_subset":
            return [{"class": "atv", "numbers": "1 2"}, {"class": "paddle", "numbers": "10"}]
        if name not in SHORT:
            return table
        chosen = [row for row in table if row["name"] in SHORT[name]]
        return [row | {"last_frame": str(int(row.get("first_frame", 1)) + 3)} for row in chosen]

    for module in (benchmarks, lasot):
        monkeypatch.setattr(module, "read_table", lambda name: shortened(read_table(name), name))
    monkeypatch.setattr(fabricate, "rows", lambda name: shortened(rows(name), name))


def write_benchmark(name: str, data_dir: Path) -> Path:
    """Write a benchmark in which every frame is there and another image."""
    root = data_dir / FOLDERS.get(name, name)
    WRITERS[name](root)
    rng = np.random.default_rng(0)
    for sequence in load(data_dir, BENCHMARK.get(name, name)):
        for frame in sequence.frames:
            write_image(root / frame, rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    write(root / "archive.zip", "not part of any sequence")
    return root


def assert_same(before: SequenceList, after: SequenceList) -> None:
    assert before.names == after.names
    for one, other in zip(before, after, strict=True):
        assert one.same_as(other)
        assert isinstance(other.storage, LmdbStorage)
        for index in range(len(one.frames)):
            np.testing.assert_array_equal(one.read_frame(index), other.read_frame(index))


@pytest.mark.parametrize("name", [name for name in PACKABLE if name not in TRAINING_PACKABLE])
def test_folder_and_lmdb_give_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_benchmark(name, tmp_path)
    benchmark = BENCHMARK.get(name, name)
    before = load(tmp_path, benchmark)
    files = sorted(tmp_path.rglob("*"))
    assert make_lmdb.main([name, "--data_dir", str(tmp_path)]) == 0
    assert ", 0 were there already; annotations read the same" in capsys.readouterr().out
    target = root.with_name(root.name + "_lmdb")
    assert [path for path in sorted(tmp_path.rglob("*")) if target not in (path, *path.parents)] == files

    packed = load(tmp_path, f"{benchmark}_lmdb")
    assert_same(before, packed)
    assert not packed[0].storage.exists("archive.zip")
    del packed  # the database can be written once nothing reads it any more
    assert make_lmdb.main([name, "--data_dir", str(tmp_path)]) == 0
    assert ": 0 files written" in capsys.readouterr().out
    elsewhere = DirectoryStorage(root.rename(tmp_path / "elsewhere"))
    again = load(tmp_path, benchmark)  # found beside the folder that is gone
    for one, other in zip(before, again, strict=True):
        assert elsewhere.read_image(one.frames[-1]).tolist() == other.read_frame(-1).tolist()


def test_splits_of_a_data_set_share_a_database(tmp_path: Path) -> None:
    for split in ("val", "test"):
        write_benchmark(f"got10k_{split}", tmp_path)
        assert make_lmdb.main([f"got10k_{split}", "--data_dir", str(tmp_path)]) == 0
    for split in ("val", "test"):
        assert_same(load(tmp_path, f"got10k_{split}"), load(tmp_path, f"got10k_{split}_lmdb"))


def test_attributes_and_flags_are_packed(tmp_path: Path) -> None:
    for name in ("uav", "lasot_extension_subset"):
        write_benchmark(name, tmp_path)
        make_lmdb.main([name, "--data_dir", str(tmp_path)])
    assert load(tmp_path, "uav_lmdb")[0].attributes == ("Scale Variation",)
    assert load(tmp_path, "lasot_extension_subset_lmdb")[0].target_visible.tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("Board/groundtruth_rect.txt", r"groundtruth_rect\.txt: no such file"),
        ("Board/img/00002.jpg", r"00002\.jpg: cannot read"),  # in the middle, where readers do not look
    ],
)
def test_half_a_data_set_is_not_packed(damage: str, message: str, tmp_path: Path) -> None:
    write_benchmark("otb", tmp_path)
    (tmp_path / "otb" / damage).unlink()
    with pytest.raises(DataError, match=message):
        make_lmdb.main(["otb", "--data_dir", str(tmp_path)])
    with pytest.raises(DataError):
        load(tmp_path, "otb_lmdb")  # whatever was written before the damage is not taken for the dataset


def test_a_database_that_reads_differently_is_refused(tmp_path: Path) -> None:
    root = write_benchmark("tc128", tmp_path)
    make_lmdb.main(["tc128", "--data_dir", str(tmp_path)])
    ground_truth = root / "Ball_ce1" / "Ball_ce1_gt.txt"
    ground_truth.write_text(ground_truth.read_text().replace("20", "21"))
    os.utime(tmp_path / "tc128_lmdb" / "data.mdb", (2**33, 2**33))  # of the same length and, it seems, packed since
    with pytest.raises(DataError, match="the packed annotations differ from those in"):
        make_lmdb.main(["tc128", "--data_dir", str(tmp_path)])


@pytest.mark.parametrize("kind", TRAINING_PACKABLE)
def test_directory_equals_lmdb(kind: str, tmp_path: Path) -> None:
    FABRICATE[kind](tmp_path / kind)
    files = TRAINING_PACKABLE[kind].open(open_storage(tmp_path / kind))
    pack_dataset(kind, open_storage(tmp_path / kind), tmp_path / "packed")
    packed = TRAINING_PACKABLE[kind].open(open_storage(tmp_path / "packed"))
    assert type(packed.storage) is not type(files.storage)
    assert_same_rows(read_all(files), read_all(packed))


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
    dataset = TRAINING_PACKABLE["lasot"].open(open_storage(tmp_path / "packed"))
    here = read_all(dataset)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
        for rows in pool.map(read_all, [dataset, dataset], timeout=60):
            assert_same_rows(here, rows)


def test_what_changed_after_packing_is_packed_again_though_it_is_as_long(tmp_path: Path) -> None:
    fabricate.folder(root := tmp_path / "own")
    source, target = open_storage(root), tmp_path / "own_lmdb"
    total = pack_dataset("folder", source, target).written
    report = pack_dataset("folder", source, target)
    assert (report.written, report.kept) == (0, total)
    image = next(path for path in sorted(root.rglob("*")) if path.suffix == ".jpg")
    times, content = image.stat(), image.read_bytes()[:-2] + b"!!"
    image.write_bytes(content)
    os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))  # as rsync and archives do
    assert pack_dataset("folder", source, target).written == 1
    assert open_storage(target).read_bytes(str(image.relative_to(root))) == content


def test_two_datasets_share_one_database(tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path / "lasot")
    pack_dataset("lasot", open_storage(tmp_path / "lasot"), tmp_path / "packed")
    first, second = (TRAINING_PACKABLE["lasot"].open(open_storage(tmp_path / "packed")) for _ in range(2))
    assert_same_rows(read_all(first), read_all(second))
    assert_same_rows(read_all(first), read_all(pickle.loads(pickle.dumps(second))))


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


@pytest.mark.parametrize("name", ["lasott", "vot20"])
def test_unknown_names_list_the_known(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=f"unknown dataset to pack '{name}'; known: avist, coco, .*lasot, .*uav, vasttrack, vid"
    ):
        pack_dataset(name, open_storage(tmp_path), tmp_path / "packed")
