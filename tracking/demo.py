"""The whole path in one command: render a benchmark, train a little, track with the bundled weights, analyse, film."""

import argparse
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.paths import PROJECT_ROOT, bundled_checkpoint
from lib.utils.child import run_child
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError

CONFIG = "seqtrack_demo"
BENCHMARK_SEED = 2023
MEDIA = Path("data/demo_media/val")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description="Render a held-out benchmark of short videos (of photos and cut-outs, if prepare_demo_data.py has "
        "gathered them), train seqtrack_demo for a few steps on other videos, track the benchmark with the bundled "
        "weights, write the table, the plots and an annotated MP4. Everything lands in --output."
    )
    parser.add_argument("--output", type=user_path, default=Path("output/demo"), help="where everything is written")
    parser.add_argument("--sequences", type=int, default=None, help="videos of the benchmark (default: 12; quick: 3)")
    parser.add_argument("--frames", type=int, default=None, help="frames of each video (default: 80; quick: 20)")
    parser.add_argument("--threads", type=int, default=2, help="worker processes that render and track")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--quick", action="store_true", help="fewer videos, frames and steps: shows the path")
    return parser.parse_args(argv)


def run_step(title: str, script: str, *arguments: object) -> None:
    """Run one of the project's scripts in a process of its own and show its output.

    Raises:
        InputError: if the script fails.
    """
    command = [sys.executable, str(PROJECT_ROOT / "tracking" / script), *map(str, arguments)]
    print(f"\n=== {title}\n$ python tracking/{script} {shlex.join(command[2:])}", flush=True)
    start = time.perf_counter()
    code = run_child(command)
    if code:
        raise InputError(f"the step '{title}' failed with exit code {code}; its message stands above")
    print(f"--- {time.perf_counter() - start:.0f} s", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the five steps and say where their results are."""
    args = parse_args(argv)
    start = time.perf_counter()
    out = args.output
    images = [f"--{kind}={MEDIA / kind}" for kind in ("backgrounds", "cutouts") if (MEDIA / kind).is_dir()]
    sequences = args.sequences or (3 if args.quick else 12)
    frames = args.frames or (20 if args.quick else 80)
    # A folder for each choice, so that a demo of other settings is not in the way, and nothing has to be removed.
    data = out / "data" / f"{sequences}x{frames}_{'photos' if images else 'painted'}"
    videos = out / "video" / data.name
    run_step(
        "1/5 render a held-out benchmark",
        "make_synthetic.py",
        *("--layout", "got10k", "--split", "val", "--output", data / "got10k", "--seed", BENCHMARK_SEED),
        *("--num_sequences", sequences, "--num_frames", frames, "--difficulty", "mixed", "--workers", args.threads),
        *images,
    )
    train(args, has_images=bool(images))
    track_and_show(args, data, videos)
    print(f"\nThe demo took {(time.perf_counter() - start) / 60:.1f} minutes. What it wrote:")
    for what, where in (
        ("benchmark", data / "got10k" / "val"),
        ("short training", out / "training"),
        ("raw boxes", out / "test" / "tracking_results" / "seqtrack" / CONFIG),
        ("table and plots", out / "test" / "result_plots"),
        ("report", out / "report.html"),
        ("annotated MP4", videos),
    ):
        print(f"  {what:<16} {where}")
    return 0


def train(args: argparse.Namespace, has_images: bool) -> None:
    """Step 2: train for a few steps, on synthetic videos without photos if there are none."""
    training = args.output / "training"
    # Without gathered media training would choose these values by itself, with a warning for each.
    plain = ["DATA.SYNTHETIC.BACKGROUNDS=", "DATA.SYNTHETIC.CUTOUTS="]
    plain += ["MODEL.ENCODER.PRETRAIN_TYPE=sincos", "TRAIN.ENCODER_MULTIPLIER=1.0"]
    # The steps are repeated each time; an earlier demo's checkpoint may be of other options, too.
    shutil.rmtree(training / "checkpoints", ignore_errors=True)
    run_step(
        "2/5 a few steps of training (a tracker takes hours: the weights used below were trained before)",
        "train.py",
        *("--script", "seqtrack", "--config", CONFIG, "--save_dir", training, "--device", args.device),
        *("--override", "TRAIN.EPOCH=1", "TRAIN.PRINT_INTERVAL=5", "DATA.SYNTHETIC.SEQUENCES=64"),
        *([] if has_images else plain),
        f"DATA.TRAIN.SAMPLE_PER_EPOCH={64 if args.quick else 320}",
    )


def track_and_show(args: argparse.Namespace, data: Path, videos: Path) -> None:
    """Steps 3 to 5: track the benchmark in ``data``, score the results, and write an annotated video to ``videos``."""
    places = ("--data_dir", data, "--save_dir", args.output)
    weights = ("--checkpoint", bundled_checkpoint(CONFIG))
    device = ("--device", args.device)
    run_step(
        "3/5 track the benchmark with the bundled weights",
        "test.py",
        *("seqtrack", CONFIG, "--dataset", "got10k_val", "--threads", args.threads, *device, *places),
        *(*weights, "--overwrite"),
    )
    run_step(
        "4/5 table, plots and report, beside a box that never moves",
        "analysis_results.py",
        *("--tracker", "seqtrack", "--config", CONFIG, "--dataset", "got10k_val", "--static_box", *places),
        *("--html", args.output / "report.html"),
    )
    sequence = sorted((data / "got10k" / "val").glob("*/groundtruth.txt"))[0]
    run_step(
        "5/5 an annotated video",
        "video_demo.py",
        *("seqtrack", CONFIG, sequence.parent, "--init_box", sequence.read_text().splitlines()[0]),
        *(*weights, "--save_dir", args.output, "--output", videos, *device),
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
