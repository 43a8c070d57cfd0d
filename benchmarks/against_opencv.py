"""The demo tracker beside the trackers of OpenCV, on rendered videos of things and places it was never trained on.

    python benchmarks/against_opencv.py --opencv_python .venv-opencv/bin/python

CSRT and KCF are in the package opencv-contrib-python, which clashes with this project's opencv-python, so they run in a
Python of their own:

    python -m venv .venv-opencv && .venv-opencv/bin/pip install opencv-contrib-python

The videos show the held-out photos and cut-outs of ``tracking/prepare_demo_data.py``; without those they are painted.
Frames are decoded beforehand; every tracker has the same threads. A tracker of OpenCV that reports a loss keeps its
last box. Prints one table for each difficulty and one for all, and writes them as JSON.
"""

import argparse
import json
import signal
import subprocess
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

from lib.config.paths import PROJECT_ROOT
from lib.config.seqtrack.config import experiment_name
from lib.data.annotations import parse_boxes
from lib.synthetic import SyntheticSequence, write_got10k
from lib.synthetic.presets import PRESETS
from lib.test.analysis.metrics import score_sequence, summarise
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.engine import SeqTrackEngine
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomic
from lib.utils.image_io import read_image

SEED = 7000
SPLIT = "val"
OPENCV = ("CSRT", "KCF", "MIL")
COLUMNS = ("AUC", "OP50", "OP75", "P", "NP")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="our experiment (default: seqtrack_demo)")
    parser.add_argument("--checkpoint", type=user_path, default=None, help="our weights (default: bundled)")
    parser.add_argument("--dtype", nargs="+", default=["float32"], help="of ours; several are several rows")
    parser.add_argument(
        "--media", type=user_path, default=Path("data/demo_media/val"), help="folder of held-out images"
    )
    parser.add_argument("--sequences", type=int, default=15, help="videos of each difficulty (default: 15)")
    parser.add_argument("--frames", type=int, default=120, help="of each video (default: 120)")
    parser.add_argument(
        "--opencv_python", type=user_path, default=Path(sys.executable), help="a Python that has the trackers"
    )
    parser.add_argument("--opencv", nargs="*", default=OPENCV, choices=OPENCV, help="which of them")
    parser.add_argument("--threads", type=int, default=2, help="of every tracker (default: 2)")
    parser.add_argument(
        "--output", type=user_path, default=Path("output/against_opencv"), help="where videos and scores go"
    )
    return parser.parse_args(argv)


def render(args: argparse.Namespace, difficulty: str) -> list[Path]:
    """Write the videos of a difficulty that are not there yet, and return their folders."""
    images = {kind: args.media / kind for kind in ("backgrounds", "cutouts")} if args.media.is_dir() else {}
    first = SEED + 1000 * list(PRESETS).index(difficulty)
    worlds = [
        SyntheticSequence(seed, num_frames=args.frames, difficulty=difficulty, split=SPLIT, **images)
        for seed in range(first, first + args.sequences)
    ]
    root = args.output / ("photos" if images else "painted") / difficulty
    write_got10k(root, SPLIT, worlds, workers=args.threads)
    return sorted(path.parent for path in (root / SPLIT).glob("*/groundtruth.txt"))[: args.sequences]


def read_ground_truth(folder: Path) -> np.ndarray:
    """True boxes (F, 4) of a video."""
    path = folder / "groundtruth.txt"
    return parse_boxes(path.read_text(), str(path))


def track_ours(args: argparse.Namespace, dtype: str, folders: list[Path]) -> dict[str, dict]:
    """Boxes and seconds of our tracker, in the form that ``opencv_tracker.py`` prints."""
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    engine = SeqTrackEngine(parameters(args.config, checkpoint=args.checkpoint, device="cpu", dtype=dtype))
    result = {}
    for number, folder in enumerate([folders[0], *folders]):  # the first one warms up
        frames = [read_image(path) for path in sorted(folder.glob("*.jpg"))]
        boxes = [read_ground_truth(folder)[0].tolist()]
        start = time.perf_counter()
        state = engine.start(frames[0], boxes[0])
        boxes += [list(engine.step([state], [frame])[0].box_xywh) for frame in frames[1:]]
        if number:
            result[str(folder)] = {"boxes": boxes, "seconds": time.perf_counter() - start}
    return result


def track_opencv(args: argparse.Namespace, name: str, folders: list[Path]) -> dict[str, dict]:
    """The same of one of OpenCV's trackers.

    Raises:
        InputError: if that Python has no such tracker.
    """
    script = PROJECT_ROOT / "benchmarks" / "opencv_tracker.py"
    command = [str(args.opencv_python), str(script), name, str(args.threads), *map(str, folders)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"--opencv_python {args.opencv_python}: {error.strerror}") from error
    if done.returncode:
        reason = (done.stderr.strip() or "no message").splitlines()[-1]
        raise InputError(f"--opencv_python {args.opencv_python}: {name} failed: {reason}")
    return json.loads(done.stdout)


def score(tracked: dict[str, dict]) -> dict[str, float]:
    """AUC, OP50, OP75, P, NP in percent, and frames per second."""
    scores, frames, seconds = [], 0, 0.0
    for folder, result in tracked.items():
        ground_truth = read_ground_truth(Path(folder))
        scores.append(score_sequence(np.array(result["boxes"]), ground_truth, protocol="seqtrack"))
        frames += len(ground_truth) - 1
        seconds += result["seconds"]
    return {**summarise(scores), "frames/s": frames / seconds}


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one table."""
    columns = (*COLUMNS, "frames/s")
    print(f"\n{title}\n{'tracker':<24}" + "".join(f"{name:>9}" for name in columns))
    for tracker, values in rows.items():
        print(f"{tracker:<24}" + "".join(f"{values[name]:9.1f}" for name in columns), flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Render, track with everybody, compare."""
    args = parse_args(argv)
    if min(args.sequences, args.frames - 1, args.threads) < 1:
        raise InputError("--sequences and --threads must be at least 1, --frames at least 2")
    folders = {difficulty: render(args, difficulty) for difficulty in PRESETS}
    everything = [folder for part in folders.values() for folder in part]
    kind = "held-out photos and cut-outs" if args.media.is_dir() else f"painted: there is no {args.media}"
    print(f"{len(everything)} videos of {args.frames} frames ({kind}), {args.threads} threads")
    ours = experiment_name(args.config)
    tracked = {f"{ours} {dtype}": track_ours(args, dtype, everything) for dtype in args.dtype}
    tracked |= {name: track_opencv(args, name, everything) for name in args.opencv}
    tables = {}
    for title, part in (*folders.items(), ("all", everything)):
        chosen = set(map(str, part))
        tables[title] = {
            name: score({folder: value for folder, value in result.items() if folder in chosen})
            for name, result in tracked.items()
        }
        show(f"{title} ({len(part)} videos)", tables[title])
    write_text_atomic(args.output / "scores.json", json.dumps(tables, indent=2) + "\n")
    write_text_atomic(args.output / "boxes.json", json.dumps(tracked) + "\n")
    print(f"\nwritten: {args.output / 'scores.json'}, {args.output / 'boxes.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
