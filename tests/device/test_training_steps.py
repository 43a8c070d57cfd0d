"""Training steps on a simulated GPU: the weights of the CPU, and what makes the CPU wait."""

import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.train.train_script import build_trainer
from lib.train.trainers.checkpoints import CheckpointStore
from tests.device.simulated import CUDA, DeviceTensor, simulated_cuda
from tests.train.world import CPU, make_loader, tiny_config

STEPS = 3
WAITS = 2  # of a step: the flag of a stop request goes up, four numbers come down


def make_trainer(folder, device, **changes):
    options = {"MODEL__DECODER__DROPOUT": 0.0, "TRAIN__LR": 5e-5, "DATA__TRAIN__SAMPLE_PER_EPOCH": 32}
    cfg = tiny_config(**options | changes)
    torch.manual_seed(0)
    network = build_seqtrack(cfg).to(device)
    return build_trainer(cfg, network, make_loader(cfg), None, CheckpointStore(folder), "tiny", device)


def take_steps(trainer, count, pin=False):
    reports, batches = [], iter(trainer.train_loader.epoch(1))
    while len(reports) < count:
        batch = next(batches)
        report = trainer.step.train(batch.pin_memory() if pin else batch)
        reports += [] if report is None else [report]
    return reports


def values(state):
    return {key: value.values if isinstance(value, DeviceTensor) else value for key, value in state.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"TRAIN__GLOBAL_BATCH": 8},
        {"MODEL__ENCODER__USE_CHECKPOINT": True},
        {"TRAIN__FREEZE_ENCODER": True},
        {"DATA__SEQ_FORMAT": "whxy"},
    ],
)
def test_steps_give_the_weights_of_the_cpu(tmp_path, changes):
    on_cpu = make_trainer(tmp_path, CPU, **changes)
    expected = [report.loss for report in take_steps(on_cpu, STEPS)]
    with simulated_cuda() as device:
        trainer = make_trainer(tmp_path, CUDA, **changes)
        assert trainer.step.optimizer.param_groups[0]["fused"]
        device.reset()
        losses = [report.loss for report in take_steps(trainer, STEPS, pin=True)]
        batches = STEPS * (2 if "TRAIN__GLOBAL_BATCH" in changes else 1)
        assert device.pageable <= (WAITS - 1) * STEPS and device.uploads - device.pageable == 6 * batches
        assert len(device.waits) <= WAITS * STEPS, device.waits
        weights = values(trainer.network.state_dict())
    assert losses == pytest.approx(expected, abs=1e-5)
    for name, value in on_cpu.network.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_mixed_precision_steps_stay_near_those_of_float32(tmp_path, kind):
    expected = [report.loss for report in take_steps(make_trainer(tmp_path, CPU), STEPS)]
    with simulated_cuda() as device:
        trainer = make_trainer(tmp_path, CUDA, TRAIN__AMP=True, TRAIN__AMP_DTYPE=kind)
        device.reset()
        reports = take_steps(trainer, STEPS, pin=True)
        scaler_reads = 2 * STEPS if kind == "float16" else 0  # whether a gradient overflowed, and the scale
        assert len(device.waits) <= WAITS * STEPS + scaler_reads, device.waits
        assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}
    assert all(report.taken for report in reports)
    assert [report.loss for report in reports] == pytest.approx(expected, rel=0.02)


def test_an_overflow_in_float16_leaves_the_weights_alone(tmp_path):
    with simulated_cuda():
        trainer = make_trainer(tmp_path, CUDA, TRAIN__AMP=True, TRAIN__AMP_DTYPE="float16")
        take_steps(trainer, 1)
        before = {key: value.clone() for key, value in values(trainer.network.state_dict()).items()}
        trainer.step.scaler.update(1e30)
        assert not take_steps(trainer, 1)[0].taken
        assert all(torch.equal(before[key], value) for key, value in values(trainer.network.state_dict()).items())
        assert trainer.step.scaler.get_scale() < 1e30


def test_a_run_is_resumed_on_the_device(tmp_path):
    with simulated_cuda():
        short = {"DATA__TRAIN__SAMPLE_PER_EPOCH": 8}
        trainer = make_trainer(tmp_path, CUDA, TRAIN__EPOCH=1, **short)
        assert trainer.train() == 0
        resumed = make_trainer(tmp_path, CUDA, TRAIN__EPOCH=2, **short)
        resumed.resume(trainer.store.latest())
        weights = values(trainer.network.state_dict())
        for name, value in values(resumed.network.state_dict()).items():
            assert torch.equal(value, weights[name]), name
        for state in resumed.step.optimizer.state.values():
            assert {value.device for value in state.values()} == {CUDA}
        assert resumed.train() == 0
