"""The younger benchmarks load from fabricated trees of each layout that is known of them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.data.packing import pack
from lib.test.analysis.metrics import score_sequence
from lib.test.evaluation import BENCHMARKS
from lib.utils.errors import DataError
from lib.utils.storage import DirectoryStorage, walk_files
from tests.data.fabricate import HEIGHT, WIDTH, load, write, write_frame
from tracking import check_data

BOXES = "".join(f"{2 + frame},3,4,5\n" for frame in range(4))


def frames(folder: Path, pattern: str, count: int = 4, first: int = 1) -> None:
    for number in range(first, first + count):
        write_frame(folder / pattern.format(number), number)


def vasttrack(root: Path, prefix: str = "", truth: str = "Groundtruth.txt", images: str = "imgs/{:05d}.jpg") -> None:
    names = ("Yo-Yo-9", "Adhesive Tape-38", "Construction_workers-10")
    write(root / "testing_set.txt", "".join(f"{name}\r\n" for name in names))
    for name in names:
        folder = root / prefix / name.rpartition("-")[0] / name
        write(folder / truth, "2,3,4,5\n0,0,0,0\n4,3,4,5\n5,3,4,5\n")
        frames(folder, images)
        write(root / "annos" / "att" / f"{name}.txt", "1,0,0,0,0,1,0,0,0,0")


def avist(root: Path) -> None:
    for name in ("Phasmid_insect_camouflage", "animal_imposter_3"):
        frames(root / "sequences" / name, "img_{:05d}.jpg")
        write(root / "anno" / f"{name}.txt", BOXES.replace(",", " "))
        write(root / "full_occlusion" / f"{name}_full_occlusion.txt", "0,1,0,0")
        write(root / "out_of_view" / f"{name}_out_of_view.txt", "0,0,0,1\n")


def dtb70(root: Path) -> None:
    for name in ("Car6", "Surfing03"):
        frames(root / name, "img/{:05d}.jpg")
        write(root / name / "groundtruth_rect.txt", "2.5,3,4,5\n1e-13,3,4,5\n0,0,0,0\n3,3,4,5\n")
        write(root / "experiments" / "anno" / "att" / f"{name}.txt", "0,1,0,0,0,0,0,0,0,0,1")


def lagot(root: Path, which: str = "multiple", prefix: str = "") -> None:
    names = [f"bird/bird-1/img/{number:08d}.jpg" for number in range(1, 5)]
    frames(root / prefix / "bird/bird-1", "img/{:08d}.jpg")
    boxes = [[2, 3, 4, 5], [9, 9, 9, 9], [9, 9, 9, 9], [-1, -1, -1, -1]]
    tracks = {"1": boxes, "2": [[5, 6, 7, 8]] * 4} if which == "multiple" else boxes
    text = json.dumps({"bird-1": {"frames": names, "xywh": tracks}})
    write(root / f"LaGOT_{which}_object_per_sequence_annotations_final.json", text)


def didi(root: Path, prefix: str = "", images: str = "color/%08d.jpg") -> None:
    write(root / prefix / "list.txt", "zebra\nant\n")
    for name in ("zebra", "ant"):
        folder = root / prefix / name
        write(folder / "sequence", f"name={name}\nchannels.color={images}\nfps=30\n")
        frames(folder, images.replace("%08d", "{:08d}"))
        write(folder / "groundtruth.txt", "2.5,3,4,5\n1\nNaN,NaN,NaN,NaN\n2,2,6,2,6,9,2,9\n")
        write(folder / "first_frame_segm.txt", "m0,0,1,1,0,1\n")


def oxuva(root: Path, prefix: str = "") -> None:
    for part, video in (("dev", "vid0042"), ("test", "vid0001")):
        write(root / prefix / "tasks" / f"{part}.csv", f"{video},obj0001,2,6,0.25,0.5,0.5,0.75\n")
        frames(root / "images" / part / video, "{:06d}.jpeg", 7, first=0)
    rows = (("2", "present", "0.25,0.5,0.5,0.75"), ("4", "absent", "0,0,0,0"), ("6", "present", "0,0.5,0,1"))
    text = "".join(f"vid0042,obj0001,3,bird,false,false,{frame},{what},{box}\n" for frame, what, box in rows)
    write(root / prefix / "annotations" / "dev.csv", text)


FABRICATE: dict[str, Callable[..., None]] = {
    "vasttrack": vasttrack, "avist": avist, "dtb70": dtb70, "lagot": lagot, "didi": didi, "oxuva_dev": oxuva,
}  # fmt: skip


def folder_of(name: str) -> str:
    return {"lagot": "lasot", "oxuva_dev": "oxuva"}.get(name, name)


@pytest.mark.parametrize(
    "variant",
    [{}, {"prefix": "test"}, {"truth": "groundtruth.txt"}, {"images": "img/{:08d}.jpg"}],
)
def test_vasttrack(tmp_path: Path, variant: dict[str, str]) -> None:
    vasttrack(tmp_path / "vasttrack", **variant)
    sequences = load(tmp_path, "vasttrack")
    assert sequences.names == ["Yo-Yo-9", "Adhesive Tape-38", "Construction_workers-10"]
    assert [sequence.object_class for sequence in sequences] == ["Yo-Yo", "Adhesive Tape", "Construction_workers"]
    assert sequences[0].target_visible.tolist() == [True, False, True, True]
    assert sequences[1].attributes == ("Low Resolution", "Invisibility")
    (tmp_path / "vasttrack" / "testing_set.txt").unlink()
    assert load(tmp_path, "vasttrack").names == ["Adhesive Tape-38", "Construction_workers-10", "Yo-Yo-9"]


def test_avist(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    avist(tmp_path / "avist")
    insect, animal = load(tmp_path, "avist")
    assert (insect.name, animal.frames[0]) == ("Phasmid_insect_camouflage", "sequences/animal_imposter_3/img_00001.jpg")
    assert animal.target_visible.tolist() == [True, False, True, False]
    (tmp_path / "avist" / animal.frames[-1]).unlink()
    assert len(load(tmp_path, "avist")[1].ground_truth_rect) == 3 and "4 boxes for 3 frames" in caplog.text
    write_frame(tmp_path / "avist" / animal.frames[-1], 4)
    (tmp_path / "avist" / animal.frames[1]).unlink()
    with pytest.raises(DataError, match=r"4 boxes for 3 frames, and frame 3 is .*img_00004\.jpg"):
        load(tmp_path, "avist")  # or the last boxes would be those of other frames
    for frame in (animal.frames[0], animal.frames[3]):
        (tmp_path / "avist" / frame).unlink()
    with pytest.raises(DataError, match=r"animal_imposter_3\.txt: 4 boxes for 1 frames"):
        load(tmp_path, "avist")


def test_dtb70(tmp_path: Path) -> None:
    dtb70(tmp_path / "dtb70")
    car, surfing = load(tmp_path, "dtb70")
    assert (car.name, surfing.name) == ("Car6", "Surfing03")
    assert car.ground_truth_rect[:3].tolist() == [[2.5, 3, 4, 5], [1e-13, 3, 4, 5], [0, 0, 0, 0]]
    assert car.attributes == ("Aspect Ratio Variation", "Motion Blur")


@pytest.mark.parametrize("prefix", ["", "LaSOTBenchmark"])
def test_lagot(tmp_path: Path, prefix: str) -> None:
    root = tmp_path / "lasot"
    lagot(root, "one", prefix)
    assert load(tmp_path, "lagot").names == ["bird-1"]
    lagot(root, "multiple", prefix)
    first, second = load(tmp_path, "lagot")
    assert (first.name, second.name) == ("bird-1_1", "bird-1_2") and first.frames == second.frames
    assert np.isnan(first.ground_truth_rect[1:3]).all() and first.ground_truth_rect[3].tolist() == [0, 0, 0, 0]
    # Frames 0 and 3 of the second are annotated, of the first frame 0 only; nothing else counts.
    predicted = np.array([[2.0, 3, 4, 5]] * 4)
    assert score_sequence(predicted, first.ground_truth_rect, dataset="lagot").success[:20].tolist() == [1] * 20
    scores = score_sequence(predicted, second.ground_truth_rect, dataset="lagot")
    assert scores.valid.tolist() == [True, False, False, True] and scores.success[10] == 0.5
    assert scores.precision.max() <= 1 and scores.norm_precision.max() <= 1
    file = root / "LaGOT_multiple_object_per_sequence_annotations_final.json"
    file.write_text(file.read_text().replace("[5, 6, 7, 8]", "[-5, 6, 7, 8]"))
    assert load(tmp_path, "lagot")[1].ground_truth_rect[3].tolist() == [-5, 6, 7, 8]  # it leaves the image, in part


@pytest.mark.parametrize("prefix", ["", "sequences"])
def test_didi(tmp_path: Path, prefix: str) -> None:
    didi(tmp_path / "didi", prefix)
    zebra, _ = load(tmp_path, "didi")
    assert zebra.name == "zebra" and zebra.target_visible.tolist() == [True, False, False, True]
    assert zebra.ground_truth_rect[[0, 3]].tolist() == [[2.5, 3, 4, 5], [2, 2, 4, 7]]


@pytest.mark.parametrize("prefix", ["", "dataset"])
def test_oxuva(tmp_path: Path, prefix: str) -> None:
    oxuva(tmp_path / "oxuva", prefix)
    (dev,) = load(tmp_path, "oxuva_dev")
    assert dev.name == "vid0042_obj0001" and dev.frames[0] == "images/dev/vid0042/000002.jpeg" and len(dev.frames) == 5
    assert dev.ground_truth_rect[0].tolist() == [0.25 * WIDTH, 0.5 * HEIGHT, 0.25 * WIDTH, 0.25 * HEIGHT]
    assert dev.ground_truth_rect[[2, 4]].tolist() == [[0, 0, 0, 0], [0, 0, 0.5 * WIDTH, HEIGHT]]
    assert np.isnan(dev.ground_truth_rect[[1, 3]]).all()
    (test,) = load(tmp_path, "oxuva_test")
    assert test.name == "vid0001_obj0001" and not test.has_ground_truth


@pytest.mark.parametrize("name", FABRICATE)
def test_packed_and_checked(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The packed form reads the same; ``check_data.py`` reads all, and misses the rest of the official number only."""
    root = tmp_path / folder_of(name)
    FABRICATE[name](root)
    before = load(tmp_path, name)
    check_data.main([name, "--data_dir", str(tmp_path)])
    out = capsys.readouterr().out
    expected = BENCHMARKS[name].sequences
    assert f"{len(before)}{'' if expected is None else f' of {expected}'} sequences can be read" in out
    assert f"problems: {'none' if expected is None else 1}\n" in out
    assert BENCHMARKS[name].is_present(load_paths("test", data_dir=tmp_path))
    storage = DirectoryStorage(root)
    pack(storage, list(walk_files(storage)), root.with_name(root.name + "_lmdb"))
    root.rename(tmp_path / "gone")
    assert load(tmp_path, f"{name}_lmdb").same_as(before)


@pytest.mark.parametrize(
    ("name", "file"), [("dtb70", "Car6/groundtruth_rect.txt"), ("avist", "anno/animal_imposter_3.txt")]
)
def test_a_sequence_without_its_boxes_does_not_vanish(
    name: str, file: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    FABRICATE[name](tmp_path / name)
    load(tmp_path, name)
    assert f"{tmp_path / name}: 2 sequences, {name} has {BENCHMARKS[name].sequences}" in caplog.text
    (tmp_path / name / file).unlink()
    with pytest.raises(DataError, match=f"1 of 2 sequences cannot be read .*{file}"):
        load(tmp_path, name)


BAD = {
    "no sequences": ("vasttrack", None, "", "expected folders <class>/<class>-<n>, found none"),
    "no annotations": ("avist", None, "", r"not the expected layout .* expected anno/"),
    "no folders": ("dtb70", None, "", "expected <name>/groundtruth_rect.txt"),
    "flags": ("avist", "out_of_view/animal_imposter_3_out_of_view.txt", "0,1", "2 labels for 4 boxes"),
    "boxes": ("dtb70", "Car6/groundtruth_rect.txt", "1,2,3\n", r"Car6/groundtruth_rect\.txt: line 1: expected 4 num"),
    "json": ("lagot", "LaGOT_multiple_object_per_sequence_annotations_final.json", "[1]", "not a file of LaGOT"),
    "short": (
        "lagot",
        "LaGOT_multiple_object_per_sequence_annotations_final.json",
        '{"a": {"frames": ["x.jpg"], "xywh": {"1": []}}}',
        "a_1: 0 boxes for 1 frames",
    ),
    "region": ("didi", "ant/groundtruth.txt", "1,2,3\n" * 4, r"ant/groundtruth\.txt: line 1: 3 numbers are neither"),
    "task": ("oxuva_dev", "tasks/dev.csv", "vid0042,obj0001,2\n", r"tasks/dev\.csv: line 1: 3 fields, expected 8"),
    "frames": ("oxuva_dev", "tasks/dev.csv", "vid0042,obj0001,9,2,0,1,0,1\n", r"line 1: frames 9 to 2"),
    "labels": ("oxuva_dev", "annotations/dev.csv", "", r"line 1: no label of vid0042_obj0001 in annotations/dev\.csv"),
    "number": ("oxuva_dev", "tasks/dev.csv", "vid0042,obj0001,2,x,0,1,0,1\n", r"line 1: expected numbers, got 2,x"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(case: str, tmp_path: Path) -> None:
    name, file, text, message = BAD[case]
    root = tmp_path / folder_of(name)
    if file is None:
        write(root / "readme", "x")
    else:
        FABRICATE[name](root)
        write(root / file, text)
    with pytest.raises(DataError, match=message) as caught:
        load(tmp_path, name)
    assert "\n" not in str(caught.value)
