"""Import the compiled dependencies together and say which versions and which device are there."""

import argparse
import importlib
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.utils.cli import ScriptParser, run_script

MODULES = ("torch", "torchvision", "timm", "cv2", "numpy")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description="Import torch, torchvision, timm and cv2 in one process, run one operator of each, and print the "
        "versions and the device. Exit code 1, with the reason, if they do not fit each other."
    )
    return parser.parse_args(argv)


def try_operators() -> str:
    """Run an operator of torch, torchvision and OpenCV; return the name of the fastest device."""
    import cv2
    import numpy as np
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    torchvision.ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.5)  # fails where torch and torchvision differ in build
    cv2.resize(np.zeros((4, 4, 3), dtype=np.uint8), (2, 2))
    if torch.cuda.is_available():
        return f"cuda ({torch.cuda.get_device_name()})"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def main(argv: Sequence[str] | None = None) -> int:
    """Report, or say why not."""
    parse_args(argv)
    print(f"python       {platform.python_version()}")
    try:
        for name in MODULES:
            print(f"{name:<12} {importlib.import_module(name).__version__}")
        print(f"device       {try_operators()}")
    except Exception as error:  # whatever breaks an import is the answer to this script's question
        reason = " ".join(str(error).split())
        print(
            f"check_install.py: the packages do not fit each other: {type(error).__name__}: {reason}", file=sys.stderr
        )
        print("check_install.py: remove .venv and run `bash install.sh` again", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
