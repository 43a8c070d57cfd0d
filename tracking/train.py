"""Train an experiment.

    python tracking/train.py --script seqtrack --config seqtrack_demo --save_dir . --mode single

Writes below save_dir: checkpoints/train/seqtrack/<config>/SEQTRACK_ep<epoch>.pth.tar,
tensorboard/train/seqtrack/<config> and logs/seqtrack-<config>.log. Run again, it goes on after the newest checkpoint.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lib.train.run_training import add_run_arguments, train
from lib.utils.cli import run_script
from lib.utils.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_run_arguments(parser)
    parser.add_argument("--mode", default="single", help="single: one process (default)")
    parser.add_argument("--nproc_per_node", type=int, default=1, help="processes; 1 in mode single")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    if args.mode != "single" or args.nproc_per_node != 1:
        raise InputError(
            f"--mode {args.mode} --nproc_per_node {args.nproc_per_node}: this version trains in one process; "
            "use --mode single"
        )
    return train(args)


if __name__ == "__main__":
    sys.exit(run_script(main))
