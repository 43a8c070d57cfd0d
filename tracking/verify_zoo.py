"""Check a downloaded checkpoint against the experiment it is for: keys, shapes, numbers; print its hash."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import torch

from lib.config.paths import find_checkpoint, load_paths
from lib.config.seqtrack.config import experiment_name, load_config
from lib.models.seqtrack import build_seqtrack
from lib.test.evaluation.manifest import file_hash
from lib.utils.checkpoint import check_weights, find_weights, load_checkpoint
from lib.utils.cli import ScriptParser, run_script, user_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=__doc__ + " Nothing in the file is run. Exit code 2, with the reason, if it does not fit."
    )
    parser.add_argument("config", help="experiment, such as seqtrack_b256")
    parser.add_argument("--checkpoint", type=user_path, help="the file (default: where test.py looks, below save_dir)")
    parser.add_argument("--save_dir", type=user_path, help="folder of the checkpoints (default: .)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Check one checkpoint."""
    args = parse_args(argv)
    cfg = load_config(args.config)
    save_dir = load_paths("test", save_dir=args.save_dir).save_dir
    path = args.checkpoint or find_checkpoint(save_dir, experiment_name(args.config), cfg.TEST.EPOCH)
    state = load_checkpoint(path)
    weights = find_weights(state, path)
    with torch.device("meta"):  # names and shapes are all that is needed
        expected = build_seqtrack(cfg).state_dict()
    check_weights(expected, weights, path)
    total = sum(value.numel() for value in weights.values())
    print(f"{path}: fits {args.config}")
    print(f"  keys        {len(weights)}")
    print(f"  parameters  {total:,}")
    epoch = state.get("epoch")
    print(f"  epoch       {epoch if isinstance(epoch, int) else 'not recorded'}")
    print(f"  size        {path.stat().st_size:,} bytes")
    print(f"  sha256      {file_hash(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
