"""Fit the presence score of given weights on videos with ground truth, and report how good it is.

    python tracking/calibrate_score.py seqtrack seqtrack_b256 --dataset got10k_val --plot reliability.png

Tracks the videos, fits the probability that a box is on the target (overlap above 0.3) to the likelihoods of its
tokens, alone and together with how like the first box it looks, by Platt scaling or isotonic regression, whichever
predicts videos better that it was not fitted to, and writes both beside the weights, where the library finds them.
Every third video is left out of the fit and reported on. Use videos that the weights were not trained on. --check fits
nothing and reports on the score that the weights have.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch
from tqdm import tqdm

from lib.config.paths import load_paths
from lib.data.registry import get_dataset
from lib.data.sequence import SequenceList
from lib.models.seqtrack.precision import PRECISIONS
from lib.test.analysis import calibration
from lib.test.analysis.calibration import Observations
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.presence import PresenceScore, default_score, load_score, score_path, score_text
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.errors import InputError
from lib.utils.files import check_writable, file_hash, write_text_atomic
from lib.utils.log import setup_logging

LABELS = ("score of the likelihoods", "score with the look", "default score")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tracker_name", choices=["seqtrack"], help="name of the tracker: seqtrack")
    parser.add_argument("tracker_param", help="name of the experiment (seqtrack_b256), or path of its YAML file")
    parser.add_argument("--dataset", required=True, help="a benchmark (got10k_val), or folder:<path> of videos")
    parser.add_argument("--test_dataset", help="report on this one instead of every third video of --dataset")
    parser.add_argument("--checkpoint", type=user_path, help="file with the weights; default: that of the experiment")
    parser.add_argument("--output", type=user_path, help="file to write; default: <checkpoint>.score.json beside it")
    parser.add_argument(
        "--check", action="store_true", help="fit nothing: report how good the score that the weights have is"
    )
    parser.add_argument("--plot", type=user_path, help="write the reliability diagram to this PNG file")
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets")
    parser.add_argument("--save_dir", type=user_path, help="where training wrote its checkpoints")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument("--dtype", default="float32", choices=PRECISIONS, help="precision (default: float32)")
    parser.add_argument("--batch_size", type=int, default=8, help="videos tracked at once (default: 8)")
    parser.add_argument("--threads", type=int, help="of PyTorch on the CPU; default: its own choice")
    args = parser.parse_args(argv)
    if args.check and (args.output or args.test_dataset):
        parser.error("--check writes no score and fits nothing: it does not go with --output and --test_dataset")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    args = parse_args(argv)
    setup_logging()
    check_ranges(args, {"batch_size": (1, 4096), "threads": (1, 1024)})
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    where = {"save_dir": args.save_dir, "device": args.device, "dtype": args.dtype}
    params = parameters(args.tracker_param, checkpoint=args.checkpoint, **where)
    output = args.output or score_path(params.checkpoint)
    if args.check and not score_path(params.checkpoint).is_file():
        raise InputError(f"--check: the weights have no score: there is no {score_path(params.checkpoint)}")
    for path in filter(None, (None if args.check else output, args.plot)):
        check_writable(path)
    fitted, tests = choose_videos(args)
    # Before the weights are read: if a training replaces them meanwhile, the score is not that of the new ones.
    weights = file_hash(params.checkpoint) if params.checkpoint.is_file() else ""
    engine = SeqTrackEngine(params)
    if args.check:
        score = load_score(params.checkpoint, params.update_threshold)
    else:
        seen = observe(engine, fitted, args.batch_size)
        score = fit(seen)
    unseen = observe(engine, tests, args.batch_size)
    chosen = score.with_look or score
    for label, one in zip(LABELS, (score, chosen, default_score(params.update_threshold)), strict=True):
        report(label, calibration.apply(one, unseen), unseen)
    if not args.check:
        fitted_on = f"{args.dataset}: {len(fitted)} videos, {len(seen.overlap)} frames"
        facts = {"fitted_on": fitted_on, "weights_sha256": weights}
        write_text_atomic(output, score_text(score, facts))
        print(f"wrote {output}")
    if args.plot:
        title = f"{Path(args.tracker_param).stem}, {len(unseen.overlap)} frames left out"
        calibration.write_reliability_plot(args.plot, calibration.apply(chosen, unseen), unseen.positive, title)
        print(f"wrote {args.plot}")
    return 0


def choose_videos(args: argparse.Namespace) -> tuple[SequenceList, SequenceList]:
    """Videos to fit to, none with --check, and videos to report on. Raises InputError if there are too few."""
    paths = load_paths("test", data_dir=args.data_dir)
    sequences = get_dataset(args.dataset, paths=paths)
    if args.check:
        return SequenceList(), sequences
    if args.test_dataset:
        tests = get_dataset(args.test_dataset, paths=paths)
    else:
        tests = SequenceList(sequences[2::3])
        sequences = SequenceList(entry for index, entry in enumerate(sequences) if index % 3 != 2)
    if not sequences or not tests:
        raise InputError(f"dataset {args.dataset}: at least three videos are needed")
    return sequences, tests


def fit(seen: Observations) -> PresenceScore:
    """The best score of the likelihoods, and in it that with the look; prints what the candidates lose."""
    chosen = []
    for candidates in (calibration.CANDIDATES, calibration.LOOK_CANDIDATES):
        best, score, losses = calibration.choose(seen, candidates)
        chosen.append(score)
        for name, loss in losses.items():
            print(f"log loss of videos left out, {name + ':':<34} {loss:.4f}{'  <- chosen' if name == best else ''}")
    return replace(chosen[0], with_look=chosen[1])


def observe(engine: SeqTrackEngine, sequences: SequenceList, batch_size: int) -> Observations:
    """Track all videos with a progress bar."""
    parts = []
    with tqdm(total=len(sequences), unit="video") as bar:
        for part in calibration.observe(engine, sequences, batch_size):
            parts.append(part)
            bar.update(len(np.unique(part.video)))
    if not parts:
        raise InputError("no video has a second frame")
    return calibration.join(parts)


def report(label: str, scores: np.ndarray, seen: Observations) -> None:
    """Print how good a score is on videos it was not fitted to."""
    raw = seen.likelihoods.sum(axis=1)
    print(
        f"{label} on {len(np.unique(seen.video))} videos left out ({len(scores)} frames, "
        f"{100 * seen.positive.mean():.0f} % on the target, {100 * seen.absent.mean():.0f} % absent): "
        f"ROC AUC of IoU > {calibration.POSITIVE_OVERLAP:g} {calibration.roc_auc(scores, seen.positive):.3f} "
        f"(published confidence {calibration.roc_auc(raw, seen.positive):.3f}), "
        f"of present {calibration.roc_auc(scores, ~seen.absent):.3f} ({calibration.roc_auc(raw, ~seen.absent):.3f}), "
        f"log loss {calibration.log_loss(scores, seen.positive):.4f}, "
        f"expected calibration error {calibration.expected_calibration_error(scores, seen.positive):.3f}"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
