"""tracking/video_demo.py on fabricated clips with a tiny network."""

import os
import random
import shutil
import signal
import wave
from collections import Counter

import numpy as np
import pytest

import tracking.video_demo as script
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.video.sources import VideoSource
from lib.test.video.targets import TargetBatch
from lib.utils.cli import run_script
from tests.tracker import fakes
from tests.video.world import BOX, FRAMES, folder_of, messages, names, record, refused, run, run_as_user


def test_three_files_that_agree(experiment, clip, tmp_path, capsys):
    assert run(experiment, clip, tmp_path) == 0
    content = record(tmp_path / "clip.json")
    assert (content["config"], content["width"], content["height"], content["fps"]) == ("tiny", 160, 120, 25.0)
    assert content["checkpoint"] == str(experiment / "tiny.pth.tar")
    assert content["num_frames"] == FRAMES
    assert [frame["frame"] for frame in content["frames"]] == list(range(FRAMES))
    first = {"frame": 0, "time": 0.0, "box": [40, 60, 36, 36], "confidence": None, "score": 1.0, "state": "tracking"}
    assert content["frames"][0] == first
    assert [frame["time"] for frame in content["frames"]] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert (content["variable_frame_rate"], content["codec"]) == (False, "mpeg4")
    assert all(0 < frame["confidence"] <= 40 for frame in content["frames"][1:])
    lines = [[float(value) for value in line.split("\t")] for line in (tmp_path / "clip.txt").read_text().splitlines()]
    np.testing.assert_allclose(lines, [frame["box"] for frame in content["frames"]], atol=0.0051)
    annotated = VideoSource(tmp_path / "clip.mp4")
    assert annotated.fps == 25.0
    assert [image.shape for image in annotated.frames()] == [(120, 160, 3)] * FRAMES
    out = capsys.readouterr().out
    assert f"{FRAMES} frames" in out
    assert all(str(tmp_path / f"clip{suffix}") in out for suffix in (".mp4", ".txt", ".json"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.json", "clip.mp4", "clip.txt"]


def test_boxes_are_those_of_the_tracker(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path) == 0
    tracker = SeqTrackTracker(fakes.params(), fakes.make_engine())
    images = list(VideoSource(clip).frames())
    tracker.initialize(images[0], {"init_bbox": [40, 60, 36, 36]})
    for frame, image in zip(record(tmp_path / "clip.json")["frames"][1:], images[1:], strict=True):
        assert frame["box"] == pytest.approx(tracker.track(image)["target_bbox"], abs=1e-3)


def test_a_video_gives_the_boxes_of_its_frames_in_a_folder(experiment, clip, tmp_path):
    folder = folder_of(clip, tmp_path / "frames_of_clip")
    (folder / "notes.txt").write_text("not an image")
    (folder / "._8.png").write_bytes(b"left by a file manager")
    assert run(experiment, clip, tmp_path / "out") == 0
    assert run(experiment, folder, tmp_path / "out", "--fps", "12") == 0
    video, images = (record(tmp_path / "out" / f"{name}.json") for name in ("clip", "frames_of_clip"))
    assert [frame.pop("time") for frame in video["frames"]] == [0.0, 0.04, 0.08, 0.12, 0.16, 0.2]
    assert video["frames"] == images["frames"]
    assert (tmp_path / "out" / "clip.txt").read_bytes() == (tmp_path / "out" / "frames_of_clip.txt").read_bytes()
    assert (video["fps"], images["fps"]) == (25.0, 12.0)


def test_max_frames_and_running_again(experiment, clip, tmp_path):
    assert run(experiment, clip, tmp_path) == 0
    assert run(experiment, clip, tmp_path, "--max_frames", "2") == 0
    assert len((tmp_path / "clip.txt").read_text().splitlines()) == 2
    assert len(record(tmp_path / "clip.json")["frames"]) == 2
    assert len(list(VideoSource(tmp_path / "clip.mp4").frames())) == 2


def test_default_places(experiment, clip, tmp_path):
    name = tmp_path / "checkpoints" / "train" / "seqtrack" / "tiny" / "SEQTRACK_ep0500.pth.tar"
    name.parent.mkdir(parents=True)
    shutil.copy(experiment / "tiny.pth.tar", name)
    command = ["seqtrack", str(experiment / "tiny.yaml"), str(clip), "--init_box", BOX, "--save_dir", str(tmp_path)]
    assert run_script(lambda: script.main(command)) == 0
    content = record(tmp_path / "test" / "videos" / "tiny" / "clip.json")
    assert content["checkpoint"] == str(name)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_keeps_the_frames_so_far(experiment, clip, tmp_path, monkeypatch, capsys, signum, code):
    track, calls = TargetBatch.track, []

    def interrupted(self, image):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signum)
        return track(self, image)

    monkeypatch.setattr(TargetBatch, "track", interrupted)
    before = signal.getsignal(signum)
    assert run(experiment, clip, tmp_path) == code
    assert signal.getsignal(signum) is before
    content = record(tmp_path / "clip.json")
    assert (content["num_frames"], content["interrupted"]) == (4, True)
    assert len(list(VideoSource(tmp_path / "clip.mp4").frames())) == 4
    assert "4 frames, ended early" in capsys.readouterr().out
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


def test_a_signal_that_is_ignored_stays_ignored(experiment, clip, tmp_path, monkeypatch):
    """As ``nohup`` starts a program."""
    track = TargetBatch.track

    def hang_up(self, image):
        os.kill(os.getpid(), signal.SIGHUP)
        return track(self, image)

    monkeypatch.setattr(TargetBatch, "track", hang_up)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(experiment, clip, tmp_path) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert record(tmp_path / "clip.json")["num_frames"] == FRAMES


def test_a_second_ctrl_c_ends_at_once_and_keeps_the_frames_too(experiment, clip, tmp_path, monkeypatch):
    def interrupted(self, image):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TargetBatch, "track", interrupted)
    assert run(experiment, clip, tmp_path) == 130
    assert record(tmp_path / "clip.json")["num_frames"] == 1
    assert names(tmp_path) == ["clip.json", "clip.mp4", "clip.txt"]


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ("1,2,3", "expected four numbers x,y,w,h"),
        ("1,2,3,4,5", "expected four numbers x,y,w,h"),
        ("1,2,x,4", "expected four numbers x,y,w,h"),
        ("nan,2,3,4", "four finite numbers"),
        ("10,10,0,10", "width and a height above 0"),
        ("inf,2,3,4", "four finite numbers"),
        ("10,10,-5,10", "width and a height above 0"),
        ("-1e9,-1e9,2e9,2e9", "over 10 times the 160x120 image"),
        ("160,10,20,20", "outside the image of 160x120"),
        ("-30,10,20,20", "outside the image of 160x120"),
        (None, "--init_box x,y,w,h"),
    ],
)
def test_bad_boxes(experiment, clip, tmp_path, capsys, box, message):
    assert run(experiment, clip, tmp_path / "out", box=box) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--init_box", "40,60,36,36"],
        ["--init_box=40 60 36 36"],
        ["--init_box", "[40, 60, 36, 36]"],
        ["--init_box", "(40;60;36;36)"],
        ["--init_box", "40", "60", "36", "36"],
        ["--init_box", "[40,", "60,", "36,", "36]"],
        ["--optional_box", "40", "60", "36", "36"],
        ["--optional_box", "40.0\t60\t3.6e1\t36"],
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_ways_to_write_a_box(flags, first):
    rest = ["seqtrack", "tiny", "0"]
    args = script.parse_args([*flags, *rest] if first else [*rest, *flags])
    assert script.parse_box(args.init_box[0]) == [40, 60, 36, 36]
    assert (args.tracker_name, args.tracker_param, str(args.video)) == tuple(rest)


@pytest.mark.parametrize("flags", [["--init_box", "-5,-6,36,36"], ["--init_box", "-5", "-6", "36", "36"]])
def test_a_box_may_begin_with_a_minus_sign(flags):
    assert script.parse_box(script.parse_args(["seqtrack", "tiny", *flags, "clip.mp4"]).init_box[0]) == [-5, -6, 36, 36]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--max_frames", "0"], "--max_frames"),
        (["--fps", "-1"], "--fps"),
        (["--fps", "nan"], "--fps"),
        (["--fps", "1e-9"], "--fps"),
        (["--show"], "--show needs a display"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--checkpoint", "nowhere.pth.tar"], "nowhere.pth.tar: no such checkpoint"),
    ],
)
def test_bad_flags(experiment, clip, tmp_path, capsys, flags, message):
    assert run(experiment, clip, tmp_path / "out", *flags) == 2
    assert message in refused(capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("names", [("sequence_track", "tiny.yaml"), ("seqtrack", "seqtrack_b265")])
def test_unknown_names_list_the_known_ones(experiment, clip, tmp_path, capsys, names):
    tracker, config = names
    config = str(experiment / config) if config.endswith(".yaml") else config
    assert run_script(lambda: script.main([tracker, config, str(clip), "--init_box", BOX])) == 2
    line = refused(capsys)
    assert "known" in line
    assert "seqtrack" in line


def random_flags(rng: random.Random, good: list[str], sources: list[str]) -> list[str]:
    """A command line with some of it wrong."""
    values = ["", " ", "0", "-1", "1e9", "nan", "inf", "9" * 400, "x", "\0", "~nobody/x", "../..", "/dev/null", "-"]
    values += ["[1,2", "1,2,3,4", "-5,-5,9,9", "--", "--show", "\x1b[31m", "\udcff", "\u0661", "1" * 5000, "a" * 5000]
    values += sources
    flags = {"--init_box": BOX, "--optional_box": "[40 60 36 36]", "--output": "~/out", "--save_dir": "other"}
    flags |= {"--max_frames": "9" * 30, "--fps": "5", "--device": "auto", "--dtype": "bfloat16"}
    flags |= dict.fromkeys(["--checkpoint", "--ar_checkpoint", "--nothing"], "x")
    argv = list(good)
    for _ in range(rng.randint(1, 2)):
        action, flag = rng.random(), rng.choice(list(flags))
        if action < 0.2:
            argv[rng.randrange(len(argv))] = rng.choice(values)
        elif action < 0.3:
            argv.append(rng.choice(["--no_video", "--show", "--masks"]))
        else:
            argv += [flag, flags[flag]] if action < 0.6 else [f"{flag}={rng.choice(values)}"]
    return argv


def test_random_command_lines(experiment, clip, tmp_path, monkeypatch, capfd):
    """Whatever is asked for, the exit code says how it went, and an error is no traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "list.txt").write_text("ffconcat version 1.0\nfile /dev/zero\n")
    with wave.open(str(tmp_path / "audio.wav"), "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(bytes(800))
    (tmp_path / "loop").symlink_to("loop")
    sources = ["empty", "list.m3u8", "list.txt", "audio.wav", "loop", "/dev/zero", str(clip)]
    good = ["seqtrack", str(experiment / "tiny.yaml"), str(clip), "--checkpoint", str(experiment / "tiny.pth.tar")]
    good += ["--device", "cpu", "--output", "out", "--save_dir", "save", "--init_box", BOX, "--max_frames", "2"]
    rng, codes = random.Random(1), Counter()
    for _ in range(100):
        argv = random_flags(rng, good, sources)
        try:
            code = run_script(lambda argv=argv: script.main(argv))
        except SystemExit as error:  # argparse
            code = error.code
        captured = capfd.readouterr()
        assert code in (0, 2, 130), argv
        assert "Traceback" not in captured.err, argv
        codes[code] += 1
    assert codes[0] > 7 and codes[2] > 33, codes


def test_the_script_by_itself_in_another_folder(experiment, clip, tmp_path):
    """FFmpeg and OpenCV write to standard error past Python; nothing of that is seen either."""
    done = run_as_user(experiment, clip, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5
    assert messages(done.stderr) == []
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.json", "clip.mp4", "clip.txt"]
