"""Lost targets: how often they are found again, what is taken for them, and what looking for them costs.

Tracks rendered videos in which the target leaves the image or is hidden for some frames and comes back, and easy ones
in which it never does, by the library with the search for lost targets and without.

* found again: of all returns after at least --gap frames, the share in which the box overlaps the target (IoU > 0.3)
  in a frame reported as `tracking`, within 10 frames;
* false acceptance: a lost target is reported as `tracking` again with a box that is not on it; also for each return;
* lost while absent: of the last frames before a return, the share that is reported as `lost`;
* AUC: of the frames with a target;
* crops: search crops for each frame, which is what a frame costs, also as ms.

    python -m benchmarks.lost_and_found
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

import seqtrack
from lib.synthetic import SyntheticSequence
from lib.test.analysis.protocols import overlap_of_pairs
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path

WITHIN = 10  # frames after a return
ON_TARGET = 0.3  # IoU


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo")
    parser.add_argument("--checkpoint", type=user_path, help="default: the bundled weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--videos", type=int, default=16, help="of each kind: medium and hard with returns, easy")
    parser.add_argument("--frames", type=int, default=120, help="of each video")
    parser.add_argument("--gap", type=int, default=5, help="fewest frames of an absence that counts")
    parser.add_argument("--seed", type=int, default=60_000, help="of the first video that is looked at")
    parser.add_argument("--size", type=int, nargs=2, default=(320, 240), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--lost_below", type=float)
    parser.add_argument("--found_above", type=float)
    parser.add_argument("--patience", type=int)
    parser.add_argument("--confirm", type=int)
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: its own choice")
    return parser.parse_args(argv)


@dataclass(frozen=True)
class Run:
    """What a tracker did in a video of F frames.

    Attributes:
        overlap: (F,) with the ground truth; 0 where the target is absent.
        states: F states.
        crops: search crops in all.
        seconds: in the tracker.
    """

    overlap: np.ndarray
    states: list[str]
    crops: int
    seconds: float


def returns(sequence: SyntheticSequence, gap: int) -> list[int]:
    """Frames in which the target is back after at least ``gap`` frames of absence."""
    absent = sequence.absent
    ends = [index for index in range(gap, len(absent)) if absent[index - gap : index].all() and not absent[index]]
    return [index for index in ends if index + WITHIN <= len(absent)]


def choose_videos(args: argparse.Namespace, difficulty: str, with_returns: bool) -> list[SyntheticSequence]:
    """The first videos that have a return, or no absence at all."""
    chosen: list[SyntheticSequence] = []
    seed = args.seed
    while len(chosen) < args.videos:
        sequence = SyntheticSequence(
            seed, num_frames=args.frames, size=tuple(args.size), difficulty=difficulty, split="lost"
        )
        seed += 1
        if returns(sequence, args.gap) if with_returns else not sequence.absent.any():
            chosen.append(sequence)
    return chosen


def follow(tracker: seqtrack.Tracker, frames: list[np.ndarray], sequence: SyntheticSequence) -> Run:
    """Track a video."""
    crops = 0
    network = tracker.network
    encode = network.encode_embedded

    def counting(templates: torch.Tensor, *rest: torch.Tensor, **options: bool) -> torch.Tensor:
        nonlocal crops
        crops += len(templates)
        return encode(templates, *rest, **options)

    network.encode_embedded = counting
    tracker.init(frames[0], sequence.boxes_xywh[0])
    begin = time.perf_counter()
    results = [tracker.update(frame) for frame in frames[1:]]
    seconds = time.perf_counter() - begin
    del network.encode_embedded
    boxes = np.array([sequence.boxes_xywh[0], *(result.box for result in results)])
    overlap = np.where(sequence.absent, 0.0, np.nan_to_num(overlap_of_pairs(boxes, sequence.boxes_xywh)))
    return Run(overlap, ["tracking", *(result.state for result in results)], crops, seconds)


def summary(runs: list[Run], sequences: list[SyntheticSequence], gap: int) -> list[str]:
    """The cells of a row: what the numbers at the head of this file are for some videos."""
    back = [(run, index) for run, video in zip(runs, sequences, strict=True) for index in returns(video, gap)]
    hits = sum(
        any(run.overlap[i] > ON_TARGET and run.states[i] == "tracking" for i in range(index, index + WITHIN))
        for run, index in back
    )
    false = sum(
        run.states[i - 1] == "lost" and run.states[i] == "tracking" and run.overlap[i] <= ON_TARGET
        for run in runs
        for i in range(1, len(run.states))
    )
    noticed = sum(run.states[index - 1] == "lost" for run, index in back)
    overlaps = np.concatenate([run.overlap[~video.absent] for run, video in zip(runs, sequences, strict=True)])
    auc = 100 * np.mean([(overlaps > threshold).mean() for threshold in np.linspace(0, 1, 21)])
    tracked = sum(len(run.states) - 1 for run in runs)
    share = f"{hits}/{len(back)} ({100 * hits / len(back):.0f} %)" if back else "-"
    cost = f"{sum(run.crops for run in runs) / tracked:.2f}", f"{1000 * sum(run.seconds for run in runs) / tracked:.1f}"
    return [share, str(false), f"{noticed}/{len(back)}" if back else "-", f"{auc:.1f}", *cost]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    check_ranges(args, {"videos": (1, 1000), "frames": (20, 10_000), "gap": (1, 1000), "threads": (1, 1024)})
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    names = ("lost_below", "found_above", "patience", "confirm")
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    trackers = {
        label: seqtrack.load(
            args.config, args.checkpoint, device=args.device, lost=seqtrack.LostOptions(search=search, **options)
        )
        for label, search in (("without", False), ("with", True))
    }
    columns = ("found again", "false", "noticed", "AUC", "crops", "ms")
    print(f"{'videos':<22} {'search':<8}" + "".join(f"{column:>14}" for column in columns))
    for difficulty, with_returns in (("medium", True), ("hard", True), ("easy", False)):
        sequences = choose_videos(args, difficulty, with_returns)
        runs: dict[str, list[Run]] = {label: [] for label in trackers}
        for sequence in sequences:
            frames = [sequence.frame(index) for index in range(args.frames)]
            for label, tracker in trackers.items():
                runs[label].append(follow(tracker, frames, sequence))
        for label, found in runs.items():
            kind = f"{difficulty}, {'returns' if with_returns else 'always there'}"
            cells = "".join(f"{cell:>14}" for cell in summary(found, sequences, args.gap))
            print(f"{kind:<22} {label:<8}{cells}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
