"""Parameter groups, freezing and learning rates agree with the published ones (optimizer_and_config.json)."""

import pytest
import torch

from lib.config.seqtrack.config import default_config, load_config
from lib.models.seqtrack import build_seqtrack
from lib.train.optimization import build_optimizer, build_scheduler, freeze_encoder
from lib.utils.errors import ConfigError
from tests.golden import load_json

GOLDEN = load_json("optimizer_and_config.json")


def named():
    """SeqTrack-B256 without memory: the names and shapes are all that the optimizer looks at."""
    with torch.device("meta"):
        return build_seqtrack(load_config("seqtrack_b256"))


def build(overrides=None):
    network, cfg = named(), default_config(overrides)
    return network, cfg, build_optimizer(network, cfg)


def names_of(network, group):
    by_id = {id(parameter): name for name, parameter in network.named_parameters()}
    return [by_id[id(parameter)] for parameter in group["params"]]


def test_groups():
    network, _, optimizer = build()
    assert type(optimizer).__name__ == GOLDEN["seqtrack_b256"]["optimizer"]
    assert len(optimizer.param_groups) == 2
    for group, expected in zip(optimizer.param_groups, GOLDEN["seqtrack_b256"]["groups"], strict=True):
        assert set(names_of(network, group)) == set(expected["names"])
        assert sum(parameter.numel() for parameter in group["params"]) == expected["n_params"]
        assert group["lr"] == pytest.approx(expected["lr"])
        for key in ("betas", "eps", "weight_decay", "amsgrad"):
            assert tuple(torch.tensor(group[key]).flatten()) == tuple(torch.tensor(expected[key]).flatten()), key


def rates_by_epoch(overrides, epochs):
    _, cfg, optimizer = build(overrides)
    for group in optimizer.param_groups:
        group["params"].clear()  # the rates do not need the weights
    scheduler = build_scheduler(optimizer, cfg)
    used = {}
    for epoch in range(1, epochs + 1):
        used[epoch] = [group["lr"] for group in optimizer.param_groups]
        optimizer.step()
        scheduler.step()
    return used


def test_rate_of_every_epoch():
    expected = GOLDEN["seqtrack_b256"]
    used = rates_by_epoch({"TRAIN.LR_DROP_EPOCH": expected["step_size"]}, 500)
    for epoch, rates in expected["lr_used_during_epoch"].items():
        assert used[int(epoch)] == pytest.approx(rates, rel=1e-9), epoch


def test_decay_rate_is_used():
    used = rates_by_epoch({"TRAIN.LR_DROP_EPOCH": 2, "TRAIN.SCHEDULER.DECAY_RATE": 0.5}, 3)
    assert [used[epoch][0] for epoch in (1, 2, 3)] == pytest.approx([1e-4, 1e-4, 5e-5])


def test_a_step_schedule_drops_after_every_so_many_epochs_and_says_so(caplog):
    """As in the published code; the published files leave room for one drop, which needs no announcement."""
    used = rates_by_epoch({"TRAIN.LR_DROP_EPOCH": 400}, 500)
    assert sorted({rates[0] for rates in used.values()}) == pytest.approx([1e-5, 1e-4])
    assert not caplog.records
    used = rates_by_epoch({"TRAIN.LR_DROP_EPOCH": 2, "TRAIN.EPOCH": 7}, 7)
    assert [used[epoch][0] for epoch in (2, 3, 5, 7)] == pytest.approx([1e-4, 1e-5, 1e-6, 1e-7])
    assert "the learning rate drops 3 times until the end, to 1e-07" in caplog.text


def test_milestones_are_used():
    schedule = {"TYPE": "Mstep", "MILESTONES": [1, 3], "GAMMA": 0.5}
    used = rates_by_epoch({f"TRAIN.SCHEDULER.{key}": value for key, value in schedule.items()}, 4)
    assert [used[epoch][0] for epoch in (1, 2, 3, 4)] == pytest.approx([1e-4, 5e-5, 5e-5, 2.5e-5])
    with pytest.raises(ConfigError, match="MILESTONES"):
        rates_by_epoch({"TRAIN.SCHEDULER.TYPE": "Mstep"}, 1)


@pytest.mark.parametrize("case", ["mult0", "freeze", "freeze_open"])
def test_freezing(case):
    expected = GOLDEN["freezing"][case]
    network, _, optimizer = build(expected["overrides"])
    trained = [name for name, parameter in network.named_parameters() if parameter.requires_grad and "encoder" in name]
    assert set(trained) == set(expected["trainable_encoder_params"])
    assert [len(group["params"]) for group in optimizer.param_groups] == expected["group_sizes"]
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(expected["lrs"])


def test_open_parts_match_whole_components():
    """Published: the first two entries are whole names (nothing opens here); later "blocks.1" opens 10 and 11 too."""
    assert GOLDEN["freezing"]["freeze_open_only2"]["trainable_encoder_params"] == []
    network = named()
    trained = freeze_encoder(network, frozen=True, open_parts=["blocks.1", "blocks.2"])
    assert {name.split(".")[3] for name in trained} == {"1", "2"}
    assert len(trained) == 24


def test_open_part_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"ENCODER_OPEN.*blocks\.12"):
        build({"TRAIN.FREEZE_ENCODER": True, "TRAIN.ENCODER_OPEN": ["blocks.12"]})
