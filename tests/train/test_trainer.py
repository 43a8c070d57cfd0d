"""The loop learns, records, saves, resumes exactly, and stops when the loss is not a number."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch

from lib.train.actors.seqtrack import StepOutput
from lib.train.admin import run_log
from lib.train.admin.run_log import learning_rates
from lib.train.data.processing import Augmentation
from lib.train.trainers import watch
from lib.train.trainers.checkpoints import CheckpointStore, config_differences, find_resume_point, plain_config
from lib.train.trainers.step import OptimizationStep, TrainingDiverged
from lib.utils.checkpoint import load_checkpoint, load_model_weights, save_checkpoint
from lib.utils.errors import CheckpointError
from tests.processes import wait_for
from tests.train.world import CPU, Squares, make_loader, make_trainer, record_points, tiny_config


def assert_same_weights(weights, network):
    for name, value in network.state_dict().items():
        assert torch.equal(value, weights[name]), name


def test_overfits_a_tiny_world(tmp_path):
    """Loss falls by more than a factor of four on two still sequences."""
    cfg = tiny_config(
        TRAIN__EPOCH=12,
        TRAIN__LR_DROP_EPOCH=100,
        TRAIN__LR=3e-3,
        TRAIN__GRAD_CLIP_NORM=1.0,
        MODEL__DECODER__DROPOUT=0.0,
        DATA__TRAIN__SAMPLE_PER_EPOCH=64,
        DATA__SEARCH__CENTER_JITTER=0.0,
        DATA__SEARCH__SCALE_JITTER=0.0,
        TRAIN__BATCH_SIZE=16,
    )
    still = Augmentation(gray=0, joint_flip=0, brightness=0, frame_flip=0)
    loader = make_loader(cfg, datasets=[Squares(num_sequences=2)], augmentation=still)
    points = []
    trainer = make_trainer(cfg, tmp_path, loader=loader, start_records=record_points(points))
    trainer.train()
    losses = [scalars["Loss/total"] for _, _, scalars in points]
    assert losses[0] > 0.8 * math.log(52)
    assert losses[-1] < losses[0] / 4
    assert trainer.stats["train"]["IoU"] > 0.7


def test_resumed_run_equals_an_uninterrupted_one(tmp_path):
    """In mixed precision (others resume in float32). Dropout is on, so the generators' states matter as well."""
    cfg = tiny_config(TRAIN__AMP=True)
    whole = make_trainer(cfg, tmp_path / "whole")
    whole.train()

    first = make_trainer(tiny_config(TRAIN__AMP=True, TRAIN__EPOCH=1), tmp_path / "parts")
    first.train()
    torch.manual_seed(12345)
    second = make_trainer(cfg, tmp_path / "parts", seed=777)
    second.resume(second.store.latest())
    assert second.epoch == 1 and second.global_step == len(second.train_loader)
    second.train()
    assert_same_weights(whole.network.state_dict(), second.network)
    states = [load_checkpoint(trainer.store.latest()) for trainer in (whole, second)]
    assert states[0]["stats"] == states[1]["stats"]
    assert states[0]["scheduler"] == states[1]["scheduler"]
    assert torch.equal(states[0]["rngs"][0]["torch"], states[1]["rngs"][0]["torch"])


def test_checkpoint_is_plain_and_complete(tmp_path):
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    trainer.train()
    path = tmp_path / "SEQTRACK_ep0001.pth.tar"
    state = torch.load(path, weights_only=True)  # torch's own strict reader takes it
    assert set(state) >= {"net", "optimizer", "scheduler", "scaler", "epoch", "step", "rngs", "config", "revision"}
    assert (state["net_type"], state["actor_type"], state["epoch"]) == ("SEQTRACK", "SeqTrackActor", 1)
    assert set(state["net"]) == set(trainer.network.state_dict())
    assert state["config"]["MODEL"]["BINS"] == 50
    assert set(state["stats"]["train"]) == {"Loss/total", "IoU", "GradNorm"}


def test_newest_checkpoints_are_kept(tmp_path):
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=5, TRAIN__SAVE_EVERY=2, TRAIN__KEEP_CHECKPOINTS=2), tmp_path)
    (tmp_path / "SEQTRACK_ep9999.pth.tar").write_bytes(b"not ours")
    trainer.train()
    assert sorted(trainer.store.epochs()) == [4, 5, 9999]


def test_log_line_and_curves(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cfg = tiny_config(TRAIN__LR_DROP_EPOCH=1, TRAIN__ENCODER_MULTIPLIER=0.1)
    points = []
    trainer = make_trainer(cfg, tmp_path, val_loader=make_loader(cfg), start_records=record_points(points))
    trainer.train()
    lines = [record.message for record in caplog.records if record.message.startswith("[train: 2, ")]
    assert len(lines) == 2  # steps 2 and 4 of 4
    for part in ("loss ", "IoU ", "lr 0.0002/2e-05", "samples/s", "io_wait", "ETA 0:0"):
        assert part in lines[0], part
    assert [step for prefix, step, _ in points if prefix == "train"] == [2, 4, 6, 8, 10, 12]
    assert [step for prefix, step, _ in points if prefix == "val"] == [4, 8, 12]
    rates = [scalars["LearningRate/group0"] for prefix, _, scalars in points if prefix == "train"]
    assert rates == pytest.approx([2e-3, 2e-3, 2e-4, 2e-4, 2e-5, 2e-5])


def test_validation_changes_nothing(tmp_path, whole_run):
    cfg = tiny_config()
    trainer = make_trainer(cfg, tmp_path, val_loader=make_loader(cfg))
    trainer.train()
    assert_same_weights(whole_run["net"], trainer.network)
    assert set(trainer.stats) == {"train", "val"}


class Scripted(torch.nn.Module):
    """An actor with one weight, whose losses are given."""

    def __init__(self, factors):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.factors = iter(factors)

    def forward(self, batch):
        loss = self.weight * next(self.factors)
        return StepOutput(loss, torch.zeros(()))


class NoBatch:
    def to(self, device):
        return self


def scripted_step(factors, **options):
    actor = Scripted(factors)
    optimizer = torch.optim.AdamW(actor.parameters(), lr=0.1)
    return actor, OptimizationStep(actor, optimizer, device=CPU, clip_norm=0.1, **options)


def test_a_step_that_is_not_finite_is_left_out():
    actor, step = scripted_step([1.0, math.nan, math.inf, 1.0, math.nan, math.nan, 1.0])
    for taken in (True, False, False, True, False, False, True):
        before = actor.weight.item()
        assert step.train(NoBatch()).taken is taken
        assert (actor.weight.item() != before) is taken
    assert math.isfinite(actor.weight.item())


def test_three_bad_steps_in_a_row_stop_the_run():
    _, step = scripted_step([1.0, math.nan, math.nan, math.nan])
    for _ in range(3):
        step.train(NoBatch())
    with pytest.raises(TrainingDiverged, match="3 steps in a row"):
        step.train(NoBatch())


def test_run_with_bad_loss_warns_and_names_the_samples(tmp_path, caplog):
    trainer = make_trainer(tiny_config(TRAIN__LR=1000.0, TRAIN__GRAD_CLIP_NORM=0.0), tmp_path)
    with pytest.raises(TrainingDiverged, match=r"epoch 1, step 4: the loss .* 3 steps in a row.*rank 0: 12 \(SQUARES/"):
        trainer.train()
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert "the step was not taken; samples " in warnings[0] and "(SQUARES/" in warnings[0]
    assert not trainer.store.epochs()


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    def spoil(network):
        if trainer.epoch == 1:
            trainer.network.bottleneck.bias.data[0] = math.nan
        return {"AUC": 1.0}

    trainer = make_trainer(tiny_config(TRAIN__EPOCH=2, TRAIN__KEEP_CHECKPOINTS=1), tmp_path, track=spoil)
    with pytest.raises(TrainingDiverged, match=r"bottleneck\.bias is not finite: no checkpoint was written"):
        trainer.train()
    assert list(trainer.store.epochs()) == [1]


def test_float16_gradients_are_unscaled_before_clipping():
    actor, step = scripted_step([0.5, math.inf, 0.5], amp_dtype=torch.float16)
    report = step.train(NoBatch())
    assert report.grad_norm == pytest.approx(0.5)
    assert actor.weight.grad.item() == pytest.approx(0.1, rel=1e-3)
    scale = step.scaler.get_scale()
    assert not step.train(NoBatch()).taken
    assert step.scaler.get_scale() == scale / 2
    assert step.train(NoBatch()).taken


def test_float16_run_saves_its_scale(tmp_path):
    cfg = tiny_config(TRAIN__AMP=True, TRAIN__AMP_DTYPE="float16", TRAIN__EPOCH=1)
    trainer = make_trainer(cfg, tmp_path)
    trainer.train()
    state = load_checkpoint(trainer.store.latest())
    assert state["scaler"]["scale"] > 0
    other = make_trainer(cfg, tmp_path)
    assert other.step.scaler.state_dict() != trainer.step.scaler.state_dict()
    other.resume(trainer.store.latest())
    assert other.step.scaler.state_dict() == trainer.step.scaler.state_dict()


def test_resume_point(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    store = CheckpointStore(tmp_path / "run")
    assert find_resume_point(store, "auto") is None
    for epoch in (1, 2, 11):
        store.save({"epoch": epoch}, epoch)
    assert find_resume_point(store, "auto") == store.path(11)
    assert find_resume_point(store, str(store.path(2))) == store.path(2)
    assert f"resuming from {store.path(11)}" in caplog.text
    assert find_resume_point(store, "never") is None
    assert len(store.epochs()) == 3  # moved once the new run has taken a step
    assert len(list(store.set_aside().iterdir())) == 3 and not store.epochs()


def test_checkpoint_of_another_configuration_is_refused(tmp_path):
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    trainer.train()
    other = make_trainer(tiny_config(TRAIN__LR=5e-4, TRAIN__EPOCH=9), tmp_path)
    with pytest.raises(CheckpointError, match=r"TRAIN\.LR was 0\.002, is 0\.0005; --resume never"):
        other.resume(trainer.store.latest())


def test_weights_without_a_state_are_refused(tmp_path):
    trainer = make_trainer(tiny_config(), tmp_path)
    save_checkpoint({"net": trainer.network.state_dict(), "epoch": 500}, tmp_path / "zoo.pth.tar")
    with pytest.raises(CheckpointError, match=r"it has no .*optimizer, scheduler"):
        trainer.resume(tmp_path / "zoo.pth.tar")
    load_model_weights(trainer.network, load_checkpoint(tmp_path / "zoo.pth.tar"), "zoo.pth.tar")


def test_options_that_may_change():
    saved = plain_config(tiny_config())
    free = tiny_config(TRAIN__EPOCH=99, TRAIN__NUM_WORKER=7, TEST__EPOCH=9, DATA__VAL__SAMPLE_PER_EPOCH=8)
    assert config_differences(saved, free) == []
    assert config_differences(saved, tiny_config(DATA__SEQ_FORMAT="corner")) == ["DATA.SEQ_FORMAT was xywh, is corner"]


@pytest.mark.parametrize(("longer", "rate"), [(2, 0), (4, 1e-3)])
def test_a_cosine_with_another_number_of_epochs_goes_on_along_its_curve(tmp_path, longer, rate):
    """After two epochs of two the rate is 0; half-way through four it is half of the first."""
    changes = {"TRAIN__SCHEDULER__TYPE": "cosine"}
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=2, **changes), tmp_path)
    trainer.train()
    assert learning_rates(trainer.step.optimizer) == [0, 0]
    other = make_trainer(tiny_config(TRAIN__EPOCH=longer, **changes), tmp_path)
    other.resume(trainer.store.latest())
    assert learning_rates(other.step.optimizer) == pytest.approx([rate, rate])


def test_options_younger_than_a_checkpoint():
    saved = plain_config(tiny_config())
    del saved["TRAIN"]["GUIDE_WEIGHT"]
    assert config_differences(saved, tiny_config()) == []
    assert config_differences(saved, tiny_config(TRAIN__GUIDE_WEIGHT=1.0)) == ["TRAIN.GUIDE_WEIGHT was 0.0, is 1.0"]
    saved["TRAIN"]["SMOOTH_WORDS"] = saved["TRAIN"].pop("SMOOTH_TOKENS")  # an option that was renamed
    assert config_differences(saved, tiny_config()) == []
    saved["TRAIN"]["SMOOTH_WORDS"] = 2.0
    assert config_differences(saved, tiny_config()) == ["TRAIN.SMOOTH_TOKENS was 2.0, is 0.0"]
    assert config_differences(tiny_config(), saved) == ["TRAIN.SMOOTH_TOKENS was 0.0, is 2.0"]  # runs are compared


def test_finished_run_has_nothing_to_do(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    trainer.train()
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    trainer.train()
    assert "nothing to do: 1 of 1" in caplog.text
    assert all(torch.equal(before[name], value) for name, value in trainer.network.state_dict().items())


def test_a_line_after_the_first_step_and_then_by_time(tmp_path, caplog, monkeypatch):
    """Steps of 10 s, pauses that double from 10 s on. No line of PRINT_INTERVAL is near; curves get no point of it."""
    caplog.set_level(logging.INFO)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(run_log, "time", SimpleNamespace(monotonic=lambda: clock.now))
    cfg, points = tiny_config(TRAIN__PRINT_INTERVAL=99, DATA__TRAIN__SAMPLE_PER_EPOCH=32, TRAIN__EPOCH=1), []
    trainer = make_trainer(cfg, tmp_path, start_records=record_points(points))
    taken = trainer.step.train

    def train(*batch, **options):
        clock.now += 10
        return taken(*batch, **options)

    trainer.step.train = train
    trainer.train()
    lines = [record.message for record in caplog.records if record.message.startswith("epoch 1 of 1, step ")]
    assert lines[0].startswith("epoch 1 of 1, step 1 of 8 (4 samples each): loss ") and lines[0].endswith(" to go")
    assert [line.split()[5] for line in lines] == ["1", "2", "4"] and [step for _, step, _ in points] == [8]


def test_a_step_that_hangs_is_announced_once(tmp_path, caplog, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(watch, "STALLED", 0.4)
    trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path)
    taken, count = trainer.step.train, iter(range(99))

    def train(*batch, **options):
        clock.now += 0.01
        if next(count) == 2:
            clock.now += 0.5
            wait_for(lambda: caplog.records and caplog.records[-1].levelname == "WARNING", seconds=30)
        return taken(*batch, **options)

    trainer.step.train = train
    trainer.train()
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert [message.partition(":")[2][:26] for message in warnings] == [" no step was finished for "]
