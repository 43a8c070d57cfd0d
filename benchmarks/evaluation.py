"""What a sweep over a benchmark and its analysis cost.

Analysis: scores made-up results of LaSOT's size (280 sequences of 2500 frames), first without and then with a
cache; beside it the plain way (a line, a frame, a threshold at a time) on a few sequences, scaled up. Processor seconds
stand beside those of the clock, since other work on the machine does not count there.

Sweep: tracks a rendered benchmark with one network of random weights in the same run

* one sequence at a time, frames read in between, as codebases of the family do;
* one sequence at a time, frames decoded ahead;
* in lock-step batches of 8, 32 and 64 sequences,

and says what share of the time reading the images takes.

    python -m benchmarks.evaluation                          # the analysis, and a small network on the CPU
    python -m benchmarks.evaluation --config seqtrack_b256 --device cuda --dtype bfloat16 --sequences 64 --frames 60
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np

from lib.config.seqtrack.config import load_config
from lib.data.sequence import Sequence as VideoSequence
from lib.data.sequence import SequenceList
from lib.synthetic import SyntheticSequence
from lib.test.analysis.scoring import ScoreCache, Scoring, score_results
from lib.test.analysis.selection import Source, own_results
from lib.test.evaluation.results import ResultFolder, to_integers
from lib.test.evaluation.running import run_benchmark
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker.seqtrack import SeqTrackEngine, SeqTrackTracker
from lib.utils.cli import ScriptParser, add_cuda_graphs, run_script
from lib.utils.image_io import write_image


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="experiment whose network tracks (random weights)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="float32")
    add_cuda_graphs(parser)
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--sequences", type=int, default=16, help="of the rendered benchmark")
    parser.add_argument("--frames", type=int, default=30, help="of each sequence")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--results", type=int, nargs=2, default=(280, 2500), metavar=("SEQUENCES", "FRAMES"))
    parser.add_argument("--skip", choices=("analysis", "sweep"), help="leave one of the two out")
    return parser.parse_args(argv)


def made_up_results(root: Path, count: int, frames: int) -> tuple[SequenceList, Source]:
    """Results that follow a wandering ground truth with some error."""
    rng = np.random.RandomState(0)
    folder = ResultFolder(root, "seqtrack", "made_up", "otb")
    folder.path.mkdir(parents=True)
    sequences = SequenceList()
    for index in range(count):
        ground_truth = np.array([300.0, 200, 80, 60]) + rng.uniform(-2, 2, (frames, 4)).cumsum(axis=0).clip(-50, 200)
        name = f"sequence_{index:03d}"
        sequences.append(VideoSequence(name, ["none"] * frames, "otb", ground_truth))
        boxes = to_integers(ground_truth + rng.uniform(-12, 12, ground_truth.shape)).clip(1)
        lines = "\n".join("\t".join(map(str, row)) for row in boxes.tolist())
        folder.boxes_path(name).write_text(lines + "\n")
    return sequences, own_results(folder)


def score_plainly(sequences: SequenceList, source: Source) -> None:
    """Success of each sequence with a loop over lines, frames and thresholds."""
    for sequence in sequences:
        rows = [
            [float(value) for value in line.split()] for line in source.file(sequence.name).read_text().splitlines()
        ]
        counts = [0] * 21
        for (x, y, w, h), (tx, ty, tw, th) in zip(rows, sequence.ground_truth_rect.tolist(), strict=True):
            width, height = min(x + w, tx + tw) - max(x, tx), min(y + h, ty + th) - max(y, ty)
            shared = max(width, 0.0) * max(height, 0.0)
            overlap = shared / (w * h + tw * th - shared)
            for step in range(21):
                counts[step] += overlap > 0.05 * step


def measure_analysis(count: int, frames: int) -> list[str]:
    """Times of scoring one tracker."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sequences, source = made_up_results(root, count, frames)
        cache, seconds = ScoreCache(root / "cache"), []
        for _ in range(4):
            start = time.perf_counter(), time.process_time()
            score_results([source], sequences, Scoring(), label="made up", cache=cache)
            seconds.append((time.perf_counter() - start[0], time.process_time() - start[1]))
        few = SequenceList(sequences[: max(1, count // 20)])
        start = time.perf_counter(), time.process_time()
        score_plainly(few, source)
        plain = [now - then for now, then in zip((time.perf_counter(), time.process_time()), start, strict=True)]
    clock, processor = (value * count / len(few) for value in plain)
    cached = [min(values) for values in zip(*seconds[1:], strict=True)]
    return [
        f"analysis of {count} sequences x {frames} frames, one tracker",
        f"  cold:                  {seconds[0][0]:6.2f} s, processor {seconds[0][1]:6.2f} s",
        f"  cached:                {cached[0]:6.2f} s, processor {cached[1]:6.2f} s",
        f"  plain loops (success): {clock:6.2f} s, processor {processor:6.2f} s (scaled up from {len(few)} sequences)",
    ]


def rendered(root: Path, args: argparse.Namespace) -> SequenceList:
    """A rendered benchmark as JPEG files on disk; a few worlds, each used by many sequences."""
    sequences = SequenceList()
    for index in range(args.sequences):
        world = SyntheticSequence(index % 4, num_frames=args.frames, size=(args.width, args.height), split="bench")
        frames = [root / f"world{index % 4}" / f"{frame:05d}.jpg" for frame in range(args.frames)]
        if index < 4:
            for frame, path in enumerate(frames):
                path.parent.mkdir(parents=True, exist_ok=True)
                write_image(path, world.frame(frame))
        boxes = np.maximum(world.boxes_xywh, 1)
        sequences.append(VideoSequence(f"s{index:03d}", list(map(str, frames)), "synthetic", boxes))
    return sequences


def one_at_a_time(tracker: SeqTrackTracker, sequences: SequenceList) -> tuple[float, float]:
    """Seconds of reading, then tracking, frame by frame; and those of reading alone."""
    reading, start = 0.0, time.perf_counter()
    for sequence in sequences:
        for index in range(len(sequence.frames)):
            before = time.perf_counter()
            image = sequence.read_frame(index)
            reading += time.perf_counter() - before
            if index == 0:
                tracker.initialize(image, {"init_bbox": sequence.init_box_xywh})
            else:
                tracker.track(image)
    return time.perf_counter() - start, reading


def measure_sweep(args: argparse.Namespace) -> Iterator[str]:
    """Frames per second, end to end, line by line as they are measured."""
    params = parameters_from_config(load_config(args.config), checkpoint=None, device=args.device, dtype=args.dtype)
    params = replace(params, cuda_graphs=args.cuda_graphs)
    tracker = SeqTrackTracker(params, SeqTrackEngine(params))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sequences = rendered(root, args)
        one_at_a_time(tracker, SequenceList(sequences[:1]))  # warm-up
        seconds, reading = one_at_a_time(tracker, sequences)
        plain = sequences.num_frames / seconds
        yield (
            f"sweep of {len(sequences)} sequences x {args.frames} frames, {args.width}x{args.height}, {args.config}, "
            f"{tracker.engine.device}, {args.dtype}"
        )
        yield f"  one at a time, read in between: {plain:8.1f} frames/s (reading takes {100 * reading / seconds:.0f} %)"
        for batch in args.batch_sizes:
            results = ResultFolder(root, "seqtrack", f"batch{batch}", "synthetic")
            for name in ("warm-up", "sweep"):
                chosen = SequenceList(sequences[:batch]) if name == "warm-up" else sequences
                summary = run_benchmark(
                    chosen, lambda _: tracker, results, devices=[args.device], batch_size=batch, overwrite=True
                )
            fps = summary.frames / summary.wall_seconds
            yield f"  decoded ahead, batch {batch:3d}:       {fps:8.1f} frames/s (x{fps / plain:.2f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = parse_args(argv)
    if args.skip != "analysis":
        print("\n".join(measure_analysis(*args.results)))
    if args.skip != "sweep":
        for line in measure_sweep(args):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
