"""Killed workers, killed sweeps, and several ways to run: the same files in the end."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import tracking.test as script
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from lib.utils.image_io import write_image
from tests.evaluation import fakes

ROOT = Path(__file__).parents[2]
LENGTHS = {"s0": 40, "s1": 9, "s2": 31, "s3": 1, "s4": 22, "s5": 17, "s6": 12, "s7": 35}

RUN = """
import logging
import sys
from pathlib import Path
from lib.config.paths import load_paths
from lib.test.evaluation import get_dataset
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from tests.evaluation import fakes

def main():
    logging.basicConfig(level="WARNING")
    root = Path(sys.argv[1])
    sequences = get_dataset("got10k_val", paths=load_paths("test", data_dir=root / "data"))
    folder = ResultFolder(root, "fake", sys.argv[2], "got10k", floats=True)
    summary = run_benchmark(sequences, fakes.make_batch, folder, devices=["cpu"] * int(sys.argv[3]), batch_size=2)
    print(chr(10).join(summary.lines()))
    return 1 if summary.failed else 0

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fake sequences, one of which dawdles, and the results of a run that nobody disturbs."""
    root = tmp_path_factory.mktemp("world")
    fakes.write_got10k(root / "data" / "got10k", LENGTHS, brightness={"s5": fakes.SLOW})
    (root / "run.py").write_text(RUN)
    assert start(root, "whole", 2).wait(timeout=120) == 0
    return root


def start(root: Path, config: str, processes: int) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(root / "run.py"), str(root), config, str(processes)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def files(root: Path, config: str, tracker: str = "fake") -> dict[str, bytes]:
    """Box files by name, those with fractions too; times differ."""
    folder = root / "test" / "tracking_results" / tracker / config / "got10k"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.txt")
        if not path.name.startswith(".") and not path.name.endswith("_time.txt")
    }


def children(pid: int) -> list[int]:
    """Worker processes of a run (spawned ones say so in their command line)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_killed_workers_change_nothing(world: Path) -> None:
    rng = random.Random(1)
    for attempt in range(2):
        process = start(world, f"worker{attempt}", 2)
        time.sleep(0.9 + rng.uniform(0, 1.0))
        victims = children(process.pid)
        if victims:
            os.kill(rng.choice(victims), signal.SIGKILL)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        if "goes back" in output:
            assert re.search(r"worker \d+ \(process \d+\) died, signal SIGKILL, while tracking s\d", output)
        assert files(world, f"worker{attempt}") == files(world, "whole")


def test_a_killed_sweep_goes_on(world: Path) -> None:
    rng = random.Random(2)
    for _ in range(5):
        process = start(world, "sweep", 2)
        time.sleep(rng.uniform(0.7, 1.5))
        os.killpg(process.pid, signal.SIGKILL)  # the parent and all workers, wherever they are
        process.wait(timeout=30)
        for name, content in files(world, "sweep").items():
            assert content == files(world, "whole")[name]  # never half a file
    assert start(world, "sweep", 2).wait(timeout=60) == 0
    assert files(world, "sweep") == files(world, "whole")


TINY = """
MODEL: {HIDDEN_DIM: 32, BINS: 64, ENCODER: {TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch},
        DECODER: {NHEADS: 2, DIM_FEEDFORWARD: 32, DEC_LAYERS: 1}}
DATA: {SEARCH: {SIZE: 64}, TEMPLATE: {SIZE: 32, NUMBER: 2}}
TEST: {SEARCH_SIZE: 64, TEMPLATE_SIZE: 32, NUM_TEMPLATES: 2,
       UPDATE_INTERVALS: {DEFAULT: 3}, UPDATE_THRESHOLD: {DEFAULT: 0.0}}
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark of noise, the smallest network with weights, and the results of the plainest run."""
    root = tmp_path_factory.mktemp("tiny")
    lengths = {f"s{index}": frames for index, frames in enumerate((12, 5, 9, 1, 7, 10))}
    fakes.write_got10k(root / "data" / "got10k", lengths)
    generator = torch.Generator().manual_seed(3)
    for name, frames in lengths.items():
        for index in range(frames):
            noise = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=generator).numpy()
            write_image(root / "data" / "got10k" / "val" / name / f"{index + 1:08d}.jpg", noise)
    (root / "tiny.yaml").write_text(TINY)
    torch.manual_seed(0)
    network = build_seqtrack(load_config(root / "tiny.yaml"))
    save_checkpoint({"net": {key: 3 * value for key, value in network.state_dict().items()}}, root / "tiny.pth.tar")
    assert script.main(track(root, "plain")) == 0
    return root


def track(root: Path, run: str, *flags: str) -> list[str]:
    """Arguments of tracking/test.py for a save_dir of its own, ``run``; without a launcher it runs here."""
    arguments = ["seqtrack", str(root / "tiny.yaml"), "--dataset", "got10k_val", "--data_dir", str(root / "data")]
    arguments += ["--save_dir", str(root / run), "--checkpoint", str(root / "tiny.pth.tar"), "--device", "cpu"]
    return [*arguments, "--float", *flags]


@pytest.mark.parametrize("batch", ["4", "16"])
def test_batches_write_the_same_files(tiny: Path, batch: str) -> None:
    assert script.main(track(tiny, f"b{batch}", "--batch_size", batch)) == 0
    same(tiny, f"b{batch}")


@pytest.mark.slow
@pytest.mark.parametrize("batch", ["1", "4"])
def test_processes_write_the_same_files(tiny: Path, batch: str) -> None:
    assert script.main(track(tiny, f"b{batch}t3", "--batch_size", batch, "--threads", "3")) == 0
    same(tiny, f"b{batch}t3")


@pytest.mark.slow
def test_torchrun_writes_the_same_files(tiny: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "tracking" / "test.py"), *track(tiny, "ranks", "--batch_size", "16")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("6 sequences: 6 tracked, 0 there already, 0 failed") == 1  # one rank speaks for all
    same(tiny, "ranks")


def same(tiny: Path, run: str) -> None:
    """The integers are equal; the fractions may differ in the noise of float32."""
    found, expected = files(tiny / run, "tiny", "seqtrack"), files(tiny / "plain", "tiny", "seqtrack")
    assert found.keys() == expected.keys()
    assert len(found) == 12
    moved = set()
    for name, content in found.items():
        if not name.startswith("float/"):
            assert content == expected[name], name
            moved.update(content.splitlines())
    assert len(moved) > 12  # boxes that stay where they were would prove nothing
