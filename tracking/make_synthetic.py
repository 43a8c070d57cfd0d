"""Render annotated synthetic videos and write them in the layout of GOT-10k or LaSOT.

Needs nothing but this repository. The same flags write the same videos on every machine; sequences that are there
already are kept, so an interrupted run goes on where it stopped.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from tqdm import tqdm

from lib.synthetic import DIFFICULTIES, SyntheticSequence, write_got10k, write_lasot
from lib.synthetic.media import list_images, load_cutout
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.errors import InputError


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=user_path, required=True, help="data-set folder, such as data/got10k")
    parser.add_argument("--layout", choices=("got10k", "lasot"), default="got10k")
    parser.add_argument(
        "--split", choices=("train", "val", "test"), help="LaSOT has no val (default: val, of LaSOT test)"
    )
    parser.add_argument("--num_sequences", type=int, default=20)
    parser.add_argument("--num_frames", type=int, default=60, help="frames per sequence")
    parser.add_argument("--width", type=int, default=320, help="pixels")
    parser.add_argument("--height", type=int, default=240, help="pixels")
    parser.add_argument("--difficulty", choices=DIFFICULTIES, default="mixed")
    parser.add_argument(
        "--seed", type=int, default=0, help="number of the first world; sequence k shows world seed + k"
    )
    parser.add_argument(
        "--backgrounds", type=user_path, default=None, help="folder of photos instead of painted backgrounds"
    )
    parser.add_argument(
        "--cutouts", type=user_path, default=None, help="folder of RGBA images instead of painted figures"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes; the result does not depend on it")
    args = parser.parse_args(argv)
    args.split = args.split or ("val" if args.layout == "got10k" else "test")
    return args


def check(args: argparse.Namespace) -> None:
    """Refuse what cannot work before anything is written.

    Raises:
        InputError: which flag and why.
        DataError: if a cut-out has no alpha channel.
    """
    check_ranges(args, LIMITS)
    if args.output.exists() and not args.output.is_dir():
        raise InputError(f"--output {args.output}: is a file, not a folder")
    if args.backgrounds:
        list_images(args.backgrounds)
    if args.cutouts:
        for path in list_images(args.cutouts):
            load_cutout(path, 32)


LIMITS = {"num_sequences": (1, 1_000_000), "num_frames": (1, 100_000), "workers": (0, 1024)}
"""Smallest and largest value of number flags."""


class ProgressBar:
    """A bar that appears with the first report, so that a mistake of the user stays one line."""

    def __init__(self, title: str, total: int) -> None:
        self._arguments = {"desc": title, "total": total, "unit": "sequence"}
        self._bar: tqdm | None = None

    def __call__(self, done: int, kept: int) -> None:
        """Report ``done`` sequences, of which ``kept`` were there before."""
        if self._bar is None:
            self._bar = tqdm(**self._arguments, initial=kept)
        self._bar.update(done - self._bar.n)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Render, write, and say what was written where."""
    args = parse_args(argv)
    check(args)
    sequences = [
        SyntheticSequence(
            args.seed + number,
            num_frames=args.num_frames,
            size=(args.width, args.height),
            difficulty=args.difficulty,
            split=args.split,
            backgrounds=args.backgrounds,
            cutouts=args.cutouts,
        )
        for number in range(args.num_sequences)
    ]
    with ProgressBar(f"{args.layout} {args.split}", len(sequences)) as bar:
        if args.layout == "got10k":
            written = write_got10k(args.output, args.split, sequences, workers=args.workers, progress=bar)
        else:
            written = write_lasot(args.output, sequences, split=args.split, workers=args.workers, progress=bar)
    new = len(written.names) - written.kept
    print(
        f"{new} sequences written, {written.kept} kept that were there before: "
        f"{written.frames} frames in {written.folder}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
