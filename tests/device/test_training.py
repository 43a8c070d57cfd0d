"""Training on a simulated GPU: it starts, gives the CPU's weights, and waits once a step."""

import logging

import pytest
import torch

from lib.models.seqtrack import build_seqtrack
from lib.train.data.batch import upload_ahead
from lib.train.distributed import choose_device, process_group
from lib.train.train_script import build_trainer
from lib.train.trainers.checkpoints import CheckpointStore
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import DataError, SeqTrackError
from lib.utils.launch import Launch
from tests.device.simulated import CUDA, simulated_cuda
from tests.train.world import make_loader, make_trainer, tiny_config

STILL = {"MODEL__DECODER__DROPOUT": 0.0, "TRAIN__LR": 5e-5, "TRAIN__EPOCH": 1}
EXTRAS = {"TRAIN__GUIDE_WEIGHT": 1.0, "TRAIN__LABEL_SIGMA": 2.0, "DATA__SEQ_FORMAT": "whxy"}


def trainer_on(device, folder, **changes):
    torch.manual_seed(0)
    cfg = tiny_config(**STILL | changes)
    network, loader = build_seqtrack(cfg), make_loader(cfg)
    return build_trainer(cfg, network.to(device), loader, None, CheckpointStore(folder), "tiny", torch.device(device))


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_one_gpu_can_be_used(name):
    with simulated_cuda():
        device = choose_device(name, Launch())
        with process_group(Launch(), device):
            assert device == CUDA


@pytest.mark.parametrize("changes", [{}, EXTRAS, {"TRAIN__GLOBAL_BATCH": 8}], ids=["published", "extras", "accumulate"])
def test_weights_are_those_of_the_cpu_and_a_step_waits_once(tmp_path, changes):
    expected = trainer_on("cpu", tmp_path / "cpu", **changes)
    expected.train()
    with simulated_cuda() as device:
        trainer = trainer_on(CUDA, tmp_path / "gpu", **changes)
        waits = []
        take_step = trainer.step.train

        def counted(batch, **options):
            device.reset()
            report = take_step(batch, **options)
            waits.append(len(device.waits))
            assert len(device.waits) == (report is not None), device.waits
            return report

        trainer.step.train = counted
        assert trainer.train() == 0
        assert sum(waits) == len(trainer.train_loader)
    weights = load_checkpoint(tmp_path / "gpu" / "SEQTRACK_ep0001.pth.tar")["net"]
    for key, value in expected.network.state_dict().items():
        torch.testing.assert_close(weights[key], value, atol=1e-5, rtol=0)


def test_a_run_on_a_gpu_is_resumed_on_a_cpu(tmp_path):
    with simulated_cuda():
        trainer_on(CUDA, tmp_path).train()
    trainer = trainer_on("cpu", tmp_path, TRAIN__EPOCH=2)
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
