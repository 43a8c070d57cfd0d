"""tracking/convert_annotations.py: annotations and frames that belong together, or one clear line and no output."""

import json
import os
import signal
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from lib.data.exchange import FORMATS
from lib.utils.errors import DataError, SeqTrackError
from tests.data.test_exchange import WRITTEN
from tracking import convert_annotations


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """MOT annotations of ten frames, which are in ``frames``."""
    (tmp_path / "frames").mkdir()
    for number in range(10):
        cv2.imwrite(str(tmp_path / "frames" / f"{number:06d}.jpg"), np.full((2160 // 20, 3840 // 20, 3), 90, np.uint8))
    lines = [f"{frame},{id},{10 * id},20,30,{40 + frame},1,1,1\n" for id in (1, 2) for frame in range(1, 9)]
    (tmp_path / "street.txt").write_text("".join(lines))
    return tmp_path


@pytest.mark.parametrize("name", WRITTEN)
def test_the_script_converts_there_and_back(name: str, street: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, out = ["--images", str(street / "frames")], street / ("out.json" if FORMATS[name].one_file else "out")
    run = convert_annotations.main
    assert run([str(street / "street.txt"), str(out), "--from", "mot", "--to", name, *images]) == 0
    assert run([str(out), str(street / "videos"), "--from", name, "--to", "folder", *images]) == 0
    assert "2 target(s), 16 boxes" in capsys.readouterr().out
    first, second = sorted((street / "videos").iterdir())
    assert len(list((first / "img").iterdir())) == 10
    lines = (second / "groundtruth.txt").read_text().splitlines()
    assert [float(number) for number in lines[7].split(",")] == pytest.approx([20, 20, 30, 48])
    assert lines[8:] == ["NaN,NaN,NaN,NaN"] * 2
    assert not list(street.glob(".*"))


def test_the_script_refuses_and_leaves_nothing(street: Path) -> None:
    source, out = street / "street.txt", street / "out"

    def refusal(*flags: str) -> str:
        with pytest.raises(SeqTrackError) as caught:
            convert_annotations.main([str(source), str(out), "--from", "mot", "--to", *flags])
        assert not out.exists() and not list(street.glob(".*"))
        return str(caught.value)

    assert "give --images or --size" in refusal("yolo")
    assert "no images there" in refusal("folder", "--images", str(street / "nowhere"))
    for number in range(5):
        (street / "frames" / f"{number:06d}.jpg").unlink()
    assert "8 frames are annotated" in refusal("folder", "--images", str(street / "frames"))
    source.write_text("1,1,2,3,4,0\n")
    assert "line 1: a box without an area" in refusal("coco")
    source.write_text("\n")
    assert "no boxes in it" in refusal("coco")
    source.write_text("1,1,2,3,4,5\n")
    (street / "frames" / "copied.jpg").symlink_to("nowhere")  # as a full disk, which fails in the middle
    assert "cannot be copied: [Errno 2]" in refusal("folder", "--copy", "--images", str(street / "frames"))
    out.mkdir()
    with pytest.raises(SeqTrackError, match="exists; remove it"):
        convert_annotations.main([str(source), str(out), "--from", "mot", "--to", "coco"])


def frames_in(folder: Path, names: list[str], size: tuple[int, int] = (64, 48)) -> None:
    folder.mkdir(parents=True)
    for name in names:
        Image.new("RGB", size).save(folder / name)


def test_files_belong_to_the_frames_of_their_names(tmp_path: Path) -> None:
    """Names without leading zeros, and no file for a frame without a target, as Ultralytics and LabelMe write them."""
    frames_in(tmp_path / "frames", [f"clip_{number}.jpg" for number in range(1, 13)])
    shown = [1, 2, 5, 10, 12]
    for name in ("yolo", "labelme", "masks", "coco"):
        (tmp_path / name).mkdir()
    images, boxes = [], []
    for n in shown:
        (tmp_path / "yolo" / f"clip_{n}.txt").write_text(f"0 {(n + 2.5) / 64} 0.5 {5 / 64} 0.5 1\n")
        shape = {"label": "a", "shape_type": "rectangle", "points": [[n, 12], [n + 5, 36]]}
        facts = {"imagePath": f"clip_{n}.jpg", "imageWidth": 64, "imageHeight": 48, "shapes": [shape]}
        (tmp_path / "labelme" / f"clip_{n}.json").write_text(json.dumps(facts))
        pixels = np.zeros((48, 64), np.uint8)
        pixels[12:36, n : n + 5] = 1
        Image.fromarray(pixels).save(tmp_path / "masks" / f"clip_{n}.png")
        images.append({"id": n, "file_name": f"clip_{n}.jpg"})
        boxes.append({"image_id": n, "bbox": [n, 12, 5, 24]})
    (tmp_path / "coco" / "c.json").write_text(json.dumps({"images": images[::-1], "annotations": boxes}))
    for name in ("yolo", "labelme", "masks", "coco/c.json"):
        flags = ["--from", name.partition("/")[0], "--to", "vot", "--images", str(tmp_path / "frames")]
        assert convert_annotations.main([str(tmp_path / name), str(tmp_path / "out" / name), *flags]) == 0
        (file,) = (tmp_path / "out" / name).glob("*/groundtruth.txt")
        lefts = [float(line.partition(",")[0]) for line in file.read_text().splitlines()]
        assert lefts == pytest.approx([n if n in shown else np.nan for n in range(1, 13)], nan_ok=True), name
    (tmp_path / "frames" / "clip_5.jpg").unlink()
    with pytest.raises(DataError, match="frames has no image clip_5"):
        convert_annotations.main([str(tmp_path / "yolo"), str(tmp_path / "o"), "--from", "yolo", *flags[2:]])


def test_each_video_has_frames_of_its_own_size(tmp_path: Path) -> None:
    for video, size in (("a", (64, 48)), ("b", (640, 480))):
        frames_in(tmp_path / "frames" / video, ["0.jpg"], size)
        (tmp_path / "yolo" / video).mkdir(parents=True)
        (tmp_path / "yolo" / video / "0.txt").write_text("0 0.5 0.5 0.25 0.25 1\n")
    flags = ["--from", "yolo", "--to", "coco", "--images", str(tmp_path / "frames")]
    run, coco = convert_annotations.main, tmp_path / "all.json"
    assert run([str(tmp_path / "yolo"), str(coco), *flags]) == 0
    assert [item["bbox"][2] for item in json.loads(coco.read_text())["annotations"]] == [16, 160]
    flags = [str(coco), str(tmp_path / "out"), "--from", "coco", "--to", "folder", "--images"]
    Image.new("RGB", (32, 24)).save(tmp_path / "frames" / "b" / "0.jpg")
    with pytest.raises(DataError, match=r"b: annotations and images in .* are of different sizes: 640x480 and 32x24"):
        run([*flags, str(tmp_path / "frames")])
    frames_in(tmp_path / "one", ["0.jpg"])
    coco.write_text(coco.read_text().replace("640", "64").replace("480", "48"))
    with pytest.raises(DataError, match="one: would be the frames of a and of b; make a folder for each"):
        run([*flags, str(tmp_path / "one")])


def test_a_missing_frame_moves_no_other(street: Path) -> None:
    frames, flags = street / "frames", ["--from", "mot", "--to", "vot", "--images", str(street / "frames")]
    (frames / "000008.jpg").unlink()
    assert convert_annotations.main([str(street / "street.txt"), str(street / "whole"), *flags]) == 0
    (frames / "000003.jpg").unlink()
    with pytest.raises(DataError, match=r"street: .*frames has no image of frame 3 \(from 0 on\)"):
        convert_annotations.main([str(street / "street.txt"), str(street / "out"), *flags])


def test_a_signal_leaves_nothing(street: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(convert_annotations, "compare", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as caught:
        convert_annotations.main([str(street / "street.txt"), str(street / "out"), "--from", "mot", "--to", "vot"])
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before
    assert sorted(path.name for path in street.iterdir()) == ["frames", "street.txt"]
