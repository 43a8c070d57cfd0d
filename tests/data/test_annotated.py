"""MOT Challenge and COCO-video are trained on and evaluated on as they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.config.seqtrack.config import default_config
from lib.data.base import DiskDataset
from lib.data.registry import build_dataset
from lib.utils.errors import DataError
from tests.data.fabricate import WIDTH, load, write, write_frame
from tracking import check_data

MOT = "1,1,2,3,4,5,1,3,1\n3,1,4,3,4,5,1,3,1\n2,7,8,9,4,5,1,1,1\n3,7,9,9,4,5,1,1,1\n4,9,1,1,2,2,0,1,1\n"


def mot(root: Path, text: str = MOT, images: int = 4) -> None:
    write(root / "gt" / "gt.txt", text)
    write(root / "det" / "det.txt", "")
    for number in range(1, images + 1):
        write_frame(root / "img1" / f"{number:06d}.jpg", number)


def coco(path: Path, images: Path, missing: int = -1) -> dict:
    content = {"videos": [{"id": 1, "name": "clip"}], "categories": [{"id": 1, "name": "cat"}]}
    content["images"] = [
        {"id": n, "video_id": 1, "frame_id": n, "file_name": f"clip/{n:03d}.jpg", "width": WIDTH, "height": 24}
        for n in range(4)
    ]
    content["annotations"] = [
        {"id": 10 * track + n, "image_id": n, "category_id": 1, "track_id": track, "bbox": [n + track, 2, 3, 4]}
        for track in (1, 2)
        for n in range(track - 1, 4)
    ]
    write(path, json.dumps(content))
    for n in range(4):
        if n != missing:
            write_frame(images / "clip" / f"{n:03d}.jpg", n)
    return content


def train(name: str, root: Path) -> DiskDataset:
    return build_dataset(name, default_config(), load_paths("train", data_dir=root, save_dir=root / "save"))


@pytest.mark.parametrize("path", ["sets", "sets/walk", "sets/walk/gt/gt.txt"])
def test_mot(path: str, tmp_path: Path) -> None:
    mot(tmp_path / "sets" / "walk")
    dataset = train(f"FOLDER:{path}", tmp_path)
    assert [dataset.index.name(index) for index in range(len(dataset))] == ["walk-1", "walk-7"]
    assert dataset.sequence_info(0).boxes_xywh.tolist() == [[2, 3, 4, 5], [0, 0, 0, 0], [4, 3, 4, 5]]
    assert dataset.sequence_info(0).visible.tolist() == [True, False, True]
    first, second = load(tmp_path, f"folder:{path}")
    assert (first.name, second.name, len(second.frames)) == ("walk-1", "walk-7", 2)
    np.testing.assert_array_equal(dataset.frames(1, [0])[0], second.read_frame(0))
    np.testing.assert_array_equal(second.read_frame(0), first.read_frame(1))  # the second image
    assert first.target_visible.tolist() == [True, False, True]
    assert dataset.same_as(train(f"FOLDER:{path}", tmp_path))  # from the index
    assert check_data.main([f"folder:{path}", "--data_dir", str(tmp_path)]) == 0


def test_a_missing_image_of_mot_moves_no_other(tmp_path: Path) -> None:
    mot(tmp_path / "walk", MOT.replace("2,7,", "4,7,"))
    (tmp_path / "walk" / "img1" / "000002.jpg").unlink()
    first, second = load(tmp_path, "folder:walk")
    assert [frame[-10:] for frame in first.frames] == ["000001.jpg", "000003.jpg"] and second.frames[-1][-5:] == "4.jpg"
    assert first.ground_truth_rect.tolist() == [[2, 3, 4, 5], [4, 3, 4, 5]]
    write(tmp_path / "walk" / "gt" / "gt.txt", MOT)
    with pytest.raises(DataError, match=r"target 7 in frame 1 .*of which there is no image"):
        load(tmp_path, "folder:walk")


@pytest.mark.parametrize(
    ("file", "images"),
    [
        ("set/cats.json", "set"),
        ("set/annotations/cats.json", "set"),
        ("set/annotations/cats.json", "set/images"),
        ("set/annotations/instances_train.json", "set/train"),
        ("set/annotations/instances_train.json", "set/images/train"),
    ],
)
def test_coco(file: str, images: str, tmp_path: Path) -> None:
    coco(tmp_path / file, tmp_path / images)
    dataset = train(f"FOLDER:{file}", tmp_path)
    sequences = load(tmp_path, f"folder:{file}")
    assert sequences.names == ["clip-1", "clip-2"] and [len(s.frames) for s in sequences] == [4, 3]
    assert sequences[1].ground_truth_rect[0].tolist() == [3, 2, 3, 4]
    np.testing.assert_array_equal(dataset.frames(1, [0])[0], sequences[1].read_frame(0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,1,2,3,4\n", r"walk/gt/gt\.txt: line 1: expected frame, id, left, top"),
        ("1,1,2,3,4,5\n1,1,2,3,4,5\n", r"gt\.txt: line 2: a second box of target 1 in frame 0"),
        ("1,1,2,3,0,5\n", r"gt\.txt: line 1: a box without an area"),
        ("1,1,2,3,4,5\n9,1,2,3,4,5\n", r"gt\.txt: walk: target 1 in frame 8 .*no image \(4 images\)"),
        ("x", r"gt\.txt: line 1: expected numbers"),
        ("", "walk: no box of any target"),
    ],
)
def test_malformed_mot(text: str, message: str, tmp_path: Path) -> None:
    mot(tmp_path / "walk", text)
    with pytest.raises(DataError, match=message) as caught:
        train("FOLDER:walk", tmp_path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("FOLDER:walk: ")
    assert not list((tmp_path / "save").rglob("*.index"))
    with pytest.raises(DataError, match=message):
        load(tmp_path, "folder:walk")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: "{", r"cats\.json: line 1: not JSON"),
        (lambda c: "[" * 100_000, "not JSON"),
        (lambda c: json.dumps(c | {"images": []}), r"cats\.json: annotations\[0\]: no image"),
        (lambda c: json.dumps(c).replace("clip/000", "/clip/000"), r"cats\.json: file_name '/clip/000.jpg' leads out"),
        (lambda c: json.dumps(c).replace("clip/0", "clap/0"), r"expected clap/000.jpg .*found"),
        (lambda c: json.dumps(c).replace("[2, 2, 3, 4]", "[2, 2, 0, 4]"), "a box without an area"),
    ],
)
def test_malformed_coco(change, message: str, tmp_path: Path) -> None:
    content = coco(tmp_path / "cats.json", tmp_path)
    write(tmp_path / "cats.json", change(content))
    for open_it in (lambda: train("FOLDER:cats.json", tmp_path), lambda: load(tmp_path, "folder:cats.json")):
        with pytest.raises(DataError, match=message) as caught:
            open_it()
        assert "\n" not in str(caught.value)


def test_other_files_mixed_folders_and_missing_frames(tmp_path: Path) -> None:
    mot(tmp_path / "sets" / "walk")
    write(tmp_path / "sets" / "walk" / "notes.txt", "x")
    with pytest.raises(DataError, match=r"notes\.txt: expected a folder, a YAML file, a COCO file"):
        train("FOLDER:sets/walk/notes.txt", tmp_path)
    write(tmp_path / "sets" / "run" / "groundtruth.txt", "1,2,3,4\n")
    write_frame(tmp_path / "sets" / "run" / "1.jpg", 1)
    with pytest.raises(DataError, match=r"a groundtruth\.txt in run, but MOT in .*walk/gt/gt\.txt"):
        train("FOLDER:sets", tmp_path)
    write(tmp_path / "sets" / "walk" / "groundtruth.txt", "1,2,3,4\n" * 4)  # converted in place: as it always was
    assert load(tmp_path, "folder:sets").names == ["run", "walk"]
    coco(tmp_path / "cats.json", tmp_path, missing=3)
    with pytest.raises(DataError, match=r"1 of 2 frames of clip-1 at the ends are missing .*expected clip/003\.jpg"):
        load(tmp_path, "folder:cats.json")
