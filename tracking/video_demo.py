"""Track one target, or several, in a video file, a folder of images, a stream or the images of a camera.

    python tracking/video_demo.py seqtrack seqtrack_demo clip.mp4 --init_box 295,12,300,227

Writes <name>.mp4 (the video with the box drawn in), <name>.txt (one line per frame: x, y, w, h in pixels, separated by
tabs) and <name>.json (the settings, and box, confidence and time of every frame); --formats chooses others. A run that
ends early (Ctrl-C, an unreadable frame, a full disk) keeps the frames up to then. docs/video.md says more.

The video is H.264, which browsers play, if the Python package `av` or a program `ffmpeg` is there, else MPEG-4 part 2.
It shows the frames at a constant rate; where those of the source are unevenly spaced, the JSON has their times.
"""

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from external.AR import AlphaRefine, find_checkpoint
from lib.config.paths import load_paths
from lib.config.seqtrack.config import experiment_name
from lib.models.seqtrack.precision import PRECISIONS
from lib.test.evaluation.trackers import TrackerRecipe, tracker_recipe
from lib.test.parameter.seqtrack import BACKENDS
from lib.test.video.display import has_display
from lib.test.video.live import LiveSource
from lib.test.video.outputs import SUFFIXES
from lib.test.video.run import Job, MaskedTracker, VideoRun, default_formats
from lib.test.video.sources import FrameSource
from lib.test.video.streams import STDIN, TIMEOUT_SECONDS, is_address, open_video
from lib.test.video.targets import read_init_boxes
from lib.utils.cli import ScriptParser, add_cuda_graphs, run_script, user_path
from lib.utils.device import resolve_device
from lib.utils.errors import CheckpointError, InputError, printable
from lib.utils.log import setup_logging

HANGUP = getattr(signal, "SIGHUP", None)
NO_BENCHMARK = "default"  # template updates as for a benchmark without settings of its own
BOX_FLAGS = ("--init_box", "--optional_box")
DESCRIPTIONS = {
    "video": "annotated video",
    "txt": "boxes",
    "json": "boxes and confidences",
    "jsonl": "the same, by lines",
    "mot": "boxes as MOT",
    "coco": "boxes as COCO-video",
}
_PART_OF_BOX = re.compile(r"[\s,;()\[\]]*[-+]?[\d.][\w.+-]*([\s,;()\[\]]+[-+]?[\w.+-]*)*")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker_name", help="name of the tracker: seqtrack")
    parser.add_argument("tracker_param", help="name of the experiment (seqtrack_b256), or path of its YAML file")
    parser.add_argument(
        "video",
        type=video_name,
        help="a video file, a folder of images, the index of a camera (0), the address of a stream (rtsp://, http://), "
        "or - for JPEG files on standard input",
    )
    _add_targets(parser)
    parser.add_argument(
        "--output", type=user_path, help="folder to write to; default: <save_dir>/test/videos/<experiment>"
    )
    parser.add_argument(
        "--formats",
        nargs="+",
        choices=SUFFIXES,
        help="files to write; default: video txt json, for several targets video mot json, with --live video jsonl",
    )
    parser.add_argument("--save_dir", type=user_path, help="where training wrote its checkpoints")
    parser.add_argument(
        "--checkpoint", type=user_path, help="file with the weights; default: that of the experiment below save_dir"
    )
    parser.add_argument("--masks", action="store_true", help="draw the target's mask too, made by Alpha-Refine")
    parser.add_argument(
        "--ar_checkpoint", type=user_path, help="weights of Alpha-Refine; default: where external/AR/README.md says"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="auto: torch; docs/deployment.md compares")
    add_cuda_graphs(parser)
    _add_live(parser)
    parser.add_argument("--max_frames", type=int, help="stop after so many frames")
    parser.add_argument("--fps", type=float, help="frames per second of the result; default: those of the video, or 30")
    parser.add_argument("--no_video", action="store_true", help="write the boxes only, no annotated video")
    parser.add_argument("--show", action="store_true", help="watch in a window (q ends)")
    return parser.parse_args(join_box(sys.argv[1:] if argv is None else argv))


def _add_targets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        *BOX_FLAGS,
        action="append",
        help="the target in the first frame: x,y,w,h in pixels, as one argument or as four; again for each further "
        "target; default: draw it",
    )
    parser.add_argument(
        "--init_file", type=user_path, help="file with the boxes of the first frame: x,y,w,h, MOT, COCO-video or JSON"
    )


def _add_live(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--live",
        action="store_true",
        help="of a camera, a stream or standard input track the newest frame, drop those that come too fast, and "
        "connect again when a stream stops",
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_SECONDS, help="seconds to wait for a stream, and its frames (10)"
    )
    parser.add_argument(
        "--reconnect", type=float, default=60.0, help="with --live, seconds without a frame until it gives up (60)"
    )
    parser.add_argument("--raw_size", type=frame_size, help="WIDTHxHEIGHT of raw RGB frames on standard input")


def video_name(text: str) -> str:
    """``type=`` of the video: a path, in which ``~`` is expanded; or an address or ``-``, as they are."""
    return text if text == STDIN or is_address(text) else str(user_path(text))


def frame_size(text: str) -> tuple[int, int]:
    """``type=`` of ``--raw_size``: ``640x480`` as (width, height)."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 640x480, got {printable(repr(text))}")
    return int(match[1]), int(match[2])


def open_input(args: argparse.Namespace) -> FrameSource:
    """Open the video. Raises InputError if it is missing or cannot be read, or flags do not go with it."""
    if args.raw_size and args.video != STDIN:
        raise InputError("--raw_size goes with - (standard input)")

    def open_again() -> FrameSource:
        return open_video(args.video, args.fps, args.timeout, args.raw_size)

    source = open_again()
    if not args.live:
        return source
    if source.path is not None:
        raise InputError(f"--live goes with a camera, a stream or -, not with {source}")
    reopen = None if args.video == STDIN else open_again
    return LiveSource(source, reopen, timeout=args.timeout, patience=args.reconnect)


def join_box(argv: Sequence[str]) -> list[str]:
    """Make one argument of a box that is written as several (``--init_box 10 20 30 40``), or begins with a minus sign.

    ``argparse`` could take several, but then also the arguments after a box that is written as one.
    """
    joined: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in BOX_FLAGS:
            parts: list[str] = []
            while rest and len(_numbers(" ".join(parts))) < 4 and _PART_OF_BOX.fullmatch(rest[0]):
                parts.append(rest.pop(0))
            argument = f"{argument}={' '.join(parts)}" if parts else argument
        joined.append(argument)
    return joined


def _numbers(text: str) -> list[str]:
    return re.sub(r"[\s,;()\[\]]+", " ", text).split()


def parse_box(text: str) -> list[float]:
    """Read a box as written on a command line: four numbers between commas or blanks, brackets around them or not.

    Raises:
        InputError: if it is not four numbers.
    """
    try:
        box = [float(part) for part in _numbers(text)]
    except ValueError:
        box = []
    if len(box) != 4:
        raise InputError(f"--init_box: expected four numbers x,y,w,h, got {printable(repr(text))}")
    return box


def read_targets(args: argparse.Namespace) -> dict[int, list[float]] | None:
    """Boxes of the targets by their numbers, from 1 on where no file says otherwise; None lets the user draw one.

    Raises:
        SeqTrackError: if a box or the file cannot be read, or flags do not go together.
    """
    if args.init_box and args.init_file:
        raise InputError("--init_box and --init_file do not go together")
    boxes = read_init_boxes(args.init_file) if args.init_file else None
    if args.init_box:
        boxes = {number: parse_box(text) for number, text in enumerate(args.init_box, 1)}
    if args.masks and boxes and len(boxes) > 1:
        raise InputError(f"--masks goes with one target, got {len(boxes)}")
    return boxes


def make_recipe(args: argparse.Namespace) -> TrackerRecipe:
    """How to make the tracker. Raises ConfigError if there is none of this name."""
    return tracker_recipe(
        args.tracker_name,
        args.tracker_param,
        NO_BENCHMARK,
        checkpoint=args.checkpoint,
        save_dir=args.save_dir,
        dtype=args.dtype,
        cuda_graphs=args.cuda_graphs,
        backend=args.backend,
    )


def _check_flags(args: argparse.Namespace) -> None:
    """Raise InputError for flags that are out of range or do not go together."""
    if args.max_frames is not None and args.max_frames < 1:
        raise InputError(f"--max_frames must be at least 1, got {args.max_frames}")
    if args.fps is not None and not 0.01 <= args.fps <= 1000:
        raise InputError(f"--fps must be between 0.01 and 1000, got {args.fps:g}")
    for name in ("timeout", "reconnect"):
        if not 0.1 <= getattr(args, name) <= 86400:
            raise InputError(f"--{name} must be from 0.1 to 86400 seconds, got {getattr(args, name):g}")
    if args.show and not has_display():
        raise InputError("--show needs a display")
    if args.ar_checkpoint and not args.masks:
        raise InputError("--ar_checkpoint goes with --masks")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    setup_logging()
    _check_flags(args)
    init_boxes = read_targets(args)
    formats = args.formats or (("video", "jsonl") if args.live else default_formats(init_boxes))
    formats = [format for format in dict.fromkeys(formats) if format != "video" or not args.no_video]
    device = str(resolve_device(args.device))
    recipe = make_recipe(args)
    params = recipe.parameters(device)  # fails here, before the video is opened, if there is no checkpoint
    recipe = recipe.fixed(params)
    if not params.checkpoint.is_file():
        raise CheckpointError(f"{params.checkpoint}: no such checkpoint")
    masks = {"mask_checkpoint": str(find_checkpoint(args.ar_checkpoint))} if args.masks else {}  # as above
    experiment = experiment_name(args.tracker_param)
    folder = args.output or load_paths("test", save_dir=args.save_dir).save_dir / "test" / "videos" / experiment
    source = open_input(args)
    tracker = recipe(device) if args.live else None  # before the first frame: the second one is not to be far from it
    job = Job(source, init_boxes, folder, args.max_frames, formats)
    header = {
        "tracker": args.tracker_name,
        "config": experiment,
        "checkpoint": str(params.checkpoint),
        "device": device,
        "dtype": args.dtype,
        "backend": params.backend,
        **masks,
    }
    tracker = tracker or recipe(device)
    if args.masks:
        tracker = MaskedTracker(tracker, AlphaRefine(header["mask_checkpoint"], device))
    run = job.run(tracker, header, show=args.show)
    report(run)
    return 128 + run.signum if run.signum in (signal.SIGTERM, HANGUP) else 0


def report(run: VideoRun) -> None:
    """Say what came out."""
    ended = ", ended early" if run.interrupted else ""
    print(
        f"{run.num_frames} frames{ended}: {run.tracker_fps:.1f} frames/s in the tracker, "
        f"{run.total_fps:.1f} with reading, drawing and writing"
    )
    for format in run.paths.formats:
        if format != "video" or run.has_video:
            print(f"  {DESCRIPTIONS[format] + ':':<22} {printable(run.paths.file(format), 4000)}")


if __name__ == "__main__":
    sys.exit(run_script(main))
