"""Annotations are parsed once, and again only when they change."""

import logging
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from lib.train.dataset.coco import Coco
from lib.train.dataset.folder import FolderDataset
from lib.train.dataset.got10k import Got10k
from lib.train.dataset.imagenet_vid import ImagenetVid
from lib.train.dataset.index import IndexKey, SequenceIndex, SequenceRecord, open_index
from lib.train.dataset.lasot import Lasot
from lib.train.dataset.trackingnet import TrackingNet
from lib.utils.errors import DataError
from lib.utils.storage import open_storage
from tests.train.dataset.fabricate import FABRICATE, write
from tests.train.dataset.reading import assert_same, read_all

OPEN = {
    "lasot": lambda root, cache: Lasot(open_storage(root), "all", cache_dir=cache),
    "got10k": lambda root, cache: Got10k(open_storage(root), "train_full", cache_dir=cache),
    "trackingnet": lambda root, cache: TrackingNet(open_storage(root), cache_dir=cache),
    "coco": lambda root, cache: Coco(open_storage(root), cache_dir=cache),
    "vid": lambda root, cache: ImagenetVid(open_storage(root), cache_dir=cache),
    "folder": lambda root, cache: FolderDataset(open_storage(root), cache_dir=cache),
}
RECORDS = [
    SequenceRecord("a", np.arange(8).reshape(2, 4), np.array([True, True]), np.array([True, False])),
    SequenceRecord("bé", np.ones((1, 4)), np.array([True]), np.array([False]), first_frame=7, frame_names=["x/ä.png"]),
]


@pytest.mark.parametrize("kind", OPEN)
def test_second_start_reads_no_annotation(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    FABRICATE[kind](tmp_path / "data")
    plain = read_all(OPEN[kind](tmp_path / "data", None))
    with caplog.at_level(logging.INFO):
        assert_same(plain, read_all(OPEN[kind](tmp_path / "data", tmp_path / "cache")))
    assert "reading the annotations" in caplog.text
    (cache,) = (tmp_path / "cache").iterdir()

    def refuse(*args: object) -> None:
        raise AssertionError("annotations were parsed again")

    monkeypatch.setattr(SequenceIndex, "from_records", refuse)
    again = OPEN[kind](tmp_path / "data", tmp_path / "cache")
    assert_same(plain, read_all(again))
    assert len(pickle.dumps(again)) < 4000  # a worker gets the name of the index, not its contents
    assert_same(plain, read_all(pickle.loads(pickle.dumps(again))))
    assert cache.suffix == ".index"


@pytest.mark.parametrize("change", ["contents", "time", "new sequence"])
def test_changed_annotations_are_read_again(change: str, tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path / "data")
    before = read_all(OPEN["lasot"](tmp_path / "data", tmp_path / "cache"))
    ground_truth = tmp_path / "data" / "bird" / "bird-1" / "groundtruth.txt"
    if change == "contents":
        ground_truth.write_text("9,9,9,9\n" * 4)
    elif change == "time":
        os.utime(ground_truth, ns=(1, 1))
    else:
        FABRICATE["lasot"](tmp_path / "data2")
        (tmp_path / "data2" / "car" / "car-1").rename(tmp_path / "data" / "car" / "car-7")
        (tmp_path / "data" / "car" / "car-7" / "groundtruth.txt").touch()
    after = read_all(OPEN["lasot"](tmp_path / "data", tmp_path / "cache"))
    assert len(after) == len(before) + (change == "new sequence")
    if change == "contents":
        assert (after[0][1] == 9).all()
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    key = IndexKey("Test", "/data", "f")
    path = tmp_path / key.file_name
    open_index(tmp_path, key, lambda: RECORDS)
    content = path.read_bytes()
    for damage in (content[:-64], b"", b"x" * len(content), content[:100]):
        path.write_bytes(damage)
        assert SequenceIndex.load(path, key) is None
        assert open_index(tmp_path, key, lambda: RECORDS).same_as(SequenceIndex.from_records(RECORDS))
        assert path.read_bytes() == content
    assert SequenceIndex.load(path, IndexKey("Test", "/data", "other")) is None


def test_an_index_that_changes_under_a_run_is_refused(tmp_path: Path) -> None:
    key = IndexKey("Test", "/data", "f")
    sent = pickle.dumps(open_index(tmp_path, key, lambda: RECORDS))
    open_index(tmp_path, IndexKey("Test", "/data", "new"), lambda: RECORDS[:1])
    with pytest.raises(DataError, match=r"test-.*\.index: the annotation index was changed while it is in use"):
        pickle.loads(sent)


def test_contents(tmp_path: Path) -> None:
    index = open_index(tmp_path, IndexKey("Test", "/data", "f"), lambda: RECORDS)
    assert len(index) == 2 and index.num_frames == 3
    assert index.info(0).boxes_xywh.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert index.info(0).visible.tolist() == [True, False]
    assert index.info(1).valid.tolist() == [True]
    assert index.name(1) == "bé" and index.first_frame(1) == 7
    assert index.unseen().tolist() == [1]
    with pytest.raises(ValueError, match="read-only"):
        index.info(0).boxes_xywh[0, 0] = 1


def test_many_builders_at_once(tmp_path: Path) -> None:
    key = IndexKey("Test", "/data", "f")
    barrier, found = threading.Barrier(4), []

    def build() -> None:
        barrier.wait()
        found.append(open_index(tmp_path, key, lambda: RECORDS))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(index.same_as(found[0]) for index in found) and len(found) == 4
    assert [path.name for path in tmp_path.iterdir()] == [key.file_name]


def test_splits_have_their_own_index(tmp_path: Path) -> None:
    FABRICATE["got10k"](tmp_path / "data")
    write(tmp_path / "one.txt", "1\n")
    for split in ("train_full", tmp_path / "one.txt"):
        Got10k(open_storage(tmp_path / "data"), split, cache_dir=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2
