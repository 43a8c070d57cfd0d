"""tracking/finetune.py: from a folder of videos to better weights, or one clear line."""

import json
from pathlib import Path

import pytest
import torch

from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import load_checkpoint, load_model_weights, save_checkpoint
from lib.utils.errors import SeqTrackError
from tests.cli.test_calibrate_score import write_videos
from tracking import finetune

TINY = """
MODEL: {HIDDEN_DIM: 32, BINS: 50, ENCODER: {TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch},
  DECODER: {NHEADS: 2, DIM_FEEDFORWARD: 64, DEC_LAYERS: 1}}
DATA: {SEARCH: {SIZE: 64}, TEMPLATE: {SIZE: 32, FACTOR: 2.0, NUMBER: 1}}
TEST: {SEARCH_SIZE: 64, TEMPLATE_SIZE: 32, TEMPLATE_FACTOR: 2.0, NUM_TEMPLATES: 1}
"""


@pytest.fixture
def flags(tmp_path: Path) -> list[str]:
    write_videos(tmp_path / "videos", 3, 99, frames=24)
    (tmp_path / "tiny.yaml").write_text(TINY)
    weights = build_seqtrack(load_config(tmp_path / "tiny.yaml")).state_dict()
    save_checkpoint({"net": weights}, tmp_path / "start.pth.tar")
    names = {"data": "videos", "config": "tiny.yaml", "init": "start.pth.tar", "output": "out"}
    return [part for name, value in names.items() for part in (f"--{name}", str(tmp_path / value))]


@pytest.mark.slow
@pytest.mark.parametrize("method", finetune.METHODS)
def test_videos_become_weights_that_were_scored_on_others(flags, method, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(finetune, "SAMPLES_PER_EPOCH", 8)
    small = [
        "--epochs",
        "2",
        "--batch_size",
        "4",
        "--device",
        "cpu",
        "--override",
        "TRAIN.NUM_WORKER=0",
        "TRAIN.AMP=false",
    ]
    assert finetune.main([*flags, "--method", method, *small]) == 0
    out = tmp_path / "out"
    split = json.loads((out / "split.json").read_text())
    assert len(split["train"]) == 2 and len(split["held_out"]) == 1
    assert not set(split["train"]) & set(split["held_out"])
    cfg, report = load_config(out / "tiny_finetuned.yaml"), json.loads((out / "report.json").read_text())
    assert report["before"].keys() == report["after"].keys() and report["trained"] <= report["weights"] * 1.2
    network, start = build_seqtrack(cfg), load_checkpoint(tmp_path / "start.pth.tar")["net"]
    load_model_weights(network, load_checkpoint(out / "tiny_finetuned.pth.tar"), "result")
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, start[name].half().float())}
    assert any("vocab_embed" in name for name in moved)
    assert any("encoder" in name for name in moved) == (method != "decoder")
    capsys.readouterr()
    assert finetune.main([*flags, "--method", method, *small]) == 0  # the same command again trains nothing
    assert json.loads((out / "report.json").read_text()) == report
    (tmp_path / "start.pth.tar").write_bytes((out / "tiny_finetuned.pth.tar").read_bytes())
    with pytest.raises(SeqTrackError, match=r"split\.json: the run there started from other weights than .*start\.pth"):
        finetune.main([*flags, "--method", method, *small])
    assert json.loads((out / "report.json").read_text()) == report


def test_bad_input_is_one_line(flags, tmp_path):
    videos, out = sorted((tmp_path / "videos").iterdir()), tmp_path / "out"
    boxes = videos[0] / "groundtruth.txt"

    def refusal(*more):
        with pytest.raises(SeqTrackError) as caught:
            finetune.main([*flags, *more])
        return str(caught.value)

    assert "--held_out must be from" in refusal("--held_out", "1.5")
    assert "nowhere.pth: no such checkpoint" in refusal("--init", "nowhere.pth")
    out.mkdir(exist_ok=True)
    (out / "split.json").write_text('{"train": ["x"], "held_out": ["y"], "data": "z"}')
    assert "made for other videos" in refusal()
    (out / "split.json").write_text("[]")
    assert "not the split of a fine-tuning" in refusal()
    (out / "split.json").unlink()
    boxes.write_text("NaN,NaN,NaN,NaN\n" * 24)
    assert f"{boxes}: no box with an area in a frame that shows the target" in refusal()
    boxes.write_text("1,1,9,9\n" * 24)
    (videos[0] / "absence.label").write_text("1\n" * 24)
    assert f"{boxes}: no box with an area in a frame that shows the target" in refusal()
    assert not (out / "split.json").exists()
    (videos[0] / "absence.label").unlink()
    for video in videos[1:]:
        (video / "groundtruth.txt").unlink()
    assert "1 sequence(s) with a groundtruth.txt; two are needed" in refusal()
    assert not (out / "split.json").exists()
