"""A checkpoint that holds something else than a state of training is refused with its name, the key and the value."""

import copy

import pytest
import torch

from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError
from tests.train.world import make_trainer, tiny_config

NAN = float("nan")
GONE = object()
BAD_NUMBERS = (None, "3", 2.5, True, NAN, 4e30, -3, 10**30, torch.tensor(2), [2], {}, GONE)
CASES = [(key, value) for key in ("epoch", "step", "samples_per_step") for value in BAD_NUMBERS]
CASES += [("step", 10**6), ("epoch", 7), ("samples_per_step", 0)]
CASES += [
    (key, value)
    for key in ("net", "optimizer", "scheduler", "scaler", "rngs", "stats", "epoch_stats", "config", "revision")
    for value in (None, 3, NAN, [3], torch.zeros(2), {3: 3}, GONE, {"a": {"b": None}})
    if not (key == "scaler" and isinstance(value, dict) and "a" in value)  # no loss scale in float32: not looked at
    if not (key == "config" and isinstance(value, dict) and "a" in value)  # another configuration, says so
]
CASES += [
    ("optimizer.state", [1]),
    ("optimizer.state", {99: {}}),
    ("optimizer.state.0", {}),
    ("optimizer.state.0.exp_avg", "x"),
    ("optimizer.state.0.exp_avg", torch.zeros(3)),
    ("optimizer.state.0.exp_avg", torch.tensor(NAN)),
    ("optimizer.state.0.exp_avg_sq", GONE),
    ("optimizer.state.0.step", torch.tensor(-1.0)),
    ("optimizer.state.0.step", NAN),
    ("optimizer.param_groups", []),
    ("optimizer.param_groups.0", 3),
    ("optimizer.param_groups.0.lr", GONE),
    ("optimizer.param_groups.0.lr", NAN),
    ("optimizer.param_groups.0.lr", -1.0),
    ("optimizer.param_groups.1.betas", (0.9,)),
    ("optimizer.param_groups.1.params", [0]),
    ("optimizer.param_groups.1.params", "01"),
    ("scheduler.last_epoch", "1"),
    ("scheduler.last_epoch", 9),
    ("scheduler._last_lr", [0.1]),
    ("scheduler._step_count", NAN),
    ("rngs", []),
    ("rngs.0.python", (3, (1, 2), None)),
    ("rngs.0.python", (3, tuple([-1] * 625), None)),
    ("rngs.0.numpy", ("MT19937", torch.zeros(624, dtype=torch.int64), 10**6, 0, 0.0)),
    ("rngs.0.numpy", ("MT19937", torch.zeros(3, dtype=torch.int64), 3, 0, 0.0)),
    ("rngs.0.torch", torch.zeros(3)),
    ("rngs.0.torch", GONE),
    ("rngs.0.cuda", "x"),
    ("stats.train", 3),
    ("epoch_stats.whole", GONE),
    ("epoch_stats.recent", {"IoU": [1]}),
    ("config.DATA", torch.zeros(2)),
    ("config.DATA", {1: 2}),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), folder)
    trainer.train()
    return load_checkpoint(trainer.store.latest())


@pytest.fixture(scope="module")
def trainer(tmp_path_factory):
    return make_trainer(tiny_config(), tmp_path_factory.mktemp("other"))


def changed(state, dotted, value):
    state = copy.deepcopy(state)
    *places, last = (int(name) if name.isdecimal() else name for name in dotted.split("."))
    place = state
    for name in places:
        place = place[name]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    return state


@pytest.mark.parametrize(("key", "value"), CASES)
def test_a_wrong_value_is_named(saved, trainer, monkeypatch, key, value):
    monkeypatch.setattr("lib.train.trainers.checkpoints.load_checkpoint", lambda path: changed(saved, key, value))
    before = trainer.network.state_dict()["bottleneck.weight"].clone(), torch.get_rng_state()
    with pytest.raises(CheckpointError) as caught:
        trainer.resume("a.pth.tar")
    message = str(caught.value)
    assert message.startswith("a.pth.tar: ") and key.split(".")[0] in message and len(message) < 400
    assert torch.equal(trainer.network.state_dict()["bottleneck.weight"], before[0])
    assert torch.equal(torch.get_rng_state(), before[1]) and trainer.epoch == 0


def test_what_was_saved_is_accepted(saved, trainer, monkeypatch):
    monkeypatch.setattr("lib.train.trainers.checkpoints.load_checkpoint", lambda path: copy.deepcopy(saved))
    trainer.resume("a.pth.tar")
    assert trainer.epoch == 1
    trainer.epoch = 0


def test_initial_weights_of_a_run_that_goes_on_are_not_passed_over_in_silence(saved, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("lib.train.trainers.checkpoints.load_checkpoint", lambda path: copy.deepcopy(saved))
    make_trainer(tiny_config(MODEL__INIT="other.pth"), tmp_path).resume("a.pth.tar")
    assert "MODEL.INIT: other.pth is not used: the run that goes on started from no such" in caplog.text
