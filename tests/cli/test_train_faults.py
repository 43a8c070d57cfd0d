"""Trainings that fail, are killed, or meet another in their folder: they end, say one line, and spoil nothing."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from lib.config.paths import PROJECT_ROOT
from lib.train import run_training, train_script
from lib.utils.errors import CheckpointError, ConfigError, DataError, InputError, SeqTrackError
from lib.utils.files import FolderInUseError
from tests.cli.test_train import TRACKING, command
from tests.processes import another_owner, descendants, gone, wait_for
from tests.train.ranks import FORK
from tests.train.world import make_loader, tiny_config
from tracking import make_synthetic
from tracking import train as tracking_train

TINY_RUN = {"TRAIN__EPOCH": 1, "DATA__VAL__DATASETS_NAME": [], "DATA__VAL__DATASETS_RATIO": []}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Train in this process, below ``tmp_path``."""
    monkeypatch.setattr(run_training, "setup_logging", lambda *_: None)
    monkeypatch.setattr(train_script, "share_cores", lambda *_: None)
    torch.set_num_threads(1)

    def main(*arguments):
        return run_training.main([*map(str, arguments), "--save_dir", str(tmp_path), "--device", "cpu"])

    return main


def checkpoints(folder, name="tiny"):
    return folder / "checkpoints" / "train" / "seqtrack" / name


def in_a_process(function):
    """Exit code of a process that runs ``function`` and goes through the interpreter's own end."""
    child = FORK.Process(target=function)
    child.start()
    child.join(30)
    alive = child.is_alive()
    child.kill()
    return "did not end" if alive else child.exitcode


@pytest.mark.parametrize("error", [ValueError, DataError, KeyboardInterrupt])
def test_an_error_ends_a_process_that_has_workers(error):
    """The error keeps the iterator alive, and workers take no SIGTERM."""

    def fail():
        for _ in make_loader(tiny_config(), num_workers=2).epoch(1):
            raise error("a bug, or a mistake")

    assert in_a_process(fail) == 1


def test_a_killed_worker_waits_for_the_next_batch():
    """Its death is not raised in the middle of something else, such as the writing of a checkpoint."""
    cfg = tiny_config(DATA__TRAIN__SAMPLE_PER_EPOCH=64)
    others = set(multiprocessing.active_children())
    batches = make_loader(cfg, num_workers=1).epoch(1)
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - others
    os.kill(worker.pid, signal.SIGKILL)
    time.sleep(0.3)  # work that nothing interrupts
    with pytest.raises(DataError, match=r"loading of epoch 1 broke off: DataLoader worker .*Killed.* take fewer"):
        list(batches)
    assert len(list(make_loader(cfg, num_workers=1).epoch(1))) == 16  # and the next loader knows nothing of it


def test_memory_that_cannot_be_shared_is_one_line(monkeypatch):
    def full(self):
        raise RuntimeError("unable to allocate shared memory(shm): No space left on device (28)\nmore")

    monkeypatch.setattr("lib.train.data.batch.TrainingBatch.share_memory", full)
    loader = make_loader(tiny_config(), num_workers=1)
    with pytest.raises(DataError, match=r"cannot share a batch: unable .* device \(28\) \(a larger /dev/shm"):
        list(loader.epoch(1))
    loader.close()


def test_few_open_files_are_refused_before_workers_start(monkeypatch):
    limits = [(256, 4096)]
    monkeypatch.setattr("resource.getrlimit", lambda kind: limits[-1])
    monkeypatch.setattr("resource.setrlimit", lambda kind, values: limits.append(values))
    make_loader(tiny_config(), num_workers=4)
    assert limits[-1] == (128 + 4 * 64, 4096)
    with pytest.raises(ConfigError, match=r"100 workers may need 6528 open files, the limit is 4096"):
        make_loader(tiny_config(), num_workers=100)


def test_workers_that_cannot_be_started_are_one_line():
    """The second of two: the first does not keep the process from ending."""

    def fail():
        fork, count = os.fork, iter(range(9))
        os.fork = lambda: fork() if next(count) == 0 else (_ for _ in ()).throw(BlockingIOError(11, "no more"))
        try:
            list(make_loader(tiny_config(), num_workers=2).epoch(1))
        except ConfigError as error:
            assert "TRAIN.NUM_WORKER: 2 loader workers cannot be started: [Errno 11] no more" in str(error)
            sys.exit(7)

    assert in_a_process(fail) == 7


def test_a_second_training_in_the_folder_is_refused(experiment, tmp_path, run):
    folder, path = checkpoints(tmp_path), experiment(**TINY_RUN)
    with another_owner(folder, "training") as first:
        message = rf"tiny: training is going on there already, by process {first.pid} "
        with pytest.raises(FolderInUseError, match=message):
            run("--config", path)
    assert [file.name for file in folder.iterdir()] == [".training.lock"] and not (tmp_path / "logs").exists()
    assert run("--config", path) == 0
    assert [file.name for file in folder.iterdir()] == ["SEQTRACK_ep0001.pth.tar"]


def test_never_moves_nothing_until_the_new_run_works(experiment, tmp_path, run, monkeypatch):
    folder = checkpoints(tmp_path)
    assert run("--config", experiment(**TINY_RUN)) == 0
    names = [path.name for path in folder.iterdir()]
    events = set((tmp_path / "tensorboard").rglob("events.*"))
    with monkeypatch.context() as patch:
        patch.setattr("lib.train.data.sampler.MIN_SEQUENCE_LENGTH", 10**6)
        with pytest.raises(DataError):
            run("--config", experiment(**TINY_RUN), "--resume", "never")
    assert [path.name for path in folder.iterdir()] == names
    assert set((tmp_path / "tensorboard").rglob("events.*")) == events
    assert run("--config", experiment(**TINY_RUN), "--resume", "never", "--seed", 7) == 0
    assert [path.name for path in (folder / "earlier_01").iterdir()] == names
    assert torch.load(folder / names[0], weights_only=False)["config"]["TRAIN"]["SEED"] == 7


def test_leftovers_of_a_killed_run_are_removed(experiment, tmp_path, run):
    left = [checkpoints(tmp_path) / ".SEQTRACK_ep0001.pth.x.tar", tmp_path / "logs" / ".seqtrack-tiny-2024.x.json"]
    other = tmp_path / "logs" / ".seqtrack-other-2024.x.json"
    for path in (*left, other):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    run("--config", experiment(**TINY_RUN))
    assert not any(path.exists() for path in left) and other.exists()


def test_a_named_run_has_paths_and_options_of_its_own(experiment, tmp_path, run):
    from lib.config.paths import find_checkpoint
    from lib.config.seqtrack.config import experiment_name, load_config

    path = experiment(**TINY_RUN)
    assert run("--config", path, "--name", "half_rate", "--override", "TRAIN.LR=1e-3", "TEST.EPOCH=1") == 0
    folder = checkpoints(tmp_path, "half_rate")
    snapshot = folder / "half_rate.yaml"
    assert load_config(snapshot) == load_config(path, {"TRAIN.LR": 1e-3, "TEST.EPOCH": 1})
    assert find_checkpoint(tmp_path, experiment_name(snapshot), 1) == folder / "SEQTRACK_ep0001.pth.tar"
    assert (tmp_path / "logs" / "seqtrack-half_rate.log").is_file() and not checkpoints(tmp_path).exists()
    with pytest.raises(InputError, match=r"--name '\.\./x': expected letters"):
        run("--config", path, "--name", "../x")
    with pytest.raises(InputError, match="--name seqtrack_b256: an experiment of its own"):
        run("--config", path, "--name", "seqtrack_b256")


@pytest.mark.parametrize("kind", ["below", "loop", "nowhere", "device", "long", "proc"])
@pytest.mark.parametrize("main", [run_training.main, tracking_train.main])
def test_a_save_dir_that_cannot_be_written_is_refused_first(unwritable, monkeypatch, kind, main):
    monkeypatch.setattr(train_script, "build_loader", None)
    with pytest.raises(SeqTrackError) as caught:
        main(["--config", "seqtrack_demo", "--save_dir", str(unwritable(kind)), "--device", "cpu"])
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("flags", "environment", "error", "message"),
    [
        ((), {"WORLD_SIZE": "4"}, InputError, "WORLD_SIZE is 4 but RANK, MASTER_ADDR, MASTER_PORT not set"),
        (("--resume", "nowhere.pth"), {}, CheckpointError, "--resume nowhere.pth: no such checkpoint"),
        (("--resume", "never"), {"TORCHELASTIC_MAX_RESTARTS": "3"}, InputError, "after a restart .* use auto"),
    ],
)
def test_refused_before_anything_is_built(run, monkeypatch, tmp_path, flags, environment, error, message):
    monkeypatch.setattr(train_script, "build_loader", None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(error, match=message):
        run("--config", "seqtrack_demo", *flags)
    assert not list(tmp_path.iterdir())


def test_the_launcher_imports_nothing_of_the_current_folder(tmp_path):
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    args = tracking_train.parse_args(["--config", "seqtrack_demo", "--mode", "multiple"])
    start = tracking_train.launcher_command(args)[:2]
    done = subprocess.run([*start, "--help"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "--nproc" in done.stdout, done.stderr


@pytest.mark.endurance
def test_nothing_goes_on_when_the_launching_script_is_killed(experiment, tmp_path):
    """Script, torchrun, two ranks and their loader workers; the ranks save on the way out."""
    path = experiment(**TINY_RUN | {"TRAIN__EPOCH": 100_000, "TRAIN__NUM_WORKER": 1})
    flags = ["--config", path, "--save_dir", tmp_path, "--mode", "multiple", "--nproc_per_node", 2]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(TRACKING, *flags), stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: list(checkpoints(tmp_path).glob("SEQ*")), process)
    pids = descendants(process.pid)
    assert len(pids) == 5
    process.kill()
    assert gone(pids, 60)
    _, log = process.communicate(timeout=10)
    assert "Traceback" not in log and "stopped by SIGTERM" in log


@pytest.mark.endurance
def test_a_mistake_in_many_processes_is_said_once(experiment, tmp_path):
    path = experiment(**TINY_RUN | {"DATA__TRAIN__DATASETS_NAME": ["GOT10K_train_full"]})
    flags = ["--config", path, "--save_dir", tmp_path, "--data_dir", tmp_path / "none"]
    done = subprocess.run(
        command(TRACKING, *flags, "--mode", "multiple", "--nproc_per_node", 2),
        capture_output=True, text=True, check=False, timeout=120, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    errors = [line for line in done.stderr.splitlines() if "error:" in line]
    assert done.returncode == 2 and len(errors) == 1 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_rendering_workers_end_with_their_parent(tmp_path, signum):
    script = PROJECT_ROOT / "tracking" / "make_synthetic.py"
    flags = ["--output", tmp_path, "--num_sequences", "50", "--num_frames", "2000", "--workers", "2"]
    process = subprocess.Popen([sys.executable, str(script), *map(str, flags)], stderr=subprocess.DEVNULL)
    wait_for(lambda: list(tmp_path.rglob("0000*.jpg")), process)
    pids = descendants(process.pid)
    process.send_signal(signum)
    process.wait(timeout=30)
    assert len(pids) >= 2 and gone(pids, 10)
    left = list(tmp_path.glob("val/.GOT-10k_Val_*"))
    assert left and make_synthetic.main(["--output", str(tmp_path), "--num_sequences", "2", "--num_frames", "2"]) == 0
    assert not list(tmp_path.glob("val/.*"))
