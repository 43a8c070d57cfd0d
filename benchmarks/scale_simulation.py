"""How an evaluation scales with workers and batch sizes: its dealing of sequences, played with LaSOT's lengths.

No network and no images: sequences are handed out by the queue and the rule of `tracking/test.py`, and a step of n
sequences in lock-step takes

    max(launch, n * device) + n * crop

milliseconds. The defaults were measured with seqtrack_b256 in bfloat16 with CUDA graphs on one H200 and its cores
(docs/performance.md); more than one GPU was never at hand. For each number of workers and batch size it prints

* ideal: all frames at the cost of a full batch, spread evenly, or the longest sequence by itself if that takes longer,
* makespan / ideal and the idle share of the workers, for the dealing as it is, and as it was before: each worker takes
  as many sequences as the batch holds, the longest first.

    python benchmarks/scale_simulation.py
    python benchmarks/scale_simulation.py --workers 8 --batch_sizes 64 --launch 1.0
"""

import argparse
import contextlib
import heapq
import math
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.test.evaluation import shared
from lib.test.evaluation.protocol import Request
from lib.utils.cli import ScriptParser, run_script

SHORTEST, LONGEST = 1000, 11_397
"""Frames of the shortest and the longest sequence, near those of LaSOT."""
REPORT_STEPS = 50
"""Steps between two reports of a worker."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32, 64])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 16, 64])
    parser.add_argument("--sequences", type=int, default=280)
    parser.add_argument("--frames", type=int, default=685_000, help="of all sequences")
    parser.add_argument("--launch", type=float, default=1.7, help="least milliseconds of a step on the device")
    parser.add_argument("--device", type=float, default=0.43, help="milliseconds of a frame on the device")
    parser.add_argument("--crop", type=float, default=0.2, help="milliseconds of a frame outside of it, not overlapped")
    parser.add_argument("--stagger", type=float, default=0.0, help="seconds between the starts of two workers")
    return parser.parse_args(argv)


def lengths_like_lasot(sequences: int, frames: int) -> list[int]:
    """Lengths with a long tail, the longest first: ``SHORTEST`` and a lognormal rest that gives the sum."""
    normal = statistics.NormalDist()
    quantiles = [math.exp(normal.inv_cdf((index + 0.5) / sequences)) for index in range(sequences)]

    def lengths(scale: float) -> list[int]:
        return [min(LONGEST, SHORTEST + round(scale * value)) for value in quantiles]

    low, high = 0.0, 1e5
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(lengths(middle)) < frames else (low, middle)
    return [*lengths(low)[:-1], LONGEST][::-1]


@dataclass
class Worker:
    """A simulated worker: frames left of its live sequences, and its seconds of work."""

    live: list[int] = field(default_factory=list)
    busy: float = 0.0
    asks: bool = True


def simulate(
    lengths: Sequence[int], workers: int, batch_size: int, seconds: Callable[[int], float], stagger: float = 0.0
) -> tuple[float, float]:
    """Play a run; returns its makespan in seconds, and the share of it in which workers had nothing to do.

    Args:
        lengths: of the sequences, in the order in which they are handed out.
        workers: how many there are.
        batch_size: sequences that a worker tracks at once, at most.
        seconds: of a step, by the number of sequences.
        stagger: seconds between the starts of two workers.
    """
    store = shared.MemoryStore()
    queue, frames = shared.SharedQueue(store, len(lengths)), sum(lengths)
    team = [Worker() for _ in range(workers)]
    events = [(number * stagger, number) for number in range(workers)]
    makespan = 0.0
    while events:
        now, number = heapq.heappop(events)
        worker = team[number]
        while worker.asks and len(worker.live) < batch_size:
            request = Request(len(worker.live), max(worker.live, default=0))
            if worker.live and not shared.has_room(request, frames - store.add("frames", 0), workers):
                break
            if (item := queue.take()) is None:
                break
            worker.live.append(lengths[item[0]])
        if not worker.live:
            continue
        steps, size = min(*worker.live, REPORT_STEPS), len(worker.live)
        worker.live = [left - steps for left in worker.live if left > steps]
        worker.asks = len(worker.live) < size
        store.add("frames", steps * size)
        worker.busy += steps * seconds(size)
        makespan = max(makespan, now + steps * seconds(size))
        heapq.heappush(events, (now + steps * seconds(size), number))
    return makespan, 1 - sum(worker.busy for worker in team) / (workers * makespan)


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate and print."""
    args = parse_args(argv)
    lengths = lengths_like_lasot(args.sequences, args.frames)

    def seconds(size: int) -> float:
        return (max(args.launch, size * args.device) + size * args.crop) / 1000

    print(f"{len(lengths)} sequences, {sum(lengths)} frames, the longest {lengths[0]}; estimates, not measurements")
    print(
        "| workers | batch | ideal (s) | before: makespan (s) | / ideal | idle | now: makespan (s) | / ideal | idle |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for workers in args.workers:
        for batch_size in args.batch_sizes:
            even = sum(lengths) * seconds(batch_size) / batch_size / workers
            ideal, cells = max(even, lengths[0] * seconds(1)), ""
            for before in (True, False):
                greedy = mock.patch.object(shared, "has_room", lambda *_: True) if before else contextlib.nullcontext()
                with greedy:
                    makespan, idle = simulate(lengths, workers, batch_size, seconds, args.stagger)
                cells += f" {makespan:.1f} | {makespan / ideal:.2f} | {100 * idle:.0f} % |"
            print(f"| {workers} | {batch_size} | {ideal:.1f} |{cells}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
