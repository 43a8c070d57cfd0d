"""Lost and found in the video demo: states in what is drawn and written, and runs that end while a target is lost."""

import io
import json
import os
import signal

import numpy as np
import pytest

from lib.test.tracker.presence import PresenceScore
from lib.test.video.display import STATE_COLORS, draw_overlay, draw_targets
from lib.test.video.paths import output_paths
from lib.test.video.run import Job
from lib.test.video.sources import VideoSource
from lib.test.video.streams import PipeSource
from lib.test.video.targets import Seen, Start, TargetBatch
from lib.utils.errors import DataError
from tests.tracker import fakes
from tests.video.servers import jpegs, mjpeg_server
from tests.video.world import BOX, FRAMES, make_batch, messages, names, record, refused, run

LOST = ["--lost", "patience=1,confirm=1,search=on"]
STATES = ["tracking", "tracking", "lost", "lost", "tracking", "tracking"]


@pytest.fixture(autouse=True)
def scores(monkeypatch):
    """Scores of the frames after the first, of whatever is looked at; the last one stays."""
    left = [0.9, 0.1, 0.2, 0.9, 0.9]

    def score(self, likelihoods):
        value = left.pop(0) if len(left) > 1 else left[0]
        return np.full(len(likelihoods), value)

    monkeypatch.setattr(PresenceScore, "__call__", score)
    return left


def test_states_are_in_every_file_that_can_hold_them(experiment, clip, tmp_path, capsys):
    assert run(experiment, clip, tmp_path, *LOST, "--formats", "txt", "json", "jsonl", "mot", "coco") == 0
    content = record(tmp_path / "clip.json")
    assert [frame["state"] for frame in content["frames"]] == STATES
    assert [frame["score"] for frame in content["frames"]] == [1.0, 0.9, 0.1, 0.2, 0.9, 0.9]
    assert (content["lost"]["search"], content["lost"]["patience"]) == (True, 1)
    assert content["times_lost"] == {"1": {"lost": 1, "found": 1}}
    lines = [json.loads(line) for line in (tmp_path / "clip.jsonl").read_text().splitlines()]
    assert lines[1:] == content["frames"]
    assert len((tmp_path / "clip.txt").read_text().splitlines()) == FRAMES
    rows = (tmp_path / "clip.mot.txt").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows] == [1, 2, 5, 6]  # a guess is no row
    annotations = record(tmp_path / "clip.coco.json")["annotations"]
    assert [(entry["image_id"], entry["state"]) for entry in annotations] == [(i, "tracking") for i in (1, 2, 5, 6)]
    assert "target:                times lost: 1, found again: 1" in capsys.readouterr().out


def test_several_targets_have_states_of_their_own(experiment, clip, tmp_path, monkeypatch, capsys):
    table = iter([[0.9, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9], [0.1, 0.9]])
    monkeypatch.setattr(PresenceScore, "__call__", lambda self, likelihoods: np.resize(next(table), len(likelihoods)))
    # One place to look at for each, so that the two scores of a frame are those of the two targets.
    flags = [f"--init_box={BOX}", "--lost", "patience=1,confirm=1,search=on,most_crops=1"]
    assert run(experiment, clip, tmp_path, *flags, box="20,20,40,30") == 0
    content = record(tmp_path / "clip.json")
    states = {id: [t["state"] for f in content["frames"] for t in f["targets"] if t["id"] == id] for id in (1, 2)}
    assert states[1] == ["tracking"] * 4 + ["lost"] * 2
    assert states[2] == ["tracking", "lost", "lost", "tracking", "tracking", "tracking"]
    assert content["times_lost"] == {"1": {"lost": 1, "found": 0}, "2": {"lost": 1, "found": 1}}
    rows = [row.split(",")[:2] for row in (tmp_path / "clip.mot.txt").read_text().splitlines()]
    assert [int(frame) for frame, id in rows if id == "1"] == [1, 2, 3, 4]
    assert "target 2:              times lost: 1, found again: 1" in capsys.readouterr().out


@pytest.mark.parametrize("flag", ["--no_lost", "--no-lost"])
def test_without_it_the_files_are_those_of_the_plain_tracker(experiment, clip, tmp_path, capsys, scores, flag):
    assert run(experiment, clip, tmp_path / "plain", flag, "--formats", "json", "mot") == 0
    assert "times lost" not in capsys.readouterr().out
    content = record(tmp_path / "plain" / "clip.json")
    assert not {"lost", "times_lost"} & set(content)
    assert all(set(frame) == {"frame", "time", "box", "confidence"} for frame in content["frames"])
    flags = ["--lost", "search=off,patience=1", "--formats", "json", "mot"]
    scores[:] = [0.9, 0.1, 0.2, 0.9]
    assert run(experiment, clip, tmp_path / "states", *flags) == 0
    assert "times lost: 1, not searched for" in capsys.readouterr().out
    watched = record(tmp_path / "states" / "clip.json")
    assert [frame["state"] for frame in watched["frames"]][:4] == STATES[:4]
    assert [frame["box"] for frame in watched["frames"]] == [frame["box"] for frame in content["frames"]]
    rows = [(tmp_path / name / "clip.mot.txt").read_bytes() for name in ("plain", "states")]
    assert rows[0] == rows[1]


def test_weights_without_a_score_of_their_own_are_not_searched_with(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path, "--lost", "patience=1") == 0
    content = record(tmp_path / "clip.json")
    assert content["lost"]["search"] is False
    assert "lost" in [frame["state"] for frame in content["frames"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patience=0", "--lost: patience must be at least 1, got 0"),
        ("patience=two", "--lost: patience must be a number, got 'two'"),
        ("patience", "--lost: patience must be a number, got ''"),
        ("search=yes", "--lost: search must be auto, on or off, got 'yes'"),
        ("growth=nan", "--lost: growth must be from 1 to 100, got nan"),
        ("lost_below=0.99", "--lost: lost_below and found_above must be from 0 to 1 and in this order"),
        ("speed=3", "--lost: no option 'speed'; known: lost_below, found_above, patience"),
        ("", "--lost: no option ''"),
    ],
)
def test_options_that_are_none(experiment, clip, tmp_path, capsys, text, message):
    assert run(experiment, clip, tmp_path / "out", f"--lost={text}") == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


def test_lost_and_no_lost_do_not_go_together(experiment, clip, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        run(experiment, clip, tmp_path / "out", "--lost", "patience=2", "--no_lost")
    assert caught.value.code == 2 and "not allowed with argument" in capsys.readouterr().err


def test_ctrl_c_while_it_is_lost(experiment, clip, tmp_path, monkeypatch):
    track, calls = TargetBatch.track, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return track(self, image)

    monkeypatch.setattr(TargetBatch, "track", interrupted)
    assert run(experiment, clip, tmp_path, *LOST) == 0
    content = record(tmp_path / "clip.json")
    assert (content["interrupted"], content["times_lost"]) == (True, {"1": {"lost": 1, "found": 0}})
    assert [frame["state"] for frame in content["frames"]] == STATES[:4]
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


def test_a_stream_that_dies_while_it_is_lost(experiment, tmp_path, capsys, scores):
    scores[:] = [0.9, 0.1]
    images = fakes.frames(4)
    with mjpeg_server(images) as server:
        server.cut_after = 6
        flags = [*LOST, "--timeout", "5", "--formats", "jsonl", "mot"]
        assert run(experiment, server.address, tmp_path, *flags) == 2
    (line,) = messages(capsys.readouterr().err)
    assert "the stream ended after" in line and "the boxes of" in line
    (path,) = tmp_path.glob("*.jsonl")
    frames = [json.loads(line) for line in path.read_text().splitlines()[1:]]
    assert len(frames) >= 4 and all(frame["state"] == "lost" for frame in frames[2:])
    (rows,) = tmp_path.glob("*.mot.txt")
    assert len(rows.read_text().splitlines()) == 2


def test_a_stream_that_comes_back_while_it_is_lost(experiment, tmp_path, monkeypatch, scores):
    monkeypatch.setattr("lib.test.video.live._FIRST_PAUSE", 0.05)
    scores[:] = [0.1] * 12 + [0.9]
    with mjpeg_server(fakes.frames(4)) as server:
        server.cut_after = 8
        flags = [*LOST, "--live", "--max_frames", "16", "--timeout", "5", "--formats", "jsonl", "json"]
        assert run(experiment, server.address, tmp_path, *flags) == 0
    (path,) = tmp_path.glob("*.json")
    content = record(path)
    assert content["reconnects"] >= 1
    assert [frame["state"] for frame in content["frames"]] == ["tracking", *["lost"] * 12, *["tracking"] * 3]


def test_a_pipe_that_is_cut_while_it_is_lost(tmp_path):
    data = b"".join(image.tobytes() for image in fakes.frames(4))
    source = PipeSource(io.BytesIO(data[:-1]), (160, 120))
    job = Job(source, {1: Start(fakes.BOX)}, output_paths(tmp_path, source, ["json"]))
    with pytest.raises(DataError, match=r"frame 3 has 57599 bytes, .*; the boxes of 3 frames are in"):
        job.run(make_batch(patience=1, search=True))
    assert [frame["state"] for frame in record(tmp_path / "stdin.json")["frames"]] == STATES[:3]
    whole = PipeSource(io.BytesIO(b"".join(jpegs(fakes.frames(4)))))
    job = Job(whole, {1: Start(fakes.BOX)}, output_paths(tmp_path, whole, ["json"]))
    assert job.run(make_batch(patience=1, search=True)).num_frames == 4


def colored(image, color):
    """How many pixels have a color."""
    return int((np.abs(image.astype(int) - color).sum(axis=2) < 70).sum())


@pytest.mark.parametrize("size", [(120, 160), (480, 640)])
def test_a_lost_target_is_drawn_in_dashes_where_it_was_last_seen(size):
    image = np.full((*size, 3), 128, np.uint8)
    height, width = size
    box, guess = [0.5 * width, 0.5 * height, 0.4 * width, 0.4 * height], [0.1 * width, 0.4 * height, 20, 20]
    drawn = {state: draw_overlay(image, Seen(box, 9.0, 0.5, state), 3) for state in ("tracking", "uncertain", "lost")}
    lower = {state: part[height // 3 :] for state, part in drawn.items()}  # below the label
    for state, part in lower.items():
        others = {other for other in lower if other != state}
        assert colored(part, STATE_COLORS[state]) > 20
        assert all(colored(part, STATE_COLORS[other]) == 0 for other in others)
    assert colored(lower["lost"], STATE_COLORS["lost"]) < 0.75 * colored(lower["uncertain"], STATE_COLORS["uncertain"])
    elsewhere = draw_overlay(image, Seen(guess, 9.0, 0.5, "lost", box), 3)
    assert np.array_equal(elsewhere, drawn["lost"])


def test_of_several_the_state_is_said_in_its_color():
    image = np.full((240, 320, 3), 128, np.uint8)
    box = [100, 100, 60, 60]
    for state in ("uncertain", "lost"):
        drawn = draw_targets(image, {2: Seen(box, 9.0, 0.5, state)})
        assert colored(drawn, STATE_COLORS[state]) > 100, state
    assert colored(draw_targets(image, {2: Seen(box, 9.0, 0.5, "tracking")}), STATE_COLORS["tracking"]) == 0


def test_the_video_shows_the_states(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path, *LOST) == 0
    reddish = []
    for image in VideoSource(tmp_path / "clip.mp4").frames():
        label = image[:20, :100].astype(int)
        reddish.append(int(((label[..., 0] > 150) & (label[..., 1] < 120) & (label[..., 2] < 120)).sum()))
    assert min(reddish[2:4]) > 100 + max(reddish[:2] + reddish[4:])  # the clip is reddish too


class BoxSegmenter:
    """Says that the target fills its box, and remembers what it was asked."""

    def __init__(self):
        self.begun, self.asked = [], []

    def initialize(self, image, box_xywh):
        self.begun.append(box_xywh)

    def segment(self, image, box_xywh):
        self.asked.append(box_xywh)
        mask = np.zeros(image.shape[:2], np.uint8)
        x, y, w, h = map(round, box_xywh)
        mask[y : y + h, x : x + w] = 1
        return mask


def test_a_lost_target_has_no_mask_and_masks_change_no_box(clip, tmp_path):
    segmenter, source = BoxSegmenter(), VideoSource(clip)
    job = Job(source, {1: Start(fakes.BOX, 1)}, output_paths(tmp_path, source))
    job.run(make_batch(patience=1, confirm=1, search=True), segmenter=segmenter)
    frames = record(tmp_path / "clip.json")["frames"]
    assert segmenter.begun == [fakes.BOX]
    tracked = [frame["box"] for frame in frames[2:] if frame["state"] == "tracking"]
    assert [frame.get("state") for frame in frames] == [None, *STATES[:5]]
    assert np.allclose(segmenter.asked, tracked, atol=1e-3) and len(tracked) == 2
