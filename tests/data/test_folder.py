"""Folders of one's own, and the benchmark that is rendered."""

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.config.seqtrack.config import default_config
from lib.data.folder import FolderDataset, find_videos, video_names
from lib.data.layout import natural_key
from lib.data.registry import build_dataset
from lib.data.synthetic import FRAMES, SIZE
from lib.test.evaluation import find_benchmark
from lib.test.video.sources import FolderSource
from lib.utils.errors import ConfigError, DataError, InputError
from lib.utils.storage import DirectoryStorage, find_storage
from tests.data import fabricate
from tests.data.fabricate import load


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    root = tmp_path / "videos"
    for name, images, digits in (("car", "car/img", 1), ("park/dog", "park/dog", 4)):
        fabricate.write(root / name / "groundtruth.txt", fabricate.box_lines(11))
        fabricate.write_frames(root / images, range(1, 12), digits, ".png")
    return root


def test_folder_by_name(tmp_path: Path, videos: Path) -> None:
    sequences = load(tmp_path, "folder:videos")
    assert sequences.names == ["car", "park-dog"]
    assert sequences[0].frames[1] == "car/img/2.png"
    assert sequences[0].frames[-1] == "car/img/11.png"
    assert sequences[0].dataset == "videos"
    assert load(tmp_path, f"folder:{videos}").names == sequences.names


def test_absent_targets(tmp_path: Path, videos: Path) -> None:
    lines = fabricate.box_lines(11).splitlines(keepends=True)
    lines[4] = "NaN NaN NaN NaN\n"
    (videos / "car/groundtruth.txt").write_text("".join(lines))
    (videos / "car/absence.label").write_text("\n".join("01" + "0" * 9))
    car = load(tmp_path, "folder:videos")[0]
    assert np.flatnonzero(~car.target_visible).tolist() == [1, 4]
    np.testing.assert_array_equal(car.ground_truth_rect[4], np.zeros(4))


def test_yaml_file(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("root: videos\nname: my_set\nboxes: xyxy\nsequences: [park-dog]\nfirst_box_only: true\n")
    (videos / "park/dog/groundtruth.txt").write_text("10 20 30 45\n")
    (dog,) = load(tmp_path / "elsewhere", str(path))
    assert (dog.name, dog.dataset, dog.has_ground_truth) == ("park-dog", "my_set", False)
    assert dog.init_box_xywh == [10, 20, 20, 25]
    assert find_benchmark(str(path)).name == "my_set"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\n", "at least 'root"),
        ("root: videos\nbox: xyxy\n", "box: no such option; did you mean boxes"),
        ("root: videos\nboxes: yolo\n", "boxes: expected xywh or xyxy, got 'yolo'"),
        ("root: videos\nfirst_box_only: 1\n", "first_box_only: expected a bool"),
        ("root: [", "not valid YAML"),
        ("root: " + "[" * 5000, "not valid YAML"),
        ("root: videos\nsequences: []\n", "sequences: the list is empty"),
        ("root: videos\nname: lasot\n", "that is the name of a benchmark"),
        ("root: videos\nname: ../up\n", "becomes that of a folder"),
    ],
)
def test_bad_yaml_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "set.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        find_benchmark(str(tmp_path / "set.yaml"))


def test_missing_yaml_file_folder_and_sequence(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot read"):
        find_benchmark(str(tmp_path / "nowhere.yaml"))
    with pytest.raises(DataError, match="nowhere: no such data folder"):
        load(tmp_path, "folder:nowhere")
    (tmp_path / "set.yaml").write_text("root: videos\nsequences: [cat]\n")
    with pytest.raises(DataError, match="no sequence 'cat'; did you mean car"):
        load(tmp_path, str(tmp_path / "set.yaml"))
    (videos / "car/groundtruth.txt").write_text(fabricate.box_lines(10))
    with pytest.raises(DataError, match=r"car/groundtruth\.txt: 10 boxes for 11 frames"):
        load(tmp_path, "folder:videos")


def test_synthetic_is_the_same_in_every_process(tmp_path: Path) -> None:
    sequences = load(tmp_path, "synthetic")
    assert len(sequences) == 20
    assert sequences.num_frames == 20 * FRAMES
    assert len(set(sequences.names)) == 20
    first = sequences[0]
    image = first.read_frame(3)
    assert image.shape == (SIZE[1], SIZE[0], 3)
    np.testing.assert_array_equal(image, pickle.loads(pickle.dumps(first)).read_frame(3))
    assert (first.ground_truth_rect[0, 2:] > 0).all()
    assert not (first.read_frame(40) == image).all()
    assert not (sequences[1].read_frame(3) == image).all()
    with pytest.raises(DataError, match="no such rendered frame"):
        first.storage.read_image("synthetic_001/00000099.bmp")


def test_a_folder_is_looked_for_below_the_current_folder_first(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "my clips").mkdir(parents=True)
    monkeypatch.chdir(here)
    assert load(tmp_path, "folder:videos").names == ["car", "park-dog"]  # below data_dir
    (videos / "car").rename(here / "my clips" / "car")
    (sequence,) = load(tmp_path, "folder:my clips")
    assert (sequence.name, sequence.dataset) == ("car", "my clips")
    assert find_benchmark("folder:.").tag == "here"
    with pytest.raises(ConfigError, match="expected the path of a folder"):
        find_benchmark("folder:")
    with pytest.raises(DataError) as caught:
        load(tmp_path, "folder:nowhere")
    assert str(here / "nowhere") in str(caught.value)
    assert str(tmp_path / "nowhere") in str(caught.value)


@pytest.mark.parametrize("name", ["folder:~nobody-has-this-name/x", "~nobody-has-this-name/x.yaml"])
def test_a_home_folder_that_does_not_exist(name: str) -> None:
    with pytest.raises(InputError, match="home"):
        find_benchmark(name)


def test_an_absent_target_at_the_start(tmp_path: Path, videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = fabricate.box_lines(11).splitlines(keepends=True)
    lines[0] = "NaN\n"
    (videos / "car/groundtruth.txt").write_text("".join(lines), encoding="utf-8-sig")
    (videos / "car/absence.label").write_text("\r\n".join("010000001" + "00"), encoding="utf-8-sig")
    car = load(tmp_path, "folder:videos")[0]
    assert car.frames[0] == "car/img/3.png"
    assert car.init_box_xywh == [12, 20, 30, 40]
    assert "sequence car: starts at frame 2" in caplog.text
    # What the protocol got10k counts, too.
    assert np.flatnonzero(~car.target_present).tolist() == np.flatnonzero(~car.target_visible).tolist() == [6]
    (videos / "car/absence.label").write_text("1\n" * 11)
    failures = find_benchmark("folder:videos", paths := load_paths("test", data_dir=tmp_path)).load(paths).failures
    assert list(failures) == ["car"]
    assert "no box with an area in a frame that shows the target" in failures["car"]


def test_a_damaged_sequence_fails_alone(tmp_path: Path, videos: Path) -> None:
    (videos / "car/groundtruth.txt").write_bytes("1,2,3,4\n".encode("utf-16"))
    (videos / "bad\udcff").mkdir()
    fabricate.write(videos / "bad\udcff" / "groundtruth.txt", "1,2,3,4\n")
    paths = load_paths("test", data_dir=tmp_path)
    benchmark = find_benchmark("folder:videos", paths)
    sequences = benchmark.load(paths)
    assert sequences.names == ["park-dog"]
    assert list(sequences.failures) == ["bad\udcff", "car"]
    assert "car/groundtruth.txt: not a UTF-8 text file" in sequences.failures["car"]
    assert "cannot name a sequence" in sequences.failures["bad\udcff"]
    for wanted in ("park-dog", "2"):
        assert not benchmark.load(paths, [wanted]).failures
    with pytest.raises(DataError, match="car/groundtruth"):
        benchmark.load(paths, ["car"])
    with pytest.raises(DataError, match="2 of 3 sequences cannot be read"):
        load(tmp_path, "folder:videos")
    with pytest.raises(DataError, match=r"no sequence 'cat' among 3; did you mean car\?"):
        benchmark.load(paths, ["cat"])


@pytest.mark.parametrize("box", ["0,0,0,0", "1,2,-3,4", "1e9,1,1e9,5", "1,1,1e30,1e30"])
def test_a_first_box_that_makes_no_sense_is_refused_by_name(tmp_path: Path, videos: Path, box: str) -> None:
    (tmp_path / "one.yaml").write_text("root: videos\nfirst_box_only: true\nsequences: [car]\n")
    (videos / "car/groundtruth.txt").write_text(box)
    with pytest.raises(DataError, match=r"car/groundtruth\.txt: no box|sequence car: the first box"):
        load(tmp_path, str(tmp_path / "one.yaml"))[0].init_box_xywh  # noqa: B018


def test_thermal_frames_look_the_same_in_benchmark_training_and_demo(tmp_path: Path) -> None:
    values = np.tile(np.linspace(7000, 8000, 320), (24, 1))
    for number, name in enumerate(("760577.233.png", "760577.3.png")):
        fabricate.write(tmp_path / "set" / "cat" / "color" / name)
        cv2.imwrite(str(tmp_path / "set/cat/color" / name), (values + 300 * number).astype(np.uint16))
    fabricate.write(tmp_path / "set/cat/groundtruth.txt", fabricate.box_lines(2))
    (sequence,) = load(tmp_path, "folder:set")
    tracked = [sequence.read_frame(index) for index in (1, 0)]
    trained = FolderDataset(DirectoryStorage(tmp_path / "set")).frames(0, [1, 0])
    shown = list(FolderSource(tmp_path / "set/cat/color").frames())[::-1]
    for frames in (tracked, trained, shown):
        assert [frame[0, 160].tolist() for frame in frames] == [[204] * 3, [128] * 3]


@pytest.mark.parametrize("cached", [False, True])
def test_names_that_are_not_utf8_can_be_trained_on(tmp_path: Path, cached: bool) -> None:
    fabricate.write(tmp_path / "set" / "b\udcff" / "groundtruth.txt", fabricate.box_lines(1))
    fabricate.write(tmp_path / "set" / "b\udcff" / "1\udcfe.jpg")
    dataset = FolderDataset(DirectoryStorage(tmp_path / "set"), cache_dir=tmp_path if cached else None)
    assert dataset.frame_path(0, 0) == "b\udcff/1\udcfe.jpg"


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


def test_training_takes_what_a_yaml_file_describes(tmp_path: Path, videos: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("root: videos\nboxes: xyxy\nsequences: [park-dog]\n")
    (videos / "park/dog/groundtruth.txt").write_text("10 20 30 45\n" * 11)
    paths, cfg = load_paths("train", data_dir=tmp_path, save_dir=tmp_path), default_config()
    dataset = build_dataset("FOLDER:mine.yaml", cfg, paths)
    assert len(dataset) == 1 and dataset.sequence_name(0) == "FOLDER:mine.yaml/park/dog"
    np.testing.assert_array_equal(dataset.sequence_info(0).boxes_xywh[0], [10, 20, 20, 25])
    for line, error, message in (
        ("sequences: [cat]", DataError, "no sequence 'cat'"),
        ("first_box_only: true", ConfigError, "training needs the box of each frame"),
    ):
        path.write_text(f"root: videos\n{line}\n")
        with pytest.raises(error, match=message):
            build_dataset("FOLDER:mine.yaml", cfg, paths)


@pytest.mark.parametrize(
    ("spec", "box", "message"),
    [
        ("", "30,20,60,44", "look like x1, y1, x2, y2; say so by boxes: xyxy"),
        ("boxes: xyxy\n", "30,20,20,24", "look like x, y, width, height, not x1, y1, x2, y2"),
        ("boxes: xyxy\n", "30,20,60,44", ""),
        ("", "30,20,20,24", ""),
    ],
)
def test_boxes_in_the_other_form_are_refused_in_evaluation_and_training(
    tmp_path: Path, videos: Path, spec: str, box: str, message: str
) -> None:
    for index in range(1, 12):
        cv2.imwrite(str(videos / "car/img" / f"{index}.png"), np.zeros((48, 64, 3), np.uint8))
    (videos / "car/groundtruth.txt").write_text(f"{box}\n" * 10 + "0,0,0,0\n")
    path = tmp_path / "mine.yaml"
    path.write_text(f"root: videos\nsequences: [car]\n{spec}")
    training = [load_paths("train", data_dir=tmp_path, save_dir=tmp_path), default_config()]
    for read in (lambda: load(tmp_path, str(path)), lambda: build_dataset(f"FOLDER:{path}", training[1], training[0])):
        if message:
            with pytest.raises(DataError, match=rf"car/groundtruth\.txt: the boxes {message}"):
                read()
        else:
            assert len(read()) == 1
