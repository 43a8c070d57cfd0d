"""Train the demo tracker again and write its weights as they are bundled: half precision, nothing else.

    python tracking/train_demo.py            # what `make demo-train` runs

Takes two and a half hours on two CPU cores with AVX-512 BF16, about ten on two without.
Uses what tracking/prepare_demo_data.py gathers (photos, cut-outs, a pretrained encoder); what is missing of it is
replaced by painted videos and an encoder that starts from nothing, which tracks worse. An interrupted run goes on where
it stopped.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.paths import PROJECT_ROOT, checkpoint_path
from lib.config.seqtrack.config import experiment_name, load_config
from lib.config.yaml_text import parse_overrides
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.child import run_child
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="experiment (default: seqtrack_demo)")
    parser.add_argument(
        "--save_dir",
        type=user_path,
        default=Path("output/demo_train"),
        help="checkpoints and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--export", type=user_path, default=None, help="file of the weights (default: SAVE_DIR/<config>.pth.tar)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument(
        "--override",
        action="extend",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options that win over the file",
    )
    return parser.parse_args(argv)


def export_weights(checkpoint: Path, target: Path) -> int:
    """Write the network's weights in half precision and return the size of the file in bytes.

    Raises:
        CheckpointError: if the checkpoint cannot be read, or the file cannot be written.
    """
    state = load_checkpoint(checkpoint)
    weights = {name: value.half() if value.is_floating_point() else value for name, value in state["net"].items()}
    kept = {key: state[key] for key in ("epoch", "net_type", "config_name", "config") if key in state}
    save_checkpoint({"net": weights, **kept}, target)
    return target.stat().st_size


def main(argv: Sequence[str] | None = None) -> int:
    """Train, export, say what was written."""
    args = parse_args(argv)
    given = parse_overrides(args.override)
    command = [sys.executable, str(PROJECT_ROOT / "tracking" / "train.py"), "--script", "seqtrack"]
    command += ["--config", args.config, "--save_dir", str(args.save_dir), "--mode", "single", "--device", args.device]
    command += ["--override", *args.override] if args.override else []
    code = run_child(command)
    if code >= 128:  # by a signal, and it says so
        return code
    if code:
        raise InputError(f"the training stopped with exit code {code}; its message stands above")
    name = experiment_name(args.config)
    epochs = load_config(args.config, given).TRAIN.EPOCH
    target = args.export or args.save_dir / f"{name}.pth.tar"
    size = export_weights(checkpoint_path(args.save_dir, name, epochs), target)
    print(f"weights in half precision: {target} ({size / 2**20:.1f} MiB)")
    print(f"use them: python tracking/video_demo.py seqtrack {args.config} CLIP --checkpoint {target}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
