"""What fine-tuning gains on videos of another kind, and what the weights lose where they came from.

Renders videos as a thermal camera might show them (bright is hot: inverted gray, little contrast, blur, noise), fine-
tunes the bundled tracker on some with each method, and tracks others, and ordinary videos, before and after.

    python -m benchmarks.finetune
"""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import cv2
import numpy as np
import torch

from lib.config.paths import bundled_checkpoint
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.initial import load_initial_weights
from lib.synthetic import SyntheticSequence
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from tracking import finetune
from tracking.track_check import TrackCheck

CONFIG = "seqtrack_demo"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=user_path, default=Path("output/benchmark_finetune"), help="%(default)s")
    parser.add_argument("--videos", type=int, default=24, help="for fine-tuning, a fifth of them held out")
    parser.add_argument("--test_videos", type=int, default=12, help="of each kind, for the comparison")
    parser.add_argument("--frames", type=int, default=60, help="of each video")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--methods", nargs="+", choices=finetune.METHODS, default=["full", "lora"])
    args = parser.parse_args(argv)
    limits = {"videos": (2, 1000), "test_videos": (1, 1000), "frames": (2, 1000), "epochs": (1, 1000)}
    check_ranges(args, limits)
    return args


def thermal(image: np.ndarray, seed: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same as a thermal camera might show it."""
    gray = 255.0 - cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    gray = 100.0 + 0.18 * (cv2.GaussianBlur(gray, (0, 0), 1.5) - 127.5)
    gray += np.random.default_rng(seed).normal(0.0, 5.0, gray.shape).astype(np.float32)
    return np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def write_videos(folder: Path, count: int, frames: int, seed: int, *, is_thermal: bool) -> None:
    """Render sequences in the layout of a folder of one's own, unless they are there."""
    for number in range(count):
        sequence, target = SyntheticSequence(seed + number, num_frames=frames), folder / f"{number:03d}"
        boxes = target / "groundtruth.txt"
        if boxes.is_file():
            continue
        (target / "img").mkdir(parents=True, exist_ok=True)
        for frame in range(frames):
            image = sequence.frame(frame)
            image = thermal(image, seed * 1000 + number * frames + frame) if is_thermal else image
            cv2.imwrite(str(target / "img" / f"{frame + 1:05d}.jpg"), np.ascontiguousarray(image[..., ::-1]))
        np.savetxt(boxes, sequence.boxes_xywh, fmt="%.2f", delimiter=",")


def main(argv: Sequence[str] | None = None) -> int:
    """Render, fine-tune, print the table."""
    args = parse_args(argv)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    kinds = {"thermal": True, "ordinary": False}
    write_videos(args.output / "data", args.videos, args.frames, 91_000, is_thermal=True)
    checks = {}
    for kind, is_thermal in kinds.items():
        write_videos(args.output / kind, args.test_videos, args.frames, 95_000, is_thermal=is_thermal)
        checks[kind] = TrackCheck(f"folder:{(args.output / kind).resolve()}", args.test_videos)
    weights = {"bundled": (bundled_checkpoint(CONFIG), 0.0, 0)}
    for method in args.methods:
        folder, started = args.output / method, time.monotonic()
        flags = ["--data", str(args.output / "data"), "--method", method, "--epochs", str(args.epochs)]
        if finetune.main([*flags, "--output", str(folder), "--init", str(bundled_checkpoint(CONFIG))]):
            return 1
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
        minutes = (time.monotonic() - started) / 60
        weights[method] = (folder / f"{CONFIG}_finetuned.pth.tar", minutes, report["trained"])
    cfg = load_config(CONFIG)
    network = build_seqtrack(cfg).eval()
    print("| weights | weights trained | minutes | AUC thermal | AUC ordinary |\n|---|---|---|---|---|")
    for name, (path, minutes, trained) in weights.items():
        load_initial_weights(network, path)
        scores = [f"{check(cfg, network)['AUC']:.1f}" for check in checks.values()]
        print(f"| {name} | {trained:,} | {minutes:.1f} | {' | '.join(scores)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
