"""What is wrong with a dataset is reported in one line that names the file, at the start."""

import shutil
from pathlib import Path

import pytest

from lib.config.paths import Paths, load_paths
from lib.config.seqtrack.config import default_config
from lib.train.dataset.disk import DiskDataset
from lib.train.dataset.got10k import Got10k, split_rows
from lib.train.dataset.lasot import Lasot
from lib.train.dataset.registry import build_dataset
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import open_storage
from tests.train.dataset.fabricate import FABRICATE, write
from tests.train.dataset.test_index import OPEN

LASOT_TRUTH = "bird/bird-1/groundtruth.txt"
GOT = "train/GOT-10k_Train_000002"
VID = "Annotations/VID/train/ILSVRC2015_VID_train_0001/ILSVRC2015_train_00000007/000001.xml"

COCO_JSON = "annotations/instances_train2017.json"

CASES = {  # dataset, file to replace (None: to remove), its text, message
    "three numbers": (
        "lasot",
        LASOT_TRUTH,
        "1,2,3,4\n1,2,3\n",
        r"bird-1/groundtruth\.txt: line 2: expected 4 numbers, got '1,2,3'",
    ),
    "no number": (
        "lasot",
        LASOT_TRUTH,
        "1,2,3,4\n1,2,x,4\n",
        r"groundtruth\.txt: line 2: expected 4 numbers, got '1,2,x,4'",
    ),
    "infinite": ("lasot", LASOT_TRUTH, "1,2,inf,4\n", r"groundtruth\.txt: line 1: expected 4 finite numbers"),
    "ragged": ("lasot", LASOT_TRUTH, "1,2,3\n1,2,3,4,5\n", r"groundtruth\.txt: line 1: expected 4 numbers"),
    "empty": ("lasot", LASOT_TRUTH, "\n", r"groundtruth\.txt: the sequence is empty"),
    "few flags": (
        "lasot",
        "bird/bird-1/out_of_view.txt",
        "0,1",
        r"out_of_view\.txt: 2 labels, but the sequence has 4 boxes",
    ),
    "bad flag": (
        "lasot",
        "bird/bird-1/out_of_view.txt",
        "0,0,0,no",
        r"out_of_view\.txt: line 1: expected an integer, got 'no'",
    ),
    "no flags": ("lasot", "bird/bird-1/out_of_view.txt", None, r"out_of_view\.txt: cannot read the file"),
    "no frames": (
        "lasot",
        "bird/bird-1/img/00000001.jpg",
        None,
        r"1 of 3 first frames of sequences are missing .*00000001\.jpg",
    ),
    "no sequence": (
        "got10k",
        f"{GOT}/groundtruth.txt",
        None,
        r"1 of 3 annotation files are missing .*found in train/GOT-10k",
    ),
    "empty list": ("got10k", "train/list.txt", "\n", r"list\.txt: the list is empty"),
    "bad label": ("got10k", f"{GOT}/cover.label", "1\n8\n?\n", r"cover\.label: line 3: expected an integer, got '\?'"),
    "no frame": (
        "trackingnet",
        "TRAIN_4/frames/vid4_0/0.jpg",
        None,
        r"1 of 18 first frames .* expected TRAIN_4/frames/vid4_0/0",
    ),
    "no images": ("coco", "images/train2017/000000000001.jpg", None, r"1 of 2 images are missing"),
    "broken json": ("coco", COCO_JSON, '{\n"a": [', r"train2017\.json: line 2: no valid JSON"),
    "other json": ("coco", COCO_JSON, '{"annotations": [{}]}', r"json: not a COCO instances file"),
    "no json": ("coco", COCO_JSON, None, r"1 of 1 annotation files .*found nothing in annotations/"),
    "broken xml": ("vid", VID, "<annotation>\n<size>", r"000001\.xml: line 2: no valid XML"),
    "xml without box": ("vid", VID, "<annotation><object/></annotation>", r"000001\.xml: a size or box is missing"),
    "too few images": ("folder", "two/1.jpg", None, r"two/groundtruth\.txt: 3 boxes, but 2 images in two"),
    "two image folders": ("folder", "cats/one/img/a.jpg", "", r"cats/one: frames in images or in img\?"),
}


@pytest.mark.parametrize("case", CASES)
def test_malformed_files(case: str, tmp_path: Path) -> None:
    kind, file, text, message = CASES[case]
    FABRICATE[kind](tmp_path / kind)
    if text is None:
        (tmp_path / kind / file).unlink()
    else:
        write(tmp_path / kind / file, text)
    with pytest.raises(DataError, match=message) as caught:
        OPEN[kind](tmp_path / kind, tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_meta_info_is_not_needed(tmp_path: Path) -> None:
    """The published reader cannot sort its classes if one of these files is missing."""
    FABRICATE["got10k"](tmp_path)
    write(tmp_path / GOT / "meta_info.ini", "[METAINFO]\nobject_class: cat\n")
    assert len(Got10k(open_storage(tmp_path), "train_full")) == 3
    assert len(Got10k(open_storage(tmp_path / "train"), "train_full")) == 3  # the folder itself as root


@pytest.mark.parametrize("kind", OPEN)
def test_wrong_layout_says_what_was_expected_and_found(kind: str, tmp_path: Path) -> None:
    FABRICATE[kind](tmp_path / "outer" / "inner")
    (tmp_path / "outer" / "inner").rename(tmp_path / "outer" / "benchmark")
    if kind == "folder":  # any depth is fine there
        shutil.rmtree(tmp_path / "outer" / "benchmark")
        write(tmp_path / "outer" / "readme", "")
    with pytest.raises(DataError, match=r"expected .*found") as caught:
        if kind == "lasot":
            Lasot(open_storage(tmp_path / "outer"))
        else:
            OPEN[kind](tmp_path / "outer", None)
    assert "benchmark" in str(caught.value) or kind == "folder"
    assert "\n" not in str(caught.value)


def test_half_a_download_of_lasot(tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path)
    with pytest.raises(
        DataError, match=r"1117 of 1120 annotation files are missing .*expected airplane/airplane-2/gro"
    ):
        Lasot(open_storage(tmp_path))


def test_missing_parts_of_trackingnet(tmp_path: Path) -> None:
    FABRICATE["trackingnet"](tmp_path)
    shutil.rmtree(tmp_path / "TRAIN_7")
    with pytest.raises(DataError, match=r"missing: TRAIN_7; found: TRAIN_0, .*TRACKINGNET:0-3"):
        OPEN["trackingnet"](tmp_path, None)


def test_nothing_is_visible(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    FABRICATE["lasot"](tmp_path)
    write(tmp_path / LASOT_TRUTH, "0,0,0,0\n" * 4)
    assert len(OPEN["lasot"](tmp_path, None)) == 3
    assert "1 of 3 sequences show their target in no frame and are never drawn, such as bird-1" in caplog.text
    for name in ("bird/bird-4", "car/car-1"):
        write(tmp_path / name / "groundtruth.txt", "0,0,0,0\n" * 4)
    with pytest.raises(DataError, match="visible in no frame of any sequence of LASOT"):
        OPEN["lasot"](tmp_path, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bird-1\n\nbird-99\n", r"split\.txt: line 3: 'bird-99' is no sequence of"),
        ("\n", r"split\.txt: the split file is empty"),
        (None, r"split\.txt: cannot read the file"),
    ],
)
def test_split_files_of_lasot(text: str | None, message: str, tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path / "data")
    if text is not None:
        write(tmp_path / "split.txt", text)
    with pytest.raises(DataError, match=message):
        Lasot(open_storage(tmp_path / "data"), tmp_path / "split.txt")


def test_split_files_of_got10k(tmp_path: Path) -> None:
    FABRICATE["got10k"](tmp_path / "data")
    write(tmp_path / "split.txt", "2\nGOT-10k_Train_000001\n")
    dataset = Got10k(open_storage(tmp_path / "data"), tmp_path / "split.txt")
    assert [dataset.sequence_name(i) for i in range(2)] == [
        "GOT10K/GOT-10k_Train_000003",
        "GOT10K/GOT-10k_Train_000001",
    ]
    write(tmp_path / "split.txt", "0\n3\n")
    with pytest.raises(DataError, match=r"split\.txt: line 2: '3' is neither a sequence nor a row of .*list\.txt"):
        Got10k(open_storage(tmp_path / "data"), tmp_path / "split.txt")
    with pytest.raises(DataError, match=r"list\.txt: split vottrain .* official list of 9335 sequences, found 3"):
        Got10k(open_storage(tmp_path / "data"), "vottrain")
    with pytest.raises(ConfigError, match="unknown split 'test' of GOT-10k; known: train_full, train"):
        split_rows("test")


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
        ("FOLDER", "write FOLDER:<folder of your sequences>"),
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
