"""The two launchers of torch, and tracking/train.py, which uses one of them."""

import os
import socket
import subprocess
import sys

import pytest
import torch

from lib.config.paths import checkpoint_dir
from lib.train import run_training, train_script
from lib.utils import child
from lib.utils.checkpoint import load_checkpoint
from lib.utils.errors import InputError
from tests.cli.test_train import RUN_TRAINING, TRACKING
from tracking import train as tracking_train

STILL = {"MODEL__DECODER__DROPOUT": 0.0, "TRAIN__LR": 5e-5, "TRAIN__EPOCH": 1, "DATA__TRAIN__SAMPLE_PER_EPOCH": 12}


def start(command):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.endurance  # torch is imported by seven processes
def test_both_launchers_train_like_one_process_with_twice_the_batch(experiment, tmp_path, monkeypatch):
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    one = experiment(TRAIN__BATCH_SIZE=4, **STILL).rename(tmp_path / "one.yaml")
    config = str(experiment(TRAIN__BATCH_SIZE=2, **STILL))
    flags = ["--script", "seqtrack", "--config", config, "--device", "cpu", "--save_dir"]
    launch = [sys.executable, "-m", "torch.distributed.launch", "--nproc_per_node=2", f"--master_port={port}"]
    commands = {
        "launch": [*launch, str(RUN_TRAINING), *flags, str(tmp_path / "launch")],
        "torchrun": [
            *(sys.executable, str(TRACKING), "--mode", "multiple", "--nproc_per_node", "2"),
            *(*flags, str(tmp_path / "torchrun")),
        ],
    }
    started = {name: start(command) for name, command in commands.items()}
    monkeypatch.setattr(run_training, "setup_logging", lambda *_: None)
    monkeypatch.setattr(train_script, "share_cores", lambda *_: None)
    assert run_training.main([*flags[:3], str(one), *flags[4:], str(tmp_path)]) == 0
    for process in started.values():
        _, log = process.communicate(timeout=240)
        assert process.returncode == 0, log
        assert "(2 a process x 2 process(es) x 1 batch(es))" in log
    folders = {"one": checkpoint_dir(tmp_path, "one")}
    folders |= {name: checkpoint_dir(tmp_path / name, "tiny") for name in commands}
    weights = {name: load_checkpoint(folder / "SEQTRACK_ep0001.pth.tar")["net"] for name, folder in folders.items()}
    for name, value in weights["one"].items():
        assert torch.equal(weights["launch"][name], weights["torchrun"][name]), name
        torch.testing.assert_close(weights["launch"][name], value, atol=1e-6, rtol=0)


def parsed(*flags):
    return tracking_train.parse_args(["--config", "seqtrack_b256", *flags])


def test_commands_are_lists():
    start, rest = [sys.executable, str(tracking_train.LAUNCHER)], [str(RUN_TRAINING), "--script", "seqtrack"]
    command = parsed("--mode", "multiple", "--nproc_per_node", "8", "--save_dir", "a b;c")
    command = tracking_train.launcher_command(command)
    assert command[:2] == start and command[2:5] == ["--nproc_per_node=8", "--max_restarts=0", "--standalone"]
    assert command[5:8] == rest and command[-4:] == ["--device", "auto", "--resume", "auto"] and "a b;c" in command
    published = "--mode multi_node --nproc_per_node 8 --world-size 2 --rank 1 --ip 10.0.0.1 --port 2345"
    command = tracking_train.launcher_command(parsed(*published.split()))
    nodes = ["--nnodes=2", "--node_rank=1", "--master_addr=10.0.0.1", "--master_port=2345"]
    assert command[4:8] == nodes
    elastic = "--mode multi_node --nnodes 2:4 --rdzv_id job7 --master_addr a --max_restarts 3"
    assert tracking_train.launcher_command(parsed(*elastic.split()))[3:8] == [
        *("--max_restarts=3", "--nnodes=2:4", "--rdzv_backend=c10d", "--rdzv_id=job7", "--rdzv_endpoint=a:29500")
    ]


def test_port_in_use_is_one_line():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        port = other.getsockname()[1]
        for mode in (["multiple"], ["multi_node", "--nnodes", "2", "--node_rank", "0"]):
            with pytest.raises(InputError, match=rf"^--master_port {port}: .*in use; choose another"):
                tracking_train.launcher_command(parsed("--mode", *mode, "--master_port", str(port)))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nproc_per_node", "2"], "use --mode multiple"),
        (["--mode", "multiple", "--nproc_per_node", "0"], "from 1 on, got 0"),
        (["--mode", "multiple", "--device", "cuda", "--nproc_per_node", "99"], "--nproc_per_node 99: this machine has"),
        (["--mode", "multi_node", "--nnodes", "2", "--device", "cpu"], "--node_rank says which machine"),
        (["--mode", "multiple", "--nnodes", "2", "--device", "cpu"], "use --mode multi_node"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(monkeypatch, flags, message):
    monkeypatch.setattr(child.subprocess, "Popen", None)
    with pytest.raises(InputError, match=message):
        tracking_train.main(["--config", "seqtrack_b256", *flags])
