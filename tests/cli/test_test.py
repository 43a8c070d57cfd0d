"""tracking/test.py on a fabricated GOT-10k tree with a tracker that needs no network."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import tracking.test as script
from lib.test.evaluation.running import RunSummary
from lib.test.evaluation.shared import MemoryStore, Ranks
from lib.test.evaluation.trackers import TRACKERS, TrackerKind
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script
from tests.evaluation import fakes

FIRST, SECOND = "GOT-10k_Val_000001", "GOT-10k_Val_000002"
LENGTHS = {FIRST: 3, SECOND: 5}
SEQTRACK = {"tracker": "seqtrack", "config": "seqtrack_demo"}
WEIGHTS = ("--checkpoint", __file__)  # is not looked into


@pytest.fixture(autouse=True)
def fake_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "fake", TrackerKind(fakes.fake_parameters, fakes.build_fake))


@pytest.fixture
def got10k(tmp_path: Path) -> Path:
    return fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)


def run(
    tmp_path: Path, *arguments: str, dataset: str = "got10k_val", tracker: str = "fake", config: str = "cfg"
) -> int:
    flags = ["--data_dir", str(tmp_path / "data"), "--save_dir", str(tmp_path)]
    flags += ["--dataset", dataset] if dataset else []
    return run_script(lambda: script.main([tracker, config, *flags, *arguments]))


@pytest.mark.parametrize(("flag", "threads"), [("--dataset", "0"), ("--dataset_name", "2")])
def test_run_resume_and_overwrite(tmp_path: Path, got10k: Path, capsys, flag: str, threads: str) -> None:
    command = [flag, "got10k_val", "--threads", threads, "--num_gpus", "0"]
    assert run(tmp_path, *command, dataset="") == 0
    for name, frames in LENGTHS.items():
        for file in (f"{name}.txt", f"{name}_time.txt"):
            assert len((results(tmp_path) / file).read_text().splitlines()) == frames
    out = capsys.readouterr().out
    assert "2 sequences: 2 tracked, 0 there already, 0 failed" in out
    assert str(results(tmp_path)) in out
    assert run(tmp_path, *command) == 0
    assert "0 tracked, 2 there already" in capsys.readouterr().out
    assert run(tmp_path, *command, "--overwrite", "--sequence", SECOND) == 0
    assert "1 tracked, 0 there already" in capsys.readouterr().out


def test_a_failed_sequence_is_exit_1_and_in_the_log(tmp_path: Path, capsys) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS, brightness={FIRST: fakes.FAILING})
    assert run(tmp_path) == 1
    out, error = capsys.readouterr()
    assert f"FAILED {FIRST}: ValueError: the fake tracker was told to fail" in out
    assert error.count(f"sequence {FIRST} failed: ValueError: the fake tracker was told to fail\n") == 1
    log = (tmp_path / "logs" / "test-fake-cfg-got10k_val.log").read_text()
    assert "Traceback" not in error and "Traceback" in log and "told to fail" in log


def test_a_sequence_that_cannot_be_read_fails_alone_and_by_name(tmp_path: Path, got10k: Path, capsys) -> None:
    (got10k / "val" / SECOND / "groundtruth.txt").write_text("1,2,3\n" * 5)
    assert run(tmp_path, "--sequence", FIRST) == 0
    assert "1 sequences: 1 tracked, 0 there already, 0 failed" in capsys.readouterr().out
    assert run(tmp_path) == 1
    out, error = capsys.readouterr()
    assert "2 sequences: 0 tracked, 1 there already, 1 failed" in out
    assert f"FAILED {SECOND}: " in out and "groundtruth.txt: line 1: expected 4 numbers, got '1,2,3'" in out
    assert "Traceback" not in error
    assert run(tmp_path, "--sequence", "1") == 2


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"tracker": "seqtrak"}, (), "unknown tracker 'seqtrak'; known: fake, seqtrack"),
        ({"tracker": "seqtrack", "config": "nope"}, (), "seqtrack_b256"),
        (
            {"dataset": "lasso"},
            (),
            "unknown dataset 'lasso'; known: avist, didi, dtb70, got10k_ltrval",
        ),
        ({}, (), "no such data folder"),
        ({}, ("--threads", "-1"), "--threads must be from 0"),
        ({}, ("--threads", "1000000000"), "--threads must be from 0 to 1024"),
        ({}, ("--batch_size", "9" * 4000), "--batch_size must be from 1 to 4096"),
        ({}, ("--batch_size", "0"), "--batch_size must be from 1"),
        ({}, ("--num_gpus", "-1"), "--num_gpus must be from 0"),
        ({}, ("--num_gpus", "0", "--device", "cuda"), "means the CPU, but --device is cuda"),
        (SEQTRACK, ("--checkpoint", "nope.pth"), "nope.pth"),
        (SEQTRACK, ("--checkpoint", "."), "."),
        (SEQTRACK, (*WEIGHTS, "--dtype", "fp16"), "unknown dtype 'fp16'; known: float32"),
        (SEQTRACK, (*WEIGHTS, "--device", "gpu"), "unknown device 'gpu'"),
        (SEQTRACK, (*WEIGHTS, "--device", "cuda:99"), "cuda:99"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tmp_path: Path, refused, changes: dict, arguments, message: str) -> None:
    assert message in refused(run, tmp_path, *arguments, **changes)
    assert list(tmp_path.iterdir()) == []  # nothing is half-written


def test_mistakes_in_the_data_and_the_checkpoint(tmp_path: Path, got10k: Path, refused) -> None:
    assert "no sequence 'dog'" in refused(run, tmp_path, "--sequence", "dog")
    missing = {"tracker": "seqtrack", "config": "seqtrack_b256"}
    assert "no checkpoint for seqtrack_b256" in refused(run, tmp_path, **missing)
    (tmp_path / "own.yaml").write_text("root: data/got10k/val\nsequences: []\n")
    assert "sequences" in refused(run, tmp_path, dataset=str(tmp_path / "own.yaml"))
    listing = got10k / "val" / "list.txt"
    listing.write_text(listing.read_text() + "\n../../../evil\n")
    assert "list.txt: line 4: '../../../evil' cannot name a sequence" in refused(run, tmp_path)
    assert not (tmp_path / "test").exists()


def test_a_checkpoint_of_another_network_is_refused_before_the_data_is_read(tmp_path: Path, refused) -> None:
    save_checkpoint({"net": {"weight": torch.zeros(2)}}, tmp_path / "other.pth.tar")
    error = refused(run, tmp_path, "--checkpoint", str(tmp_path / "other.pth.tar"), **SEQTRACK)  # there is no data
    assert "other.pth.tar: made for another network" in error


def results(tmp_path: Path, dataset: str = "got10k") -> Path:
    return tmp_path / "test" / "tracking_results" / "fake" / "cfg" / dataset


def test_splits_of_a_benchmark_share_a_folder_and_no_manifest(tmp_path: Path, refused) -> None:
    """The settings of val and test differ, since update rules are those of a benchmark."""
    fakes.write_got10k(tmp_path / "data" / "got10k", {FIRST: 2})
    fakes.write_got10k(tmp_path / "data" / "got10k", {"GOT-10k_Test_000001": 2}, split="test")
    for _ in range(2):
        for dataset in ("got10k_val", "got10k_test"):
            assert run(tmp_path, dataset=dataset) == 0
    assert {path.name for path in results(tmp_path).glob("*.json")} == {"manifest-val.json", "manifest-test.json"}
    assert len(list(results(tmp_path).glob("*.txt"))) == 4
    # Other settings of one split are refused there, and the advice of each message works.
    other = ("--dtype", "bfloat16")
    assert "use --overwrite to replace them, or another --save_dir" in refused(run, tmp_path, *other)
    assert run(tmp_path, *other, "--overwrite") == 0
    assert run(tmp_path, "--save_dir", str(tmp_path / "other")) == 0
    assert '"dtype": "bfloat16"' in (results(tmp_path) / "manifest-val.json").read_text()
    assert '"dtype": "float32"' in (results(tmp_path) / "manifest-test.json").read_text()


def test_overwriting_a_part_is_refused_and_its_advice_works(tmp_path: Path, got10k: Path, refused) -> None:
    assert run(tmp_path) == 0
    command = ["--dtype", "bfloat16", "--overwrite"]
    error = refused(run, tmp_path, *command, "--sequence", "0")
    assert f"1 results there (such as {SECOND}) were made with" in error
    assert "use --overwrite without --sequence" in error
    assert run(tmp_path, *command) == 0


def test_the_checkpoint_is_named_with_its_hash_at_the_end(tmp_path: Path, got10k: Path, capsys, monkeypatch) -> None:
    weights = tmp_path / "weights.pth.tar"
    weights.write_bytes(b"weights")
    calls = []

    def parameters(config: str, dataset: str, **overrides: object) -> SimpleNamespace:
        calls.append(overrides.get("checkpoint"))
        return SimpleNamespace(checkpoint=weights, **{key: overrides[key] for key in ("device", "dtype")})

    monkeypatch.setitem(TRACKERS, "fake", TrackerKind(parameters, fakes.build_fake))
    assert run(tmp_path) == 0
    digest = hashlib.sha256(b"weights").hexdigest()
    assert f"checkpoint: {weights} (SHA-256 {digest[:12]})\n" in capsys.readouterr().out
    assert f'"sha256": "{digest}"' in (results(tmp_path) / "manifest-val.json").read_text()
    assert calls == [None, weights]  # found once; whoever makes the tracker is told


def test_devices_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 2)
    assert script.worker_devices("auto", 3, None) == ["cuda:0", "cuda:1", "cuda:0"]
    assert script.worker_devices("cuda", 2, 1) == ["cuda:0", "cuda:0"]
    assert script.worker_devices("auto", 0, None) == ["auto"]
    assert script.worker_devices("cpu", 2, None) == ["cpu", "cpu"]
    assert script.worker_devices("auto", 2, 0) == ["cpu", "cpu"]
    second = Ranks(MemoryStore(), rank=3, world_size=4, local_rank=1, local_world_size=2)  # of the second machine
    assert script.worker_devices("auto", 1, None, second) == ["cuda:1"]
    assert script.worker_devices("auto", 2, None, second) == ["cuda:0", "cuda:1"]
    task = Ranks(MemoryStore(), rank=11, world_size=16, local_rank=3)  # of srun, which may show it one GPU or all
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 8)
    assert script.worker_devices("auto", 0, None, task) == ["cuda:3"]
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 1)
    assert script.worker_devices("cuda", 0, None, task) == ["cuda:0"]


def test_only_workers_initialize_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only looks after workers would take memory of a GPU, and with it one that is exclusive."""
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA is initialized here"))

    def run_elsewhere(*_: object, on_ready: Callable[[str], None], devices: list[str], **__: object) -> RunSummary:
        on_ready(f"{devices[0]} (a GPU that a worker describes)")
        return RunSummary()

    monkeypatch.setattr(script, "run_benchmark", run_elsewhere)
    assert run(tmp_path, "--dataset", "got10k_val", "--threads", "2") == 0
    assert '"device": "cuda:0 (a GPU that a worker describes)"' in (results(tmp_path) / "manifest-val.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num_gpus", "2"], "--num_gpus 2: this machine has no CUDA device; use --num_gpus 0 for the CPU"),
        (["--device", "cuda", *WEIGHTS], "device 'cuda'"),
        (["--device", "cuda:3", "--threads", "2", *WEIGHTS], "device 'cuda:3'"),
    ],
)
def test_a_gpu_that_is_absent_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert run(tmp_path, "--dataset", "got10k_val", *arguments, **SEQTRACK) == 2
    assert message in (error := capsys.readouterr().err)
    assert len(error.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
