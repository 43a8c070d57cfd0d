"""Killed workers, killed sweeps, and several ways to run: the same files in the end."""

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import tracking.test as script
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.utils.checkpoint import save_checkpoint
from lib.utils.image_io import write_image
from tests.evaluation import fakes
from tests.processes import command_line, descendants, wait_for

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
    """Fake sequences, two of which dawdle, and the results of a run that nobody disturbs."""
    root = tmp_path_factory.mktemp("world")
    fakes.write_got10k(root / "data" / "got10k", LENGTHS, brightness={"s4": fakes.SLOW, "s5": fakes.SLOW})
    (root / "run.py").write_text(RUN)
    assert start(root, "whole", 2).wait(timeout=120) == 0
    return root


def start(root: Path, config: str, processes: int) -> subprocess.Popen:
    return spawn([str(root / "run.py"), str(root), config, str(processes)])


def spawn(arguments: list[str]) -> subprocess.Popen:
    """Run a script in a group of its own."""
    return subprocess.Popen(
        [sys.executable, *arguments],
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
    return [child for child in descendants(pid) if b"spawn_main" in command_line(child)]


KILLS = 5


@dataclass(frozen=True)
class Sweep:
    """A benchmark that can be swept under many names, and the results of a run that nobody disturbs.

    Attributes:
        start: begins a sweep by two processes under a name.
        files: result files of a sweep.
        whole: those of the undisturbed run.
    """

    start: Callable[[str], subprocess.Popen]
    files: Callable[[str], dict[str, bytes]]
    whole: dict[str, bytes]


@pytest.fixture(params=["fake", pytest.param("network", marks=[pytest.mark.slow, pytest.mark.endurance])])
def sweep(request: pytest.FixtureRequest) -> Sweep:
    """By a tracker without a network, also in fractions; and by tracking/test.py with the smallest network."""
    if request.param == "fake":
        root = request.getfixturevalue("world")
        return Sweep(lambda name: start(root, name, 2), lambda name: files(root, name), files(root, "whole"))
    root = request.getfixturevalue("tiny")
    script_path = str(ROOT / "tracking" / "test.py")
    return Sweep(
        lambda name: spawn([script_path, *track(root, name, "--batch_size", "2", "--threads", "2")]),
        lambda name: integers(root, name),
        integers(root, "plain"),
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_killed_workers_change_nothing(sweep: Sweep) -> None:
    rng, killed, while_tracking = random.Random(1), 0, 0
    for attempt in range(2 * KILLS):
        name = f"worker{attempt}"
        process = sweep.start(name)
        # One is killed while it starts, the others between the first result and the end.
        wait_for(lambda: children(process.pid) if attempt == 0 else sweep.files(name), process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.3))
        with contextlib.suppress(ProcessLookupError, IndexError):  # it had ended: this one does not count
            os.kill(rng.choice(children(process.pid)), signal.SIGKILL)
            killed += 1
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        while_tracking += bool(
            re.search(r"worker \d+ \(process \d+\) exited, signal SIGKILL, while tracking s\d", output)
        )
        assert sweep.files(name) == sweep.whole
        if killed == KILLS:
            break
    assert killed == KILLS
    assert while_tracking >= 1


def test_a_killed_sweep_goes_on(sweep: Sweep) -> None:
    rng, killed, name = random.Random(2), 0, "sweep0"
    partial = False
    for attempt in range(2 * KILLS):
        before = len(sweep.files(name))
        process = sweep.start(name)
        if attempt:  # once before anything is written, then after something new is
            wait_for(lambda: len(sweep.files(name)) > before, process)  # noqa: B023
        time.sleep(rng.uniform(0, 0.1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the parent and all workers, wherever they are
        process.communicate(timeout=60)
        killed += process.returncode == -signal.SIGKILL
        written = sweep.files(name)
        assert written.items() <= sweep.whole.items()  # never half a file
        partial |= 0 < len(written) < len(sweep.whole)
        if killed == KILLS:
            break
        if written == sweep.whole:
            name = f"sweep{attempt + 1}"
    assert killed == KILLS
    assert partial
    final = sweep.start(name)
    output, _ = final.communicate(timeout=120)
    assert final.returncode == 0, output
    assert sweep.files(name) == sweep.whole


ELASTIC_RUN = """
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from lib.config.paths import load_paths
from lib.test.evaluation import get_dataset
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from lib.test.evaluation.shared import join_ranks
from tests.evaluation import fakes

def kill_this_rank(folder):
    while len(folder.sequences()) < 5:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGKILL)

def main():
    logging.basicConfig(level="ERROR")
    root, ranks = Path(sys.argv[1]), join_ranks()
    sequences = get_dataset("got10k_val", paths=load_paths("test", data_dir=root / "data"))
    folder = ResultFolder(root, "fake", sys.argv[2], "got10k")
    if ranks.rank == 1 and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        threading.Thread(target=kill_this_rank, args=(folder,), daemon=True).start()
    summary = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"], ranks=ranks)
    if ranks.rank == 0:
        print(*summary.lines(), sep=chr(10), flush=True)
    return 1 if summary.failed else 0

if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.mark.endurance
@pytest.mark.parametrize("rendezvous", ["static", "c10d"])
def test_no_result_is_lost_when_torchrun_restarts_the_ranks(tmp_path: Path, rendezvous: str) -> None:
    lengths = {f"s{index:02d}": 8 for index in range(20)}
    fakes.write_got10k(tmp_path / "data" / "got10k", lengths, brightness=dict.fromkeys(lengths, fakes.SLOW))
    (tmp_path / "run.py").write_text(ELASTIC_RUN)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    where = ["--master_addr", "127.0.0.1", "--master_port", str(port)] if rendezvous == "static" else ["--standalone"]
    command = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--max_restarts", "2", *where]
    process = spawn([*command, str(tmp_path / "run.py"), str(tmp_path), rendezvous])
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    counts = re.search(r"20 sequences: (\d+) tracked, (\d+) there already, 0 failed", output)
    assert counts and int(counts[2]) >= 5, output  # the first attempt was cut short
    assert len(files(tmp_path, rendezvous)) == 20


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
    lengths = {f"s{index}": frames for index, frames in enumerate((24, 5, 19, 1, 7, 20, 15, 11, 22, 9, 13, 17))}
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
@pytest.mark.parametrize("batch", ["1", "4", "16"])
def test_processes_write_the_same_files(tiny: Path, batch: str) -> None:
    assert script.main(track(tiny, f"b{batch}t3", "--batch_size", batch, "--threads", "3")) == 0
    same(tiny, f"b{batch}t3")


@pytest.mark.slow
def test_torchrun_writes_the_same_files(tiny: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [str(ROOT / "tracking" / "test.py"), *track(tiny, "ranks", "--batch_size", "16")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("12 sequences: 12 tracked, 0 there already, 0 failed") == 1  # one rank speaks for all
    same(tiny, "ranks")


def integers(tiny: Path, run: str) -> dict[str, bytes]:
    """Box files without fractions, by name."""
    found = files(tiny / run, "tiny", "seqtrack")
    return {name: content for name, content in found.items() if not name.startswith("float/")}


def same(tiny: Path, run: str) -> None:
    """The integers are equal; the fractions may differ in the noise of float32."""
    found, expected = files(tiny / run, "tiny", "seqtrack"), files(tiny / "plain", "tiny", "seqtrack")
    assert found.keys() == expected.keys()
    assert len(found) == 24
    assert integers(tiny, run) == integers(tiny, "plain")
    moved = {line for content in integers(tiny, run).values() for line in content.splitlines()}
    assert len(moved) > 24  # boxes that stay where they were would prove nothing
