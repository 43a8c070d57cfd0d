"""Train an experiment in this process, or with others of its kind that a launcher started.

    python lib/train/run_training.py --script seqtrack --config seqtrack_demo --save_dir .
    torchrun --nproc_per_node 8 lib/train/run_training.py --script seqtrack --config seqtrack_b256 --save_dir .
    python -m torch.distributed.launch --nproc_per_node 8 lib/train/run_training.py --script seqtrack ...

Writes below save_dir: checkpoints/train/seqtrack/<config>/SEQTRACK_ep<epoch>.pth.tar,
tensorboard/train/seqtrack/<config> and logs/seqtrack-<config>.log. Run again, it goes on after the newest checkpoint.
Ctrl-C, SIGTERM and a closed terminal write a checkpoint after the step in hand; the exit code is then 130, 143 or 129.
"""

import argparse
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a file: the folder of the project takes the place of the folder of this file
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    if "TORCHELASTIC_RUN_ID" in os.environ:  # a rank does not outlive its launcher
        os.environ.setdefault("SEQTRACK_PARENT_PID", str(os.getppid()))
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from easydict import EasyDict
from torch.distributed.elastic.multiprocessing.errors import record

from lib.config.paths import Paths, checkpoint_path, load_paths, manifest_path
from lib.config.seqtrack.config import experiment_name, known_experiments, load_config
from lib.config.seqtrack.fallback import overrides_without_files
from lib.config.yaml_text import parse_overrides
from lib.train.distributed import choose_device, first_rank_speaks, process_group
from lib.train.train_script import RunSettings, TrackHook, run
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import CheckpointError, InputError, lookup
from lib.utils.files import check_writable
from lib.utils.launch import is_main_process, read_launch
from lib.utils.log import setup_logging

logger = logging.getLogger(__name__)

SCRIPTS = {"seqtrack": run}
"""What can be trained, by the name given to ``--script``."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that every way of starting a training shares."""
    parser.add_argument("--script", default="seqtrack", help="what to train: seqtrack")
    parser.add_argument("--config", required=True, help="name of the experiment, or path of its YAML file")
    parser.add_argument(
        "--name", help="files checkpoints, curves and log under this name (default: the experiment's): for an ablation"
    )
    parser.add_argument(
        "--save_dir", type=user_path, help="where checkpoints, curves and logs go (default: from the path settings)"
    )
    parser.add_argument("--data_dir", type=user_path, help="where the datasets are (default: from the path settings)")
    parser.add_argument("--seed", type=int, help="overrides TRAIN.SEED")
    parser.add_argument(
        "--override",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options for this run, such as TRAIN.LR=2e-4",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument(
        "--init",
        help="a checkpoint of SeqTrack to start from at epoch 0, such as a published one (MODEL.INIT): for fine-tuning",
    )
    parser.add_argument(
        "--resume",
        default="auto",
        help="auto: go on after the newest checkpoint of the experiment; never: start afresh; or a checkpoint's path",
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    # Launchers pass one of the two spellings.
    parser.add_argument("--local_rank", "--local-rank", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def train(
    args: argparse.Namespace, local_rank: int | None = None, *, track: TrackHook | None = None, track_every: int = 10
) -> int:
    """Run a training with the flags of ``add_run_arguments``.

    Args:
        args: the flags.
        local_rank: number of this process on its machine, where the launcher gives it as a flag.
        track: as in ``RunSettings``.
        track_every: as above.

    Returns:
        Exit code: 0, or 128 + the number of the signal that ended the run early.

    Raises:
        SeqTrackError: for anything that the user can fix.
    """
    launch = read_launch(os.environ, local_rank)
    with first_rank_speaks(launch):
        script, cfg, paths, missing = read_run(args)
        device = choose_device(args.device, launch)
    with process_group(launch, device):
        setup_logging()
        if missing and is_main_process():
            changed = " ".join(f"{key}={value}" for key, value in missing.items())
            logger.warning("optional files are missing, continuing as with --override %s", changed)
        name = args.name or experiment_name(args.config)
        settings = RunSettings(
            name, paths, device, args.resume, launch.local_world_size, track, track_every, args.name is not None
        )
        return script(cfg, settings)


def read_run(args: argparse.Namespace) -> tuple[Callable[..., int], EasyDict, Paths, dict[str, Any]]:
    """Check all that can be checked before data and network are opened; nothing is written.

    Returns:
        What is trained, the configuration, the paths, and the options that files which are not there have changed.

    Raises:
        SeqTrackError: for anything that the user can fix.
    """
    script = lookup(SCRIPTS, args.script, "training script")
    overrides = parse_overrides(args.override)
    if args.seed is not None:
        overrides["TRAIN.SEED"] = args.seed
    if args.init is not None:
        overrides["MODEL.INIT"] = args.init
    cfg = load_config(args.config, overrides)
    if cfg.MODEL.INIT and not Path(cfg.MODEL.INIT).is_file():
        raise CheckpointError(f"MODEL.INIT: {cfg.MODEL.INIT}: no such checkpoint")
    missing = overrides_without_files(cfg)
    if missing:
        cfg = load_config(args.config, overrides | missing)
    paths = load_paths("train", save_dir=args.save_dir, data_dir=args.data_dir)
    name = args.name or experiment_name(args.config)
    if args.name is not None and not re.fullmatch(r"\w[\w.+-]*", args.name):
        raise InputError(f"--name {args.name!r}: expected letters, digits and . _ + -, since it names folders")
    if name in known_experiments() and name != experiment_name(args.config):
        raise InputError(f"--name {name}: an experiment of its own, whose name would then stand for other options")
    check_writable(checkpoint_path(paths.save_dir, name, 1))
    check_writable(manifest_path(paths.save_dir, name, datetime.now(timezone.utc)))
    if args.resume != "auto" and int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0:
        raise InputError(f"--resume {args.resume}: after a restart (--max_restarts) it would apply again; use auto")
    if args.resume not in ("auto", "never") and not Path(args.resume).is_file():
        raise CheckpointError(f"--resume {args.resume}: no such checkpoint; or say auto or never")
    return script, cfg, paths, missing


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    return train(args, args.local_rank)


if __name__ == "__main__":
    # ``record`` tells torchrun which process failed first, and where; a mistake of the user is one line, no traceback.
    sys.exit(record(run_script)(main))
