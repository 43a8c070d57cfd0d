"""What following N targets of a video in one batch costs, against N separate trackers with the same network.

Both follow the same targets in the same rendered frames, turn by turn in the same run: a video each of a round is
followed by the one, then by the other. The boxes are compared, too.

    python -m benchmarks.multi_target
    python -m benchmarks.multi_target --config seqtrack_b256 --checkpoint FILE --device cuda --dtype bfloat16
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

import seqtrack
from lib.synthetic import SyntheticSequence
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path

Step = Callable[[np.ndarray], list[tuple[float, ...]]]
"""From a frame to the boxes of all targets."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo")
    parser.add_argument("--checkpoint", type=user_path, help="default: the bundled weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--targets", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--frames", type=int, default=15, help="of each round")
    parser.add_argument("--rounds", type=int, default=3, help="the fastest one of each counts")
    parser.add_argument("--size", type=int, nargs=2, default=(1280, 720), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: its own choice")
    return parser.parse_args(argv)


def boxes_in(size: tuple[int, int], count: int) -> list[list[float]]:
    """Boxes of different sizes, spread over an image."""
    rng = np.random.RandomState(0)
    shares = rng.uniform((0.05, 0.05, 0.06, 0.1), (0.7, 0.6, 0.2, 0.3), (count, 4))
    return (shares * (*size, *size)).tolist()


def separate_trackers(model: seqtrack.Tracker, frame: np.ndarray, boxes: list[list[float]]) -> Step:
    """N trackers that share a network."""
    trackers = [model.share() for _ in boxes]
    for tracker, box in zip(trackers, boxes, strict=True):
        tracker.init(frame, box)
    return lambda image: [tracker.update(image).box for tracker in trackers]


def one_batch(model: seqtrack.Tracker, frame: np.ndarray, boxes: list[list[float]]) -> Step:
    """One ``MultiTracker``."""
    targets = seqtrack.MultiTracker(model)
    for box in boxes:
        targets.add(frame, box)
    return lambda image: [result.box for result in targets.update(image).values()]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    check_ranges(args, {"frames": (2, 10_000), "rounds": (1, 1000), "threads": (1, 1024)})
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    model = seqtrack.load(args.config, args.checkpoint, device=args.device, dtype=args.dtype)
    sequence = SyntheticSequence(0, num_frames=args.frames, size=tuple(args.size), difficulty="easy", split="many")
    frames = [sequence.frame(index) for index in range(args.frames)]
    print(f"{args.config} {args.dtype} on {model.device}, {torch.get_num_threads()} threads; frames/s with all targets")
    print(f"{'targets':>7} {'separate':>9} {'together':>9} {'ratio':>6}   largest difference of a box")
    for count in args.targets:
        boxes = boxes_in(sequence.size, count)
        best = [float("inf")] * 2
        for _ in range(args.rounds):
            found = []
            for index, start in enumerate((separate_trackers, one_batch)):
                step = start(model, frames[0], boxes)
                begin = time.perf_counter()
                found.append(np.array([step(frame) for frame in frames[1:]]))
                best[index] = min(best[index], time.perf_counter() - begin)
        separate, together = ((args.frames - 1) / seconds for seconds in best)
        difference = np.abs(found[0] - found[1]).max()
        print(f"{count:>7} {separate:>9.2f} {together:>9.2f} {together / separate:>6.2f}   {difference:.2g} pixels")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
