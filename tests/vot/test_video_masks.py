"""``tracking/video_demo.py --masks``: the mask is drawn and changes nothing else."""

import json
from pathlib import Path

import pytest

from external.vot20 import rehearsal
from lib.utils.errors import CheckpointError, InputError
from tracking import video_demo


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
