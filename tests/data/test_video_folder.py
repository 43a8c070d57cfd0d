"""Which folders are sequences, where their frames are, in which order, and what they are called."""

import os
from pathlib import Path

import pytest

from lib.data.layout import natural_key
from lib.data.video_folder import find_videos, video_names
from lib.utils.errors import DataError
from lib.utils.storage import DirectoryStorage, find_storage


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("1,2,3,4\n")


@pytest.mark.parametrize(
    "names",
    [
        ["1.jpg", "2.jpg", "10.jpg"],
        ["760577.033.png", "760577.233.png", "760577.3.png", "760578.png"],
        ["a-1.jpg", "a-2.jpg", "a-10.jpg"],
        ["A1.jpg", "a2.jpg", "A10.jpg", "b1.jpg"],
        ["0009.jpg", "010.jpg", "11.jpg"],
        ["v1.2.9.jpg", "v1.2.10.jpg"],
        ["2020.1.9_1.jpg", "2020.1.10_1.jpg"],
        ["img.9.jpg", "img.10.jpg"],
        ["\u0669.jpg", "\u0661\u0660.jpg"],
        ["1.JPG", "2.jpg", "3.JPG"],
        ["01.jpg", "1.jpg", "1a.jpg"],
        ["9" * 200 + ".jpg", "1" + "0" * 200 + ".jpg"],
    ],
)
def test_natural_order(names: list[str]) -> None:
    assert sorted(reversed(names), key=natural_key) == names


def test_the_published_order_is_kept_where_numbers_are_filled_with_zeros() -> None:
    for pattern in ("{:08d}.jpg", "frame_{:05d}.png", "Img{:04d}.jpg", "video-1.{:06d}.jpg", "{:06d}(1).png"):
        names = [pattern.format(number) for number in range(0, 1200, 7)]
        assert sorted(names, key=natural_key) == sorted(names)


@pytest.mark.parametrize("folder", ["color", "img1", "Img", "JPEGImages", "rgb", "imgs", "images", "my frames", "."])
def test_where_frames_are(tmp_path: Path, folder: str) -> None:
    make(tmp_path, "my car/groundtruth.txt", f"my car/{folder}/1.jpg", "my car/depth/readme.txt")
    (video,) = find_videos(DirectoryStorage(tmp_path))
    assert video.name(DirectoryStorage(tmp_path)) == "my car"
    assert (tmp_path / video.frames(DirectoryStorage(tmp_path))[0]).samefile(tmp_path / "my car" / folder / "1.jpg")


def test_one_of_several_folders_and_none(tmp_path: Path) -> None:
    make(tmp_path, "a/groundtruth.txt", "a/x/1.jpg", "a/y/1.jpg", "b/groundtruth.txt", "b/x/1.txt")
    storage = DirectoryStorage(tmp_path)
    for video, message in zip(find_videos(storage), ["frames in x or in y", "b: no images"], strict=True):
        with pytest.raises(DataError, match=message):
            video.frames(storage)
    make(tmp_path, "a/color/1.jpg", "a/depth/1.jpg")
    assert next(iter(find_videos(storage))).frames(storage) == ["a/color/1.jpg"]


def test_names_are_one_to_one(tmp_path: Path) -> None:
    paths = ["car", "park/dog", "set-a/1", "set/a-1", "x y/\u00e9"]
    make(tmp_path, *(f"{path}/{file}" for path in paths for file in ("groundtruth.txt", "1.jpg")))
    storage = DirectoryStorage(tmp_path)
    assert list(video_names(storage, find_videos(storage))) == ["car", "park-dog", "set+a-1", "set-a+1", "x y-\u00e9"]
    make(tmp_path, "set+a-1/groundtruth.txt")
    with pytest.raises(DataError, match=r"two sequences would be called set\+a-1: rename set"):
        video_names(storage, find_videos(storage))


def test_clutter_and_links_that_lead_nowhere(tmp_path: Path) -> None:
    clutter = (".ipynb_checkpoints", ".Trashes", "__MACOSX", "@eaDir", "lost+found", "a/.thumbs", "a/@eaDir")
    make(tmp_path, "a/groundtruth.txt", "a/1.jpg", "a/._1.jpg", "a/.DS_Store", "a/Thumbs.db", "b/c/groundtruth.txt")
    make(tmp_path, "b/c/1.jpg", *(f"{place}/{file}" for place in clutter for file in ("groundtruth.txt", "2.jpg")))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "a" / "9.jpg").symlink_to("9.jpg")
    (tmp_path / "b" / "up").symlink_to("..")
    (tmp_path / "b" / "there").symlink_to("../d")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "back").symlink_to("../b")
    storage = DirectoryStorage(tmp_path)
    videos = list(find_videos(storage))
    # A folder that is reached on two ways counts twice, as a link to a dataset elsewhere should.
    assert [video.folder for video in videos] == ["a/", "b/c/", "d/back/c/"]
    assert videos[0].frames(storage) == ["a/1.jpg"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("x" * 300, "cannot open the data folder: File name too long"),
        ("loop", "cannot open the data folder: Too many levels"),
        ("file", "Not a directory|not a folder"),
        ("a\0b", "null"),
        ("nowhere", "no such data folder, and no packed one"),
    ],
)
def test_roots_that_are_no_folder(tmp_path: Path, path: str, message: str) -> None:
    make(tmp_path, "file")
    os.symlink("loop", tmp_path / "loop")
    with pytest.raises(DataError, match=message):
        find_storage(tmp_path / path)
