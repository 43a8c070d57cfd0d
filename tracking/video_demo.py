"""Track one target, or several, in a video file, a folder of images, a stream or the images of a camera.

    python tracking/video_demo.py seqtrack seqtrack_demo clip.mp4 --init_box 295,12,300,227

Writes <name>.mp4 (the video with the box drawn in), <name>.txt (one line per frame: x, y, w, h in pixels, separated by
tabs) and <name>.json (the settings, and box, confidence, state and time of every frame); --formats chooses others, and
--output FILE.mp4 (.avi, .mkv, .txt, .json, .jsonl, .mot.txt, .coco.json) writes that file. A run that ends early
(Ctrl-C, an unreadable frame, a full disk) keeps the frames up to then.

The state of a target is tracking, uncertain or lost; one that is lost is searched for, and drawn in dashes where it was
last seen. --no_lost tracks as benchmarks do. docs/video.md says more.

Videos are H.264, which browsers play, if the Python package `av` or a program `ffmpeg` is there, else MPEG-4 part 2.
They show the frames at a constant rate; where those of the source are unevenly spaced, the JSON has their times.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
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
from lib.test.tracker.lost import LostOptions
from lib.test.tracker.presence import load_score
from lib.test.video.display import has_display
from lib.test.video.flags import BOX_FLAGS, frame_size, join_box, output_place, parse_box, parse_lost, video_name
from lib.test.video.live import LiveSource
from lib.test.video.paths import DEFAULT_FORMATS, SUFFIXES, OutputPaths, named_format, output_file, output_paths
from lib.test.video.run import Job, VideoRun
from lib.test.video.sources import FrameSource
from lib.test.video.streams import STDIN, TIMEOUT_SECONDS, open_video
from lib.test.video.targets import Start, Starts, TargetBatch, read_init_boxes
from lib.utils.cli import ScriptParser, add_cuda_graphs, run_script, user_path
from lib.utils.device import resolve_device
from lib.utils.errors import CheckpointError, InputError, printable
from lib.utils.log import setup_logging

HANGUP = getattr(signal, "SIGHUP", None)
NO_BENCHMARK = "default"  # template updates as for a benchmark without settings of its own
DESCRIPTIONS = {
    "video": "annotated video",
    "txt": "boxes",
    "json": "boxes and confidences",
    "jsonl": "the same, by lines",
    "mot": "boxes as MOT",
    "coco": "boxes as COCO-video",
}


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
        "--output",
        type=output_place,
        help="folder to write to (default: <save_dir>/test/videos/<experiment>), or the one file to write, by its "
        "ending: .mp4, .avi, .mkv, .txt, .json, .jsonl, .mot.txt, .coco.json",
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
    _add_lost(parser)
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
        "--init_file",
        type=user_path,
        help="file with the boxes of the targets, each of which begins with its first one: x,y,w,h, MOT, COCO-video or "
        "JSON",
    )


def _add_lost(parser: argparse.ArgumentParser) -> None:
    defaults = ",".join(f"{option.name}={option.default}" for option in fields(LostOptions)).replace("None", "auto")
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--lost",
        metavar="NAME=VALUE,...",
        help=f"when a target is lost and found (default: {defaults}; search is auto, on or off)",
    )
    group.add_argument("--no_lost", "--no-lost", action="store_true", help="track as in benchmarks, without states")


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


def read_targets(args: argparse.Namespace) -> Starts | None:
    """Where the targets begin by their numbers, from 1 on where no file says otherwise; None lets the user draw one.

    Raises:
        SeqTrackError: if a box or the file cannot be read, or flags do not go together.
    """
    if args.init_box and args.init_file:
        raise InputError("--init_box and --init_file do not go together")
    starts = read_init_boxes(args.init_file) if args.init_file else None
    if args.init_box:
        starts = {number: Start(parse_box(text)) for number, text in enumerate(args.init_box, 1)}
    if args.masks and starts and len(starts) > 1:
        raise InputError(f"--masks goes with one target, got {len(starts)}")
    return starts


def choose_formats(args: argparse.Namespace, starts: Starts | None) -> tuple[str, ...]:
    """Formats of the files of a run; one if the user has named a file.

    Raises:
        InputError: if no format has the ending of the file, or flags do not go together.
    """
    place, is_folder = args.output or (None, True)
    named = None if is_folder else named_format(place)
    several = starts is not None and len(starts) > 1
    if several and "txt" in (named, *(args.formats or ())):
        raise InputError("the format txt holds one target; with several use mot (a file that ends in .mot.txt)")
    if named:
        if args.formats or (args.no_video and named == "video"):
            flag = "--formats" if args.formats else "--no_video"
            raise InputError(f"{flag} goes with a folder as --output, not with the file {place}")
        return (named,)
    usual = ("video", "jsonl") if args.live else ("video", "mot", "json") if several else DEFAULT_FORMATS
    return tuple(format for format in dict.fromkeys(args.formats or usual) if format != "video" or not args.no_video)


def choose_paths(args: argparse.Namespace, source: FrameSource, formats: Sequence[str]) -> OutputPaths:
    """Files to write. Raises InputError if one is in the way."""
    place, is_folder = args.output or (None, True)
    if place is None:
        experiment = experiment_name(args.tracker_param)
        place = load_paths("test", save_dir=args.save_dir).save_dir / "test" / "videos" / experiment
    if is_folder or named_format(place) is None:
        return output_paths(place, source, formats)
    return output_file(place, formats[0], source)


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
    lost = None if args.no_lost else LostOptions() if args.lost is None else parse_lost(args.lost)
    starts = read_targets(args)
    formats = choose_formats(args, starts)
    device = str(resolve_device(args.device))
    recipe = make_recipe(args)
    params = recipe.parameters(device)  # fails here, before the video is opened, if there is no checkpoint
    recipe = recipe.fixed(params)
    if not params.checkpoint.is_file():
        raise CheckpointError(f"{params.checkpoint}: no such checkpoint")
    score = load_score(params.checkpoint, params.update_threshold)
    masks = {"mask_checkpoint": str(find_checkpoint(args.ar_checkpoint))} if args.masks else {}  # as above
    source = open_input(args)
    paths = choose_paths(args, source, formats)
    # Of a live source before the first frame: the second one is not to be far from it.
    tracker = recipe(device) if args.live else None
    job = Job(source, starts, paths, args.max_frames)
    tracker = tracker or recipe(device)
    batch = TargetBatch(tracker.engine, score, lost)
    header = {
        "tracker": args.tracker_name,
        "config": experiment_name(args.tracker_param),
        "checkpoint": str(params.checkpoint),
        "device": device,
        "dtype": args.dtype,
        "backend": params.backend,
        **({} if lost is None else {"lost": {**asdict(lost), "search": batch.searches}}),
        **masks,
    }
    segmenter = AlphaRefine(header["mask_checkpoint"], device) if args.masks else None
    run = job.run(batch, header, segmenter=segmenter, show=args.show)
    report(run, batch)
    return 128 + run.signum if run.signum in (signal.SIGTERM, HANGUP) else 0


def report(run: VideoRun, batch: TargetBatch) -> None:
    """Say what came out."""
    ended = ", ended early" if run.interrupted else ""
    print(
        f"{run.num_frames} frames{ended}: {run.tracker_fps:.1f} frames/s in the tracker, "
        f"{run.total_fps:.1f} with reading, drawing and writing"
    )
    for id, times in batch.times_lost.items():
        name = f"target {id}" if len(batch.times_lost) > 1 else "target"
        then = f"found again: {times['found']}" if batch.searches else "not searched for"
        print(f"  {name + ':':<22} times lost: {times['lost']}, {then}")
    for format, path in run.paths.files.items():
        if format != "video" or run.has_video:
            print(f"  {DESCRIPTIONS[format] + ':':<22} {printable(path, 4000)}")


if __name__ == "__main__":
    sys.exit(run_script(main))
