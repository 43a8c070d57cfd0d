"""What a precision costs in accuracy, on rendered sequences that the network was not trained on.

    python benchmarks/precision.py                                        # the bundled demo tracker
    python benchmarks/precision.py --config seqtrack_demo --checkpoint SEQTRACK_ep0004.pth.tar

Every precision tracks every sequence on its own, from the first box on, as in one-pass evaluation. Average overlap is
the mean IoU of boxes over frames in which the target is visible, averaged over sequences.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

from lib.config.paths import PROJECT_ROOT, find_checkpoint
from lib.config.seqtrack.config import experiment_name, load_config
from lib.models.seqtrack.precision import PRECISIONS
from lib.synthetic import SyntheticSequence
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker.engine import SeqTrackEngine
from lib.utils.box_ops import box_iou, box_xywh_to_xyxy
from lib.utils.cli import ScriptParser, run_script, user_path

FIRST_SEED = 1000


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="name of the experiment, or path of its YAML file")
    parser.add_argument("--checkpoint", type=user_path, help="trained weights (default: the bundled ones)")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16", "int8"], choices=PRECISIONS)
    parser.add_argument("--sequences", type=int, default=20, help="rendered sequences of 60 frames (default: 20)")
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:<index> or mps (default: cpu)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    return parser.parse_args(argv)


def track(engine: SeqTrackEngine, sequence: SyntheticSequence, frames: list[np.ndarray]) -> torch.Tensor:
    """Boxes (F - 1, 4) xywh of all frames but the first."""
    state = engine.start(frames[0], sequence.boxes_xywh[0])
    boxes = [engine.step([state], [frame])[0].box_xywh for frame in frames[1:]]
    return torch.tensor(boxes, dtype=torch.float64)


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """IoU of boxes xywh, row by row."""
    return box_iou(box_xywh_to_xyxy(boxes), box_xywh_to_xyxy(others))[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    cfg = load_config(args.config)
    checkpoint = args.checkpoint
    if checkpoint is None:
        checkpoint = find_checkpoint(PROJECT_ROOT, experiment_name(args.config), cfg.TEST.EPOCH)
    engines = {
        name: SeqTrackEngine(
            parameters_from_config(cfg, checkpoint=checkpoint, dataset="default", device=args.device, dtype=name)
        )
        for name in args.precisions
    }
    ground_truth: dict[str, list[float]] = {name: [] for name in engines}
    first: dict[str, list[float]] = {name: [] for name in engines}
    for seed in range(FIRST_SEED, FIRST_SEED + args.sequences):
        sequence = SyntheticSequence(seed, difficulty="mixed", split="val")
        frames = [sequence.frame(index) for index in range(sequence.num_frames)]
        visible = torch.from_numpy(sequence.visible_fraction[1:] > 0)
        boxes = {name: track(engine, sequence, frames) for name, engine in engines.items()}
        for name, own in boxes.items():
            right = torch.from_numpy(np.asarray(sequence.boxes_xywh[1:], dtype=np.float64))
            ground_truth[name].append(overlaps(own, right)[visible].mean().item())
            first[name].append(overlaps(own, boxes[args.precisions[0]]).mean().item())
    print(f"| precision | average overlap, {args.sequences} sequences | IoU with {args.precisions[0]} |\n|---|---|---|")
    for name in engines:
        print(f"| {name} | {100 * np.mean(ground_truth[name]):.2f} | {np.mean(first[name]):.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
