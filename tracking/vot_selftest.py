"""Check the way from the VOT toolkit to SeqTrack and back, without a download.

    python tracking/vot_selftest.py                     a stand-in network: does the installation work?
    python tracking/vot_selftest.py seqtrack_b256       the tracker of an experiment, with its checkpoint
    python tracking/vot_selftest.py --masks --evaluate  masks, and then `vot evaluate` and `vot analysis`
    python tracking/vot_selftest.py --targets 3 --masks --evaluate  several targets (VOTS), and then `vot pack` too

Rendered sequences are tracked in this process first (errors appear as they are), then by `vot test`.
"""

import argparse
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np

from external.vot20 import rehearsal, run_tracker
from external.vot20.dataset import label_files, read_region
from external.vot20.rehearsal import converse
from external.vot20.toolkit import find_toolkit, pack_results, read_scores, run_toolkit
from external.vot20.workspace import (
    COMPAT,
    COMPAT_REALTIME,
    TrackerEntry,
    config_text,
    registry_text,
    write_workspace,
)
from lib.test.vot20.session import import_trax
from lib.utils.cli import ScriptParser, run_script, show, user_path
from lib.utils.errors import InputError, SeqTrackError

NAME = "selftest"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="?", help="name of an experiment; default: a stand-in that needs no checkpoint")
    parser.add_argument("--masks", action="store_true", help="report masks (SeqTrack+AR)")
    parser.add_argument("--evaluate", action="store_true", help="run `vot evaluate` and `vot analysis` too")
    parser.add_argument("--checkpoint", type=user_path, help="weights of SeqTrack; default: those of the experiment")
    parser.add_argument(
        "--ar_checkpoint", type=user_path, help="weights of Alpha-Refine; default: where its README says"
    )
    parser.add_argument("--save_dir", type=user_path, help="folder that holds checkpoints/")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--vot", help="environment that has the toolkit (default: $SEQTRACK_VOT, else this one)")
    parser.add_argument("--sequences", type=int, default=2, help="rendered sequences (default: 2)")
    parser.add_argument("--targets", type=int, default=1, help="targets in each sequence, 1 to 9 (default: 1)")
    parser.add_argument("--frames", type=int, default=30, help="frames of each (default: 30)")
    parser.add_argument("--workspace_dir", type=user_path, help="keep the workspace here; default: a temporary folder")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the checks and say how they went."""
    args = parse_args(argv)
    if args.sequences < 1 or args.frames < 6:
        raise InputError("a rehearsal needs at least 1 sequence and 6 frames")
    if not 1 <= args.targets <= 9:
        raise InputError(f"--targets {args.targets}: expected 1 to 9")
    if args.workspace_dir is not None and args.workspace_dir.exists() and any(args.workspace_dir.iterdir()):
        raise InputError(f"--workspace_dir {args.workspace_dir} is not empty")
    import_trax()
    toolkit = find_toolkit(args.vot)
    print(f"VOT toolkit {toolkit.version} of {toolkit.python}; tracker run by {sys.executable}")
    with tempfile.TemporaryDirectory(prefix="seqtrack-vot-") as temporary:
        folder = (args.workspace_dir or Path(temporary)).resolve()
        entry = make_workspace(args, folder, Path(temporary), toolkit.needs_compat)
        track_here(entry, folder, args.masks)
        first = next(folder.glob("sequences/*/sequence")).parent
        step("vot test: the toolkit starts the tracker")
        # Every command asks GitHub for a newer version; a proxy that refuses at once spares the 5 s wait offline.
        offline = {"HTTPS_PROXY": "http://127.0.0.1:9"}
        with Advice("the tracker works in this process but not for the toolkit: compare `python` and `paths` above"):
            run_toolkit(toolkit, "test", ["-s", str(first), NAME], folder, offline, show)
        if args.evaluate:
            step("vot evaluate and vot analysis")
            with Advice("`vot test` passed, so look at the last lines above, and at docs/vot.md, pitfalls"):
                run_toolkit(toolkit, "evaluate", ["--workspace", ".", NAME], folder, offline, show)
                analysis = ["--workspace", ".", "--name", NAME, "--format", "json", NAME]
                run_toolkit(toolkit, "analysis", analysis, folder, offline, show)
            for score in read_scores(folder / "analysis" / f"{NAME}.json"):
                values = "  ".join(f"{measure} {value:.4f}" for measure, value in score.values.items())
                print(
                    f"{score.experiment}: {values}  (rendered sequences: the numbers mean nothing, but they are there)"
                )
            if args.targets > 1:
                step("vot pack")
                with Advice("`vot evaluate` passed, so look at the last lines above"):
                    print(f"the server would get {pack_results(toolkit, NAME, folder, offline, show)}")
    print("\nself-test passed")
    return 0


def step(title: str) -> None:
    """Print a heading."""
    print(f"\n=== {title}", flush=True)


class Advice:
    """Adds to an error what to do about it; a crash shows its traceback first."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        """Turn an exception into a SeqTrackError with the advice."""
        if isinstance(error, SeqTrackError):
            raise SeqTrackError(f"{error}; what to do: {self.text}") from error
        if isinstance(error, Exception):
            traceback.print_exception(error)
            raise SeqTrackError(f"{type(error).__name__}: {error}; what to do: {self.text}") from error


def make_workspace(args: argparse.Namespace, folder: Path, temporary: Path, compat: bool) -> TrackerEntry:
    """Render the sequences and write everything that the toolkit needs; return the tracker's entry."""
    what = f"{args.sequences} sequences of {args.frames} frames"
    step(f"render {what}{f' with {args.targets} targets each' if args.targets > 1 else ''} into {folder}")
    rehearsal.write_rehearsal_data(
        folder / "sequences", sequences=args.sequences, frames=args.frames, targets=args.targets
    )
    options: dict[str, Any] = {"device": args.device, "save_dir": args.save_dir and args.save_dir.resolve()}
    options |= {
        key: value and value.resolve()
        for key, value in (("checkpoint", args.checkpoint), ("ar_checkpoint", args.ar_checkpoint))
    }
    config = args.config
    if config is None:
        if args.checkpoint is not None:
            raise InputError("--checkpoint needs the name of its experiment")
        print("tracker: a stand-in network that leaves the box where it is")
        path, options["checkpoint"] = rehearsal.write_stand_in_tracker(temporary)
        config = str(path)
        if args.masks and args.ar_checkpoint is None:
            print("masks: a stand-in with the layout of Alpha-Refine")
            options["ar_checkpoint"] = rehearsal.write_stand_in_masks(temporary)
    if not args.masks:
        options.pop("ar_checkpoint")
    entry = TrackerEntry(NAME, NAME, config, args.masks, options)
    registry = registry_text([entry], python=sys.executable)
    stack = rehearsal.rehearsal_stack_text(args.frames, COMPAT if compat else "multistart")
    if args.targets > 1:
        stack = rehearsal.targets_stack_text(COMPAT_REALTIME if compat else "unsupervised")
    write_workspace(folder, {"trackers.ini": registry, "config.yaml": config_text("./stack.yaml"), "stack.yaml": stack})
    print(registry.strip())
    return entry


def track_here(entry: TrackerEntry, folder: Path, masks: bool) -> None:
    """Load the tracker and let it serve the first sequence twice, then each target alone, over TraX in this process."""
    step("TraX in this process")
    sequence = next(folder.glob("sequences/*/sequence")).parent
    frames = sorted(sequence.glob("color/*.jpg"))
    regions = [read_region(path.read_text().splitlines()[0]) for path in label_files(sequence)]
    alone = [(0, region) for region in regions] if len(regions) > 1 else []
    with Advice("the tracker itself fails; the toolkit has no part in it. Mend the error above first"):
        options = {key: value for key, value in entry.options.items() if value is not None}
        tracker = run_tracker.load(entry.config, masks=masks, **options)
        talk = converse(tracker, frames, [(0, *regions), (0, *regions), *alone])
    answers = talk.answers[0]
    seconds = np.mean(talk.seconds[1 : 2 * (len(frames) - 1)])
    print(f"{len(frames)} frames, started twice, {seconds:.3f} s per frame")
    if not np.array_equal(answers[-1], talk.answers[1][-1]):
        raise SeqTrackError("the second start gave other answers than the first: the tracker remembers something")
    if alone:
        same = all(np.array_equal(answers[-1][k], talk.answers[2 + k][-1]) for k in range(len(alone)))
        print(f"{len(alone)} targets in one batch: {'the same' if same else 'warning: other'} answers as each alone")
    if masks and not any(np.any(answer) for answer in answers):
        print("warning: all masks are empty; the analysis of the toolkit divides by zero for such a tracker")


if __name__ == "__main__":
    sys.exit(run_script(main))
