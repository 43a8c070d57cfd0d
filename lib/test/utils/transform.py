"""What the scripts that pack results for a server have in common."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.config.paths import Paths, load_paths
from lib.data.registry import BENCHMARKS
from lib.test.evaluation.results import ResultFolder
from lib.test.utils.packing import Submission, find_submission, pack, pack_raw
from lib.test.utils.zip_check import check_zip
from lib.utils.cli import ScriptParser, user_path
from lib.utils.errors import DataError, InputError, printable

SHOWN = 20
"""Problems that are listed at most."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the published flags, the paths, and ``--check``."""
    parser.add_argument("--tracker_name", default="seqtrack", help="name of the tracker (default: seqtrack)")
    parser.add_argument("--cfg_name", help="name of its configuration, such as seqtrack_b256_got")
    parser.add_argument(
        "--check",
        nargs="?",
        type=user_path,
        const=Path(),
        metavar="ZIP",
        help="validate a zip as the server would, without packing; without a value: pack, then validate",
    )
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets, for the number of frames")
    parser.add_argument("--save_dir", type=user_path, help="folder below which test.py wrote its results (default: .)")


@dataclass(frozen=True)
class Outcome:
    """What became of packing and checking.

    Attributes:
        lines: the answer for the user.
        problems: what the server would refuse.
    """

    lines: list[str]
    problems: list[str]

    @property
    def text(self) -> str:
        """The answer as one text."""
        return "\n".join(self.lines)


def transform(server: str, description: str | None, argv: Sequence[str] | None) -> tuple[str, int]:
    """Body of the published scripts: pack what is there, warn of what the server would refuse.

    Returns:
        The answer, and the exit code: 1 if ``--check`` was given and there are problems, else 0.
    """
    parser = ScriptParser(description=description)
    add_arguments(parser)
    args = parser.parse_args(argv)
    outcome = pack_and_check(server, args, raw=True)
    return outcome.text, 1 if outcome.problems and args.check is not None else 0


def pack_and_check(server: str, args: argparse.Namespace, *, raw: bool = False) -> Outcome:
    """Pack results, or look at a zip that is there.

    Args:
        server: ``got10k`` or ``trackingnet``.
        args: values of the flags of ``add_arguments``.
        raw: also pack the result files as they are, as the published scripts do.

    Raises:
        InputError: if no results are named, or the zip is unreadable.
        DataError: if there are no results, or they cannot be packed.
    """
    form = find_submission(server)
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    path, lines = args.check, []
    if path is None or path == Path():
        if not args.cfg_name:
            raise InputError("say whose results with --tracker_name and --cfg_name (or give a zip to --check)")
        folder = ResultFolder(paths.save_dir, args.tracker_name, args.cfg_name, form.tag)
        path = pack(folder, form)
        lines.append(f"packed for the server: {path}")
        if raw:
            lines.append(f"packed as they are: {pack_raw(folder)} ({folder.path} was left alone)")
    problems, basis = check_submission(path, form, paths)
    if not problems:
        return Outcome([*lines, f"{path}: the server should take it ({basis})"], [])
    lines.append(f"{path}: {len(problems)} problem(s), the server would refuse it or score it wrongly ({basis})")
    lines += [f"  {printable(problem, 1000)}" for problem in problems[:SHOWN]]
    lines += [f"  ... and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return Outcome(lines, problems)


def check_submission(path: Path, form: Submission, paths: Paths) -> tuple[list[str], str]:
    """Validate a zip against the dataset if it is there, else against what is known of the benchmark.

    Returns:
        The problems, and in words what it was compared with.
    """
    benchmark = BENCHMARKS[form.benchmark]
    names = None if benchmark.names is None else list(benchmark.names())
    try:
        sequences = benchmark.load(paths, strict=True) if benchmark.is_present(paths) else None
        doubt = "not here"
    except DataError:
        sequences, doubt = None, "here but unsound, see tracking/check_data.py"
    if sequences is None:
        known = f"numbers of frames not checked: the dataset is {doubt}"
        return check_zip(path, form, names=names, count=benchmark.sequences), known
    frames = {sequence.name: len(sequence.frames) for sequence in sequences}
    if len(frames) == benchmark.sequences:
        names = sequences.names
    problems = check_zip(path, form, names=names, count=benchmark.sequences, frames=frames)
    return problems, f"compared with {benchmark.place(paths)[0]}"
