"""The names that a configuration may hold for training datasets; those of benchmarks are in ``test_layouts``."""

from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import Paths, load_paths
from lib.config.seqtrack.config import default_config
from lib.data.base import DiskDataset, DiskOpener
from lib.data.benchmarks import Reader
from lib.data.index import SequenceRecord
from lib.data.packing import pack
from lib.data.registry import BENCHMARKS, TRAINING, build_dataset
from lib.data.sequence import Benchmark, Sequence
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import Storage, open_storage
from tests.data.fabricate import FABRICATE, load, write, write_frame
from tests.data.reading import read_all


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
        ("FOLDER", "expected a folder of your sequences, or a YAML file that describes one, after the colon, FOLDER:"),
        ("TRACKINGNET:", "expected numbers of parts such as 0-3,7 after the colon"),
        ("TRACKINGNET:0-12", "expected numbers from 0 to 11, got '0-12'"),
        ("TRACKINGNET:a", "expected numbers such as 0-3,7, got 'a'"),
    ],
)
def test_bad_names(name: str, message: str, tmp_path: Path) -> None:
    FABRICATE["trackingnet"](tmp_path / "trackingnet", parts=(0,))
    with pytest.raises(ConfigError, match=message):
        open_by_name(name, tmp_path)


class Toy(DiskDataset):
    """Sequences of one frame, ``<name>.png``, the target in the middle: all that a dataset has to say of itself."""

    def __init__(self, storage: Storage, *, cache_dir: Path | None = None, name: str = "TOY") -> None:
        files = storage.list_files("", {".png"})
        shown = np.ones(1, dtype=bool)
        super().__init__(
            storage,
            name=name,
            options="Toy",
            sources=files,
            parse=lambda: [SequenceRecord(file, np.array([[8.0, 6, 16, 12]]), shown, shown) for file in files],
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return self.index.name(sequence)


class ToyBenchmark(Reader):
    tag = "toy"

    def sequences(self) -> list[tuple[str, str]]:
        return [(file.removesuffix(".png"), file) for file in self.storage.list_files("", {".png"})]

    def load(self, name: str, known: str) -> Sequence:
        return Sequence(name, [known], self.tag, np.array([[8.0, 6, 16, 12]]), storage=self.storage)


def test_a_new_dataset_is_one_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CONTRIBUTING promises: named once, it is opened, indexed, evaluated and found packed."""
    monkeypatch.setitem(TRAINING, "TOY", DiskOpener("coco", lambda storage, _, **common: Toy(storage, **common)))
    monkeypatch.setitem(BENCHMARKS, "toy", Benchmark("toy", "toy", ToyBenchmark.entries, "coco"))
    write_frame(tmp_path / "coco" / "a.png", 0)
    write_frame(tmp_path / "coco" / "b.png", 1)
    before, sequences = read_all(open_by_name("TOY", tmp_path)), load(tmp_path, "toy")
    assert sequences.names == ["a", "b"] and [row[0] for row in before] == ["TOY/a.png", "TOY/b.png"]
    np.testing.assert_array_equal(sequences[1].read_frame(0), before[1][-1][0])
    pack(open_storage(tmp_path / "coco"), ["a.png", "b.png"], tmp_path / "coco_lmdb")
    assert load(tmp_path, "toy_lmdb").same_as(sequences)
    packed = open_by_name("TOY_lmdb", tmp_path)
    assert packed.same_as(open_by_name("TOY", tmp_path))
    np.testing.assert_array_equal(packed.frames(1, [0])[0], before[1][-1][0])


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
