"""See what a tracker attends to: attention, likelihoods, tokens and templates of one target in chosen frames.

    python tracking/visualize.py seqtrack seqtrack_demo clip.mp4 --init_box 295,12,300,227 --frames 10,50
    python tracking/visualize.py seqtrack seqtrack_demo GOT-10k_Val_000001 --dataset got10k_val --frames 1-99

Tracks the video as always, up to the last of the frames, and writes figures in the width of a paper's page, and the raw
maps as .npz. docs/visualize.md says what is in them.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np

from lib.config.paths import Paths, load_paths
from lib.config.seqtrack.config import experiment_name
from lib.models.seqtrack.precision import PRECISIONS
from lib.test.evaluation import find_benchmark
from lib.test.evaluation.trackers import TRACKERS
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.video.display import select_box
from lib.test.video.flags import video_name
from lib.test.video.sources import FolderSource, open_source
from lib.test.visualize import FORMATS, KINDS, Gallery, Layers, Observer, choose, parse_numbers
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError, lookup, printable
from lib.utils.log import setup_logging
from tracking.video_demo import NO_BENCHMARK, join_box, parse_box


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker_name", help="name of the tracker: seqtrack")
    parser.add_argument("tracker_param", help="name of the experiment (seqtrack_b256), or path of its YAML file")
    parser.add_argument(
        "video", type=video_name, help="a video file or a folder of images; with --dataset the name of a sequence"
    )
    parser.add_argument("--dataset", help="benchmark of the sequence; it also chooses the rule of template updates")
    parser.add_argument(
        "--init_box", help="the target in the first frame: x,y,w,h in pixels (default: ground truth, or draw it)"
    )
    parser.add_argument("--what", nargs="+", choices=KINDS, default=KINDS, help="figures (default: all)")
    parser.add_argument("--frames", default="1", help="such as 1,50,100-200:10; the first frame is 0 (default: 1)")
    for part in ("", "encoder_"):
        where = "encoder's attention from a template" if part else "decoder's attention of a token"
        parser.add_argument(f"--{part}layer", default="mean", help=f"of the {where}: mean, all, or numbers from 0")
        parser.add_argument(f"--{part}head", default="mean", help="as above")
    parser.add_argument(
        "--formats", nargs="+", choices=FORMATS, default=("png", "npz"), help="files to write (default: png npz)"
    )
    parser.add_argument("--fps", type=float, default=5.0, help="frames per second of an MP4 (default: 5)")
    parser.add_argument("--update_interval", type=int, help="frames between template updates, instead of the rule's")
    parser.add_argument("--update_threshold", type=float, help="confidence above which they are made, as above")
    parser.add_argument(
        "--output", type=user_path, help="folder to write to; default: <save_dir>/test/visualize/<experiment>/<video>"
    )
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets (default: ./data)")
    parser.add_argument("--save_dir", type=user_path, help="where training wrote its checkpoints")
    parser.add_argument(
        "--checkpoint", type=user_path, help="file with the weights; default: that of the experiment below save_dir"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    return parser.parse_args(join_box(sys.argv[1:] if argv is None else argv))


def open_frames(
    args: argparse.Namespace, paths: Paths, frames: Sequence[int]
) -> tuple[str, Iterator[np.ndarray], np.ndarray | None]:
    """Name and frames of the video, and its ground truth (F, 4), or (1, 4) where only the first box is known.

    Raises:
        SeqTrackError: if there is no such video or sequence, or it is too short for the chosen frames.
    """
    if args.dataset:
        sequence = find_benchmark(args.dataset, paths).load(paths, [args.video], strict=True)[0]
        name, count, boxes = sequence.name, len(sequence.frames), sequence.ground_truth_rect
        images = map(sequence.read_frame, range(count))
    else:
        source = open_source(Path(args.video))
        name, count, boxes, images = source.name, None, None, source.frames()
        if isinstance(source, FolderSource):  # the number that a video file announces may be wrong
            count = source.num_frames
    if frames[0] < 1:
        raise InputError("--frames: frame 0 has the initial box, tokens are generated from frame 1 on")
    if count is not None and frames[-1] >= count:
        raise InputError(f"--frames: there is no frame {frames[-1]}: the last one is {count - 1}")
    return name, images, boxes


def make_engine(args: argparse.Namespace) -> SeqTrackEngine:
    """Load the network. Raises SeqTrackError for a wrong name, option or checkpoint."""
    lookup(TRACKERS, args.tracker_name, "tracker")
    rule = {name: getattr(args, name) for name in ("update_interval", "update_threshold")}
    params = parameters(
        args.tracker_param,
        args.dataset or NO_BENCHMARK,
        checkpoint=args.checkpoint,
        save_dir=args.save_dir,
        device=args.device,
        dtype=args.dtype,
        **{name: value for name, value in rule.items() if value is not None},
    )
    return SeqTrackEngine(params)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    setup_logging()
    if not 0.01 <= args.fps <= 1000:
        raise InputError(f"--fps must be between 0.01 and 1000, got {args.fps:g}")
    kinds, formats = tuple(dict.fromkeys(args.what)), tuple(dict.fromkeys(args.formats))
    if kinds == ("templates",) and not {"png", "pdf", "svg"}.intersection(formats):
        raise InputError("--what templates is one figure of the whole video: give --formats png, pdf or svg")
    frames = parse_numbers(args.frames, "frames")
    box = parse_box(args.init_box) if args.init_box else None
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    name, images, boxes = open_frames(args, paths, frames)
    engine = make_engine(args)
    decoder, vit = engine.network.decoder.body.layers, engine.network.vit.blocks
    layers = [
        Layers(
            choose(getattr(args, f"{part}layer"), len(parts), f"{part}layer", f"the {what} has layers"),
            choose(getattr(args, f"{part}head"), heads, f"{part}head", f"a layer of the {what} has heads"),
        )
        for part, what, parts, heads in (
            ("", "decoder", decoder, decoder[0].multihead_attn.num_heads),
            ("encoder_", "encoder", vit, vit[0].attn.num_heads),
        )
    ]
    first = next(images)
    if box is None:
        box = select_box(first) if boxes is None else boxes[0].tolist()
    observer = Observer(engine)
    folder = args.output or paths.save_dir / "test" / "visualize" / experiment_name(args.tracker_param) / name
    with Gallery(observer, folder, kinds, formats, decoder=layers[0], encoder=layers[1], fps=args.fps) as gallery:
        ground_truth = boxes if boxes is not None and len(boxes) > 1 else None
        for seen in observer.run(chain([first], images), box, frames, ground_truth):
            gallery.add(seen)
        gallery.finish()
    print(f"{len(gallery.written)} files in {printable(folder, 1000)}")
    ours = (path for path in folder.iterdir() if path.stem[:5].isdecimal() or path.stem in KINDS)
    if earlier := len(set(ours) - set(gallery.written)):
        print(f"{earlier} more files there are of an earlier run, maybe of another video or other weights")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
