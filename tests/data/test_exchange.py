"""Annotations in and out: every format gives back what it got, and what is wrong is named with its place."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.exchange import FORMATS, Source, Track, Video
from lib.data.exchange.tracks import Key, interpolate, keys_of
from lib.utils.errors import DataError
from tracking import convert_annotations

SIZE, SOURCE = (3840, 2160), Source((3840, 2160))
WRITTEN = [name for name, format in FORMATS.items() if format.write and name != "folder"]


def two_targets() -> Video:
    """Fractions, a gap, a target of one frame, one in the first and one in the last frame."""
    car = {frame: (round(10.25 + frame / 3, 6), 20.5, 67.735 + frame, 224.45) for frame in (0, 1, 2, 5, 6, 9)}
    video = Video("street", num_frames=10, size=SIZE)
    video.tracks = {"1": Track("1", "car", car), "7": Track("7", "pedestrian", {4: (3000.0, 2000.0, 840.0, 160.0)})}
    return video


def rows(video: Video) -> dict[tuple[str, int], tuple[float, ...]]:
    return {(track.label, frame): box for track in video.tracks.values() for frame, box in track.boxes.items()}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_reads_back(name: str, tmp_path: Path) -> None:
    format, path = FORMATS[name], tmp_path / "out"
    path = path.with_suffix(".json") if format.one_file else path
    format.write(iter([two_targets()]), path)
    (video,) = format.read(path, SOURCE)
    before, after = rows(two_targets()), rows(video)
    if name == "vot":  # knows no classes
        before, after = (
            {(key[1], index): box for index, (key, box) in enumerate(sorted(one.items(), key=str))}
            for one in (before, after)
        )
        assert sorted(before.values()) == sorted(after.values())
        return
    assert before == after
    assert video.name == "street" and (name in ("mot",) or video.length == 10)


def test_ends_of_tracks() -> None:
    box = (1.0, 2.0, 3.0, 4.0)
    assert interpolate([Key(2, box)], 5, "x").keys() == {2, 3, 4}  # held to the end
    assert interpolate([Key(2, box), Key(3, box, False)], 5, "x").keys() == {2}
    assert interpolate([Key(0, box), Key(2, (3.0, 2.0, 3.0, 8.0))], None, "x")[1] == (2.0, 2.0, 3.0, 6.0)
    boxes = {0: box, 1: box, 4: box}
    for length in (5, 6):
        assert interpolate(keys_of(boxes, length), length, "x") == boxes
    with pytest.raises(DataError, match="frame 2 comes after frame 2"):
        interpolate([Key(2, box), Key(2, box)], 5, "x")
    assert interpolate([], 5, "x") == {}
    with pytest.raises(DataError, match="more than a video has"):
        interpolate([Key(0, box)], 10**12, "x")


@pytest.mark.parametrize("name", WRITTEN)
def test_identities_stay_apart(name: str, tmp_path: Path) -> None:
    video = Video("v", num_frames=3, size=SIZE)
    video.tracks = {id: Track(id, "", {frame: (1.0, 1.0, 5.0, 5.0)}) for frame, id in enumerate(("car", "1", "01"))}
    path = tmp_path / ("out.json" if FORMATS[name].one_file else "out")
    FORMATS[name].write(iter([video]), path)
    (again,) = FORMATS[name].read(path, SOURCE)
    assert sorted(sorted(track.boxes) for track in again.tracks.values()) == [[0], [1], [2]]
    video.tracks["car"].boxes |= video.tracks.pop("1").boxes
    with pytest.raises(DataError, match="targets of 2, 1 boxes were written, 1, 1, 1 are read"):
        convert_annotations.compare([video], [again], 1e-3)


CVAT = """<annotations><version>1.1</version><meta><task><size>4</size><start_frame>10</start_frame>
<frame_filter>step=3</frame_filter><original_size><width>640</width><height>360</height></original_size></task></meta>
<track id="0" label="a &amp; b"><box frame="10" keyframe="1" outside="0" xtl="10" ytl="20" xbr="40" ybr="60"/>{}
</track></annotations>"""


def cvat(folder: Path, more: str = "", text: str = CVAT) -> Path:
    path = folder / "annotations.xml"
    path.write_text(text.format(more), encoding="utf-8")
    return path


def test_cvat_video_with_key_frames(tmp_path: Path) -> None:
    path = cvat(tmp_path, '<box frame="16" keyframe="1" outside="1" xtl="30" ytl="20" xbr="60" ybr="60"/>')
    with zipfile.ZipFile(tmp_path / "task.zip", "w") as archive:
        archive.write(path, "annotations.xml")
    for place in (path, tmp_path / "task.zip"):
        (video,) = FORMATS["cvat"].read(place, Source())
        assert (video.size, video.num_frames, video.tracks["0"].label) == ((640, 360), 4, "a & b")
        assert video.tracks["0"].boxes == {0: (10, 20, 30, 40), 1: (20, 20, 30, 40)}


def test_cvat_images(tmp_path: Path) -> None:
    box = '<box label="car" xtl="1" ytl="2" xbr="5" ybr="9"/>'
    image = f'<image id="{{}}" name="cam/{{}}.jpg" width="64" height="48">{box}</image>'
    path = cvat(tmp_path, text=f"<annotations>{image.format(9, 'b')}{image.format(7, 'a')}</annotations>")
    (video,) = FORMATS["cvat"].read(path, Source())
    assert video.frame_names == ["a.jpg", "b.jpg"] and video.tracks["car"].boxes == {0: (1, 2, 4, 7), 1: (1, 2, 4, 7)}


BOMB = '<!DOCTYPE x [<!ENTITY a "{}">]><annotations>&a;</annotations>'.format("ha" * 50)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "a document type or entity"),
        ("<annotations><track>", "not well-formed XML"),
        ("<annotations></annotations>", "not annotations of CVAT"),
        ("<other><track/></other>", "not annotations of CVAT"),
        (CVAT.replace('frame="10"', 'frame="11"').format(""), "frame 11 is none of 10, 13, 16"),
        (CVAT.replace('xtl="10"', 'xtl="ten"').format(""), "expected numbers xtl"),
        (CVAT.replace('xtl="10"', 'rotation="30" xtl="10"').format(""), "turned by 30 degrees"),
        (CVAT.replace('xtl="10"', 'xtl="40"').format(""), "a box without an area"),
        (CVAT.format('<box frame="10" xtl="1" ytl="1" xbr="2" ybr="2"/>'), "frame 0 comes after frame 0"),
    ],
)
def test_what_is_wrong_in_cvat_is_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "annotations.xml"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        list(FORMATS["cvat"].read(path, Source()))
    assert str(path) in str(caught.value)


def test_label_studio_as_it_is_exported(tmp_path: Path) -> None:
    key = {"x": 10, "y": 20, "width": 25, "height": 30, "rotation": 0, "time": 0}
    keys = [
        key | {"frame": 1, "enabled": True},
        key | {"frame": 3, "x": 30, "enabled": False},
        key | {"frame": 6, "enabled": True},
    ]
    region = {"id": "r1", "type": "videorectangle", "value": {"framesCount": 7, "labels": ["car"], "sequence": keys}}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"data": {"video": "/data/upload/clip.mp4"}, "annotations": [{"result": [region]}]}]))
    task = json.loads(path.read_text())[0]
    task["annotations"].append({"was_cancelled": True, "result": []})  # skipped by a second annotator
    path.write_text(json.dumps([task]))
    (video,) = FORMATS["label_studio"].read(path, Source((200, 100)))
    boxes = video.tracks["r1"].boxes
    assert video.name == "clip" and sorted(boxes) == [0, 1, 2, 5, 6]
    assert boxes[1] == (40.0, 20.0, 50.0, 30.0)


def test_coco_and_youtube_vis(tmp_path: Path) -> None:
    images = [{"id": n, "video_id": 1, "frame_id": n, "file_name": f"v/{n}.jpg"} for n in (1, 2, 4)]
    boxes = [{"image_id": n, "bbox": [n, 2, 3, 4], "track_id": 9, "category_id": 1} for n in (1, 4)]
    content = {
        "videos": [{"id": 1, "name": "v"}],
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "cat"}],
    }
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(content))
    (video,) = FORMATS["coco"].read(path, Source())
    assert video.num_frames == 4 and rows(video) == {("cat", 0): (1, 2, 3, 4), ("cat", 3): (4, 2, 3, 4)}
    vis = {"videos": [{"id": 5, "file_names": ["w/0.jpg", "w/1.jpg"], "width": 9, "height": 8}]}
    vis["annotations"] = [{"id": 3, "video_id": 5, "bboxes": [None, [1, 2, 3, 4]]}]
    path.write_text(json.dumps(vis))
    (video,) = FORMATS["coco"].read(path, Source())
    assert (video.name, video.size, video.tracks["3"].boxes) == ("w", (9, 8), {1: (1, 2, 3, 4)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[]", "expected a field 'annotations'"),
        ('{"annotations": [3]}', r"annotations\[0\]: expected an object"),
        ('{"annotations": [{"image_id": 1}], "images": [{"id": 1}]}', r"annotations\[0\]: expected a field 'bbox'"),
        (
            '{"annotations": [{"image_id": 2, "bbox": [1,1,1,1]}], "images": [{"id": 1}]}',
            r"annotations\[0\]: no image 2",
        ),
        ('{"annotations": [{"image_id": 1, "bbox": [1,1,0,1]}], "images": [{"id": 1}]}', "without an area"),
        ('{"annotations": [], "images": 5}', "images: expected a list, got 5"),
        ('{"annotations": [{"image_id": [1]}]}', r"annotations\[0\]: expected an object"),
        ('{"annotations": [], "images": [{"id": 1}, {"id": 1}]}', r"images\[1\]: a second one with the id 1"),
        ('{"annotations": [{"image_id": 1, "bbox": [1,1,1e999,1]}], "images": [{"id": 1}]}', "not finite"),
        (
            '{"images": [{"id": 1}], "annotations": [%s, %s]}' % (('{"image_id": 1, "bbox": [1,1,1,1]}',) * 2),
            r"annotations\[1\]: a second box of target",
        ),
    ],
)
def test_what_is_wrong_in_coco_is_named(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        list(FORMATS["coco"].read(path, Source()))
    assert str(path) in str(caught.value)


def labelme(corner: float) -> dict:
    shape = {"shape_type": "polygon", "points": [[1, 1], [corner, 4], [9, 9]]}
    return {"imageWidth": 0, "imageHeight": 9, "shapes": [shape]}


def test_numbers_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"

    def refusal(name: str, content: object) -> str:
        path.write_text(json.dumps(content))
        with pytest.raises(DataError) as caught:
            for video in FORMATS[name].read(tmp_path if name == "labelme" else path, SOURCE):
                video.require_size("YOLO")
        return str(caught.value)

    assert "shapes[0]: a box of numbers that are not finite" in refusal("labelme", labelme(float("nan")))
    assert "its annotations say that frames have 0x9 pixels" in refusal("labelme", labelme(5))
    vis = {
        "videos": [{"id": 1, "file_names": ["a/0.jpg"]}],
        "annotations": [{"video_id": 1, "bboxes": [["x", 1, 2, 3]]}],
    }
    assert "bboxes[0]: expected a box of four numbers, got ['x', 1, 2, 3]" in refusal("coco", vis)
    key = {"x": 10, "y": 20, "width": 25, "height": 30, "frame": 1}
    region = {"type": "videorectangle", "value": {"labels": {"a": 1}, "sequence": [key]}}
    task = {"data": {"text": "A street.", "video": "clip.mp4"}, "annotations": [{"result": [region]}]}
    assert "expected a field 'labels', got {'a': 1}" in refusal("label_studio", [task])
    assert "expected a field 'annotations', got 3" in refusal("label_studio", [task | {"annotations": 3}])
    del region["value"]["labels"]
    path.write_text(json.dumps([task]))
    assert [video.name for video in FORMATS["label_studio"].read(path, SOURCE)] == ["clip"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("mot", "1,1,2,3,4,5\n1,1,2,3,4,5\n", "line 2: a second box of target 1"),
        ("mot", "0,1,2,3,4,5\n", "line 1: frame 0"),
        ("mot", "1,1,2,3\n", "line 1: expected frame, id"),
        ("mot", "1,1,2,3,nan,5\n", "line 1: expected numbers"),
        ("mot", "nan,1,2,3,4,5\n", "line 1: expected numbers"),
        ("mot", "1,1,2,3,4,5,1,inf\n", "line 1: expected numbers"),
        ("vot", "m1,2,nan,4,5\n", "line 1: expected numbers"),
        ("vot", "1,2,3,4\n1,2,3,4,5\n", "line 2: 5 numbers"),
        ("vot", "1,2\n", "line 1: 2 numbers"),
        ("vot", "m1,1,2,2,9\n", "line 1: runs of 9 pixels"),
    ],
)
def test_what_is_wrong_in_lines_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        list(FORMATS[name].read(path, Source()))
    assert str(path) in str(caught.value)


def test_vot_regions(tmp_path: Path) -> None:
    path = tmp_path / "groundtruth.txt"
    path.write_text("1,2,3,4\n1\nNaN,NaN,NaN,NaN\n0,0,4,1,3,5,-1,2\nm10,20,3,2,1,4,1\n")
    (video,) = FORMATS["vot"].read(path, Source())
    assert video.tracks["1"].boxes == {0: (1, 2, 3, 4), 3: (-1, 0, 5, 5), 4: (10, 20, 3, 2)}
    assert video.num_frames == 5


def test_masks(tmp_path: Path) -> None:
    pixels = np.zeros((12, 16), dtype=np.uint8)
    pixels[2:5, 3:9], pixels[8:, 10:], pixels[0, 0] = 1, 2, 255
    for number in range(2):
        image = Image.fromarray(pixels, "P")
        image.putpalette(list(range(256)) * 3)
        image.save(tmp_path / f"{number:05d}.png")
    (video,) = FORMATS["masks"].read(tmp_path, Source())
    assert video.tracks.keys() == {"1", "2"} and video.tracks["1"].boxes[1] == (3, 2, 6, 3)
    Image.new("RGB", (4, 4)).save(tmp_path / "00002.png")
    with pytest.raises(DataError, match=r"00002\.png: an image of colors"):
        list(FORMATS["masks"].read(tmp_path, Source()))
