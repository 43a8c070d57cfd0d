"""Training on a simulated GPU: it starts, gives the weights of the CPU, and waits once a step."""

import logging

import pytest
import torch

from lib.models.seqtrack import build_seqtrack, precision
from lib.train.data.batch import upload_ahead
from lib.train.distributed import choose_device, process_group
from lib.train.train_script import build_trainer
from lib.train.trainers.checkpoints import CheckpointStore
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import DataError, SeqTrackError
from lib.utils.launch import Launch
from tests.device.simulated import CUDA, DeviceTensor, simulated_cuda
from tests.train.world import make_loader, make_trainer, tiny_config

STILL = {"MODEL__DECODER__DROPOUT": 0.0, "TRAIN__LR": 5e-5, "TRAIN__EPOCH": 1}
LONG = {"DATA__TRAIN__SAMPLE_PER_EPOCH": 32}
EXTRAS = {"TRAIN__GUIDE_WEIGHT": 1.0, "TRAIN__LABEL_SIGMA": 2.0, "DATA__SEQ_FORMAT": "whxy"}
STEPS = 3
WAITS = 1  # of a step: four numbers come down
CPU = torch.device("cpu")


def trainer_on(device, folder, **changes):
    torch.manual_seed(0)
    cfg = tiny_config(**STILL | changes)
    network, loader = build_seqtrack(cfg).to(device), make_loader(cfg)
    return build_trainer(cfg, network, loader, None, CheckpointStore(folder), "tiny", device)


def take_steps(trainer, count):
    """Steps with batches in pinned memory for a GPU, as the loader gives them."""
    reports, batches = [], iter(trainer.train_loader.epoch(1))
    while len(reports) < count:
        batch = next(batches)
        report = trainer.step.train(batch if trainer.step.device == CPU else batch.pin_memory())
        reports += [] if report is None else [report]
    return reports


def values(state):
    return {key: value.values if isinstance(value, DeviceTensor) else value for key, value in state.items()}


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_one_gpu_can_be_used(name):
    with simulated_cuda():
        device = choose_device(name, Launch())
        with process_group(Launch(), device):
            assert device == CUDA


@pytest.mark.parametrize(
    "changes",
    [
        {},
        EXTRAS,
        {"TRAIN__GLOBAL_BATCH": 8},
        {"MODEL__ENCODER__USE_CHECKPOINT": True},
        {"TRAIN__FREEZE_ENCODER": True},
    ],
    ids=["published", "extras", "accumulate", "checkpoint", "freeze"],
)
def test_steps_give_the_weights_of_the_cpu_and_wait_once(tmp_path, changes):
    on_cpu = trainer_on(CPU, tmp_path, **LONG | changes)
    expected = [report.loss for report in take_steps(on_cpu, STEPS)]
    with simulated_cuda() as device:
        trainer = trainer_on(CUDA, tmp_path, **LONG | changes)
        assert trainer.step.optimizer.param_groups[0]["fused"]
        device.reset()
        losses = [report.loss for report in take_steps(trainer, STEPS)]
        assert len(device.waits) == device.downloads == WAITS * STEPS, device.waits
        assert (device.uploads, device.pageable) == (6 * STEPS * trainer.step.accumulate, 0)
        weights = values(trainer.network.state_dict())
    assert losses == pytest.approx(expected, abs=1e-5)
    for name, value in on_cpu.network.state_dict().items():
        torch.testing.assert_close(weights[name], value, atol=2e-6, rtol=1e-4)


def test_an_epoch_saves_the_weights_of_the_cpu(tmp_path):
    expected = trainer_on(CPU, tmp_path / "cpu", **EXTRAS)
    expected.train()
    with simulated_cuda():
        assert trainer_on(CUDA, tmp_path / "gpu", **EXTRAS).train() == 0
    weights = load_checkpoint(tmp_path / "gpu" / "SEQTRACK_ep0001.pth.tar")["net"]
    for key, value in expected.network.state_dict().items():
        torch.testing.assert_close(weights[key], value, atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
def test_mixed_precision_steps_stay_near_those_of_float32(tmp_path, kind):
    expected = [report.loss for report in take_steps(trainer_on(CPU, tmp_path, **LONG), STEPS)]
    with simulated_cuda() as device:
        trainer = trainer_on(CUDA, tmp_path, **LONG, TRAIN__AMP=True, TRAIN__AMP_DTYPE=kind)
        device.reset()
        reports = take_steps(trainer, STEPS)
        assert len(device.waits) == WAITS * STEPS, device.waits
        assert {parameter.dtype for parameter in trainer.network.parameters()} == {torch.float32}
    assert all(report.taken for report in reports)
    assert [report.loss for report in reports] == pytest.approx(expected, rel=0.02)


def test_an_overflow_in_float16_leaves_the_weights_alone(tmp_path):
    with simulated_cuda():
        trainer = trainer_on(CUDA, tmp_path, **LONG, TRAIN__AMP=True, TRAIN__AMP_DTYPE="float16")
        take_steps(trainer, 1)
        before = {key: value.clone() for key, value in values(trainer.network.state_dict()).items()}
        trainer.step.scaler.update(1e30)
        assert not take_steps(trainer, 1)[0].taken
        assert all(torch.equal(before[key], value) for key, value in values(trainer.network.state_dict()).items())
        assert trainer.step.scaler.get_scale() < 1e30


def test_a_run_is_resumed_on_the_device(tmp_path):
    short = {"DATA__TRAIN__SAMPLE_PER_EPOCH": 8}
    with simulated_cuda():
        trainer = trainer_on(CUDA, tmp_path, TRAIN__EPOCH=1, **short)
        assert trainer.train() == 0
        resumed = trainer_on(CUDA, tmp_path, TRAIN__EPOCH=2, **short)
        resumed.resume(trainer.store.latest())
        weights = values(trainer.network.state_dict())
        for name, value in values(resumed.network.state_dict()).items():
            assert torch.equal(value, weights[name]), name
        for state in resumed.step.optimizer.state.values():
            assert {value.device for value in state.values()} == {CUDA}
        assert resumed.train() == 0


def test_a_run_on_a_gpu_is_resumed_on_a_cpu(tmp_path):
    with simulated_cuda():
        trainer_on(CUDA, tmp_path).train()
    trainer = trainer_on(CPU, tmp_path, TRAIN__EPOCH=2)
    trainer.resume(trainer.store.latest())
    assert trainer.train() == 0 and trainer.store.latest().name == "SEQTRACK_ep0002.pth.tar"


def test_batches_are_uploaded_one_ahead_from_pinned_memory():
    with simulated_cuda() as device:
        batches = [batch.pin_memory() for batch in make_loader(tiny_config()).epoch(1)]

        def broken():
            yield from batches[:2]
            raise DataError("a damaged image")

        device.reset()
        ahead = upload_ahead(broken(), CUDA)
        next(ahead)
        assert device.uploads == 12  # six tensors of this batch and of the next one
        second = next(ahead)
        assert second.keys == batches[1].keys and second.search.device == CUDA
        with pytest.raises(DataError):
            next(ahead)
        assert (device.waits, device.pageable) == ([], 0)


@pytest.mark.parametrize("pinned", [False, True])
def test_only_copies_from_pinned_memory_run_on(pinned):
    with simulated_cuda() as device:
        batch = next(iter(make_loader(tiny_config()).epoch(1)))
        batch = batch.pin_memory() if pinned else batch
        device.upload = lambda source, non_blocking: seen.append(non_blocking)
        seen = []
        batch.to(CUDA)
        assert seen == [pinned] * 6


def test_a_gpu_without_bfloat16_trains_in_float32_and_says_so(tmp_path, caplog):
    with simulated_cuda(capability=(7, 5)):
        assert trainer_on(CUDA, tmp_path, TRAIN__AMP=True).step.amp_dtype is None
    assert [record.getMessage() for record in caplog.records] == [
        "Simulated has no bfloat16 arithmetic: float32 instead"
    ]


@pytest.mark.parametrize("kernels", [True, False])
def test_a_processor_without_bfloat16_trains_in_float32_and_says_so(tmp_path, caplog, monkeypatch, kernels):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: kernels)
    monkeypatch.setattr(precision, "cpu_has", lambda *names: kernels)
    assert trainer_on(CPU, tmp_path, TRAIN__AMP=True).step.amp_dtype == (torch.bfloat16 if kernels else None)
    said = [] if kernels else ["this processor has no bfloat16 arithmetic: float32 instead"]
    assert [record.getMessage() for record in caplog.records] == said


def test_memory_that_does_not_hold_a_batch_is_one_line(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    with simulated_cuda():
        trainer = make_trainer(tiny_config(), tmp_path)
        trainer.step.device = CUDA

        def fill(batch, **options):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total ...")

        trainer.step.train = fill
        with pytest.raises(SeqTrackError, match=r"with 4 samples .* 2\.50 GiB more .* 80\.0 GiB .*TRAIN\.BATCH_SIZE"):
            trainer.train()
