"""``tracking/video_demo.py --masks``: the mask is drawn and changes nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from external.vot20 import rehearsal
from lib.test.video.display import draw_overlay
from lib.test.video.run import MaskedTracker
from lib.utils.errors import CheckpointError, InputError
from tests.vot.conftest import HEIGHT, WIDTH, StillTracker, TransposedSegmenter
from tracking import video_demo


def test_the_answer_gets_a_mask() -> None:
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    tracker = MaskedTracker(StillTracker(), TransposedSegmenter())
    tracker.initialize(image, {"init_bbox": [10, 12, 20, 21]})
    answer = tracker.track(image)
    assert answer["target_bbox"] == [10, 12, 20, 21] and answer["confidence"] == 12.5
    assert np.count_nonzero(answer["mask"]) == 20 * 21


def test_the_mask_tints_the_target_only() -> None:
    image = np.full((240, 320, 3), 90, np.uint8)
    mask = np.zeros((240, 320), np.uint8)
    mask[150:200, 200:260] = 1
    plain, tinted = (draw_overlay(image, [10, 60, 30, 30], 9.0, 3, given) for given in (None, mask))
    changed = (plain != tinted).any(axis=2)
    assert changed[150:200, 200:260].all()
    assert not changed[:146].any() and not changed[:, :196].any()
    assert np.array_equal(draw_overlay(image, [10, 60, 30, 30], 9.0, 3, np.zeros_like(mask)), plain)


def test_flags(tmp_path: Path, frames: list[Path]) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    flags = ["seqtrack", str(config), str(frames[0].parent), "--init_box", "20,20,16,25", "--device", "cpu"]
    flags += ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out")]
    with pytest.raises(InputError, match="goes with --masks"):
        video_demo.main([*flags, "--ar_checkpoint", "x"])
    with pytest.raises(CheckpointError, match="no_masks"):
        video_demo.main([*flags, "--masks", "--ar_checkpoint", str(tmp_path / "no_masks")])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_video_with_masks(tmp_path: Path, frames: list[Path]) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    masks = rehearsal.write_stand_in_masks(tmp_path)
    flags = ["seqtrack", str(config), str(frames[0].parent), "--init_box", "20,20,16,25", "--device", "cpu"]
    flags += ["--checkpoint", str(checkpoint), "--output", str(tmp_path / "out"), "--max_frames", "2"]
    assert video_demo.main([*flags, "--masks", "--ar_checkpoint", str(masks)]) == 0
    (record,) = (tmp_path / "out").glob("*.json")
    assert json.loads(record.read_text())["mask_checkpoint"] == str(masks)
