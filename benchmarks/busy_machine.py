"""Milliseconds a frame where other programs keep the cores busy, by threads and by how PyTorch's threads wait.

    python benchmarks/busy_machine.py
    python benchmarks/busy_machine.py --backends torch onnxruntime --threads 2

Tracks a rendered video with the bundled weights: alone, and beside one endless loop for each core. Every version is a
process of its own, since ``OMP_WAIT_POLICY`` counts when PyTorch is imported. By default PyTorch's threads spin where
they wait for each other; beside other programs the thread that they wait for may not be running, and their spinning
takes its core. ``PASSIVE`` lets them sleep. Ratios are to the first row: above 1 is faster.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

import seqtrack
from lib.synthetic import SyntheticSequence
from lib.utils.cli import ScriptParser, check_ranges, run_script


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=["torch"], choices=["torch", "onnxruntime", "openvino"])
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the tracker (default: all cores)")
    parser.add_argument("--others", type=int, default=os.cpu_count(), help="endless loops beside (default: one a core)")
    parser.add_argument("--frames", type=int, default=60, help="of the video (default: 60)")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each version, by turns (default: 2)")
    parser.add_argument("--measure", action="store_true", help="measure one version here, and print nothing else")
    args = parser.parse_args(argv)
    check_ranges(args, {"threads": (1, 1024), "others": (1, 1024), "frames": (2, 10_000), "repeats": (1, 100)})
    return args


def measure(backend: str, threads: int, frames: int) -> np.ndarray:
    """Milliseconds of each frame but the first."""
    torch.set_num_threads(threads)
    world = SyntheticSequence(3, num_frames=frames, size=(320, 240))
    tracker = seqtrack.load("seqtrack_demo", device="cpu", backend=backend)
    images = [world.frame(number) for number in range(frames)]
    tracker.init(images[0], world.boxes_xywh[0])
    times = []
    for image in images[1:]:
        start = time.perf_counter()
        tracker.update(image)
        times.append(1000 * (time.perf_counter() - start))
    return np.array(times)


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Endless loops in other processes, while the block runs."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def run_version(backend: str, threads: int, policy: str, frames: int) -> float:
    """Median of the milliseconds of a version, measured in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
    command = [sys.executable, __file__, "--measure", "--backends", backend, "--threads", threads, "--frames", frames]
    done = subprocess.run(list(map(str, command)), env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout.split()[-1])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all versions by turns, alone and beside busy cores."""
    args = parse_args(argv)
    if args.measure:
        print(np.median(measure(args.backends[0], args.threads, args.frames)))
        return 0
    versions = [
        (backend, threads, policy)
        for backend in args.backends
        for threads, policy in ((args.threads, ""), (args.threads, "PASSIVE"), (1, ""))
    ]
    found: dict[tuple, list[list[float]]] = {version: [[], []] for version in versions}
    for _ in range(args.repeats):
        for version in versions:
            found[version][0].append(run_version(*version, args.frames))
            with busy_cores(args.others):
                found[version][1].append(run_version(*version, args.frames))
    print(f"| backend | threads | OMP_WAIT_POLICY | alone, ms | ratio | beside {args.others} loops, ms | ratio |")
    print("|---|---|---|---|---|---|---|")
    first = [min(times) for times in found[versions[0]]]
    for (backend, threads, policy), runs in found.items():
        best = [min(times) for times in runs]
        cells = " | ".join(f"{ms:.1f} | {base / ms:.2f}" for ms, base in zip(best, first, strict=True))
        print(f"| {backend} | {threads} | {policy or 'default'} | {cells} |")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
