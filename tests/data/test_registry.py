"""The names that a configuration may hold for training datasets; those of benchmarks are in ``test_layouts``."""

from pathlib import Path

import pytest

from lib.config.paths import Paths, load_paths
from lib.config.seqtrack.config import default_config
from lib.data.base import DiskDataset
from lib.data.registry import build_dataset
from lib.utils.errors import ConfigError, DataError
from tests.data.fabricate import FABRICATE, write


def open_by_name(name: str, root: Path) -> DiskDataset:
    paths: Paths = load_paths("train", data_dir=root, save_dir=root / "save")
    return build_dataset(name, default_config(), paths)


def test_names(tmp_path: Path) -> None:
    """Names, packed names and arguments resolve through one table."""
    for kind in ("got10k", "trackingnet", "coco", "vid", "lasot"):
        FABRICATE[kind](tmp_path / kind)
    FABRICATE["folder"](tmp_path / "mine")
    write(tmp_path / "birds.txt", "bird-4\n")
    for name, count in {
        "GOT10K_train_full": 3, "TRACKINGNET": 18, "TRACKINGNET:0-1,5": 5, "COCO17": 3, "VID": 2, "FOLDER:mine": 2,
        f"FOLDER:{tmp_path / 'mine'}": 2, "LASOT:birds.txt": 1, "FOLDER:mine/two": 1,
    }.items():  # fmt: skip
        dataset = open_by_name(name, tmp_path)
        assert len(dataset) == count and dataset.name == name
        assert dataset.sequence_name(0).startswith(f"{name}/")
    assert list((tmp_path / "save" / "cache" / "annotations").iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("LASSOT", "unknown training dataset 'LASSOT'; known: COCO17, FOLDER, .*did you mean LASOT"),
        ("LASOTS_lmdb", "unknown training dataset 'LASOTS_lmdb'"),
        ("COCO17:x", "COCO17 takes nothing after a colon"),
        ("FOLDER", "expected a folder of your sequences after the colon, FOLDER:"),
        ("TRACKINGNET:", "expected numbers of parts such as 0-3,7 after the colon"),
        ("TRACKINGNET:0-12", "expected numbers from 0 to 11, got '0-12'"),
        ("TRACKINGNET:a", "expected numbers such as 0-3,7, got 'a'"),
    ],
)
def test_bad_names(name: str, message: str, tmp_path: Path) -> None:
    FABRICATE["trackingnet"](tmp_path / "trackingnet", parts=(0,))
    with pytest.raises(ConfigError, match=message):
        open_by_name(name, tmp_path)


def test_missing_data_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "coco").mkdir()
    with pytest.raises(
        DataError, match=r"LASOT: .*lasot: no such data folder.*below data_dir, which is set by the flag"
    ):
        open_by_name("LASOT", tmp_path)
    with pytest.raises(DataError, match=r"COCO17: .*coco: the data folder is empty"):
        open_by_name("COCO17", tmp_path)
    with pytest.raises(DataError, match=r"COCO17_lmdb: .*coco: no LMDB here \(no data\.mdb\)"):
        open_by_name("COCO17_lmdb", tmp_path)
    with pytest.raises(DataError, match=r"FOLDER:nowhere: .*nowhere: no such data folder"):
        open_by_name("FOLDER:nowhere", tmp_path)
