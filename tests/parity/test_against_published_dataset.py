"""Boxes and flags of every training dataset equal those of the published readers (``dataset_parity.json``)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lib.data.base import DiskDataset
from lib.data.coco import Coco
from lib.data.got10k import Got10k, split_rows
from lib.data.imagenet_vid import ImagenetVid, read_tracks
from lib.data.lasot import Lasot, published_names
from lib.data.packing import pack_dataset
from lib.data.trackingnet import TrackingNet
from lib.utils.storage import open_storage
from tests.data.fabricate import write_frame
from tests.golden import load_json

GOLDEN = load_json("dataset_parity.json")
OPEN = {
    "Lasot": ("lasot", lambda storage: Lasot(storage, "all")),
    "Got10k": ("got10k", lambda storage: Got10k(storage, "train_full")),
    "TrackingNet": ("trackingnet", lambda storage: TrackingNet(storage, (0, 3))),
    "MSCOCOSeq": ("coco", Coco),
    "ImagenetVID": ("vid", ImagenetVid),
}
FRAMES = (
    "lasot/bird/bird-1/img/00000001.jpg",
    "lasot/car/car-2/img/00000001.jpg",
    "got10k/train/GOT-10k_Train_000001/00000001.jpg",
    "got10k/train/GOT-10k_Train_000002/00000001.jpg",
    "trackingnet/TRAIN_0/frames/Nf1aqv5Fg5o_0/0.jpg",
    "trackingnet/TRAIN_3/frames/unknown_video_1/0.jpg",
    "coco/images/train2017/000000000001.jpg",
    "coco/images/train2017/000000000002.jpg",
    "vid/Data/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00139005/000000.JPEG",
    "vid/Data/VID/train/ILSVRC2015_VID_train_0000/ILSVRC2015_train_00139005/000001.JPEG",
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("golden")
    for name, text in GOLDEN["files"].items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name in FRAMES:
        write_frame(root / name, 0)
    return root


def assert_info(dataset: DiskDataset, expected: list[dict[str, Any]]) -> None:
    assert len(dataset) == len(expected)
    for sequence, info in enumerate(expected):
        ours = dataset.sequence_info(sequence)
        assert ours.boxes_xywh.dtype == np.float32
        np.testing.assert_array_equal(ours.boxes_xywh, np.array(info["bbox"], dtype=np.float32))
        np.testing.assert_array_equal(ours.valid, info["valid"])
        np.testing.assert_array_equal(ours.visible, np.array(info["visible"], dtype=bool))


@pytest.mark.parametrize("reader", OPEN)
def test_files(reader: str, root: Path) -> None:
    folder, open_dataset = OPEN[reader]
    expected = GOLDEN["expected"][reader]
    dataset = open_dataset(open_storage(root / folder))
    assert_info(dataset, expected["info"])
    assert dataset.is_video == expected["is_video"]


@pytest.mark.parametrize("reader", ["Lasot", "Got10k", "MSCOCOSeq", "TrackingNet", "ImagenetVID"])
def test_packed(reader: str, root: Path, tmp_path: Path) -> None:
    """The published LMDB readers give the same numbers; of TrackingNet they were shown one of the two videos."""
    folder, open_dataset = OPEN[reader]
    pack_dataset(folder, open_storage(root / folder), tmp_path / "packed")
    dataset = open_dataset(open_storage(tmp_path / "packed"))
    assert_info(dataset, GOLDEN["expected"][reader]["info"])
    packed = GOLDEN["expected"]["lmdb"].get(f"{reader}_lmdb", GOLDEN["expected"][reader])
    packed = packed["info"] if isinstance(packed, dict) else packed
    for sequence, info in enumerate(packed):
        np.testing.assert_array_equal(dataset.sequence_info(sequence).boxes_xywh, np.array(info["bbox"], np.float32))
        np.testing.assert_array_equal(dataset.sequence_info(sequence).visible, np.array(info["visible"], dtype=bool))


def test_frame_paths(root: Path) -> None:
    paths = GOLDEN["expected"]["frame_paths"]
    lasot, got10k, trackingnet, coco, vid = (
        open_dataset(open_storage(root / folder))
        for folder, open_dataset in (
            OPEN[name] for name in ("Lasot", "Got10k", "TrackingNet", "MSCOCOSeq", "ImagenetVID")
        )
    )
    assert [f"/lasot/{lasot.frame_path(0, i)}" for i in (0, 5)] == paths["Lasot"]
    assert [f"/got10k/{got10k.frame_path(0, i)}" for i in (0, 5)] == paths["Got10k"]
    others = [f"/trackingnet/{trackingnet.frame_path(0, i)}" for i in (0, 2)]
    others += [f"/vid/{vid.frame_path(1, i)}" for i in (0, 1)]
    others += [f"/coco/{coco.frame_path(0, 0)}", f"/trackingnet/{trackingnet.frame_path(1, 0)}"]
    assert others == next(value for key, value in paths.items() if key.startswith("others"))


def test_tracks_of_vid_equal_the_published_cache(root: Path) -> None:
    assert [track.as_cache_entry() for track in read_tracks(open_storage(root / "vid"))] == GOLDEN["vid_cache_json"]


def test_vid_reads_a_published_cache_without_annotations(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache.json").write_text(json.dumps(GOLDEN["vid_cache_json"]))
    for name in FRAMES[-2:]:
        write_frame(tmp_path / name.removeprefix("vid/"), 0)
    assert_info(ImagenetVid(open_storage(tmp_path)), GOLDEN["expected"]["ImagenetVID"]["info"])


def test_splits_of_got10k() -> None:
    """Sizes as published; the exclusion numbers are taken as rows, so forbidden videos stay in vottrain."""
    rows = {split: set(split_rows(split)) for split in ("train_full", "train", "val", "vottrain", "votval")}
    assert {split: len(members) for split, members in rows.items()} == {
        "train_full": 9335, "train": 7934, "val": 1401, "vottrain": 7086, "votval": 1249,
    }  # fmt: skip
    assert rows["train"] | rows["val"] == rows["train_full"]
    assert not rows["train"] & rows["val"]
    assert rows["vottrain"] < rows["train"] and rows["votval"] < rows["val"]
    excluded = rows["train_full"] - rows["vottrain"] - rows["votval"]
    assert len(excluded) == 1000
    numbers_meant = {row for row in rows["vottrain"] if row + 1 in excluded}  # row r holds the video with number r + 1
    assert len(numbers_meant) == 765


def test_train_split_of_lasot() -> None:
    names = published_names("lasot_train")
    assert len(names) == len(set(names)) == 1120
    assert "bird-1" in names and "car-2" not in names and "bird-15" not in names
