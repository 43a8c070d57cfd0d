"""A run that is killed, or asked to end, at any point ends like one that is not."""

import logging
import os
import random
import signal
import time
import warnings

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lib.train import run_training, train_script
from lib.train.trainers.checkpoints import CheckpointStore
from lib.train.trainers.step import OptimizationStep
from lib.train.trainers.watch import StopRequest
from lib.utils import checkpoint
from lib.utils.checkpoint import load_checkpoint
from tests.models.tiny import nested
from tests.train.ranks import FORK
from tests.train.world import TINY, Squares, make_loader, make_trainer, tiny_config

OPTIONS = TINY | {
    "DATA.TRAIN.DATASETS_NAME": ["SQUARES"],
    "DATA.TRAIN.DATASETS_RATIO": [1],
    "DATA.TRAIN.SAMPLE_PER_EPOCH": 14,
    "TRAIN.BATCH_SIZE": 2,
    "TRAIN.SAVE_EVERY_STEPS": 3,
    "TRAIN.PRINT_INTERVAL": 2,
}
STEPS = 21
"""Three epochs of seven steps; dropout is on."""


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def child_main(folder, die_at_step, die_while_saving):
    """Train on squares; die without a word in the middle of a step, or half-way through writing a checkpoint."""
    train_script.build_dataset = lambda name, cfg, paths: Squares()
    os.dup2(os.open(folder / "stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    take_step, save, count = OptimizationStep._finish, torch.save, iter(range(1, 999))

    def finish(step, stop):
        if next(count) >= die_at_step > 0 and not die_while_saving:
            die()
        return take_step(step, stop)

    def save_half(state, path):
        save(state, path)
        if die_while_saving and next(count) >= die_at_step:
            os.truncate(path, path.stat().st_size // 2)
            die()

    OptimizationStep._finish = finish
    checkpoint.torch.save = save_half
    os._exit(run_training.main(["--config", str(folder / "tiny.yaml"), "--save_dir", str(folder), "--device", "cpu"]))


def run_once(folder, die_at_step=0, die_while_saving=False):
    folder.mkdir(exist_ok=True)
    (folder / "tiny.yaml").write_text(yaml.safe_dump(nested(OPTIONS)))
    child = FORK.Process(target=child_main, args=(folder, die_at_step, die_while_saving))
    child.start()
    child.join(120)
    return child.exitcode


def curve(folder):
    events = EventAccumulator(str(folder / "tensorboard/train/seqtrack/tiny"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(point.step, point.value) for point in events.Scalars(name)]
        for name in ("train/Loss/total", "train/IoU", "train/GradNorm", "train/LearningRate/group0")
    }


@pytest.mark.slow
def test_kill_9_at_random_points_changes_nothing(tmp_path):
    assert run_once(tmp_path / "whole") == 0
    rng = random.Random(2024)
    killed = tmp_path / "killed"
    for number in range(5):
        assert run_once(killed, die_at_step=rng.randint(2, 6), die_while_saving=number in (1, 3)) == -signal.SIGKILL
    assert run_once(killed) == 0

    store, whole = (CheckpointStore(tmp_path / run / "checkpoints/train/seqtrack/tiny") for run in ("killed", "whole"))
    assert [path.name for path in sorted(store.folder.iterdir())] == [
        f"SEQTRACK_ep000{epoch}.pth.tar" for epoch in (1, 2, 3)
    ]
    first, second = load_checkpoint(store.latest()), load_checkpoint(whole.latest())
    assert all(torch.equal(value, second["net"][name]) for name, value in first["net"].items())
    assert first["stats"] == second["stats"]
    curves = curve(killed)
    assert [step for step, _ in curves["train/Loss/total"]] == [2, 4, 6, 7, 9, 11, 13, 14, 16, 18, 20, 21]
    assert curves == curve(tmp_path / "whole")
    log = (killed / "logs" / "seqtrack-tiny.log").read_text()
    assert log.count("resuming from") >= 3 and "an earlier run did not finish writing" in log
    assert len(list((killed / "logs").glob("seqtrack-tiny-*.json"))) == 6


def stopping_trainer(folder, number, signum=signal.SIGTERM, **changes):
    """A trainer whose process gets a signal while it draws the batch of step ``number``."""
    trainer = make_trainer(tiny_config(**changes), folder)
    draw = trainer.train_loader.epoch

    def epoch(*place):
        for count, batch in enumerate(draw(*place), start=1):
            if trainer.epoch * len(trainer.train_loader) + count == number:
                os.kill(os.getpid(), signum)
            yield batch

    trainer.train_loader.epoch = epoch
    return trainer


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_saves_after_the_step(tmp_path, caplog, whole_run, signum, code):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    trainer = stopping_trainer(tmp_path, 6, signum)
    assert trainer.train() == code
    assert trainer.store.latest().name == "SEQTRACK_ep0002_step000002.pth.tar"
    assert f"stopped by {signal.Signals(signum).name} in epoch 2 after 2 steps" in caplog.text
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers

    second = make_trainer(tiny_config(), tmp_path, seed=5)
    second.resume(second.store.latest())
    assert (second.epoch, second.steps_done, second.global_step) == (1, 2, 6)
    assert second.train() == 0
    assert_equal_states(second.network.state_dict(), whole_run["net"])
    assert second.stats == whole_run["stats"]
    assert sorted(path.name for path in second.store.folder.iterdir()) == [
        f"SEQTRACK_ep000{epoch}.pth.tar" for epoch in (1, 2, 3)
    ]


def test_signal_during_validation(tmp_path):
    """The epoch's training is not repeated, its validation is."""
    cfg = tiny_config(TRAIN__EPOCH=1)
    trainer = make_trainer(cfg, tmp_path, val_loader=make_loader(cfg))
    trainer.step.evaluate, evaluate = None, trainer.step.evaluate

    def interrupted(batch, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        trainer.step.evaluate = evaluate
        return evaluate(batch, **options)

    trainer.step.evaluate = interrupted
    assert trainer.train() == 143
    assert trainer.store.latest().name == "SEQTRACK_ep0001_step000004.pth.tar"
    second = make_trainer(cfg, tmp_path, val_loader=make_loader(cfg))
    second.resume(trainer.store.latest())
    second.step.train = None
    assert second.train() == 0
    assert set(second.stats) == {"train", "val"} and second.store.latest().name == "SEQTRACK_ep0001.pth.tar"


EPOCH_END = {"TRAIN__EPOCH": 2, "TRAIN__SMOOTH_TOKENS": 2.0, "TRAIN__LR_DROP_EPOCH": 1}


def epoch_end_trainer(folder, seed=0):
    cfg = tiny_config(**EPOCH_END)
    return make_trainer(cfg, folder, seed=seed, val_loader=make_loader(cfg), track=lambda network: {"AUC": 50.0})


@pytest.fixture(scope="module")
def whole_epochs(tmp_path_factory):
    torch.set_num_threads(1)
    trainer = epoch_end_trainer(tmp_path_factory.mktemp("whole"))
    assert trainer.train() == 0
    return load_checkpoint(trainer.store.latest())


def assert_equal_states(first, second):
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key, value in first.items():
            assert_equal_states(value, second[key])
    elif isinstance(first, list | tuple):
        assert len(first) == len(second)
        for pair in zip(first, second, strict=True):
            assert_equal_states(*pair)
    else:
        assert torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        ("step", "train", 3),  # read with step 4, the last one of the epoch
        ("network", "smooth_tokens", 1),
        ("step", "evaluate", 1),
        ("step", "evaluate", 4),
        ("", "track", 1),
        ("", "save", 1),
        ("store", "save", 1),
        ("step", "evaluate", 5),  # of the second epoch, the last one
    ],
)
def test_a_signal_anywhere_at_the_end_of_an_epoch_changes_nothing(tmp_path, whole_epochs, owner, name, call):
    """Weights are smoothed once, the scheduler steps once, statistics are those of the epoch, to the last bit."""
    trainer = epoch_end_trainer(tmp_path)
    place = getattr(trainer, owner) if owner else trainer
    original, calls = getattr(place, name), []

    def interrupted(*values, **options):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*values, **options)

    setattr(place, name, interrupted)
    assert trainer.train() == 143
    second = epoch_end_trainer(tmp_path, seed=5)
    second.resume(second.store.latest())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert second.train() == 0
    assert_equal_states(load_checkpoint(second.store.latest()), whole_epochs)


def test_second_ctrl_c_ends_at_once(monkeypatch):
    stop = StopRequest()
    with pytest.raises(KeyboardInterrupt), stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # the same one, passed on by a launcher
        assert stop
        monkeypatch.setattr("time.monotonic", lambda: time.time() + 1e9)
        os.kill(os.getpid(), signal.SIGINT)


def test_code_that_changed_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    trainer.revision = "1234"
    trainer.train()
    other = make_trainer(tiny_config(TRAIN__EPOCH=2), tmp_path)
    other.revision = "5678"
    other.resume(trainer.store.latest())
    assert "it was 1234, is 5678" in caplog.text
