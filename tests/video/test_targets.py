"""Several targets in one video, their boxes in files, and the formats of the files that come out."""

import io
import json

import pytest

from lib.test.video.display import TARGET_COLORS, draw_targets
from lib.test.video.paths import SUFFIXES, output_paths
from lib.test.video.run import Job
from lib.test.video.sources import VideoSource
from lib.test.video.streams import PipeSource
from lib.test.video.targets import Seen, Start, TargetBatch, read_init_boxes
from lib.utils.errors import DataError, InputError
from lib.utils.image_io import write_image
from tests.tracker import fakes
from tests.video.world import BOX, FRAMES, make_batch, messages, names, record, refused, run

OTHER = "20,20,40,30"
BOXES = {1: [40.0, 60.0, 36.0, 36.0], 2: [20.0, 20.0, 40.0, 30.0]}


def test_boxes_are_those_of_separate_runs(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path / "both", f"--init_box={BOX}", box=OTHER) == 0
    content = record(tmp_path / "both" / "clip.json")
    assert names(tmp_path / "both") == ["clip.json", "clip.mot.txt", "clip.mp4"]
    assert content["init_boxes"] == {"1": BOXES[1], "2": BOXES[2]}
    for number, box in ((1, BOX), (2, OTHER)):
        assert run(experiment, clip, tmp_path / "one", box=box) == 0
        alone = [frame["box"] for frame in record(tmp_path / "one" / "clip.json")["frames"]]
        together = [
            target["box"] for frame in content["frames"] for target in frame["targets"] if target["id"] == number
        ]
        assert len(together) == FRAMES
        for one, other in zip(alone, together, strict=True):
            assert one == pytest.approx(other, abs=1e-3)


def test_every_format_has_the_same_boxes(experiment, clip, tmp_path):
    formats = ["--formats", "json", "jsonl", "mot", "coco"]
    assert run(experiment, clip, tmp_path, f"--init_box={BOX}", *formats, box=OTHER) == 0
    assert names(tmp_path) == ["clip.coco.json", "clip.json", "clip.jsonl", "clip.mot.txt"]
    frames = record(tmp_path / "clip.json")["frames"]
    head, *lines = map(json.loads, (tmp_path / "clip.jsonl").read_text().splitlines())
    assert head["init_boxes"] == {"1": BOXES[1], "2": BOXES[2]}
    assert lines == frames
    boxes = {(frame["frame"], target["id"]): target["box"] for frame in frames for target in frame["targets"]}
    assert len(boxes) == 2 * FRAMES
    rows = [list(map(float, line.split(","))) for line in (tmp_path / "clip.mot.txt").read_text().splitlines()]
    assert {(row[0] - 1, row[1]): pytest.approx(row[2:6], abs=0.0051) for row in rows} == boxes
    assert all(len(row) == 10 and 0 < row[6] <= 1 for row in rows)
    coco = record(tmp_path / "clip.coco.json")
    frame_of = {image["id"]: image["frame_id"] for image in coco["images"]}
    assert {(frame_of[a["image_id"]], a["instance_id"]): a["bbox"] for a in coco["annotations"]} == boxes
    assert {image["video_id"] for image in coco["images"]} == {coco["videos"][0]["id"]}


def test_another_choice_of_formats_removes_what_the_earlier_run_wrote(experiment, clip, tmp_path, capsys):
    assert run(experiment, clip, tmp_path) == 0
    assert run(experiment, clip, tmp_path, "--formats", "jsonl") == 0
    assert names(tmp_path) == ["clip.jsonl"]
    assert run(experiment, clip, tmp_path, "--formats", "mot") == 0
    assert names(tmp_path) == ["clip.json", "clip.mot.txt"]  # the facts of the run are always there
    capsys.readouterr()
    (tmp_path / "clip.coco.json").write_text("mine")
    assert run(experiment, clip, tmp_path, "--formats", "coco") == 2
    assert "clip.coco.json exists and was not written by an earlier run" in refused(capsys)
    assert (tmp_path / "clip.coco.json").read_text() == "mine"


def test_lines_are_there_while_the_run_goes_on(experiment, clip, tmp_path, monkeypatch):
    track, seen = TargetBatch.track, []

    def look(self, image):
        seen.append(len((tmp_path / "clip.jsonl").read_text().splitlines()))
        return track(self, image)

    monkeypatch.setattr(TargetBatch, "track", look)
    assert run(experiment, clip, tmp_path, "--formats", "jsonl") == 0
    assert seen == [2, 3, 4, 5, 6]  # the head, and the frames before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([f"--init_box={OTHER}", "--formats", "txt"], "the format txt holds one target"),
        (["--init_file", "boxes.txt"], "--init_box and --init_file do not go together"),
        ([f"--init_box={OTHER}", "--masks"], "--masks goes with one target, got 2"),
        ([f"--init_box={OTHER}", "--init_box=170,10,5,5"], "outside the image of 160x120"),
    ],
)
def test_flags_that_do_not_go_together(experiment, clip, tmp_path, capsys, flags, message):
    assert run(experiment, clip, tmp_path / "out", *flags) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


LATE = [1.0, 1.0, 5.0, 5.0]
STARTS = {id: Start(box) for id, box in BOXES.items()}
WITH_LATE = STARTS | {3: Start(LATE, 1)}


def coco(first=0, **changes) -> dict:
    images = [{"id": 7, "video_id": 1, "frame_id": first + 1}, {"id": 9, "video_id": 1, "frame_id": first}]
    annotations = [{"image_id": 9, "instance_id": id, "bbox": box} for id, box in BOXES.items()]
    annotations.insert(0, {"image_id": 7, "instance_id": 3, "bbox": LATE})
    annotations.insert(0, {"image_id": 7, "instance_id": 2, "bbox": LATE})  # of a target that is there already
    return {"videos": [{"id": 1}], "images": images, "annotations": annotations} | changes


def without(content: dict, key: str) -> dict:
    """Without a key in images and annotations."""
    return {
        name: [{k: v for k, v in entry.items() if k != key} for entry in entries] for name, entries in content.items()
    }


TRACKS = [{"id": id, "bboxes": [box, None]} for id, box in BOXES.items()] + [{"id": 3, "bboxes": [None, LATE]}]
MOT = "2,1,41,60,36,36,1,-1,-1,-1\n1,1,40,60,36,36,1,-1,-1,-1\n1,2,20,20,40,30,0.5,-1,-1,-1\n1,3,5,5,9,9,0,1,0.2\n"
ROWS = [{"id": id, "frame": 0, "bbox": box} for id, box in BOXES.items()]
EARLIER = [{"frame": 0, "targets": ROWS}, {"frame": 1, "targets": [{"id": 3, "box": LATE}, {"id": 1, "box": LATE}]}]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("groundtruth.txt", "40,60,36,36\nnan,nan,nan,nan\n", {1: Start(BOXES[1])}),
        ("groundtruth.txt", "40\t60\t36\t36", {1: Start(BOXES[1])}),
        ("groundtruth.txt", "NaN\nnan,nan,nan,nan\n40,60,36,36\n41,60,36,36\n", {1: Start(BOXES[1], 2)}),
        ("gt.txt", MOT, STARTS),
        ("gt.txt", MOT + "2,3,1,1,5,5,1,1,1\n", WITH_LATE),
        ("a.json", [40, 60, 36, 36], {1: Start(BOXES[1])}),
        ("a.json", list(BOXES.values()), STARTS),
        ("a.json", BOXES, STARTS),
        ("a.json", [{"id": id, "bbox": box} for id, box in BOXES.items()], STARTS),
        ("a.json", [{"id": 3, "frame": 1, "box": LATE}, *ROWS, {"id": 1, "frame": 1, "box": LATE}], WITH_LATE),
        ("a.json", {"frames": EARLIER}, WITH_LATE),
        ("a.json", {"frames": [{"box": None}, {"box": LATE}, {"box": BOXES[1]}]}, {1: Start(LATE, 1)}),
        ("a.jsonl", "\n".join(map(json.dumps, [{"format": "x"}, *EARLIER])) + "\n", WITH_LATE),
        ("coco.json", coco(), WITH_LATE),
        ("coco.json", coco(first=1), WITH_LATE),
        ("coco.json", coco(first=30), {id: Start(box, frame + 30) for id, (box, frame) in WITH_LATE.items()}),
        ("coco.json", without(coco(), "instance_id"), {3: Start(BOXES[1]), 4: Start(BOXES[2])}),
        ("ytvis.json", {"videos": [{"id": 1}], "annotations": TRACKS}, WITH_LATE),
    ],
)
def test_files_of_boxes(tmp_path, name, content, expected):
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    assert read_init_boxes(tmp_path / name) == expected


@pytest.mark.parametrize("format", ["json", "jsonl", "mot", "coco"])
def test_a_run_begins_with_the_boxes_of_another(experiment, clip, tmp_path, format):
    assert run(experiment, clip, tmp_path / "a", f"--init_box={BOX}", "--formats", format, box=OTHER) == 0
    flags = ["--init_file", str(tmp_path / "a" / f"clip{SUFFIXES[format]}")]
    assert run(experiment, clip, tmp_path / "b", *flags, "--max_frames", "1", box=None) == 0
    assert record(tmp_path / "b" / "clip.json")["init_boxes"] == {"1": BOXES[1], "2": BOXES[2]}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "holds no box of a target"),
        ("a.txt", "1,2,3\n", "line 1: expected 4 numbers"),
        ("a.txt", " \n\n", "holds no box of a target"),
        ("a.txt", "nan,nan,nan,nan\nnan\n", "holds no box of a target"),
        ("a.txt", "nan,nan,nan,nan\n1,2,3\n", "line 2: expected 4 numbers"),
        ("a.txt", "1,1,4,5,6,7\n1,2,x,5,6,7\n", "line 2: expected numbers, got '1,2,x,5,6,7'"),
        ("a.txt", "1,1,4,5,6,7\n1,1,4,5,6,7\n", "line 2: the target's number 1 is there twice in one frame"),
        ("a.txt", "1,1.5,4,5,6,7\n", "line 1: the target's number 1.5 is no whole number"),
        ("a.txt", "1.5,1,4,5,6,7\n", "line 1: the frame's number 0.5 is no whole number"),
        ("a.txt", "0,1,4,5,6,7\n", "line 1: frames of MOT are counted from 1, got 0"),
        ("a.txt", "1,1,4,5,6,7\n1,2\n", "line 2: expected a box of four numbers, got []"),
        ("a.txt", "2,1,4,5,6,7,0,1,1\n", "holds no box of a target"),
        ("a.json", "", "line 1: no valid JSON"),
        ("a.jsonl", "", "holds no box of a target"),
        ("a.jsonl", '{"format": "x"}\n{"frame": 0, ', "line 2: no valid JSON"),
        ("a.json", json.dumps(EARLIER[:1] + ROWS), "target 1: expected a box, got {'frame': 0"),
        ("a.json", '{"1": [1, 2, 3, 4], "1": [5, 6, 7, 8]}', "the key '1' is there twice in one object"),
        ("a.json", json.dumps(ROWS + ROWS[:1]), "target 3: the target's number 1 is there twice in one frame"),
        ("a.json", json.dumps([{"frame": -1, "box": LATE}]), "target 1: the frame's number -1 is no whole number"),
        ("a.json", '{"frames": [{"targets": 3}]}', "frame 0: expected a list of targets, got 3"),
        ("a.json", '{"1": [1, 2, 3, Infinity]}', "expected a box of four numbers, got [1, 2, 3, inf]"),
        ("a.json", "{", "no valid JSON"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("a.json", f"[1, 2, 3, {10**400}]", "a number with too many digits"),
        ("a.json", f"[1, 2, 3, 1{'0' * 5000}]", "a number with too many digits"),
        ("a.json", "3", "expected boxes, got 3"),
        ("a.json", "[]", "holds no box of a target"),
        ("a.json", '{"frames": [3]}', "expected boxes"),
        ("a.json", "[[1, 2, 3]]", "target 1: expected a box of four numbers"),
        ("a.json", "[1, 2, 3, true, 5]", "expected a box of four numbers"),
        ("a.json", '{"dog": [1, 2, 3, 4]}', "the target's number 'dog' is no whole number"),
        ("a.json", json.dumps(coco(videos=[{"id": 1}, {"id": 2}])), "the file is of 2 videos"),
        ("a.json", json.dumps(coco(annotations=[{"instance_id": 1}])), "not a COCO-video file: KeyError"),
        ("a.json", json.dumps(coco(annotations=3)), "not a COCO-video file: TypeError"),
    ],
)
def test_files_that_hold_no_boxes(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as caught:
        read_init_boxes(tmp_path / name)
    assert message in str(caught.value) and str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_targets_are_drawn_in_colors_of_their_own(clip):
    image = next(VideoSource(clip).frames())
    before = image.copy()
    drawn = draw_targets(image, {1: Seen(BOXES[1]), 2: Seen([-5, -5, 60, 60], 12.0), 3: Seen([500, 500, 9, 9], 1.0)})
    assert (image == before).all()
    for id, (x, y) in {1: (40, 90), 2: (55, 40)}.items():
        distance = abs(drawn[y, x - 1 : x + 2].astype(int) - TARGET_COLORS[id]).sum(axis=1)
        assert distance.min() < 120, id
    assert draw_targets(fakes.frames(1, 9, 7)[0], {1: Seen([1, 1, 3, 3], 3.0)}).shape == (7, 9, 3)


def init_file(folder, text) -> list[str]:
    (folder / "init.txt").write_text(text)
    return ["--init_file", str(folder / "init.txt")]


def test_a_target_begins_in_its_frame_and_keeps_its_number(experiment, clip, tmp_path):
    rows = "1,7,40,60,36,36,1\n3,4,20,20,40,30,1\n4,4,90,90,9,9,1\n4,7,90,90,9,9,1\n"  # what follows is ignored
    formats = ["--formats", "json", "mot", "coco", "video"]
    assert run(experiment, clip, tmp_path / "a", *init_file(tmp_path, rows), *formats, box=None) == 0
    content = record(tmp_path / "a" / "clip.json")
    ids = [[target["id"] for target in frame["targets"]] for frame in content["frames"]]
    assert ids == [[7], [7], [4, 7], [4, 7], [4, 7], [4, 7]]
    assert content["init_frames"] == {"7": 0, "4": 2}
    begin = content["frames"][2]["targets"][0]
    assert (begin["box"], begin["confidence"], begin["state"]) == ([20, 20, 40, 30], None, "tracking")
    lines = [line.split(",") for line in (tmp_path / "a" / "clip.mot.txt").read_text().splitlines()]
    assert [(int(line[0]), int(line[1])) for line in lines] == [
        (f + 1, id) for f, each in enumerate(ids) for id in each
    ]
    assert [line[6] for line in lines if line[:2] == ["3", "4"]] == ["1.0000"]  # the box was given
    for number, flags in ((7, ["--init_box=40,60,36,36"]), (4, init_file(tmp_path, "nan\nnan\n20,20,40,30\n"))):
        assert run(experiment, clip, tmp_path / "b", *flags, box=None) == 0
        alone = [frame["box"] for frame in record(tmp_path / "b" / "clip.json")["frames"]]
        together = [target["box"] for f in content["frames"] for target in f["targets"] if target["id"] == number]
        assert len(together) == {7: 6, 4: 4}[number]
        for one, other in zip(alone[-len(together) :], together, strict=True):
            assert one == pytest.approx(other, abs=1e-3)
    content = record(tmp_path / "b" / "clip.json")  # one target that comes later
    assert content["init_frame"] == 2 and [frame["box"] for frame in content["frames"][:2]] == [None, None]
    texts = (tmp_path / "b" / "clip.txt").read_text().splitlines()
    assert texts[:3] == ["NaN\tNaN\tNaN\tNaN"] * 2 + ["20.00\t20.00\t40.00\t30.00"]
    assert run(experiment, clip, tmp_path / "c", "--init_file", str(tmp_path / "b" / "clip.txt"), box=None) == 0
    assert record(tmp_path / "c" / "clip.json")["frames"] == content["frames"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("7,1,40,60,36,36,1\n", "no target begins before frame 6 (from 0), but"),
        (
            "1,1,40,60,36,36,1\n4,2,170,60,36,36,1\n",
            "target 2, frame 3 (from 0): the initial box 170, 60",
        ),
        ("1,1,40,60,36,36,1\n4,2,10,60,0,36,1\n", "target 2, frame 3 (from 0): the initial box must have a width"),
    ],
)
def test_targets_that_cannot_begin(experiment, clip, tmp_path, capsys, rows, message):
    assert run(experiment, clip, tmp_path / "out", *init_file(tmp_path, rows), box=None) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


def test_a_target_after_the_end_is_a_warning(experiment, clip, tmp_path, capsys):
    flags = init_file(tmp_path, "1,1,40,60,36,36,1\n5,2,20,20,40,30,1\n")
    assert run(experiment, clip, tmp_path / "out", *flags, "--max_frames", "3", box=None) == 0
    (line,) = messages(capsys.readouterr().err)
    assert "the targets 2 (frame 4 from 0): they were not tracked" in line
    assert len((tmp_path / "out" / "clip.mot.txt").read_text().splitlines()) == 3


def test_a_pipe_that_ends_before_the_first_target(tmp_path):
    source = PipeSource(io.BytesIO(b"".join(image.tobytes() for image in fakes.frames(3))), (160, 120))
    job = Job(source, {1: Start(fakes.BOX, 9)}, output_paths(tmp_path, source))
    with pytest.raises(
        InputError, match=r"after the 3 frames of standard input begin the targets 1 \(frame 9 from 0\): nothing"
    ):
        job.run(make_batch())


def test_in_a_folder_a_box_is_in_pixels_of_its_own_frame(experiment, tmp_path, capsys):
    folder = tmp_path / "mixed"
    sizes = [(160, 120), (160, 120), (320, 240)]
    for index, size in enumerate(sizes):
        write_image(folder / f"{index}.png", fakes.frames(1, *size)[0])
    flags = init_file(tmp_path, "1,1,40,60,36,36,1\n3,2,200,150,60,50,1\n")
    assert run(experiment, folder, tmp_path / "out", *flags, "--no_video", box=None) == 0
    assert record(tmp_path / "out" / "mixed.json")["frames"][2]["targets"][1]["box"] == [200, 150, 60, 50]
    flags = init_file(tmp_path, "1,1,40,60,36,36,1\n2,2,200,150,60,50,1\n")
    capsys.readouterr()
    assert run(experiment, folder, tmp_path / "out", *flags, "--no_video", box=None) == 2
    line = messages(capsys.readouterr().err)[-1]
    assert "target 2, frame 1 (from 0): the initial box 200, 150" in line and "of 1 frames are in" in line
