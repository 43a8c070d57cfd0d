"""What fine-tuning adds to a training: other weights to start from, low-rank parts, averages, and the best epoch."""

import json
import logging

import pytest
import torch

from lib.config.paths import find_checkpoint
from lib.config.seqtrack.config import default_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.initial import load_initial_weights
from lib.models.seqtrack.lora import add_low_rank, merged_state_dict
from lib.train.admin.manifest import add_to_manifest
from lib.train.optimization import build_optimizer
from lib.train.trainers.best import BestEpoch
from lib.utils.checkpoint import load_checkpoint, load_model_weights, save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, SeqTrackError
from tests.train.world import TINY, make_loader, make_trainer, tiny_config

pytestmark = pytest.mark.usefixtures("one_thread")


def saved(folder, **overrides):
    """A checkpoint of a tiny network; its path and the network."""
    cfg = tiny_config(**overrides)
    torch.manual_seed(3)
    network = build_seqtrack(cfg)
    path = folder / "start.pth.tar"
    save_checkpoint({"net": network.state_dict(), "config": json.loads(json.dumps(cfg))}, path)
    return path, network


def fresh(**overrides):
    torch.manual_seed(9)
    return build_seqtrack(tiny_config(**overrides))


def changed(network, before):
    """Names of the weights that are no longer those of ``before``."""
    state = network.state_dict()
    return {name for name, value in before.items() if not torch.equal(value, state[name])}


def test_a_network_starts_from_another_ones_weights(tmp_path):
    path, source = saved(tmp_path)
    network = fresh()
    load_initial_weights(network, path)
    assert not changed(network, source.state_dict())


@pytest.mark.parametrize(
    ("overrides", "stay"),
    [
        ({"MODEL__BINS": 60}, {"decoder.embedding.word_embeddings.weight", "vocab_embed.layers.2."}),
        (
            {"MODEL__DECODER__DIM_FEEDFORWARD": 32},
            {f"decoder.body.layers.0.linear{part}" for part in ("1.", "2.weight")},
        ),
        ({"MODEL__DECODER__DEC_LAYERS": 2}, {"decoder.body.layers.1."}),
        (
            {"DATA__SEQ_FORMAT": "corner"},
            {"decoder.embedding.word_embeddings.", "decoder.embedding.position_embeddings.", "vocab_embed.layers.2."},
        ),
    ],
)
def test_what_does_not_fit_stays_fresh_and_is_named(tmp_path, caplog, overrides, stay):
    path, source = saved(tmp_path)
    network = fresh(**overrides)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with caplog.at_level(logging.INFO):
        load_initial_weights(network, path)
    kept = {name for name, value in network.state_dict().items() if torch.equal(value, before[name])}
    own = source.state_dict()
    for name, value in network.state_dict().items():
        if name.startswith(tuple(stay)):
            assert name in kept and f"{name}" in caplog.text, name
        else:
            assert torch.equal(value, own[name]), name


def test_positions_are_resampled_to_other_crops(tmp_path):
    path, source = saved(tmp_path)
    sizes = {"DATA__SEARCH__SIZE": 96, "TEST__SEARCH_SIZE": 96, "DATA__TEMPLATE__SIZE": 48, "TEST__TEMPLATE_SIZE": 48}
    network = fresh(**sizes)
    load_initial_weights(network, path)
    table, before = network.vit.pos_embed, source.vit.pos_embed
    assert table.shape[1] == 36 + 9
    # Corners of a grid stay where they are when corners are aligned.
    for new, old in ((0, 0), (5, 3), (35, 15), (36, 16), (44, 19)):
        assert torch.allclose(table[0, new], before[0, old], atol=1e-5)
    assert torch.allclose(network.pos_embed[0, -1], source.pos_embed[0, -1], atol=1e-5)


def test_positions_of_a_file_that_does_not_say_its_sizes_are_those_of_equal_crops(tmp_path):
    equal = {"DATA__TEMPLATE__SIZE": 64, "TEST__TEMPLATE_SIZE": 64}
    _, source = saved(tmp_path, **equal)
    path = tmp_path / "bare.pth.tar"
    save_checkpoint({"net": source.state_dict()}, path)
    network = fresh()
    load_initial_weights(network, path)
    assert torch.equal(network.vit.pos_embed[:, :16], source.vit.pos_embed[:, :16])
    assert torch.allclose(network.vit.pos_embed[0, 16], source.vit.pos_embed[0, 16], atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"net": {"encoder.body.norm.weight": torch.ones(7)}}, "no weight of its encoder fits"),
        ({"net": {"encoder.body.norm.weight": torch.full((32,), torch.nan)}}, "NaN or infinite"),
        ({"epoch": 3}, "no weights under the key 'net'"),
    ],
)
def test_a_file_of_no_use_is_refused_and_nothing_changes(tmp_path, content, message):
    path, network = tmp_path / "other.pth.tar", fresh()
    save_checkpoint(content, path)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(CheckpointError, match=message):
        load_initial_weights(network, path)
    assert not changed(network, before)


def test_low_rank_parts_change_nothing_at_first_and_merge_exactly(tmp_path):
    network = fresh().eval()
    names = list(network.state_dict())
    template, search = torch.randn(1, 1, 3, 32, 32), torch.randn(1, 1, 3, 64, 64)
    with torch.no_grad():
        before = network.encode(template, search)
        add_low_rank(network.vit.blocks, 2)
        assert torch.equal(network.encode(template, search), before)
        for name, parameter in network.named_parameters():
            if ".up" in name:
                parameter.normal_(std=0.1)
        after = network.encode(template, search)
        plain = fresh().eval()
        assert list(merged_state_dict(network).keys() ^ set(names)) == []
        load_model_weights(plain, {"net": merged_state_dict(network)}, "merged")
        assert not torch.equal(after, before)
        assert torch.allclose(plain.encode(template, search), after, atol=1e-6)


def test_low_rank_training_trains_the_encoder_through_its_parts_only():
    cfg = tiny_config(TRAIN__LORA_RANK=2)
    network = build_seqtrack(cfg)
    build_optimizer(network, cfg)
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad and "encoder" in name}
    assert trained and all(name.endswith((".up", ".down")) for name in trained)


def test_the_learning_rate_decays_from_layer_to_layer():
    cfg = tiny_config(TRAIN__LAYER_DECAY=0.5, TRAIN__ENCODER_MULTIPLIER=0.1)
    network = build_seqtrack(cfg)
    groups = build_optimizer(network, cfg).param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    base = cfg.TRAIN.LR * 0.1
    expected = {
        "vocab_embed.layers.0.weight": cfg.TRAIN.LR,
        "encoder.body.norm.weight": base,
        "encoder.body.blocks.1.attn.qkv.weight": base / 2,
        "encoder.body.blocks.0.norm1.weight": base / 4,
        "encoder.body.patch_embed.proj.weight": base / 8,
        "encoder.body.pos_embed": base / 8,
    }
    named = dict(network.named_parameters())
    assert {name: pytest.approx(rates[id(named[name])]) for name in expected} == expected


@pytest.mark.parametrize(
    "overrides", [{}, {"TRAIN__EMA": 0.5}, {"TRAIN__LORA_RANK": 2}, {"TRAIN__EMA": 0.5, "TRAIN__LORA_RANK": 2}]
)
def test_a_continued_run_is_bitwise_that_which_went_through(tmp_path, overrides):
    cfg = tiny_config(TRAIN__EPOCH=2, TRAIN__LAYER_DECAY=0.8, **overrides)

    def trainer(folder, epochs, seed):
        options = tiny_config(TRAIN__EPOCH=epochs, TRAIN__LAYER_DECAY=0.8, **overrides)
        return make_trainer(options, folder, seed=seed, val_loader=make_loader(cfg))

    whole = trainer(tmp_path / "whole", 2, 0)
    whole.train()
    trainer(tmp_path / "parts", 1, 0).train()
    second = trainer(tmp_path / "parts", 2, 5)
    second.resume(second.store.latest())
    second.train()
    first, again = (load_checkpoint(run.store.latest()) for run in (whole, second))
    assert first["stats"] == again["stats"]
    for key in {"net", "trained", "average"} & first.keys():
        assert all(torch.equal(value, again[key][name]) for name, value in first[key].items()), key
    assert ("trained" in first) == bool(overrides)
    load_model_weights(build_seqtrack(cfg), first, "the net of a checkpoint")


def test_the_average_is_what_is_tracked_with(tmp_path):
    seen = []
    cfg = tiny_config(TRAIN__EPOCH=1, TRAIN__EMA=0.9)
    trainer = make_trainer(cfg, tmp_path, track=lambda network: seen.append(network) or {"AUC": 1.0})
    trainer.train()
    net = load_checkpoint(trainer.store.latest())["net"]
    assert all(torch.equal(value, net[name]) for name, value in seen[0].state_dict().items())
    assert not torch.equal(
        net["vocab_embed.layers.2.weight"], trainer.network.state_dict()["vocab_embed.layers.2.weight"]
    )


@pytest.mark.parametrize("missing", ["trained", "average"])
def test_a_checkpoint_without_the_weights_under_training_is_refused(tmp_path, missing):
    cfg = tiny_config(TRAIN__EPOCH=1, TRAIN__EMA=0.9)
    trainer = make_trainer(cfg, tmp_path)
    trainer.train()
    path = trainer.store.latest()
    save_checkpoint({key: value for key, value in load_checkpoint(path).items() if key != missing}, path)
    with pytest.raises(CheckpointError, match=f"no '{missing}' weights"):
        make_trainer(cfg, tmp_path).resume(path)


def test_the_best_epoch_is_kept_and_the_run_ends_when_none_is_better(tmp_path, caplog):
    scores = iter([10.0, 30.0, 20.0, 25.0, 99.0])
    options = {"TRAIN__EPOCH": 5, "TRAIN__BEST_METRIC": "track/AUC", "TRAIN__PATIENCE": 2, "TRAIN__KEEP_CHECKPOINTS": 1}

    def trainer(**changes):
        cfg = tiny_config(**options | {"TRAIN__KEEP_EVERY": 0, "TRAIN__SAVE_EVERY": 5} | changes)
        return make_trainer(cfg, tmp_path, track=lambda network: {"AUC": next(scores)})

    run = trainer()
    with caplog.at_level(logging.INFO):
        assert run.train() == 0
    assert load_checkpoint(run.store.best_path)["epoch"] == 2
    assert "best so far: track/AUC 30.0000 after epoch 2" in caplog.text
    assert "ended early: no better track/AUC than 30.0000 of epoch 2 in 2 checks since" in caplog.text
    assert [run.epoch, *run.store.epochs()] == [4, 4]
    again = trainer()
    again.resume(again.store.latest())
    assert again.train() == 0 and again.epoch == 4  # the early end holds for the same command
    patient = trainer(TRAIN__PATIENCE=0)
    patient.resume(patient.store.latest())
    patient.train()
    assert load_checkpoint(patient.store.best_path)["epoch"] == patient.epoch == 5


@pytest.mark.parametrize(
    ("metric", "stats"), [("val/loss", {"val": {"Loss/total": 1.0}}), ("val/IoU", {"val": {"IoU": 0.5}})]
)
def test_epochs_are_compared_by_the_metric(metric, stats):
    (name, value), best = next(iter(stats["val"].items())), BestEpoch(metric)
    worse, better = (value * 2, value / 2) if metric == "val/loss" else (value / 2, value * 2)
    assert best.compare(1, stats)
    assert not best.compare(2, {"train": {name: better}})  # an epoch that was not validated
    assert not best.compare(3, {"val": {name: value}}) and not best.compare(4, {"val": {name: worse}})
    assert not best.compare(5, {"val": {name: float("nan")}})
    assert best.compare(6, {"val": {name: better}}) and (best.epoch, best.value) == (6, better)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"TRAIN.BEST_METRIC": "val/IoU"}, "TRAIN.BEST_METRIC: val/IoU needs DATA.VAL.DATASETS_NAME"),
        ({"TRAIN.PATIENCE": 3}, "TRAIN.PATIENCE: needs a TRAIN.BEST_METRIC"),
        ({"TRAIN.LORA_RANK": 4, "TRAIN.ENCODER_MULTIPLIER": 0.0}, "TRAIN.LORA_RANK: nothing of it is trained"),
        ({"TRAIN.EMA": 1.0}, "TRAIN.EMA"),
        ({"TRAIN.LAYER_DECAY": 0.0}, "TRAIN.LAYER_DECAY"),
    ],
)
def test_options_that_make_no_sense_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        default_config(TINY | overrides)


def test_the_checkpoint_of_an_experiment_is_found_by_best_and_last(tmp_path):
    folder = tmp_path / "checkpoints" / "train" / "seqtrack" / "mine"
    folder.mkdir(parents=True)
    names = ("SEQTRACK_ep0009.pth.tar", "SEQTRACK_ep10000.pth.tar", "SEQTRACK_ep10001_step000002.pth.tar")
    for name in names:
        (folder / name).touch()
    with pytest.raises(SeqTrackError, match=r"no checkpoint called best of mine: .* holds epochs 9, 10000"):
        find_checkpoint(tmp_path, "mine", "best")
    (folder / "SEQTRACK_best.pth.tar").touch()
    assert find_checkpoint(tmp_path, "mine", "best").name == "SEQTRACK_best.pth.tar"
    assert find_checkpoint(tmp_path, "mine", "last").name == "SEQTRACK_ep10000.pth.tar"
    assert find_checkpoint(tmp_path, "mine", 9).name == "SEQTRACK_ep0009.pth.tar"


def test_facts_are_added_to_a_manifest(tmp_path, caplog):
    path = tmp_path / "run.json"
    path.write_text('{"seed": 1}')
    add_to_manifest(path, best={"epoch": 2})
    assert json.loads(path.read_text()) == {"seed": 1, "best": {"epoch": 2}}
    path.write_text("{")
    add_to_manifest(path, best={"epoch": 3})
    assert path.read_text() == "{" and "cannot be added to" in caplog.text
