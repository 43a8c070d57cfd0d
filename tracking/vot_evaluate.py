"""Run `vot evaluate` and `vot analysis` in a workspace, print the scores, and fail where they fail.

    python tracking/vot_evaluate.py seqtrack_b256_ar --workspace_dir external/vot20/seqtrack

Where the labels are hidden (VOTS) `vot pack` takes the place of `vot analysis`: it writes what the server scores.
The toolkit's own commands do the same, but their exit code is 0 even if the tracker crashed.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from external.vot20.toolkit import Score, find_toolkit, pack_results, read_scores, run_toolkit
from external.vot20.workspace import check_sequences, is_scored, sequences_folder
from lib.config.paths import PROJECT_ROOT
from lib.utils.cli import ScriptParser, run_script, show, user_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker", nargs="+", help="names in trackers.ini")
    workspace = PROJECT_ROOT / "external" / "vot20" / "seqtrack"
    parser.add_argument("--workspace_dir", type=user_path, default=workspace, help="default: external/vot20/seqtrack")
    parser.add_argument("--vot", help="environment that has the toolkit (default: $SEQTRACK_VOT, else this one)")
    parser.add_argument("--experiments", help="only these, separated by commas (baseline,realtime,unsupervised)")
    parser.add_argument("--force", action="store_true", help="run again what has results")
    parser.add_argument(
        "--download", action="store_true", help="let the toolkit fetch the sequences if they are missing"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, analyse or pack, print."""
    args = parse_args(argv)
    toolkit = find_toolkit(args.vot)
    if not args.download:
        check_sequences(sequences_folder(args.workspace_dir))
    options = ["--force"] if args.force else []
    options += ["--experiments", args.experiments] if args.experiments else []
    for name in [] if args.force else args.tracker:
        if any((args.workspace_dir / "results" / name).glob("*/*")):
            print(f"{name}: results of an earlier run are kept, whatever its weights were; --force runs it again")
    run_toolkit(toolkit, "evaluate", ["--workspace", ".", *options, *args.tracker], args.workspace_dir, show=show)
    if not is_scored(toolkit, args.workspace_dir):
        archives = [pack_results(toolkit, tracker, args.workspace_dir, show=show) for tracker in args.tracker]
        print("The labels of this challenge are hidden, so its server computes the scores. To upload:")
        print("\n".join(map(str, archives)))
        return 0
    run_toolkit(
        toolkit,
        "analysis",
        ["--workspace", ".", "--name", "seqtrack", "--format", "json", *args.tracker],
        args.workspace_dir,
        show=show,
    )
    print(scores_text(read_scores(args.workspace_dir / "analysis" / "seqtrack.json")))
    return 0


def scores_text(scores: Sequence[Score]) -> str:
    """A line for each experiment and tracker, with its scores."""
    return "\n".join(
        f"{score.experiment:<13} {score.tracker:<22} "
        + "  ".join(f"{measure} {value:.4f}" for measure, value in score.values.items())
        for score in scores
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
