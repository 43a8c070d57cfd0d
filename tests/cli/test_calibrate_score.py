"""``tracking/calibrate_score.py`` on a folder of rendered videos whose targets are said to be absent at the end."""

import json
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cv2
import numpy as np
import pytest

from lib.config.paths import bundled_checkpoint
from lib.synthetic import SyntheticSequence
from lib.test.tracker.presence import default_score, load_score, score_path
from lib.utils.errors import DataError, InputError
from lib.utils.files import file_hash
from lib.utils.image_io import write_image
from tracking import calibrate_score


def write_videos(folder: Path, count: int, absent_from: int, frames: int = 7) -> str:
    for seed in range(count):
        video = SyntheticSequence(seed, num_frames=frames, size=(160, 120), difficulty="easy", split="calibrate")
        boxes = video.boxes_xywh.copy()
        boxes[absent_from:] = 0
        (folder / f"video{seed}").mkdir(parents=True)
        np.savetxt(folder / f"video{seed}" / "groundtruth.txt", boxes, fmt="%.2f", delimiter=",")
        for index in range(frames):
            write_image(folder / f"video{seed}" / f"{index:04d}.jpg", video.frame(index))
    return f"folder:{folder}"


@pytest.mark.slow
def test_fits_reports_and_writes_beside_the_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = write_videos(tmp_path / "videos", 6, 4)
    checkpoint, plot = tmp_path / "weights.pth.tar", tmp_path / "plot.png"
    checkpoint.symlink_to(bundled_checkpoint("seqtrack_demo"))
    flags = ["seqtrack", "seqtrack_demo", "--dataset", dataset, "--checkpoint", str(checkpoint), "--device", "cpu"]
    assert calibrate_score.main([*flags, "--plot", str(plot), "--batch_size", "3", "--threads", "1"]) == 0
    output = capsys.readouterr().out
    assert output.count("log loss of videos left out") == 8
    for label in ("score of the likelihoods", "score with the look", "default score"):
        assert f"{label} on 2 videos left out (12 frames, 50 % on the target, 50 % absent)" in output
    score = load_score(checkpoint, 0.6)
    assert score.fitted
    assert len(score.with_look.weights) == 8
    assert cv2.imread(str(plot)).shape[0] > 300
    written, path = score_path(checkpoint).read_bytes(), score_path(checkpoint)
    assert calibrate_score.main([*flags, "--check", "--threads", "1"]) == 0
    output = capsys.readouterr().out
    assert "score with the look on 6 videos left out (36 frames" in output and "wrote" not in output
    assert path.read_bytes() == written
    with pytest.raises(SystemExit):
        calibrate_score.main([*flags, "--check", "--output", str(tmp_path / "other.json")])
    path.unlink()
    with pytest.raises(InputError, match="--check: the weights have no score"):
        calibrate_score.main([*flags, "--check"])


def test_weights_that_are_replaced_meanwhile_do_not_get_the_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "last.pth.tar"
    checkpoint.write_bytes(b"of this epoch")
    replace = {"SeqTrackEngine": lambda params: checkpoint.write_bytes(b"of the next one"), "report": lambda *_: None}
    replace |= {"choose_videos": lambda args: ([1], [1]), "observe": lambda *_: SimpleNamespace(overlap=[1])}
    for name, value in (replace | {"fit": lambda seen: default_score(0.6), "calibration": Mock()}).items():
        monkeypatch.setattr(calibrate_score, name, value)
    flags = ["seqtrack", "seqtrack_demo", "--checkpoint", str(checkpoint), "--device", "cpu", "--dataset", "x"]
    assert calibrate_score.main(flags) == 0
    assert json.loads(score_path(checkpoint).read_text())["weights_sha256"] != file_hash(checkpoint)


@pytest.mark.slow
def test_what_cannot_be_fitted_writes_nothing(tmp_path: Path) -> None:
    checkpoint = tmp_path / "weights.pth.tar"
    checkpoint.symlink_to(bundled_checkpoint("seqtrack_demo"))
    flags = ["seqtrack", "seqtrack_demo", "--checkpoint", str(checkpoint), "--device", "cpu", "--dataset"]
    with pytest.raises(DataError, match="8 frames with the box on the target and 0 without"):
        calibrate_score.main([*flags, write_videos(tmp_path / "sure", 3, 5, frames=5)])
    with pytest.raises(InputError, match="at least three videos"):
        calibrate_score.main([*flags, write_videos(tmp_path / "few", 2, 3, frames=5)])
    assert [path.name for path in tmp_path.glob("*.json")] == []
