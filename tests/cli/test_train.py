"""tracking/train.py and lib/train/run_training.py on a tiny experiment."""

import logging
import re
import signal
import subprocess
import sys

import pytest
import torch

from lib.config.paths import PROJECT_ROOT
from lib.train import run_training
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, DataError
from tests.processes import wait_for

TRACKING = PROJECT_ROOT / "tracking" / "train.py"
RUN_TRAINING = PROJECT_ROOT / "lib" / "train" / "run_training.py"


def command(script, *arguments):
    return [sys.executable, str(script), "--script", "seqtrack", *map(str, arguments), "--device", "cpu"]


def test_trains_and_goes_on(experiment, tmp_path, monkeypatch, caplog):
    """One run of two epochs, started elsewhere; a second call with three epochs takes up after the second."""
    folder = tmp_path / "out"
    flags = ["--save_dir", folder, "--seed", 3]
    start = command(TRACKING, "--config", experiment(), *flags, "--mode", "single")
    done = subprocess.run(start, capture_output=True, text=True, check=False, timeout=240, cwd=tmp_path)
    log = done.stderr
    assert done.returncode == 0, log
    assert "starting afresh" in log and "seed 3" in log and re.search(r"\[train: 2, 2/2\] loss \d", log)
    checkpoints = folder / "checkpoints" / "train" / "seqtrack" / "tiny"
    assert sorted(path.name for path in checkpoints.iterdir()) == ["SEQTRACK_ep0001.pth.tar", "SEQTRACK_ep0002.pth.tar"]
    assert "[val: 2]" in (folder / "logs" / "seqtrack-tiny.log").read_text()
    assert list((folder / "tensorboard" / "train" / "seqtrack" / "tiny").glob("events.*"))
    assert load_checkpoint(checkpoints / "SEQTRACK_ep0002.pth.tar")["config"]["TRAIN"]["SEED"] == 3

    caplog.set_level(logging.INFO)
    main(monkeypatch, "--config", experiment(TRAIN__EPOCH=3), *flags, "--local-rank", 0)
    log = caplog.text
    assert "SEQTRACK_ep0002.pth.tar (--resume auto)" in log and "[train: 1," not in log and "[train: 3," in log


def test_interrupt_leaves_whole_files(experiment, tmp_path):
    path = experiment(TRAIN__EPOCH=100_000, TRAIN__NUM_WORKER=1)
    process = subprocess.Popen(
        command(TRACKING, "--config", path, "--save_dir", tmp_path), stderr=subprocess.PIPE, text=True
    )
    checkpoints = tmp_path / "checkpoints" / "train" / "seqtrack" / "tiny"
    wait_for(lambda: len(list(checkpoints.glob("SEQTRACK*"))) >= 2, process)
    process.send_signal(signal.SIGINT)
    _, log = process.communicate(timeout=60)
    assert process.returncode == 130, log
    assert "Traceback" not in log
    files = list(checkpoints.iterdir())
    assert files and all(path.name.startswith("SEQTRACK_ep") for path in files)
    for file in files:
        assert "net" in load_checkpoint(file)


def main(monkeypatch, *arguments):
    monkeypatch.setattr(run_training, "setup_logging", lambda *_: None)
    threads = torch.get_num_threads()
    try:
        run_training.main([*map(str, arguments), "--device", "cpu"])
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"DATA__TRAIN__DATASETS_NAME": ["SYNTETIC"]}, ConfigError, r"known: .*val.*; did you mean SYNTHETIC\?"),
        ({"DATA__TRAIN__SAMPLE_PER_EPOCH": 3}, ConfigError, "does not fill one step"),
        ({"DATA__SAMPLER_MODE": "stark"}, ConfigError, "2 templates"),
        ({"DATA__SYNTHETIC__BACKGROUNDS": "/nowhere"}, DataError, "/nowhere: no such folder .*BACKGROUNDS"),
        ({"TRAIN__LRATE": 1}, ConfigError, r"TRAIN\.LRATE"),
    ],
)
def test_mistakes_in_the_file(experiment, tmp_path, monkeypatch, changes, error, message):
    path = experiment(**changes)
    with pytest.raises(error, match=message):
        main(monkeypatch, "--config", path, "--save_dir", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("--config", "seqtrack_b265"), ConfigError, "did you mean seqtrack_b256"),
        (("--config", "seqtrack_demo", "--script", "stark"), ConfigError, "known: seqtrack"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, monkeypatch, arguments, error, message):
    with pytest.raises(error, match=message):
        main(monkeypatch, *arguments, "--save_dir", tmp_path)


def test_damaged_checkpoint_is_one_line(experiment, tmp_path, monkeypatch):
    folder = tmp_path / "checkpoints" / "train" / "seqtrack" / "tiny"
    folder.mkdir(parents=True)
    (folder / "SEQTRACK_ep0001.pth.tar").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CheckpointError, match=r"SEQTRACK_ep0001\.pth\.tar: ") as caught:
        main(monkeypatch, "--config", experiment(), "--save_dir", tmp_path)
    assert "\n" not in str(caught.value)
