"""Lost targets: how often they are found again, what is taken for them, and what looking for them costs.

Tracks rendered videos by the library, with the search for lost targets and without:

* medium, hard: the target leaves the image or is hidden for some frames and comes back;
* here, elsewhere: a wall hides it for 30 to 90 frames, and it comes back from behind it, or has gone on with the wall;
* easy: it never leaves.

The columns:

* found again: of all returns after at least --gap frames (30 behind a wall), the share in which the box overlaps the
  target (IoU > 0.3) in a frame reported as `tracking`, within 10 frames from when half of the target shows;
* false acceptance: a lost target is reported as `tracking` again with a box that is not on it; also for each return;
* noticed: of the last frames before a return, the share that is reported as `lost`;
* AUC: of the frames with a target;
* crops: search crops for each frame, which is what a frame costs, also for each lost frame alone, and as ms.

    python -m benchmarks.lost_and_found
"""

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

import seqtrack
from lib.synthetic import SyntheticSequence
from lib.synthetic.camera import excursion
from lib.synthetic.scenery import obstacle_sprite
from lib.synthetic.sprite import Actor, Track
from lib.test.analysis.protocols import overlap_of_pairs
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path

KINDS = ("medium", "hard", "here", "elsewhere", "easy")
WALL_GAP = 30  # fewest frames behind a wall
WITHIN = 10  # frames after half of the target is back
ON_TARGET = 0.3  # IoU


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo")
    parser.add_argument("--checkpoint", type=user_path, help="default: the bundled weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS, help="of videos; default: all")
    parser.add_argument("--videos", type=int, default=16, help="of each kind")
    parser.add_argument("--frames", type=int, default=120, help="of each video; 40 more where a wall hides the target")
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
        crops: (F,) search crops; 0 of the first frame.
        seconds: in the tracker.
    """

    overlap: np.ndarray
    states: list[str]
    crops: np.ndarray
    seconds: float


def returns(sequence: SyntheticSequence, gap: int) -> list[tuple[int, int]]:
    """Returns after at least ``gap`` frames of absence: the first frame with a trace, and the first with half of it."""
    absent, in_sight = sequence.absent, sequence.visible_fraction >= 0.5
    found = []
    for back in range(gap, len(absent)):
        if absent[back - gap : back].all() and not absent[back]:
            seen = back + int(np.argmax(in_sight[back:] | absent[back:]))
            if in_sight[seen] and seen + WITHIN <= len(absent):
                found.append((back, seen))
    return found


class LongOcclusion(SyntheticSequence):
    """A video in which a wall comes before the target, stays before it for 30 to 90 frames, and goes on.

    Args:
        seed: as for ``SyntheticSequence``, like all other arguments.
        elsewhere: the target moves on behind the wall, to the place opposite the middle of the image.
    """

    def __init__(self, seed: int, *, elsewhere: bool, **options: Any) -> None:
        super().__init__(seed, **options)
        world, (width, height) = self._world, self.size
        draws = world.recipe.draws("long occlusion")
        hidden, begin, ramp = draws.integer(30, 90), draws.integer(20, 40), draws.integer(8, 14)
        inner = excursion(self.num_frames, begin, ramp, hidden)  # 1 while the wall is before the target
        frames = np.arange(self.num_frames)
        target = world.target
        if elsewhere:
            moved = np.clip((frames - begin - ramp) / hidden, 0, 1)
            x, y = target.track.x, target.track.y
            track = replace(target.track, x=x + moved * (width - 2 * x), y=y + moved * (height - 2 * y))
            target = world.target = Actor(target.sprite, track)
        low, high = target.corners[:, :2], target.corners[:, 2:]
        middle = (low + high) / 2
        wall = obstacle_sprite((seed, "wall"), 96, "wall")
        scale = 1.3 * (high - low).max(axis=0) / wall.extent
        away = np.where(frames < begin + ramp + hidden / 2, 1, -1) * draws.sign() * (1 - inner) * width
        still = np.zeros(self.num_frames, dtype=np.int64)
        wide, tall = (np.full(self.num_frames, value) for value in scale)
        cover = Actor(wall, Track(middle[:, 0] + away, middle[:, 1], wide, tall, still, still))
        world.front = [*world.front, cover]


def make_video(args: argparse.Namespace, kind: str, seed: int) -> SyntheticSequence:
    """One video of a kind."""
    if kind in ("here", "elsewhere"):
        return LongOcclusion(
            seed,
            elsewhere=kind == "elsewhere",
            num_frames=args.frames + 40,
            size=tuple(args.size),
            difficulty="medium",
            split="lost",
        )
    return SyntheticSequence(seed, num_frames=args.frames, size=tuple(args.size), difficulty=kind, split="lost")


def choose_videos(args: argparse.Namespace, kind: str, gap: int) -> list[SyntheticSequence]:
    """The first videos that have a return, or no absence at all."""
    chosen: list[SyntheticSequence] = []
    seed = args.seed
    while len(chosen) < args.videos:
        sequence = make_video(args, kind, seed)
        seed += 1
        if not sequence.absent.any() if kind == "easy" else returns(sequence, gap):
            chosen.append(sequence)
    return chosen


def follow(tracker: seqtrack.Tracker, frames: list[np.ndarray], sequence: SyntheticSequence) -> Run:
    """Track a video."""
    crops = [0]
    network = tracker.network
    encode = network.encode_embedded

    def counting(templates: torch.Tensor, *rest: torch.Tensor, **options: bool) -> torch.Tensor:
        crops[-1] += len(templates)
        return encode(templates, *rest, **options)

    network.encode_embedded = counting
    tracker.init(frames[0], sequence.boxes_xywh[0])
    begin = time.perf_counter()
    results = []
    for frame in frames[1:]:
        crops.append(0)
        results.append(tracker.update(frame))
    seconds = time.perf_counter() - begin
    del network.encode_embedded
    boxes = np.array([sequence.boxes_xywh[0], *(result.box for result in results)])
    overlap = np.where(sequence.absent, 0.0, np.nan_to_num(overlap_of_pairs(boxes, sequence.boxes_xywh)))
    return Run(overlap, ["tracking", *(result.state for result in results)], np.array(crops), seconds)


def summary(runs: list[Run], sequences: list[SyntheticSequence], gap: int) -> list[str]:
    """The cells of a row: what the numbers at the head of this file are for some videos."""
    back = [(run, *when) for run, video in zip(runs, sequences, strict=True) for when in returns(video, gap)]
    hits = sum(
        any(run.overlap[i] > ON_TARGET and run.states[i] == "tracking" for i in range(first, seen + WITHIN))
        for run, first, seen in back
    )
    false = sum(
        run.states[i - 1] == "lost" and run.states[i] == "tracking" and run.overlap[i] <= ON_TARGET
        for run in runs
        for i in range(1, len(run.states))
    )
    noticed = sum(run.states[first - 1] == "lost" for run, first, _ in back)
    overlaps = np.concatenate([run.overlap[~video.absent] for run, video in zip(runs, sequences, strict=True)])
    auc = 100 * np.mean([(overlaps > threshold).mean() for threshold in np.linspace(0, 1, 21)])
    tracked = sum(len(run.states) - 1 for run in runs)
    counts = np.concatenate([run.crops[1:] for run in runs])
    lost = np.concatenate([np.array(run.states[:-1]) == "lost" for run in runs])
    share = f"{hits}/{len(back)} ({100 * hits / len(back):.0f} %)" if back else "-"
    cost = (
        f"{counts.mean():.2f}",
        f"{counts[lost].mean():.1f}" if lost.any() else "-",
        f"{1000 * sum(run.seconds for run in runs) / tracked:.1f}",
    )
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
    columns = ("found again", "false", "noticed", "AUC", "crops", "while lost", "ms")
    print(f"{'videos':<10} {'search':<8}" + "".join(f"{column:>14}" for column in columns))
    for kind in args.kinds:
        gap = max(args.gap, WALL_GAP) if kind in ("here", "elsewhere") else args.gap
        sequences = choose_videos(args, kind, gap)
        runs: dict[str, list[Run]] = {label: [] for label in trackers}
        for sequence in sequences:
            frames = [sequence.frame(index) for index in range(len(sequence))]
            for label, tracker in trackers.items():
                runs[label].append(follow(tracker, frames, sequence))
        for label, found in runs.items():
            cells = "".join(f"{cell:>14}" for cell in summary(found, sequences, gap))
            print(f"{kind:<10} {label:<8}{cells}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
