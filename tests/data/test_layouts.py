"""Every benchmark loads from its official layout and from the variants that people have on disk."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from lib.data.benchmarks import parse_official_nfs
from lib.data.got10k import split_rows
from lib.data.packing import pack
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.utils.errors import ConfigError, DataError
from lib.utils.image_io import write_image
from lib.utils.storage import DirectoryStorage, walk_files
from tests.data import fabricate
from tests.data.fabricate import load


def pack_beside(root: Path) -> None:
    """Pack a dataset and remove the original."""
    storage = DirectoryStorage(root)
    pack(storage, list(walk_files(storage)), root.with_name(root.name + "_lmdb"))
    root.rename(root.with_name("original"))


@pytest.mark.parametrize(
    ("layout", "ground_truth"),
    [
        ("{kind}/{name}", "groundtruth.txt"),
        ("{name}", "Groundtruth.txt"),
        ("LaSOTBenchmark/{kind}/{name}", "groundtruth.txt"),
        ("LaSOTTest/{name}", "groundtruth.txt"),
    ],
)
def test_lasot(tmp_path: Path, layout: str, ground_truth: str) -> None:
    fabricate.write_lasot(tmp_path / "lasot", layout=layout, ground_truth=ground_truth)
    sequences = load(tmp_path, "lasot")
    assert len(sequences) == 280
    assert len({sequence.object_class for sequence in sequences}) == 70
    assert (sequences[0].name, sequences[-1].name) == ("airplane-1", "volleyball-19")
    first = sequences[0]
    assert [Path(frame).name for frame in first.frames] == ["00000001.jpg", "00000002.jpg", "00000003.jpg"]
    assert first.dataset == "lasot"
    np.testing.assert_array_equal(first.target_visible, [True, False, False])  # neither occluded nor out of view
    np.testing.assert_array_equal(first.ground_truth_rect[:, 0], [10, 11, 12])


def test_lasot_extension_subset(tmp_path: Path) -> None:
    fabricate.write_lasot(tmp_path / "lasot_extension_subset", "lasot_extension_subset")
    sequences = load(tmp_path, "lasot_extension_subset")
    assert len(sequences) == 150
    assert len({sequence.object_class for sequence in sequences}) == 15
    assert (sequences[0].name, sequences[-1].name) == ("atv-1", "wingsuit-10")
    assert sequences[0].target_visible is not None
    assert sequences[0].dataset == "lasot_extension_subset"


@pytest.mark.parametrize("name", ["lasot", "lasot_lmdb"])
def test_packed_lasot_reads_the_same(tmp_path: Path, name: str) -> None:
    fabricate.write_lasot(tmp_path / "lasot")
    before = load(tmp_path, "lasot")
    pack_beside(tmp_path / "lasot")
    after = load(tmp_path, name)
    assert after.names == before.names
    for one, other in zip(before, after, strict=True):
        assert one.frames == other.frames
        assert one.dataset == other.dataset
        np.testing.assert_array_equal(one.ground_truth_rect, other.ground_truth_rect)
        np.testing.assert_array_equal(one.target_visible, other.target_visible)


def test_insisting_on_the_packed_form(tmp_path: Path) -> None:
    fabricate.write_lasot(tmp_path / "lasot")
    with pytest.raises(DataError, match="no LMDB here"):
        load(tmp_path, "lasot_lmdb")


@pytest.mark.parametrize(
    ("separator", "separate", "folder"),
    [(",", "", ""), ("\t", "", "OTB100"), (" ", "", "OTB2015"), (",", "-", ""), (",", ".", "")],
)
def test_otb(tmp_path: Path, separator: str, separate: str, folder: str) -> None:
    fabricate.write_otb(tmp_path / "otb" / folder, separator, separate)
    sequences = load(tmp_path, "otb")
    assert len(sequences) == 100
    assert sequences.num_frames == 59035
    by_name = {sequence.name: sequence for sequence in sequences}
    ends = {name: tuple(Path(by_name[name].frames[at]).name for at in (0, -1)) for name in by_name}
    assert ends["Basketball"] == ("0001.jpg", "0725.jpg")
    assert ends["David"] == ("0300.jpg", "0770.jpg")
    assert ends["Board"] == ("00001.jpg", "00698.jpg")
    assert ends["Football1"] == ("0001.jpg", "0074.jpg")
    assert ends["Tiger1"] == ("0006.jpg", "0354.jpg")  # without its first five frames
    assert by_name["Tiger1"].init_box_xywh[0] == fabricate.BOX[0] + 5
    assert by_name["Jogging_2"].frames[0] != by_name["Jogging_1"].frames[0] or not separate
    assert by_name["Human4_2"].object_class == "person"


@pytest.mark.parametrize(
    ("inner", "prefix"), [("/UAV123", ""), ("/UAV123", "UAV123/"), ("", ""), ("/UAV123", "Dataset_UAV123/UAV123/")]
)
def test_uav(tmp_path: Path, inner: str, prefix: str) -> None:
    fabricate.write_uav(tmp_path / "uav", inner, prefix)
    sequences = load(tmp_path, "uav")
    assert len(sequences) == 123
    assert sequences.num_frames == 112578
    assert len({Path(sequence.frames[0]).parent for sequence in sequences}) == 91
    by_name = {sequence.name: sequence for sequence in sequences}
    assert (sequences[0].name, sequences[-1].name) == ("uav_bike1", "uav_wakeboard9")
    for name, first, last in (("uav_car1_2", 751, 1627), ("uav_uav1_3", 2473, 3469), ("uav_bird1_2", 775, 1477)):
        assert Path(by_name[name].frames[0]).name == f"{first:06d}.jpg"
        assert Path(by_name[name].frames[-1]).name == f"{last:06d}.jpg"
    assert np.isnan(by_name["uav_bike1"].ground_truth_rect[3]).all()


@pytest.mark.parametrize(("layout", "rate"), [("published", 1), ("repack", 1), ("official", 1), ("official", 8)])
def test_nfs(tmp_path: Path, layout: str, rate: int) -> None:
    fabricate.write_nfs(tmp_path / "nfs", layout, rate)
    sequences = load(tmp_path, "nfs")
    assert len(sequences) == 100
    assert sequences.num_frames == 47953
    assert (sequences[0].name, sequences[-1].name) == ("nfs_Gymnastics", "nfs_zebra_fish")
    assert [Path(sequences[0].frames[at]).name for at in (0, -1)] == ["00001.jpg", "00368.jpg"]
    np.testing.assert_array_equal(sequences[0].ground_truth_rect[1], [fabricate.BOX[0] + rate, *fabricate.BOX[1:]])


def test_got10k_val_and_test(tmp_path: Path) -> None:
    root = tmp_path / "got10k"
    fabricate.write_got10k(root, "val", [f"GOT-10k_Val_{number:06d}" for number in range(1, 181)])
    fabricate.write_got10k(root / "full_data", "test", [f"GOT-10k_Test_{number:06d}" for number in range(1, 181)])
    val, test = load(tmp_path, "got10k_val"), load(tmp_path, "got10k_test")
    assert (len(val), len(test)) == (180, 180)
    assert val.names == list(BENCHMARKS["got10k_val"].names())
    assert test.names == list(BENCHMARKS["got10k_test"].names())
    assert val[0].has_ground_truth
    assert not test[0].has_ground_truth
    assert {val[0].dataset, test[0].dataset} == {"got10k"}


def test_got10k_ltrval_takes_rows_of_the_training_list(tmp_path: Path) -> None:
    listed = [f"GOT-10k_Train_{number:06d}" for number in range(1, 9336)]
    fabricate.write_got10k(tmp_path / "got10k", "train", [listed[row] for row in split_rows("val")], listed)
    sequences = load(tmp_path, "got10k_ltrval")
    assert len(sequences) == 1401
    assert (sequences.names[0], sequences.names[-1]) == ("GOT-10k_Train_000002", "GOT-10k_Train_009334")
    assert sequences[0].dataset == "got10k"


def test_got10k_ltrval_refuses_another_list(tmp_path: Path) -> None:
    fabricate.write_got10k(tmp_path / "got10k", "train", ["GOT-10k_Train_000001"])
    with pytest.raises(DataError, match="official list of 9335 sequences, this one has 1"):
        load(tmp_path, "got10k_ltrval")


@pytest.mark.parametrize("prefix", ["TEST/", ""])
def test_trackingnet(tmp_path: Path, prefix: str) -> None:
    names = [f"video{number:03d}" for number in range(511)]
    fabricate.write_trackingnet(tmp_path / "trackingnet", names, prefix)
    sequences = load(tmp_path, "trackingnet")
    assert sequences.names == names
    assert [Path(frame).name for frame in sequences[0].frames] == [f"{number}.jpg" for number in range(12)]
    assert sequences[0].ground_truth_rect.shape == (1, 4)


@pytest.mark.parametrize("prefix", ["", "TNL2K_test_subset/"])
def test_tnl2k(tmp_path: Path, prefix: str) -> None:
    fabricate.write_tnl2k(tmp_path / "tnl2k", ["b_01", "a_02"], prefix)
    sequences = load(tmp_path, "tnl2k")
    assert sequences.names == ["a_02", "b_01"]
    assert [Path(frame).name for frame in sequences[0].frames] == ["1.png", "2.png", "9.png", "10.jpg"]


def test_tc128_and_its_new_part(tmp_path: Path) -> None:
    fabricate.write_tc128(tmp_path / "tc128", ["Ball_ce1", "Basketball", "Face_ce2"])
    assert load(tmp_path, "tc128").names == ["Ball_ce1", "Basketball", "Face_ce2"]
    extra = load(tmp_path, "tc128ce")
    assert extra.names == ["Ball_ce1", "Face_ce2"]
    assert extra[0].frames == [f"Ball_ce1/img/{number:04d}.jpg" for number in range(7, 11)]
    assert extra[0].dataset == "tc128"


def test_published_names_and_tags() -> None:
    tags = {name: benchmark.tag for name, benchmark in BENCHMARKS.items()}
    assert tags == {
        **{name: name for name in ("lasot", "lasot_extension_subset", "trackingnet", "tnl2k", "otb", "nfs", "uav")},
        **{f"got10k_{split}": "got10k" for split in ("test", "val", "ltrval")},
        "tc128": "tc128",
        "tc128ce": "tc128",
        "synthetic": "synthetic",
        **{name: name for name in ("vasttrack", "avist", "dtb70", "lagot", "didi")},
        **{f"oxuva_{part}": "oxuva" for part in ("dev", "test")},
    }
    assert find_benchmark("lasot_lmdb").name == "lasot"  # so the update rule is that of LaSOT, whatever the storage
    with pytest.raises(ConfigError, match="VOT toolkit"):
        find_benchmark("vot20")


def test_sequences_travel_to_other_processes(tmp_path: Path) -> None:
    fabricate.write_tc128(tmp_path / "tc128", ["Ball_ce1"])
    sequence = pickle.loads(pickle.dumps(load(tmp_path, "tc128")[0]))
    assert sequence.name == "Ball_ce1"
    assert sequence.storage.exists(sequence.frames[0])


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
        parse_official_nfs(lines, "x.txt", 2)


def test_nfs_corners_are_noticed_by_the_size_of_the_image(tmp_path: Path) -> None:
    fabricate.write_nfs(tmp_path / "nfs", "repack")
    corners = "".join(f"{100 + index} 50 {180 + index} 110\n" for index in range(45))
    (tmp_path / "nfs/anno/nfs_bee.txt").write_text(corners)
    write_image(tmp_path / "nfs/sequences/bee/00001.jpg", np.zeros((120, 230, 3), dtype=np.uint8))
    bee = next(sequence for sequence in load(tmp_path, "nfs") if sequence.name == "nfs_bee")
    np.testing.assert_array_equal(bee.ground_truth_rect[3], [103, 50, 80, 60])


@pytest.mark.parametrize(("rows", "boxes"), [(10, 10), (11, 10), (9, 9), (12, 12), (80, 10), (81, 10), (73, 10)])
def test_official_nfs_rows_at_both_rates(rows: int, boxes: int) -> None:
    parsed = parse_official_nfs(fabricate.nfs_official_lines(rows), "x.txt", 10)
    assert len(parsed) == boxes
    step = 8 if rows > 50 else 1
    np.testing.assert_array_equal(parsed[:, 0], fabricate.BOX[0] + step * np.arange(boxes))
