"""Run a tracker over a benchmark and write its boxes, one result file per sequence.

By hand it uses the processes of --threads; started by torchrun on one machine or many, all ranks share the work.
"""

import argparse
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import torch

from lib.config.paths import load_paths
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.test.evaluation.manifest import FolderClaim, identity, run_facts
from lib.test.evaluation.results import ResultFolder, run_config, run_log_path
from lib.test.evaluation.running import run_benchmark
from lib.test.evaluation.shared import Ranks, join_ranks
from lib.test.evaluation.trackers import TRACKERS, TrackerRecipe, tracker_recipe
from lib.test.parameter.seqtrack import BACKENDS
from lib.utils.cli import ScriptParser, add_cuda_graphs, check_ranges, run_script, user_path
from lib.utils.device import resolve_device, warn_of_shared_gpus
from lib.utils.errors import InputError, lookup
from lib.utils.launch import read_launch
from lib.utils.log import setup_logging


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=f"{__doc__} Complete results are left as they are, so an interrupted run is continued by the same "
        "command. Exit code 1 if a sequence failed."
    )
    parser.add_argument("tracker", metavar="tracker_name", help=f"one of: {', '.join(TRACKERS)}")
    parser.add_argument("config", metavar="tracker_param", help="experiment, a file of experiments/seqtrack (no .yaml)")
    parser.add_argument(
        "--dataset",
        "--dataset_name",
        required=True,
        help=f"one of: {', '.join(BENCHMARKS)}, folder:<path>, or a YAML file (docs/benchmarks.md)",
    )
    parser.add_argument(
        "--sequence", nargs="+", action="extend", metavar="SEQ", help="only these sequences (names, or numbers from 0)"
    )
    parser.add_argument("--threads", type=int, default=0, help="worker processes; 0 or 1: this process (default: 0)")
    parser.add_argument("--batch_size", type=int, default=1, help="sequences a process tracks at once (default: 1)")
    parser.add_argument("--num_gpus", type=int, help="spread the workers over so many GPUs; 0: CPU (default: all)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", help="float32 (default), tf32, bfloat16, float16 or int8")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: torch; docs/deployment.md compares")
    parser.add_argument("--compile", action="store_true", help="compile the network: a slow start, then faster frames")
    add_cuda_graphs(parser)
    parser.add_argument(
        "--checkpoint", type=user_path, help="weights (default: those of the experiment below save_dir)"
    )
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets (default: ./data)")
    parser.add_argument("--save_dir", type=user_path, help="folder of checkpoints and results (default: .)")
    parser.add_argument("--runid", "--run_id", type=int, help="number of this run, for several runs of one experiment")
    parser.add_argument("--float", dest="floats", action="store_true", help="also write boxes with their fractions")
    parser.add_argument("--overwrite", action="store_true", help="track again what has a result already")
    parser.add_argument("--debug", type=int, default=0, help="1: one process, detailed log")
    return parser.parse_args(argv)


LIMITS = {"threads": (0, 1024), "batch_size": (1, 4096), "num_gpus": (0, 1024), "runid": (0, 999_999)}
"""Smallest and largest value of number flags."""


def worker_devices(device: str, threads: int, num_gpus: int | None, ranks: Ranks | None = None) -> list[str]:
    """Device of each process of this rank; with several GPUs the processes of a machine take turns on them.

    Raises:
        InputError: if GPUs are asked for where there is none, or together with ``--num_gpus 0``.
    """
    processes = max(1, threads)
    if num_gpus == 0:
        if device not in ("auto", "cpu"):
            raise InputError(f"--num_gpus 0 means the CPU, but --device is {device}")
        return ["cpu"] * processes
    gpus = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    gpus = gpus if num_gpus is None else min(gpus, num_gpus)
    if num_gpus and device in ("auto", "cuda") and gpus == 0:
        raise InputError(f"--num_gpus {num_gpus}: this machine has no CUDA device; use --num_gpus 0 for the CPU")
    ranks = ranks or Ranks()
    if processes * ranks.world_size == 1 or gpus == 0:
        return [device] * processes
    return [f"cuda:{(ranks.local_rank * processes + number) % gpus}" for number in range(processes)]


def _interrupt(*_: object) -> None:
    """A request to end (of torchrun, or of a cluster) is like Ctrl-C: workers end, files stay whole."""
    raise KeyboardInterrupt


def make_recipe(args: argparse.Namespace, benchmark: str, save_dir: Path, device: str) -> tuple[TrackerRecipe, Any]:
    """How to make the tracker, and its settings; workers get the checkpoint that was found here, whatever comes later.

    Raises:
        ConfigError, CheckpointError, InputError: if the tracker cannot be made.
    """
    flags = {"checkpoint": args.checkpoint, "dtype": args.dtype, "compile": args.compile or None}
    flags["backend"] = None if args.backend == "auto" else args.backend
    recipe = tracker_recipe(args.tracker, args.config, benchmark, save_dir=save_dir, **flags)
    params = recipe.parameters(device)
    if checkpoint := getattr(params, "checkpoint", None):
        recipe = replace(recipe, overrides={**recipe.overrides, "checkpoint": checkpoint})
    if hasattr(params, "cuda_graphs"):  # none of the settings that results must agree in
        recipe = replace(recipe, overrides={**recipe.overrides, "cuda_graphs": args.cuda_graphs})
    return recipe, params


def main(argv: Sequence[str] | None = None) -> int:
    """Track a benchmark; return 1 if a sequence failed."""
    args = parse_args(argv)
    lookup(TRACKERS, args.tracker, "tracker")
    check_ranges(args, LIMITS)
    is_first = read_launch(os.environ).rank == 0
    level = "DEBUG" if args.debug else "INFO" if is_first else "ERROR"  # one rank warns for all
    setup_logging(level=level)
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    benchmark = find_benchmark(args.dataset, paths)
    ranks = join_ranks()
    devices = worker_devices(args.device, 0 if args.debug else args.threads, args.num_gpus, ranks)
    recipe, params = make_recipe(args, benchmark.name, paths.save_dir, devices[0])
    if is_first:
        recipe.kind.check(params)  # a wrong name, dtype or checkpoint shows before anything is read or written
    sequences = benchmark.load(paths, args.sequence)
    config = run_config(args.config, args.runid)
    checkpoint = getattr(params, "checkpoint", None)
    facts = {"config": args.config, "dtype": args.dtype}
    if (backend := getattr(params, "backend", "torch")) != "torch":
        facts["backend"] = backend
    facts |= {"cuda_graphs": args.cuda_graphs and resolve_device(devices[0]).type == "cuda"}
    facts |= {"batch_size": args.batch_size, "processes": len(devices) * ranks.world_size}
    facts = run_facts(params, checkpoint, **facts)
    folder = ResultFolder(paths.save_dir, args.tracker, config, benchmark.tag, args.floats, benchmark.split)
    folder = replace(folder, claim=identity(facts))
    names = [*sequences.names, *sequences.failures]
    claim = (
        FolderClaim(folder, names, facts, overwrite=args.overwrite, benchmark=sequences.listed) if is_first else None
    )
    name, log_file = f"{args.tracker} {config} on {benchmark.name}", None
    if is_first:
        log_file = run_log_path(paths.save_dir, args.tracker, config, benchmark.name)
    setup_logging(log_file, level)
    warn_of_shared_gpus(devices)
    logging.info("testing %s: %d sequences", name, len(names))
    with claim or contextlib.nullcontext():
        summary = run_benchmark(
            sequences,
            recipe,
            folder,
            devices=devices,
            batch_size=args.batch_size,
            overwrite=args.overwrite,
            on_ready=claim.take if claim else lambda device: None,
            ranks=ranks,
        )
    if is_first:
        print("\n".join([name, *summary.lines()]))
        if checkpoint:
            print(f"checkpoint: {checkpoint} (SHA-256 {facts['sha256'][:12]})")
        print(f"results: {folder.path}\nlog: {log_file}")
    return 1 if summary.failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run_script(main))
