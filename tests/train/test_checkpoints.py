"""Checkpoints: which are kept, what a full disk does, how they are written in the background, and old ones."""

import errno
import json
import os
import resource
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from lib.train.trainers.checkpoints import CheckpointStore
from lib.train.trainers.resume_state import rng_state
from lib.train.trainers.step import TrainingDiverged
from lib.utils import checkpoint
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError
from tests.train.test_resume import assert_equal_states
from tests.train.world import make_loader, make_trainer, tiny_config

GOLDEN = Path(__file__).parents[1] / "golden" / "resume"


def test_checkpoints_inside_an_epoch_give_way(tmp_path):
    trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=2, TRAIN__EPOCH=2), tmp_path)
    seen = []
    save = trainer.store.save
    trainer.store.save = lambda *state: (save(*state), seen.append(sorted(path.name for path in tmp_path.iterdir())))
    trainer.train()
    inside = [f"SEQTRACK_ep000{epoch}_step000002.pth.tar" for epoch in (1, 2)]
    after = [f"SEQTRACK_ep000{epoch}.pth.tar" for epoch in (1, 2)]
    assert seen == [[inside[0]], [after[0]], [after[0], inside[1]], after]


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """What is written is the state at the time of saving; the next steps do not change it."""
    whole = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=2, TRAIN__EPOCH=1), tmp_path / "whole")
    inside, save = [], whole.store.save
    whole.store.save = lambda *state: inside.append(load_checkpoint(save(*state)))
    whole.train()

    trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=2, TRAIN__EPOCH=1), tmp_path / "slow")
    stepped, write, steps = threading.Event(), checkpoint.torch.save, []

    def write_late(state, path):
        assert stepped.wait(30)  # a step has been taken meanwhile
        write(state, path)

    take_step = trainer.step.train
    monkeypatch.setattr(checkpoint.torch, "save", write_late)

    def train(batch, **options):
        report = take_step(batch, **options)
        steps.append(report)
        if len(steps) == 3:
            stepped.set()
        return report

    trainer.step.train = train
    slow, save = [], trainer.store.save
    trainer.store.save = lambda *state: slow.append(load_checkpoint(save(*state)))
    assert trainer.train() == 0
    assert_equal_states(slow, inside)


def test_a_checkpoint_that_failed_in_the_background_ends_the_run_at_the_next_step(tmp_path, monkeypatch):
    trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=1), tmp_path)

    def fill(state, path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.torch, "save", fill)
    with pytest.raises(CheckpointError, match=r"ep0001_step000001\.pth\.tar: cannot be written: .*No space left"):
        trainer.train()
    assert trainer.global_step <= 2


def test_a_checkpoint_that_failed_is_told_beside_another_error(tmp_path, monkeypatch, caplog):
    trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=1), tmp_path)
    failing = threading.Event()

    def fill(state, path):
        failing.wait(30)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def diverge(batch, **options):
        if trainer.steps_done == 0:
            return take_step(batch, **options)
        failing.set()
        raise TrainingDiverged("the loss is not finite")

    take_step, trainer.step.train = trainer.step.train, diverge
    monkeypatch.setattr(checkpoint.torch, "save", fill)
    with pytest.raises(TrainingDiverged):
        trainer.train()
    assert "cannot be written: " in caplog.text


def test_a_run_that_is_interrupted_keeps_its_folder_until_the_checkpoint_is_written(tmp_path, monkeypatch):
    """Else a run that starts now would take its half for a leftover."""
    trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=1), tmp_path)
    write, take_step = checkpoint.torch.save, trainer.step.train
    monkeypatch.setattr(checkpoint.torch, "save", lambda state, path: (time.sleep(0.5), write(state, path)))

    def interrupt(batch, **options):
        if trainer.steps_done == 1:
            raise KeyboardInterrupt
        return take_step(batch, **options)

    trainer.step.train = interrupt
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert [path.name for path in tmp_path.iterdir()] == ["SEQTRACK_ep0001_step000001.pth.tar"]


def test_newest_and_every_tenth_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=10, keep_every=10)
    for epoch in range(1, 36):
        store.save({}, epoch)
    assert list(store.epochs()) == [10, 20, *range(26, 36)]


def test_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    trainer.train()
    before = trainer.store.latest().read_bytes()

    def fill(state, path):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.torch, "save", fill)
    with pytest.raises(CheckpointError, match=r"ep0001\.pth\.tar: cannot be written: .*No space left.*untouched"):
        trainer.save()
        trainer.store.wait()
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


@pytest.mark.parametrize("limit", [0, 100, 20_000, 36_000])
def test_a_disk_that_fills_anywhere_in_a_checkpoint_is_one_line(tmp_path, limit):
    trainer = make_trainer(tiny_config(), tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # the system refuses to write more, as on a full disk
    try:
        with pytest.raises(CheckpointError, match=r"ep0000\.pth\.tar: cannot be written: .*untouched"):
            trainer.save()
            trainer.store.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_run_of_an_earlier_version_is_resumed(tmp_path):
    """``tests/golden/resume`` holds a checkpoint after 2 of 4 steps of epoch 2, and what its own version made of
    the run until its end (statistics, and the first four values of each trained parameter).
    """
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
