"""Write a tracker's network as files that run without this project: ONNX, OpenVINO, or PyTorch's own format.

    python tracking/export.py --config seqtrack_demo --output output/exported
    python tracking/export.py --config seqtrack_b256 --checkpoint SEQTRACK.pth.tar --precision float16 --output DIR

Two graphs, embed_template and step; docs/deployment.md describes inputs, outputs and metadata. At the end both run and
are compared with PyTorch: in float32 every token has to be equal, or nothing is written.
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.seqtrack.config import experiment_name
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.formats import FORMATS, PRECISIONS, export
from lib.utils.cli import ScriptParser, run_script, user_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="name of the experiment, or path of its YAML file")
    parser.add_argument("--checkpoint", type=user_path, help="weights (default: those of the experiment)")
    parser.add_argument("--save_dir", type=user_path, help="where training wrote its checkpoints")
    parser.add_argument("--format", default="onnx", choices=FORMATS, help="of the files (default: onnx)")
    parser.add_argument("--precision", default="float32", choices=PRECISIONS, help="default: float32")
    parser.add_argument("--output", type=user_path, required=True, help="folder to write to")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    start = time.perf_counter()
    params = parameters(args.config, checkpoint=args.checkpoint, save_dir=args.save_dir, device="cpu")
    files = export(
        params,
        args.output,
        config=experiment_name(args.config),
        format=args.format,
        precision=args.precision,
        progress=lambda text: print(f"[{time.perf_counter() - start:5.1f} s] {text}", flush=True),
    )
    for file in files:
        print(f"  {file} ({file.stat().st_size / 2**20:.1f} MiB)")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
