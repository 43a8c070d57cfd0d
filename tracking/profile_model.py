"""Count what a network computes, and measure how long it takes.

    python tracking/profile_model.py --script seqtrack --config seqtrack_b256
    python tracking/profile_model.py --config seqtrack_l384 --device cuda --dtype bfloat16 --compile --batch_size 16
    python tracking/profile_model.py --config seqtrack_b256 --count_only --json cost.json

MACs and parameters are given as they were published (linear and convolution layers, one decoder pass) and as they are
(attention included, four tokens). Latencies are those of whole frames of 1280 x 720, with fresh weights.
"""

import argparse
import dataclasses
import json
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import torch

from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.flops import Cost, count_cost
from lib.models.seqtrack.precision import PRECISIONS, check_precision
from lib.test.evaluation.trackers import TRACKERS
from lib.test.parameter.seqtrack import BACKENDS, parameters_from_config
from lib.test.profiling import Latency, measure_latency, peak_memory
from lib.test.tracker.engine import SeqTrackEngine
from lib.utils.cli import ScriptParser, add_cuda_graphs, check_ranges, run_script, user_path
from lib.utils.device import device_errors, resolve_device
from lib.utils.errors import lookup
from lib.utils.files import write_text_atomic

LIMITS = {"batch_size": (1, 1024), "frames": (1, 100_000), "warm_up": (0, 10_000), "threads": (1, 1024)}
"""Smallest and largest value of number flags."""
ANNOUNCE_SECONDS = 60.0
"""Duration of a measurement from which on it is announced."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--script", default="seqtrack", help="name of the tracker (default: seqtrack)")
    parser.add_argument("--config", default="seqtrack_b256", help="name of the experiment, or path of its YAML file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    parser.add_argument("--compile", action="store_true", help="compile the step; on CUDA also capture it")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: torch; docs/deployment.md compares")
    add_cuda_graphs(parser)
    parser.add_argument("--batch_size", type=int, default=1, help="sequences at once (default: 1)")
    parser.add_argument("--frames", type=int, default=20, help="how many frames to measure (default: 20)")
    parser.add_argument("--warm_up", type=int, default=3, help="how many frames come before (default: 3)")
    parser.add_argument("--threads", type=int, help="threads of PyTorch (default: its own choice)")
    parser.add_argument("--count_only", action="store_true", help="count, measure nothing")
    parser.add_argument("--json", type=user_path, help="write the numbers to this file, too")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    lookup(TRACKERS, args.script, "tracker")
    check_ranges(args, LIMITS)
    if not args.count_only and args.backend in ("auto", "torch"):
        check_precision(args.dtype, resolve_device(args.device))
    if args.threads:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.config)
    with torch.device("meta"):  # counting needs shapes, no values
        cost = count_cost(build_seqtrack(cfg))
    report = {"config": args.config, "cost": dataclasses.asdict(cost)}
    print("\n".join(cost_lines(args.config, cost)))
    write_report(args.json, report)  # now, so that a wrong path shows before the measurement
    if not args.count_only:
        with device_errors(resolve_device(args.device), "a smaller --batch_size, or --dtype bfloat16"):
            report["latency"] = measure(args, cfg)
        write_report(args.json, report)
    return 0


def write_report(path: Path | None, report: dict) -> None:
    """Write the numbers to a file, if one was asked for."""
    if path is not None:
        write_text_atomic(path, json.dumps(report, indent=2) + "\n")


def cost_lines(config: str, cost: Cost) -> list[str]:
    """The counts as a table."""
    return [
        f"{config:<44} {'GMACs':>8} {'M params':>9}",
        f"{'published (linear and convolution, one pass)':<44} {cost.published_macs / 1e9:8.1f} "
        f"{cost.published_params / 1e6:9.1f}",
        f"{'true, four full decoder passes':<44} {cost.plain_macs / 1e9:8.1f} {cost.params / 1e6:9.1f}",
        f"{'true, as computed here':<44} {cost.our_macs / 1e9:8.1f} {cost.params / 1e6:9.1f}",
    ]


def measure(args: argparse.Namespace, cfg) -> dict:
    """Measure, print the table, and return the numbers for the JSON file."""
    params = parameters_from_config(cfg, checkpoint=None, device=args.device, dtype=args.dtype)
    backend = "torch" if args.backend == "auto" else args.backend
    flags = {"compile": args.compile, "cuda_graphs": args.cuda_graphs, "backend": backend}
    engine = SeqTrackEngine(dataclasses.replace(params, **flags))
    steps = args.frames + args.warm_up
    stages = measure_latency(
        engine,
        batch_size=args.batch_size,
        frames=args.frames,
        warm_up=args.warm_up,
        on_first=lambda seconds: announce(seconds, steps),
    )
    memory = peak_memory(engine.device)
    machine = describe(engine.device)
    options = f"{', compiled' if args.compile else ''}{', captured' if engine.reader.is_captured else ''}"
    print(f"\n{machine}, {backend} {args.dtype}{options}, batch {args.batch_size}")
    print(f"{'stage':<10} {'median ms':>10} {'p90 ms':>10}")
    for name, latency in stages.items():
        print(f"{name:<10} {latency.median:10.2f} {latency.p90:10.2f}")
    print(f"{frames_per_second(stages['total'], args.batch_size):.1f} frames/s, {memory / 2**20:.0f} MiB at most")
    return {
        "machine": machine,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "dtype": args.dtype,
        "backend": backend,
        "compile": args.compile,
        "cuda_graphs": engine.reader.is_captured,
        "batch_size": args.batch_size,
        "frames": args.frames,
        "milliseconds": {name: dataclasses.asdict(latency) for name, latency in stages.items()},
        "frames_per_second": frames_per_second(stages["total"], args.batch_size),
        "peak_memory_bytes": memory,
    }


def announce(seconds: float, steps: int) -> None:
    """Say how long a long measurement will take, after its first step."""
    if seconds * steps > ANNOUNCE_SECONDS:
        print(f"measuring {steps} steps: about {seconds * steps / 60:.0f} min by the first one", flush=True)


def frames_per_second(total: Latency, batch_size: int) -> float:
    """Frames of all sequences together."""
    return 1000 * batch_size / total.median


def describe(device: torch.device) -> str:
    """Name what was measured on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {device.type}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    sys.exit(run_script(main))
