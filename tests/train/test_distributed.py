"""Several processes are one run: same weights, same samples, one end."""

import logging
import math
import multiprocessing
import os
import re
import signal
import time

import pytest
import torch

from lib.train import distributed
from lib.train.data.loader import batches_per_step
from lib.train.distributed import check_processes_per_node, check_ranks_agree, choose_device, digest
from lib.train.trainers.checkpoints import find_resume_point
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, DataError, InputError
from lib.utils.launch import Launch
from tests.train import ranks
from tests.train.ranks import FORK, run_ranks
from tests.train.world import Squares, make_loader, make_trainer, tiny_config

# Without dropout the only difference is rounding. Gradients that are zero but for rounding (of key biases) move by the
# learning rate all the same under Adam, so it is small.
STILL = {"MODEL__DECODER__DROPOUT": 0.0, "TRAIN__LR": 5e-5, "TRAIN__EPOCH": 2, "DATA__TRAIN__SAMPLE_PER_EPOCH": 24}


def train_fully(folder, seed=0, **changes):
    trainer = make_trainer(tiny_config(**changes), folder, seed=seed)
    assert trainer.train() == 0
    return trainer


def assert_close(first, second, tolerance):
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], atol=tolerance, rtol=0, msg=lambda text, n=name: f"{n}: {text}")


@pytest.mark.parametrize("changes", [{}, {"MODEL__HIDDEN_DIM": 16, "TRAIN__GLOBAL_BATCH": 8}])
def test_two_ranks_are_one_process_with_twice_the_batch(tmp_path, changes):
    """With and without an applied bottleneck; the second case also accumulates two batches of each rank."""
    changes = STILL | changes
    whole = train_fully(tmp_path / "whole", TRAIN__BATCH_SIZE=8, **changes)
    small = 2 if "TRAIN__GLOBAL_BATCH" in changes else 4

    def rank_trains(rank):
        # Another seed on each rank: the weights of rank 0 are taken over.
        return train_fully(tmp_path / "ranks", seed=rank, TRAIN__BATCH_SIZE=small, **changes).network.state_dict()

    first, second = run_ranks(rank_trains, tmp_path / "results")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert_close(first, whole.network.state_dict(), 1e-6)
    saved = load_checkpoint(tmp_path / "ranks" / "SEQTRACK_ep0002.pth.tar")
    assert len(saved["rngs"]) == 2 and saved["samples_per_step"] == 8
    assert all(torch.equal(value, first[name]) for name, value in saved["net"].items())
    for name, value in whole.stats["train"].items():
        assert saved["stats"]["train"][name] == pytest.approx(value, rel=1e-4), name


def test_published_batch_on_one_gpu(tmp_path):
    """A step of 8 x 2 samples, taken at once and in eight parts."""
    changes = STILL | {"DATA__TRAIN__SAMPLE_PER_EPOCH": 48, "TRAIN__EPOCH": 1}
    whole = train_fully(tmp_path / "whole", TRAIN__BATCH_SIZE=16, **changes)
    parts = train_fully(tmp_path / "parts", TRAIN__BATCH_SIZE=2, TRAIN__GLOBAL_BATCH=16, **changes)
    assert parts.global_step == whole.global_step == 3
    assert_close(parts.network.state_dict(), whole.network.state_dict(), 1e-6)
    for name, value in whole.stats["train"].items():
        assert parts.stats["train"][name] == pytest.approx(value, rel=1e-4), name


EVERY_LOSS = {
    "MODEL__DECODER__DROPOUT": 0.0,
    "TRAIN__GUIDE_WEIGHT": 1.0,
    "TRAIN__LABEL_SIGMA": 2.0,
    "TRAIN__CE_WEIGHT": 0.7,
    "TRAIN__GLOBAL_BATCH": 4,
    "TRAIN__EPOCH": 1,
    "TRAIN__GRAD_CLIP_NORM": 0.0,
    "DATA__TRAIN__SAMPLE_PER_EPOCH": 4,
    "DATA__SEARCH__FACTOR": 1.2,  # targets that fill their crops wholly or in part: other numbers of tokens on each
    "DATA__SEARCH__SCALE_JITTER": 0.6,
}


def gradients_of_a_step(folder, batch_size, **changes):
    trainer = train_fully(folder, **EVERY_LOSS | {"TRAIN__BATCH_SIZE": batch_size} | changes)
    gradients = {name: value.grad for name, value in trainer.network.named_parameters() if value.grad is not None}
    return gradients | {"loss": torch.tensor(trainer.stats["train"]["Loss/total"])}


@pytest.mark.parametrize("sigma", [0.0, 2.0], ids=["published", "soft"])
def test_every_split_of_a_batch_gives_the_same_gradients(tmp_path, sigma):
    """One process with all four samples, accumulation 2 + 2 and 1 x 4, and two ranks, with every loss switched on."""
    changes = {"TRAIN__LABEL_SIGMA": sigma}
    whole = gradients_of_a_step(tmp_path / "whole", 4, **changes)
    split = [gradients_of_a_step(tmp_path / str(size), size, **changes) for size in (2, 1)]
    split += run_ranks(lambda rank: gradients_of_a_step(tmp_path / "ranks", 2, **changes), tmp_path / "results")
    assert len(whole) > 40
    for other in split:
        for name, value in whole.items():
            assert torch.allclose(other[name], value, rtol=1e-4, atol=2e-6), name


def test_a_signal_to_one_rank_ends_all_and_nothing_is_lost(tmp_path):
    """Dropout is on: each rank goes on with random numbers of its own."""

    def rank_trains(rank, folder=tmp_path / "whole", stop_at=0):
        trainer = make_trainer(tiny_config(), folder)
        path = find_resume_point(trainer.store, "auto")
        torch.manual_seed(rank if path is None else 99)
        if path is not None:
            trainer.resume(path)
        if stop_at and rank == 1:
            taken = trainer.step.train
            count = iter(range(1, 99))

            def train(batch, **options):
                if next(count) == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)
                return taken(batch, **options)

            trainer.step.train = train
        return trainer.train(), trainer.network.state_dict()

    whole = run_ranks(rank_trains, tmp_path / "a")
    parts = tmp_path / "parts"
    stopped = run_ranks(lambda rank: rank_trains(rank, parts, stop_at=4), tmp_path / "b")
    assert [code for code, _ in stopped] == [143, 143]
    names = [path.name for path in sorted(parts.iterdir())]
    # Two steps in an epoch of 18 samples. The signal arrives during step 4, the last of epoch 2, after its request flag
    # was read, so step 5 is the one that is finished.
    assert names == ["SEQTRACK_ep0001.pth.tar", "SEQTRACK_ep0002.pth.tar", "SEQTRACK_ep0003_step000001.pth.tar"]
    resumed = run_ranks(lambda rank: rank_trains(rank, parts), tmp_path / "c")
    assert [code for code, _ in resumed] == [0, 0]
    for (_, expected), (_, weights) in zip(whole, resumed, strict=True):
        assert all(torch.equal(value, weights[name]) for name, value in expected.items())
    assert [path.name for path in sorted(parts.iterdir())] == [f"SEQTRACK_ep000{epoch}.pth.tar" for epoch in (1, 2, 3)]

    with pytest.raises(
        CheckpointError, match=r"made with 8 samples in a step.*now it would be 4: set TRAIN\.GLOBAL_BATCH"
    ):
        make_trainer(tiny_config(), parts).resume(parts / "SEQTRACK_ep0002.pth.tar")
    alone = make_trainer(tiny_config(TRAIN__GLOBAL_BATCH=8), parts)
    alone.resume(parts / "SEQTRACK_ep0002.pth.tar")
    assert alone.train() == 0


def test_the_samples_of_every_rank_are_named_when_a_loss_is_not_finite(tmp_path):
    def rank_trains(rank):
        messages, handler = [], logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logging.getLogger("lib.train").addHandler(handler)
        trainer = make_trainer(tiny_config(TRAIN__EPOCH=1), tmp_path / "out")
        forward, factors = trainer.step.actor.forward, iter([math.nan] if rank == 1 else [])

        def spoiled(batch):
            output = forward(batch)
            return output._replace(loss=output.loss * next(factors, 1.0))

        trainer.step.actor.forward = spoiled
        assert trainer.train() == 0
        return [message for message in messages if "not taken" in message]

    first, second = run_ranks(rank_trains, tmp_path / "results")
    assert len(first) == 1 and not second
    assert re.search(r"step 1: loss nan, .* of rank 0: 0 \(SQUARES/.*; of rank 1: 4 \(SQUARES/", first[0])


def test_the_error_of_one_rank_ends_all(tmp_path):
    def rank_trains(rank):
        loader = make_loader(tiny_config(), datasets=[Squares(broken_from=12 if rank == 1 else 999)])
        make_trainer(tiny_config(), tmp_path / "out", loader=loader).train()

    survivor, failed = run_ranks(rank_trains, tmp_path / "results")
    assert failed.startswith("DataError: sample ") and "damaged image; 3 others" in failed
    assert survivor == f"RankFailure: rank 1: {failed}"


def test_a_killed_rank_ends_all(tmp_path):
    def rank_trains(rank):
        trainer = make_trainer(tiny_config(), tmp_path / "out")
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        trainer.train()

    survivor, killed = run_ranks(rank_trains, tmp_path / "results")
    assert killed == "exit code -9"
    assert survivor.startswith("RankFailure: another process ended without a message")


def test_a_failure_does_not_cut_off_a_checkpoint_that_is_being_written(tmp_path, monkeypatch):
    # Far less than it takes to write, and enough for a busy machine to notice behind it.
    for name, seconds in (("LOOK_EVERY", 0.2), ("TIME_TO_NOTICE", 1.0), ("SPEAKER_HEAD_START", 0.2)):
        monkeypatch.setattr(distributed, name, seconds)

    def rank_trains(rank):
        trainer = make_trainer(tiny_config(TRAIN__SAVE_EVERY_STEPS=1), tmp_path / "out")
        save, trainer.store.save = trainer.store.save, lambda *state: (time.sleep(3), save(*state))
        take_step = trainer.step.train

        def fail(*batch, **options):
            if trainer.steps_done == 1 and rank == 1:
                raise DataError("a damaged image")
            return take_step(*batch, **options)

        trainer.step.train = fail
        trainer.train()

    survivor, failed = run_ranks(rank_trains, tmp_path / "results")
    assert failed == "DataError: a damaged image" and survivor == "RankFailure: rank 1: DataError: a damaged image"
    assert (tmp_path / "out" / "SEQTRACK_ep0001_step000001.pth.tar").is_file()


def test_behind_a_file_there_is_the_whole_time_to_notice_a_failure(monkeypatch):
    class Failed(distributed.FailureBoard):
        def __init__(self):
            self.launch = Launch(1, 2, 1, 2)

        def of_another(self):
            return "rank 0: DataError: a damaged image"

    ended, started = [], time.monotonic()
    monkeypatch.setattr(distributed.os, "_exit", lambda code: ended.append(time.monotonic()))
    for name in ("LOOK_EVERY", "TIME_TO_NOTICE"):
        monkeypatch.setattr(distributed, name, 0.5)
    with Failed().watching():
        with distributed.UNINTERRUPTED:
            time.sleep(1.4)  # it looks at 0.5, 1.0 and 1.5
        written = time.monotonic()
        while not ended and time.monotonic() < started + 20:
            time.sleep(0.05)
    assert ended and ended[0] - written >= 0.5


@pytest.mark.parametrize("failing", [0, 1])
def test_a_failure_reaches_a_rank_that_waits_for_ever(tmp_path, monkeypatch, failing):
    """As in a collective of NCCL, which neither an exception nor a signal handler ends."""
    for name in ("LOOK_EVERY", "TIME_TO_NOTICE", "SPEAKER_HEAD_START"):
        monkeypatch.setattr(distributed, name, 0.3)

    def rank_waits(rank):
        logging.getLogger("lib.train").addHandler(logging.FileHandler(tmp_path / f"{rank}.log"))
        if rank == failing:
            raise DataError("a damaged image")
        time.sleep(600)

    started = time.monotonic()
    results = run_ranks(rank_waits, tmp_path / "results", timeout=60)
    assert results[failing] == "DataError: a damaged image" and results[1 - failing] == "exit code 2"
    assert time.monotonic() - started < 30
    # One line on each machine.
    assert (tmp_path / "0.log").read_text() == ("" if failing == 0 else "rank 1: DataError: a damaged image\n")


def keep_store(connection):
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    connection.send(store.port)
    connection.recv()


def test_ranks_that_are_started_again_meet_each_other(tmp_path, monkeypatch):
    """The store of torchrun still has the addresses of the ranks before them."""
    here, there = multiprocessing.Pipe()
    # Not in this process: a rank forked while the thread of the store holds a lock waits for ever.
    launcher = FORK.Process(target=keep_store, args=(there,), daemon=True)
    launcher.start()
    port = here.recv()
    initialize = torch.distributed.init_process_group

    def initialize_late(*arguments, **options):
        time.sleep(1.0 if os.environ["RANK"] == "0" else 0.0)
        initialize(*arguments, **options)

    monkeypatch.setattr(ranks, "free_port", lambda: port)
    monkeypatch.setattr(torch.distributed, "init_process_group", initialize_late)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    killed = run_ranks(lambda rank: (time.sleep(1), os.kill(os.getpid(), signal.SIGKILL)), tmp_path / "first")
    assert killed == ["exit code -9"] * 2
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert run_ranks(lambda rank: rank, tmp_path / "second", timeout=30) == [0, 1]
    launcher.kill()


def test_devices_of_different_models_take_the_weights_of_rank_0(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.train.distributed.device_model", lambda device: f"GPU of {os.getpid()}")

    def rank_checks(rank):
        messages, handler = [], logging.Handler()
        handler.emit = lambda record: messages.append(record.getMessage())
        logging.getLogger("lib.train").addHandler(handler)
        network = make_trainer(tiny_config(), tmp_path).network
        with torch.no_grad():
            network.bottleneck.bias[3] += 1e-6 * rank
        check_ranks_agree(network)
        return network.state_dict(), messages

    (first, messages), (second, nothing) = run_ranks(rank_checks, tmp_path / "results")
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert len(messages) == 1 and messages[0].endswith("weights of rank 0 copied to rank 1") and not nothing


def test_ranks_that_drift_apart_are_found(tmp_path):
    def rank_checks(rank):
        network = make_trainer(tiny_config(), tmp_path).network
        check_ranks_agree(network)
        with torch.no_grad():
            network.bottleneck.bias[3] += 1e-6 * rank
        check_ranks_agree(network)

    first, second = run_ranks(rank_checks, tmp_path / "results")
    assert first == "SeqTrackError: the weights of rank 1 have drifted from those of rank 0"
    assert second == "SystemExit: 2"  # one of them says it


def test_digest_sees_every_value():
    layer = torch.nn.Linear(3, 3).double()
    before = digest(layer)
    assert digest(layer) == before
    with torch.no_grad():
        layer.bias[0] = torch.nextafter(layer.bias[0], torch.tensor(9.0, dtype=torch.float64))
    assert digest(layer) != before


def test_unapplied_bottleneck_is_not_trained(tmp_path):
    for width, applied in ((32, False), (16, True)):
        trainer = make_trainer(tiny_config(MODEL__HIDDEN_DIM=width), tmp_path)
        names = {id(value) for group in trainer.step.optimizer.param_groups for value in group["params"]}
        assert (id(trainer.network.bottleneck.weight) in names) is applied
        assert len(names) == sum(1 for _ in trainer.network.parameters()) - (0 if applied else 2)


def test_every_process_needs_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match="--nproc_per_node 4: this machine has 2 GPU"):
        check_processes_per_node("auto", 4)
    check_processes_per_node("cpu", 4)
    assert choose_device("auto", Launch(3, 4, 1, 2)) == torch.device("cuda", 1)
    with pytest.raises(InputError, match="4: this machine has 2"):
        choose_device("cuda", Launch(0, 4, 0, 4))
    # Started by srun or mpirun on two machines, which do not say how many processes a machine has.
    assert choose_device("auto", Launch(9, 16, 1, None)) == torch.device("cuda", 1)
    with pytest.raises(InputError, match=r"process 2 of this machine .* has no GPU of its own: there are 2"):
        choose_device("auto", Launch(10, 16, 2, None))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # srun --gpus-per-task=1
    assert choose_device("auto", Launch(11, 16, 3, None)) == torch.device("cuda", 0)
    with pytest.raises(InputError, match="--nproc_per_node 2: this machine has 1"):
        choose_device("auto", Launch(0, 2, 0, 2))
    with pytest.raises(InputError, match="--device cuda:0 cannot be shared by 2"):
        choose_device("cuda:0", Launch(0, 2, 0, 2))


def test_global_batch_has_to_divide():
    assert [batches_per_step(*numbers) for numbers in ((0, 8, 2), (16, 8, 2), (128, 16, 1))] == [1, 1, 8]
    with pytest.raises(ConfigError, match="GLOBAL_BATCH: 24 is not a multiple"):
        batches_per_step(24, 8, 2)
