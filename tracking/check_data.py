"""Say what is there of a benchmark and what is wrong with it, before a long run finds out."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from tqdm import tqdm

from lib.config.paths import Paths, load_paths
from lib.data.doctor import check_attributes, check_names, check_sequences
from lib.data.sequence import Benchmark
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import DataError, InputError
from lib.utils.storage import DirectoryStorage, LmdbStorage
from lib.utils.text import printable


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=__doc__ + " Checks numbers and names of sequences, annotations against frames, missing and empty "
        "files, and boxes against the size of the images. Exit code 0: all well, 1: problems, 2: no such benchmark."
    )
    parser.add_argument(
        "datasets", nargs="*", metavar="NAME", help=f"of: {', '.join(BENCHMARKS)}, folder:<path>, or a YAML file"
    )
    parser.add_argument("--decode", action="store_true", help="decode every frame (reads the whole dataset)")
    parser.add_argument("--threads", type=int, default=4, help="frames decoded at a time (default: 4)")
    parser.add_argument("--show", type=int, default=20, help="problems and remarks that are listed (default: 20)")
    parser.add_argument("--strict", action="store_true", help="remarks count as problems")
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets (default: ./data)")
    return parser.parse_args(argv)


QUICKLY_VERIFIED = 4 << 30
"""Databases up to this size in bytes are compared with their content hash without ``--decode``, too."""


def describe(benchmark: Benchmark, paths: Paths) -> str:
    """Where a dataset is and in which form."""
    folder, origin = benchmark.place(paths)
    if folder is None:
        return f"{benchmark.name}: rendered on the fly"
    storage = benchmark.open(paths)
    form = {DirectoryStorage: "files", LmdbStorage: "LMDB"}.get(type(storage), type(storage).__name__)
    return f"{benchmark.name}: {storage.root} ({form}; {origin})"


def examine(benchmark: Benchmark, paths: Paths, args: argparse.Namespace) -> bool:
    """Check one dataset and print what was found; return whether it is sound."""
    try:
        print(describe(benchmark, paths), flush=True)
        storage = benchmark.open(paths)
        if isinstance(storage, LmdbStorage):
            storage.verify(None if args.decode else QUICKLY_VERIFIED)
        entries = benchmark.entries(storage)
    except DataError as error:
        folder, origin = benchmark.place(paths)
        print(f"{benchmark.name}: cannot be read: {error} ({folder} is {origin})")
        return False
    interval = 0.1 if sys.stderr.isatty() else 10.0
    with (
        tqdm(total=len(entries), unit="sequence", desc=benchmark.name, mininterval=interval) as bar,
        tqdm(unit="frame", desc="decoding", mininterval=interval, disable=not args.decode) as frames,
    ):
        found = check_sequences(
            entries, decode=args.decode, threads=args.threads, on_sequence=bar.update, on_frames=frames.update
        )
    problems = check_names(benchmark, entries) + found.problems
    remarks = found.remarks + check_attributes(benchmark, found)
    expected = "" if benchmark.sequences is None else f" of {benchmark.sequences}"
    print(f"{found.sequences}{expected} sequences can be read, {found.frames} frames")
    for title, lines in (("problems", problems), ("remarks", remarks)):
        print(f"{title}: {len(lines) or 'none'}")
        print("".join(f"  {printable(line, 1000)}\n" for line in lines[: args.show]), end="")
        if len(lines) > args.show:
            print(f"  ... and {len(lines) - args.show} more (--show {len(lines)})")
    return not problems and not (args.strict and remarks)


def main(argv: Sequence[str] | None = None) -> int:
    """Check datasets; return 1 if one has problems."""
    args = parse_args(argv)
    if args.threads < 1 or args.show < 0:
        raise InputError("--threads must be at least 1 and --show at least 0")
    paths = load_paths("test", data_dir=args.data_dir)
    chosen = [find_benchmark(name, paths) for name in args.datasets]
    if not chosen:
        chosen = [benchmark for benchmark in BENCHMARKS.values() if benchmark.setting and benchmark.is_present(paths)]
        if not chosen:
            raise InputError(f"no benchmark below {paths.data_dir}; say where with --data_dir, or name one")
    sound = [examine(benchmark, paths, args) for benchmark in chosen]
    return 0 if all(sound) else 1


if __name__ == "__main__":
    sys.exit(run_script(main))
