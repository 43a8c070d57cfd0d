"""A run that an earlier version of the code began is resumed by this one, with nothing lost.

``tests/golden/resume`` holds a checkpoint after 2 of 4 steps of epoch 2, written before validation and smoothing had
their say, and what that version made of the run until its end (the first four values of each trained parameter).
"""

import json
import shutil
from pathlib import Path

import pytest
import torch

from lib.train.trainers.resume_state import rng_state
from lib.utils.checkpoint import load_checkpoint
from tests.train.test_resume import assert_equal_states
from tests.train.world import make_loader, make_trainer, tiny_config

GOLDEN = Path(__file__).parents[1] / "golden" / "resume"


def test_an_old_run_is_resumed(tmp_path):
    cfg = tiny_config(
        TRAIN__SAVE_EVERY_STEPS=2,
        TRAIN__SMOOTH_TOKENS=1.0,
        TRAIN__FREEZE_ENCODER=True,
        TRAIN__ENCODER_OPEN=["body.norm"],
        MODEL__BINS=30,
    )
    shutil.copy(GOLDEN / "SEQTRACK_ep0002_step000002.pth.tar", tmp_path)
    trainer = make_trainer(cfg, tmp_path, seed=5, val_loader=make_loader(cfg))
    old = load_checkpoint(trainer.store.latest())
    trainer.resume(trainer.store.latest())
    new = trainer.state([rng_state()])
    assert new.keys() == old.keys()
    for key in old.keys() - {"config", "revision"}:
        assert_equal_states(new[key], old[key])  # to the last bit
    assert trainer.train() == 0
    # Other processors and versions of torch round otherwise, and Adam moves a weight whose gradient is all rounding.
    expected = json.loads((GOLDEN / "expected.json").read_text())
    for split, means in expected["stats"].items():
        assert trainer.stats[split] == pytest.approx(means, rel=1e-3), split
    weights = dict(trainer.network.named_parameters())
    for name, values in expected["weights"].items():
        torch.testing.assert_close(weights[name].detach().flatten()[:4], torch.tensor(values), atol=1e-3, rtol=1e-3)
