"""tracking/test.py on a fabricated GOT-10k tree with a tracker that needs no network."""

import hashlib
import subprocess
import sys
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

LENGTHS = {"GOT-10k_Val_000001": 3, "GOT-10k_Val_000002": 5}


@pytest.fixture(autouse=True)
def fake_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRACKERS, "fake", TrackerKind(fakes.fake_parameters, fakes.build_fake))


SEQTRACK = {"tracker": "seqtrack", "config": "seqtrack_demo"}
WEIGHTS = ["--checkpoint", str(Path(__file__))]  # is not looked into


def run(tmp_path: Path, *arguments: str, tracker: str = "fake", config: str = "cfg") -> int:
    places = ["--data_dir", str(tmp_path / "data"), "--save_dir", str(tmp_path)]
    return run_script(lambda: script.main([tracker, config, *arguments, *places]))


@pytest.mark.parametrize(("flag", "threads"), [("--dataset", "0"), ("--dataset_name", "2")])
def test_run_resume_and_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str], flag: str, threads: str) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    command = [flag, "got10k_val", "--threads", threads, "--num_gpus", "0"]
    assert run(tmp_path, *command) == 0
    folder = tmp_path / "test" / "tracking_results" / "fake" / "cfg" / "got10k"
    for name, frames in LENGTHS.items():
        assert len((folder / f"{name}.txt").read_text().splitlines()) == frames
        assert len((folder / f"{name}_time.txt").read_text().splitlines()) == frames
    out = capsys.readouterr().out
    assert "2 sequences: 2 tracked, 0 there already, 0 failed" in out
    assert str(folder) in out
    assert run(tmp_path, *command) == 0
    assert "0 tracked, 2 there already" in capsys.readouterr().out
    assert run(tmp_path, *command, "--overwrite", "--sequence", "GOT-10k_Val_000002") == 0
    assert "1 tracked, 0 there already" in capsys.readouterr().out


def test_a_failed_sequence_is_exit_1_and_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    brightness = {"GOT-10k_Val_000001": fakes.FAILING}
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS, brightness=brightness)
    assert run(tmp_path, "--dataset", "got10k_val") == 1
    captured = capsys.readouterr()
    assert "FAILED GOT-10k_Val_000001: ValueError: the fake tracker was told to fail" in captured.out
    assert "Traceback" not in captured.err
    assert (
        captured.err.count("sequence GOT-10k_Val_000001 failed: ValueError: the fake tracker was told to fail\n") == 1
    )
    log = (tmp_path / "logs" / "test-fake-cfg-got10k_val.log").read_text()
    assert "Traceback" in log
    assert "told to fail" in log


def test_a_sequence_that_cannot_be_read_fails_alone_and_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    (tmp_path / "data/got10k/val/GOT-10k_Val_000002/groundtruth.txt").write_text("1,2,3\n" * 5)
    assert run(tmp_path, "--dataset", "got10k_val", "--sequence", "GOT-10k_Val_000001") == 0
    assert "1 sequences: 1 tracked, 0 there already, 0 failed" in capsys.readouterr().out
    assert run(tmp_path, "--dataset", "got10k_val") == 1
    captured = capsys.readouterr()
    assert "2 sequences: 0 tracked, 1 there already, 1 failed" in captured.out
    assert "FAILED GOT-10k_Val_000002: " in captured.out
    assert "groundtruth.txt: line 1: expected 4 numbers, got '1,2,3'" in captured.out
    assert "Traceback" not in captured.err
    assert run(tmp_path, "--dataset", "got10k_val", "--sequence", "1") == 2


def test_a_list_cannot_lead_out_of_the_result_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    listing = tmp_path / "data/got10k/val/list.txt"
    listing.write_text(listing.read_text() + "\n../../../evil\n")
    assert run(tmp_path, "--dataset", "got10k_val") == 2
    assert "list.txt: line 4: '../../../evil' cannot name a sequence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({"tracker": "seqtrak"}, ["--dataset", "got10k_val"], "unknown tracker 'seqtrak'; known: fake, seqtrack"),
        ({"tracker": "seqtrack", "config": "nope"}, ["--dataset", "got10k_val"], "seqtrack_b256"),
        ({}, ["--dataset", "lasso"], "unknown dataset 'lasso'; known: got10k_ltrval, got10k_test, got10k_val"),
        ({}, ["--dataset", "got10k_val"], "no such data folder"),
        ({}, ["--dataset", "got10k_val", "--threads", "-1"], "--threads must be from 0"),
        ({}, ["--dataset", "got10k_val", "--threads", "1000000000"], "--threads must be from 0 to 1024"),
        ({}, ["--dataset", "got10k_val", "--batch_size", "9" * 4000], "--batch_size must be from 1 to 4096"),
        ({}, ["--dataset", "got10k_val", "--batch_size", "0"], "--batch_size must be from 1"),
        ({}, ["--dataset", "got10k_val", "--num_gpus", "-1"], "--num_gpus must be from 0"),
        ({}, ["--dataset", "got10k_val", "--num_gpus", "0", "--device", "cuda"], "means the CPU, but --device is cuda"),
        (SEQTRACK, ["--dataset", "got10k_val", "--checkpoint", "nope.pth"], "nope.pth"),
        (SEQTRACK, ["--dataset", "got10k_val", "--checkpoint", "."], "."),
        (SEQTRACK, ["--dataset", "got10k_val", *WEIGHTS, "--dtype", "fp16"], "unknown dtype 'fp16'; known: float32"),
        (SEQTRACK, ["--dataset", "got10k_val", *WEIGHTS, "--device", "gpu"], "unknown device 'gpu'"),
        (SEQTRACK, ["--dataset", "got10k_val", *WEIGHTS, "--device", "cuda:99"], "cuda:99"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict, arguments: list[str], message: str
) -> None:
    assert run(tmp_path, *arguments, **changes) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == []  # nothing is half-written


def results(tmp_path: Path, dataset: str = "got10k") -> Path:
    return tmp_path / "test" / "tracking_results" / "fake" / "cfg" / dataset


def test_splits_of_a_benchmark_share_a_folder_and_no_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The settings of val and test differ, since update rules are those of a benchmark."""
    fakes.write_got10k(tmp_path / "data" / "got10k", {"GOT-10k_Val_000001": 2})
    fakes.write_got10k(tmp_path / "data" / "got10k", {"GOT-10k_Test_000001": 2}, split="test")
    for _ in range(2):
        for dataset in ("got10k_val", "got10k_test"):
            assert run(tmp_path, "--dataset", dataset) == 0
    assert {path.name for path in results(tmp_path).glob("*.json")} == {"manifest-val.json", "manifest-test.json"}
    assert len(list(results(tmp_path).glob("*.txt"))) == 4
    # Other settings of one split are refused there, and the advice of each message works.
    capsys.readouterr()
    assert run(tmp_path, "--dataset", "got10k_val", "--dtype", "bfloat16") == 2
    assert "use --overwrite to replace them, or another --save_dir" in capsys.readouterr().err
    assert run(tmp_path, "--dataset", "got10k_val", "--dtype", "bfloat16", "--overwrite") == 0
    command = ["fake", "cfg", "--dataset", "got10k_val", "--data_dir", str(tmp_path / "data")]
    assert script.main([*command, "--save_dir", str(tmp_path / "other")]) == 0
    assert '"dtype": "bfloat16"' in (results(tmp_path) / "manifest-val.json").read_text()
    assert '"dtype": "float32"' in (results(tmp_path) / "manifest-test.json").read_text()


def test_overwriting_a_part_is_refused_and_its_advice_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    assert run(tmp_path, "--dataset", "got10k_val") == 0
    command = ["--dataset", "got10k_val", "--dtype", "bfloat16", "--overwrite"]
    capsys.readouterr()
    assert run(tmp_path, *command, "--sequence", "0") == 2
    assert "1 results there (such as GOT-10k_Val_000002) were made with" in (error := capsys.readouterr().err)
    assert "use --overwrite without --sequence" in error
    assert run(tmp_path, *command) == 0


def test_one_damaged_sequence_fails_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    (tmp_path / "data" / "got10k" / "val" / "GOT-10k_Val_000001" / "groundtruth.txt").write_text("1,2\n")
    assert run(tmp_path, "--dataset", "got10k_val") == 1
    captured = capsys.readouterr()
    assert "2 sequences: 1 tracked, 0 there already, 1 failed" in captured.out
    assert "FAILED GOT-10k_Val_000001: " in captured.out
    assert "Traceback" not in captured.err
    assert run(tmp_path, "--dataset", "got10k_val", "--sequence", "GOT-10k_Val_000002") == 0


def test_nothing_is_written_outside_the_result_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    (tmp_path / "data" / "got10k" / "val" / "list.txt").write_text("../../../evil\n")
    assert run(tmp_path, "--dataset", "got10k_val") == 2
    assert "evil' cannot name" in capsys.readouterr().err
    assert not (tmp_path / "test").exists()


def test_a_benchmark_without_sequences_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "own", LENGTHS)
    (tmp_path / "own.yaml").write_text("root: data/own/val\nsequences: []\n")
    assert run(tmp_path, "--dataset", str(tmp_path / "own.yaml")) == 2
    assert "sequences" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_the_checkpoint_is_named_with_its_hash_at_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pth.tar"
    weights.write_bytes(b"weights")
    calls = []

    def parameters(config: str, dataset: str, **overrides: object) -> SimpleNamespace:
        calls.append(overrides.get("checkpoint"))
        return SimpleNamespace(checkpoint=weights, **{key: overrides[key] for key in ("device", "dtype")})

    monkeypatch.setitem(TRACKERS, "fake", TrackerKind(parameters, fakes.build_fake))
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    assert run(tmp_path, "--dataset", "got10k_val") == 0
    digest = hashlib.sha256(b"weights").hexdigest()
    assert f"checkpoint: {weights} (SHA-256 {digest[:12]})\n" in capsys.readouterr().out
    assert f'"sha256": "{digest}"' in (results(tmp_path) / "manifest-val.json").read_text()
    assert calls == [None, weights]  # found once; whoever makes the tracker is told


def test_a_checkpoint_of_another_network_is_refused_before_the_data_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint({"net": {"weight": torch.zeros(2)}}, tmp_path / "other.pth.tar")
    command = ["--dataset", "got10k_val", "--checkpoint", str(tmp_path / "other.pth.tar")]
    assert run(tmp_path, *command, **SEQTRACK) == 2  # there is no data either
    assert "other.pth.tar: made for another network" in (error := capsys.readouterr().err)
    assert len(error.splitlines()) == 1


def test_missing_sequence_and_missing_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    assert run(tmp_path, "--dataset", "got10k_val", "--sequence", "dog") == 2
    assert "no sequence 'dog'" in capsys.readouterr().err
    assert run(tmp_path, "--dataset", "got10k_val", tracker="seqtrack", config="seqtrack_b256") == 2
    assert "no checkpoint for seqtrack_b256" in capsys.readouterr().err
    assert not (tmp_path / "test").exists()


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


def test_help_as_a_script() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "tracking/test.py", "--help"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "got10k_val" in done.stdout


def test_only_workers_initialize_cuda(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only looks after workers would take memory of a GPU, and with it one that is exclusive."""
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
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
