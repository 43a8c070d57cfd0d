"""Benchmarks packed by tracking/make_lmdb.py have the same frames and boxes as their folders."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.test.evaluation import SequenceList, layout, nfs, otb, uav
from lib.test.evaluation.packing import PACKABLE_BENCHMARKS, pack_benchmark, same_sequence
from lib.utils.errors import DataError
from lib.utils.image_io import write_image
from lib.utils.storage import DirectoryStorage
from lib.utils.storage_lmdb import LmdbStorage
from tests.evaluation.datasets import fabricate
from tests.evaluation.datasets.fabricate import load, write
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
}
FOLDERS = {"got10k_val": "got10k", "got10k_test": "got10k", "trackingnet_test": "trackingnet"}
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

    for module in (nfs, otb, uav):
        monkeypatch.setattr(module, "read_table", lambda name: shortened(read_table(name), name))
    monkeypatch.setattr("lib.test.evaluation.lasot.read_table", lambda name: shortened(read_table(name), name))
    monkeypatch.setattr(fabricate, "rows", lambda name: shortened(rows(name), name))


def write_benchmark(name: str, data_dir: Path) -> Path:
    """Write a benchmark in which every frame is there and another image."""
    root = data_dir / FOLDERS.get(name, name)
    WRITERS[name](root)
    rng = np.random.default_rng(0)
    for sequence in load(data_dir, PACKABLE_BENCHMARKS[name]):
        for frame in sequence.frames:
            write_image(root / frame, rng.integers(0, 256, (8, 12, 3), dtype=np.uint8))
    write(root / "archive.zip", "not part of any sequence")
    return root


def assert_same(before: SequenceList, after: SequenceList) -> None:
    assert before.names == after.names
    for one, other in zip(before, after, strict=True):
        assert same_sequence(one, other)
        assert isinstance(other.storage, LmdbStorage)
        for index in range(len(one.frames)):
            np.testing.assert_array_equal(one.read_frame(index), other.read_frame(index))


@pytest.mark.parametrize("name", PACKABLE_BENCHMARKS)
def test_folder_and_lmdb_give_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_benchmark(name, tmp_path)
    benchmark = PACKABLE_BENCHMARKS[name]
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
    ground_truth.write_text(
        ground_truth.read_text().replace("20", "21")
    )  # of the same length, so it counts as written already
    with pytest.raises(DataError, match="the packed sequences differ from those in"):
        make_lmdb.main(["tc128", "--data_dir", str(tmp_path)])


def test_only_known_benchmarks_are_packed(tmp_path: Path) -> None:
    write_benchmark("tc128", tmp_path)
    with pytest.raises(Exception, match="unknown benchmark to pack 'vot20'"):
        pack_benchmark("vot20", DirectoryStorage(tmp_path / "tc128"), tmp_path / "x", progress=lambda *_: None)
