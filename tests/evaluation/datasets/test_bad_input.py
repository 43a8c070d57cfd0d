"""What is said about a wrong root, half a dataset, and annotations that do not fit their frames."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.test.evaluation.boxes import image_size, looks_like_corners
from lib.test.evaluation.nfs import parse_official
from lib.utils.errors import DataError
from lib.utils.image_io import encode_image, write_image
from tests.evaluation.datasets import fabricate
from tests.evaluation.datasets.fabricate import load


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


def drop_folder(root: Path) -> None:
    (root / "airplane").rename(root.parent / "elsewhere")


def drop_last_frame(root: Path) -> None:
    (root / "bear/bear-2/img/00000003.jpg").unlink()


def add_frame(root: Path) -> None:
    (root / "bear/bear-2/img/00000004.jpg").touch()


def short_ground_truth(root: Path) -> None:
    (root / "bear/bear-2/groundtruth.txt").write_text(fabricate.box_lines(2))


def long_ground_truth(root: Path) -> None:
    (root / "bear/bear-2/groundtruth.txt").write_text(fabricate.box_lines(4))


def short_flags(root: Path) -> None:
    (root / "bear/bear-2/out_of_view.txt").write_text("0,0")


def no_flags(root: Path) -> None:
    (root / "bear/bear-2/full_occlusion.txt").unlink()


def nan_ground_truth(root: Path) -> None:
    (root / "bear/bear-2/groundtruth.txt").write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n1,2,3,4\n")


def no_ground_truth(root: Path) -> None:
    (root / "bear/bear-2/groundtruth.txt").write_text("\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            drop_folder,
            r"4 of 280 sequences cannot be read \(half a download\?\): .*airplane-1/groundtruth.txt: no such",
        ),
        (drop_last_frame, r"1 of 280 .*bear-2/img/00000003.jpg: no such frame"),
        (add_frame, r"bear-2/img: there are more frames than ground truth boxes \(3\)"),
        (short_ground_truth, r"bear-2/img: there are more frames than ground truth boxes \(2\)"),
        (long_ground_truth, r"bear-2/img/00000004.jpg: no such frame \(expected 1 to 4\)"),
        (short_flags, r"out_of_view.txt: 2 flags for 3 boxes"),
        (no_flags, r"full_occlusion.txt: no such file"),
        (nan_ground_truth, r"groundtruth.txt: line 2: expected 4 finite numbers"),
        (no_ground_truth, r"groundtruth.txt: the file is empty"),
    ],
)
def test_damaged_lasot(tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    fabricate.write_lasot(tmp_path / "lasot")
    damage(tmp_path / "lasot")
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


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0 5 5 4 9 0 0 0 0 x\n", "line 1: corners in the wrong order"),
        ("0 5 5 inf 9 0 0 0 0 x\n", "line 1: corners in the wrong order, or not finite"),
        ("0 1 2 3 4 0 0 0 0 x\n0 1 2 x\n", "line 2: expected id x1 y1 x2 y2"),
    ],
)
def test_malformed_official_nfs_rows(lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_official(lines, "x.txt", 2)


def test_nfs_corners_are_noticed_by_the_size_of_the_image(tmp_path: Path) -> None:
    fabricate.write_nfs(tmp_path / "nfs", "repack")
    corners = "".join(f"{100 + index} 50 {180 + index} 110\n" for index in range(45))
    (tmp_path / "nfs/anno/nfs_bee.txt").write_text(corners)
    write_image(tmp_path / "nfs/sequences/bee/00001.jpg", np.zeros((120, 230, 3), dtype=np.uint8))
    bee = next(sequence for sequence in load(tmp_path, "nfs") if sequence.name == "nfs_bee")
    np.testing.assert_array_equal(bee.ground_truth_rect[3], [103, 50, 80, 60])


def test_looks_like_corners() -> None:
    inside = np.array([[20.0, 20, 60, 60], [20, 20, 70, 70]])
    assert not looks_like_corners(inside, 200, 200)  # both readings fit: it stays as it is
    assert looks_like_corners(inside, 75, 75)
    assert not looks_like_corners(np.array([[50.0, 50, 40, 40]]), 75, 75)  # no corners either
    assert not looks_like_corners(np.zeros((3, 4)), 75, 75)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_size_from_the_header(suffix: str) -> None:
    assert image_size(encode_image(np.zeros((33, 57, 3), dtype=np.uint8), suffix)) == (57, 33)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_image_size_of_something_else(data: bytes) -> None:
    assert image_size(data) is None


@pytest.mark.parametrize(("rows", "boxes"), [(10, 10), (11, 10), (9, 9), (12, 12), (80, 10), (81, 10), (73, 10)])
def test_official_nfs_rows_at_both_rates(rows: int, boxes: int) -> None:
    parsed = parse_official(fabricate.nfs_official_lines(rows), "x.txt", 10)
    assert len(parsed) == boxes
    step = 8 if rows > 50 else 1
    np.testing.assert_array_equal(parsed[:, 0], fabricate.BOX[0] + step * np.arange(boxes))
