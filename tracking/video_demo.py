"""Track one target in a video file, a folder of images or the pictures of a camera.

    python tracking/video_demo.py seqtrack seqtrack_demo clip.mp4 --init_box 295,12,300,227

Writes <name>.mp4 (the video with the box drawn in), <name>.txt (one line per frame: x, y, w, h in pixels, separated by
tabs) and <name>.json (the settings, and box and confidence of every frame). Ctrl-C ends a run and keeps its frames.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

from external.AR import AlphaRefine, find_checkpoint
from lib.config.paths import load_paths
from lib.config.seqtrack.config import experiment_name
from lib.models.seqtrack.precision import PRECISIONS
from lib.test.evaluation.trackers import tracker_recipe
from lib.test.video.masks import MaskedTracker
from lib.test.video.run import Job, VideoRun, parse_box
from lib.test.video.screen import has_display
from lib.test.video.sources import open_source
from lib.utils.cli import run_script
from lib.utils.device import resolve_device
from lib.utils.errors import InputError
from lib.utils.log import setup_logging

NO_BENCHMARK = "default"  # template updates as for a benchmark without settings of its own


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker_name", help="name of the tracker: seqtrack")
    parser.add_argument("tracker_param", help="name of the experiment (seqtrack_b256), or path of its YAML file")
    parser.add_argument("video", help="a video file, a folder of images, or the index of a camera (0)")
    parser.add_argument(
        "--init_box",
        help="the target in the first frame: x,y,w,h in pixels (--init_box=-5,... if x is negative); default: draw it",
    )
    parser.add_argument("--output", type=Path, help="folder to write to; default: <save_dir>/test/videos/<experiment>")
    parser.add_argument("--save_dir", help="where training wrote its checkpoints")
    parser.add_argument("--checkpoint", help="file with the weights; default: that of the experiment below save_dir")
    parser.add_argument("--masks", action="store_true", help="draw the target's mask too, made by Alpha-Refine")
    parser.add_argument("--ar_checkpoint", help="weights of Alpha-Refine; default: where external/AR/README.md says")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    parser.add_argument("--max_frames", type=int, help="stop after so many frames")
    parser.add_argument("--fps", type=float, help="frames per second of the result; default: those of the video, or 30")
    parser.add_argument("--show", action="store_true", help="watch in a window (q ends)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    setup_logging()
    # FFmpeg inside OpenCV writes to the terminal by itself; what matters is reported by this script.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if args.max_frames is not None and args.max_frames < 1:
        raise InputError(f"--max_frames must be at least 1, got {args.max_frames}")
    if args.fps is not None and not 0 < args.fps <= 1000:
        raise InputError(f"--fps must be between 0 and 1000, got {args.fps:g}")
    if args.show and not has_display():
        raise InputError("--show needs a display")
    if args.ar_checkpoint and not args.masks:
        raise InputError("--ar_checkpoint goes with --masks")
    init_box = None if args.init_box is None else parse_box(args.init_box)
    device = str(resolve_device(args.device))
    recipe = tracker_recipe(
        args.tracker_name,
        args.tracker_param,
        NO_BENCHMARK,
        checkpoint=args.checkpoint,
        save_dir=args.save_dir,
        dtype=args.dtype,
    )
    params = recipe.parameters(device)  # fails here, before the video is opened, if there is no checkpoint
    recipe = recipe.fixed(params)
    masks = {"mask_checkpoint": str(find_checkpoint(args.ar_checkpoint))} if args.masks else {}  # likewise
    experiment = experiment_name(args.tracker_param)
    folder = args.output or load_paths("test", save_dir=args.save_dir).save_dir / "test" / "videos" / experiment
    job = Job(open_source(args.video, args.fps), init_box, folder, args.max_frames)
    header = {
        "tracker": args.tracker_name,
        "config": experiment,
        "checkpoint": str(params.checkpoint),
        "device": device,
        "dtype": args.dtype,
        **masks,
    }
    tracker = recipe(device)
    if args.masks:
        tracker = MaskedTracker(tracker, AlphaRefine(header["mask_checkpoint"], device))
    report(job.run(tracker, header, show=args.show))
    return 0


def report(run: VideoRun) -> None:
    """Say what came out."""
    ended = ", ended early" if run.interrupted else ""
    print(
        f"{run.num_frames} frames{ended}: {run.tracker_fps:.1f} frames/s in the tracker, "
        f"{run.total_fps:.1f} with reading, drawing and writing"
    )
    for path, what in zip(run.paths, ("annotated video", "boxes", "boxes and confidences"), strict=True):
        print(f"  {what + ':':<22} {path}")


if __name__ == "__main__":
    sys.exit(run_script(main))
