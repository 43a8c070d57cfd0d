"""``tracking/train_demo.py``, its weights, and the bundled ones."""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from benchmarks import against_opencv
from lib.config.paths import PROJECT_ROOT, bundled_checkpoint, find_checkpoint
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.synthetic import SyntheticSequence
from lib.synthetic.presets import PRESETS
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.engine import SeqTrackEngine
from lib.train import run_training, train_script
from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.errors import InputError
from tests.library.conftest import overlap
from tracking import train, train_demo

MAX_MIB = 40


def train_here(command: list[str]) -> int:
    assert command[:2] == [sys.executable, str(PROJECT_ROOT / "tracking" / "train.py")]
    return train.main(command[2:])


def test_trains_exports_and_the_export_tracks(tmp_path: Path, experiment, monkeypatch, capsys, caplog) -> None:
    """Images that are missing are done without, and said."""
    monkeypatch.setattr(train_demo, "run_child", train_here)
    monkeypatch.setattr(run_training, "setup_logging", lambda *_: None)
    monkeypatch.setattr(train_script, "share_cores", lambda *_: None)
    missing = ["TRAIN.ALLOW_MISSING_FILES=true", f"DATA.SYNTHETIC.CUTOUTS={tmp_path / 'nowhere'}", "TRAIN.EPOCH=1"]
    config = experiment()
    flags = ["--config", config, "--save_dir", tmp_path, "--device", "cpu", "--override", *missing]
    assert train_demo.main(list(map(str, flags))) == 0
    assert "optional files are missing, continuing as with --override DATA.SYNTHETIC.CUTOUTS=" in caplog.text
    target = tmp_path / "tiny.pth.tar"
    assert f"weights in half precision: {target}" in capsys.readouterr().out
    state = load_checkpoint(target)
    assert {value.dtype for value in state["net"].values() if value.is_floating_point()} == {torch.float16}
    assert "optimizer" not in state
    engine = SeqTrackEngine(parameters(config, checkpoint=target, device="cpu"))
    frame = np.zeros((120, 160, 3), dtype=np.uint8)
    engine.step([engine.start(frame, [50, 40, 20, 20])], [frame])


def test_bundled_weights_are_found_where_nothing_was_trained(tmp_path: Path) -> None:
    assert find_checkpoint(tmp_path, "seqtrack_demo", 7) == bundled_checkpoint("seqtrack_demo")
    own = tmp_path / "checkpoints" / "train" / "seqtrack" / "seqtrack_demo" / "SEQTRACK_ep0007.pth.tar"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_checkpoint(tmp_path, "seqtrack_demo", 7) == own


def test_bundled_weights_are_small_and_fit() -> None:
    path = bundled_checkpoint("seqtrack_demo")
    assert path.stat().st_size < MAX_MIB * 2**20
    state = load_checkpoint(path)
    assert set(state) == {"net", "epoch", "net_type", "config_name", "config"}
    assert {value.dtype for value in state["net"].values() if value.is_floating_point()} == {torch.float16}
    load_model_weights(build_seqtrack(load_config("seqtrack_demo")), state, path)


@pytest.mark.parametrize("seed", range(3))
def test_bundled_weights_track(seed: int) -> None:
    """Painted things on painted ground, which were a fifth of the training; these worlds were not among them."""
    world = SyntheticSequence(seed, num_frames=30, size=(320, 240), difficulty="easy", split="val")
    engine = SeqTrackEngine(parameters("seqtrack_demo", checkpoint=bundled_checkpoint("seqtrack_demo"), device="cpu"))
    state = engine.start(world.frame(0), world.boxes_xywh[0])
    for number in range(30):
        box = engine.step([state], [world.frame(number)])[0].box_xywh
    assert overlap(box, world.boxes_xywh[-1]) > 0.4


@pytest.mark.slow
def test_comparison_with_opencv(tmp_path: Path, experiment, capsys) -> None:
    """The tracker MIL is in every OpenCV; one painted video of a few frames for each difficulty."""
    config, checkpoint = experiment(), tmp_path / "weights.pth.tar"
    torch.save({"net": build_seqtrack(load_config(config)).state_dict()}, checkpoint)
    flags = ["--config", config, "--checkpoint", checkpoint, "--media", tmp_path / "none", "--output", tmp_path / "out"]
    small = ["--sequences", 1, "--frames", 4, "--threads", 1, "--opencv", "MIL"]
    assert against_opencv.main([str(flag) for flag in (*flags, *small)]) == 0
    printed = capsys.readouterr().out
    assert "3 videos (4 frames, painted: there is no" in printed and "all (3 videos)" in printed
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    videos = scores.pop("videos")
    assert set(scores) == {"easy", "medium", "hard", "all"}
    assert set(scores["all"]) == {"tiny float32", "MIL"}
    for row in scores["all"].values():
        assert 0 < row["ms 50%"] <= row["95%"] <= row["99%"] < 1000 * 60 and row["frames/s"] > 0 and row["MiB"] > 10
    assert len(videos) == 3
    for name in ("tiny float32", "MIL"):  # each difficulty has one video
        assert [video[name] for video in videos.values()] == [scores[part][name]["AUC"] for part in PRESETS]

    # The same videos as somebody's own.
    own = ["--folders", *videos, "--output", tmp_path / "own", "--threads", 1, "--opencv", "MIL"]
    assert against_opencv.main([str(flag) for flag in (*flags, *own)]) == 0
    assert "3 videos (given), 1 threads" in capsys.readouterr().out
    again = json.loads((tmp_path / "own" / "scores.json").read_text())
    assert again["videos"] == videos and set(again) == {"given", "videos"}


def test_own_videos_of_the_comparison_are_checked(tmp_path: Path) -> None:
    def message() -> str:
        with pytest.raises(InputError) as caught:
            against_opencv.main(["--folders", str(tmp_path), "--output", str(tmp_path / "out")])
        return str(caught.value)

    assert message() == f"--folders {tmp_path}: 0 JPEG frames"
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), np.zeros((40, 60, 3), np.uint8))
    assert message() == f"--folders {tmp_path}: no groundtruth.txt"
    (tmp_path / "groundtruth.txt").write_text("1,2,30,20\n" * 2)
    assert message() == f"--folders {tmp_path}: 3 JPEG frames but 2 lines in groundtruth.txt"
    assert not (tmp_path / "out").exists()


def test_comparison_without_the_trackers(tmp_path: Path) -> None:
    args = against_opencv.parse_args(["--opencv_python", str(tmp_path / "nowhere")])
    with pytest.raises(InputError, match=r"--opencv_python .*nowhere: No such file"):
        against_opencv.track_opencv(args, "CSRT", [tmp_path])
