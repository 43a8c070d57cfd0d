"""Wrong roots, half a dataset and malformed annotations: one line that names the file, at the start."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.data.got10k import Got10k, split_rows
from lib.data.lasot import Lasot
from lib.data.registry import find_benchmark
from lib.data.trackingnet import TrackingNet
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import open_storage
from tests.data import fabricate
from tests.data.fabricate import FABRICATE, load, write
from tests.data.test_index import OPEN

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
    "empty": ("lasot", LASOT_TRUTH, "\n", r"groundtruth\.txt: the file is empty"),
    "few flags": (
        "lasot",
        "bird/bird-1/out_of_view.txt",
        "0,1",
        r"out_of_view\.txt: 2 labels for 4 boxes",
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
    "too few images": ("folder", "two/1.jpg", None, r"two/groundtruth\.txt: 3 boxes for 2 frames"),
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
    with pytest.raises(
        DataError, match=r"list\.txt: split vottrain .* official list of 9335 sequences, this one has 3"
    ):
        Got10k(open_storage(tmp_path / "data"), "vottrain")
    with pytest.raises(ConfigError, match="unknown split 'test' of GOT-10k; known: train_full, train"):
        split_rows("test")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lasot", r"airplane/airplane-1/img/00000001\.jpg"),
        ("lasot_extension_subset", r"atv/atv-1/img/00000001\.jpg"),
        ("otb", r"Basketball/img/0001\.jpg"),
        ("uav", r"data_seq/UAV123/bike1/000001\.jpg"),
        ("nfs", r"Gymnastics/30/Gymnastics_pytracking\.txt"),
        ("got10k_val", r"val/list\.txt"),
        ("got10k_ltrval", r"train/list\.txt"),
        ("trackingnet", "TEST/anno"),
        ("tnl2k", "groundtruth.txt"),
        ("tc128", "photos_frames.txt"),
    ],
)
def test_another_folder_is_named_with_what_was_expected_and_its_setting(
    tmp_path: Path, name: str, expected: str
) -> None:
    setting = {"got10k_val": "got10k", "got10k_ltrval": "got10k"}.get(name, name)
    fabricate.write(tmp_path / setting / "photos" / "imgs" / "holiday.jpg")
    with pytest.raises(DataError, match=expected) as caught:
        load(tmp_path, name)
    assert str(caught.value).startswith(f"{name}: ")
    assert str(tmp_path / setting) in str(caught.value)
    assert "--data_dir" in str(caught.value)


BEAR = "bear/bear-2"


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "airplane",
            None,
            r"4 of 280 sequences cannot be read \(half a download\?\): .*airplane-1/groundtruth.txt",
        ),
        (f"{BEAR}/img/00000003.jpg", None, r"1 of 280 .*bear-2/img/00000003.jpg: no such frame"),
        (f"{BEAR}/img/00000004.jpg", "", r"bear-2/img: there are more frames than ground truth boxes \(3\)"),
        (f"{BEAR}/groundtruth.txt", fabricate.box_lines(2), r"bear-2/img: there are more frames than .* boxes \(2\)"),
        (f"{BEAR}/groundtruth.txt", fabricate.box_lines(4), r"img/00000004.jpg: no such frame \(expected 1 to 4\)"),
        (f"{BEAR}/out_of_view.txt", "0,0", r"out_of_view.txt: 2 labels for 3 boxes"),
        (f"{BEAR}/full_occlusion.txt", None, r"full_occlusion.txt: no such file"),
        (f"{BEAR}/groundtruth.txt", "1,2,3,4\nNaN,NaN,NaN,NaN\n1,2,3,4\n", r"line 2: expected 4 finite numbers"),
        (f"{BEAR}/groundtruth.txt", "\n", r"groundtruth.txt: the file is empty"),
    ],
)
def test_damaged_lasot(tmp_path: Path, file: str, text: str | None, message: str) -> None:
    fabricate.write_lasot(tmp_path / "lasot")
    if text is None:
        (tmp_path / "lasot" / file).rename(tmp_path / "elsewhere")
    else:
        (tmp_path / "lasot" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "lasot")


@pytest.mark.parametrize("rows", [724, 726])
def test_otb_truth_must_fit_the_range_of_frames(tmp_path: Path, rows: int) -> None:
    fabricate.write_otb(tmp_path / "otb")
    (tmp_path / "otb/Basketball/groundtruth_rect.txt").write_text(fabricate.box_lines(rows))
    with pytest.raises(DataError, match=f"groundtruth_rect.txt: {rows} boxes for 725 frames"):
        load(tmp_path, "otb")


def test_mixed_delimiters_and_zero_boxes_are_read(tmp_path: Path) -> None:
    fabricate.write_tc128(tmp_path / "tc128", ["a"])
    (tmp_path / "tc128/a/a_gt.txt").write_text("1,2,3,4\n1\t2\t3\t4\n0 0 0 0\n1, 2, 3, 4\n")
    (sequence,) = load(tmp_path, "tc128")
    np.testing.assert_array_equal(sequence.ground_truth_rect[2], np.zeros(4))
    np.testing.assert_array_equal(sequence.ground_truth_rect[[0, 1, 3]], [[1, 2, 3, 4]] * 3)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a_frames.txt", "7", r"a_frames.txt: expected the numbers of the first and the last frame"),
        ("a_frames.txt", "10,7", r"a_frames.txt: expected the numbers of the first and the last frame"),
        ("a_frames.txt", "7,11", r"a_gt.txt: 4 boxes for 5 frames"),
        ("b_gt.txt", "", r"expected one file a_gt.txt, found a_gt.txt, b_gt.txt"),
    ],
)
def test_damaged_tc128(tmp_path: Path, file: str, text: str, message: str) -> None:
    fabricate.write_tc128(tmp_path / "tc128", ["a"])
    (tmp_path / "tc128/a" / file).write_text(text)
    with pytest.raises(DataError, match=message):
        load(tmp_path, "tc128")


def test_trackingnet_annotation_without_frames(tmp_path: Path) -> None:
    fabricate.write_trackingnet(tmp_path / "trackingnet", ["a", "b"])
    fabricate.write(tmp_path / "trackingnet/TEST/anno/c.txt", fabricate.box_lines(1))
    with pytest.raises(DataError, match=r"1 of 3 sequences cannot be read.*frames/c"):
        load(tmp_path, "trackingnet")


@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.parametrize("name", ["trackingnet", "got10k_test"])
def test_a_frame_that_is_missing_moves_no_other_where_the_ground_truth_is_hidden(
    tmp_path: Path, name: str, lost: int
) -> None:
    if name == "trackingnet":
        fabricate.write_trackingnet(tmp_path / name, ["a"])
        frame = tmp_path / name / f"TEST/frames/a/{lost}.jpg"
    else:
        fabricate.write_got10k(tmp_path / "got10k", "test", {"a": 12})
        frame = tmp_path / f"got10k/test/a/{lost + 1:08d}.jpg"
    assert len(load(tmp_path, name)[0].frames) == 12
    frame.unlink()
    with pytest.raises(DataError, match=rf"a: expected frame {int(frame.stem)}, found 0*{int(frame.stem) + 1}\.jpg"):
        load(tmp_path, name)


def test_trackingnet_videos_without_annotation_are_not_left_out_of_a_training(tmp_path: Path) -> None:
    fabricate.trackingnet(tmp_path, parts=[0, 1])
    assert len(TrackingNet(open_storage(tmp_path), [0, 1])) == 3
    (tmp_path / "TRAIN_1/anno/vid1_0.txt").unlink()
    with pytest.raises(DataError, match=r"1 of 2 annotation files are missing.*expected TRAIN_1/anno/vid1_0\.txt"):
        TrackingNet(open_storage(tmp_path), [0, 1])


@pytest.mark.parametrize("name", ["Jogging_1", "Jogging_2"])
def test_two_targets_of_otb_never_share_the_boxes_of_one(tmp_path: Path, name: str) -> None:
    fabricate.write_otb(tmp_path / "otb")
    folder = tmp_path / "otb" / "Jogging"
    (folder / "groundtruth_rect.1.txt").rename(folder / "groundtruth_rect.txt")
    (folder / "groundtruth_rect.2.txt").unlink()
    folder = folder.with_name("Human4")
    (folder / "groundtruth_rect.2.txt").rename(folder / "groundtruth_rect.txt")  # the only target that counts there
    sequences = find_benchmark("otb").load(load_paths("test", data_dir=tmp_path), [name, "Human4_2"])
    assert sequences.names == ["Human4_2"]
    assert f"groundtruth_rect.{name[-1]}.txt: no such file" in sequences.failures[name]
