"""The demo tracker beside the trackers of OpenCV, on rendered videos of things and places it was never trained on.

    python benchmarks/against_opencv.py --opencv_python .venv-opencv/bin/python
    python benchmarks/against_opencv.py --opencv_python .venv-opencv/bin/python --folders my_clips/*

CSRT and KCF are in the package opencv-contrib-python, which clashes with this project's opencv-python, so they run in a
Python of their own:

    python -m venv .venv-opencv && .venv-opencv/bin/pip install opencv-contrib-python

The videos show the held-out photos and cut-outs of ``tracking/prepare_demo_data.py``; without those they are painted.
``--folders`` takes videos of your own: folders of numbered JPEG frames with a ``groundtruth.txt``.
Frames are decoded beforehand; every tracker has the same threads and a process of its own. A tracker of OpenCV that
reports a loss keeps its last box. Prints one table for each difficulty and one for all (scores, milliseconds a frame,
the most memory its process held, in MiB), the AUC on each video, and writes all of it as JSON.

OpenCV's modern tracker, VitTrack (``cv2.TrackerVit``; published AUC on LaSOT 48.6), is not among them: its network is a
download of its own. CSRT is the best of those that need none.
"""

import argparse
import json
import multiprocessing
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import cv2
import numpy as np
import torch

from benchmarks.opencv_tracker import peak_memory
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
COLUMNS = ("AUC", "OP50", "OP75", "P", "NP", "frames/s", "ms 50%", "95%", "99%", "MiB")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_demo", help="our experiment (default: seqtrack_demo)")
    parser.add_argument("--checkpoint", type=user_path, default=None, help="our weights (default: bundled)")
    parser.add_argument("--dtype", nargs="+", default=["float32"], help="of ours; several are several rows")
    parser.add_argument(
        "--media", type=user_path, default=Path("data/demo_media/val"), help="folder of held-out images"
    )
    parser.add_argument("--folders", type=user_path, nargs="+", default=[], help="videos of your own in their place")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of the first rendered video (default: {SEED})")
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
    first = args.seed + 1000 * list(PRESETS).index(difficulty)
    worlds = [
        SyntheticSequence(seed, num_frames=args.frames, difficulty=difficulty, split=SPLIT, **images)
        for seed in range(first, first + args.sequences)
    ]
    root = args.output / ("photos" if images else "painted") / str(args.seed) / difficulty
    write_got10k(root, SPLIT, worlds, workers=args.threads)
    return sorted(path.parent for path in (root / SPLIT).glob("*/groundtruth.txt"))[: args.sequences]


def frame_files(folder: Path) -> list[Path]:
    """Frames of a video, in the order of their names, as ``opencv_tracker.py`` reads them."""
    return sorted(folder.glob("*.jpg"))


def check_folders(folders: list[Path]) -> None:
    """Refuse what is no video with a box for each of its frames.

    Raises:
        InputError: naming the folder.
    """
    for folder in folders:
        frames = len(frame_files(folder))
        if frames < 2:
            raise InputError(f"--folders {folder}: {frames} JPEG frames")
        if not (folder / "groundtruth.txt").is_file():
            raise InputError(f"--folders {folder}: no groundtruth.txt")
        if (boxes := len(read_ground_truth(folder))) != frames:
            raise InputError(f"--folders {folder}: {frames} JPEG frames but {boxes} lines in groundtruth.txt")


def read_ground_truth(folder: Path) -> np.ndarray:
    """True boxes (F, 4) of a video."""
    path = folder / "groundtruth.txt"
    return parse_boxes(path.read_text(), str(path))


def track_ours(args: argparse.Namespace, dtype: str, folders: list[Path]) -> dict:
    """Boxes, seconds and memory of our tracker, in the form that ``opencv_tracker.py`` prints."""
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    engine = SeqTrackEngine(parameters(args.config, checkpoint=args.checkpoint, device="cpu", dtype=dtype))
    videos = {}
    for folder in (folders[0], *folders):  # the first one warms up
        frames = [read_image(path) for path in frame_files(folder)]
        boxes, start = [read_ground_truth(folder)[0].tolist()], time.perf_counter()
        state = engine.start(frames[0], boxes[0])
        seconds = [time.perf_counter() - start]
        for frame in frames[1:]:
            start = time.perf_counter()
            boxes.append(list(engine.step([state], [frame])[0].box_xywh))
            seconds.append(time.perf_counter() - start)
        videos[str(folder)] = {"boxes": boxes, "seconds": seconds}
    return {"videos": videos, "memory": peak_memory()}


def in_a_process(*call: object) -> dict:
    """What a function returns that runs in a fresh process, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(*call).result()


def track_opencv(args: argparse.Namespace, name: str, folders: list[Path]) -> dict:
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


def score(tracked: dict, folders: Sequence[Path]) -> dict[str, float]:
    """The columns of a table for some of the videos: scores in percent, speed without the first frame of each video."""
    videos = [(read_ground_truth(folder), tracked["videos"][str(folder)]) for folder in folders]
    scores = [score_sequence(np.array(video["boxes"]), truth, protocol="seqtrack") for truth, video in videos]
    seconds = np.concatenate([video["seconds"][1:] for _, video in videos])
    latencies = 1000 * np.percentile(seconds, (50, 95, 99))
    speed = dict(zip(COLUMNS[5:], (1 / seconds.mean(), *latencies, tracked["memory"]), strict=True))
    return {name: (summarise(scores) | speed)[name] for name in COLUMNS}


def show(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one table: a row for each name, its columns those of the first one."""
    columns = list(next(iter(rows.values())))
    width = max(len(name) for name in (title, *rows)) + 2
    print(f"\n{title:<{width}}" + "".join(f"{name:>{max(9, len(name) + 2)}}" for name in columns))
    for name, values in rows.items():
        line = "".join(f"{values[column]:{max(9, len(column) + 2)}.1f}" for column in columns)
        print(f"{name:<{width}}{line}", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Render, track with everybody, compare."""
    args = parse_args(argv)
    if min(args.sequences, args.frames - 1, args.threads) < 1:
        raise InputError("--sequences and --threads must be at least 1, --frames at least 2")
    if args.folders:
        check_folders(args.folders)
        parts = {"given": args.folders}
        kind = "given"
    else:
        parts = {difficulty: render(args, difficulty) for difficulty in PRESETS}
        kind = "held-out photos and cut-outs" if args.media.is_dir() else f"painted: there is no {args.media}"
        kind = f"{args.frames} frames, {kind}"
    everything = [folder for part in parts.values() for folder in part]
    print(f"{len(everything)} videos ({kind}), {args.threads} threads", flush=True)
    ours = experiment_name(args.config)
    tracked = {f"{ours} {dtype}": in_a_process(track_ours, args, dtype, everything) for dtype in args.dtype}
    tracked |= {name: track_opencv(args, name, everything) for name in args.opencv}
    if len(parts) > 1:
        parts["all"] = everything
    tables = {}
    for title, part in parts.items():
        tables[title] = {name: score(result, part) for name, result in tracked.items()}
        show(f"{title} ({len(part)} videos)", tables[title])
    tables["videos"] = {
        str(folder): {name: score(result, [folder])["AUC"] for name, result in tracked.items()} for folder in everything
    }
    show("AUC", {"/".join(Path(folder).parts[-3:]): row for folder, row in tables["videos"].items()})
    write_text_atomic(args.output / "scores.json", json.dumps(tables, indent=2) + "\n")
    write_text_atomic(args.output / "boxes.json", json.dumps(tracked) + "\n")
    print(f"\nwritten: {args.output / 'scores.json'}, {args.output / 'boxes.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
