"""Score the results of trackers: tables and plots of success, precision and normalised precision."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lib.config.paths import Paths, load_paths
from lib.test.analysis.collect import Scoring
from lib.test.analysis.metrics import PROTOCOLS
from lib.test.analysis.plots import write_plots
from lib.test.analysis.report import Selection, analyse, found_benchmarks, write_table
from lib.test.analysis.tables import FORMATS
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.test.evaluation.results import plots_dir
from lib.utils.cli import run_script
from lib.utils.errors import DataError
from lib.utils.registry import lookup


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__
        + " Without flags: everything found below the save_dir. A missing or incomplete result is an "
        "error (exit code 2), never a score."
    )
    parser.add_argument(
        "--tracker", "--tracker_name", nargs="+", default=[], help="trackers (default: all with results)"
    )
    parser.add_argument("--config", "--cfg_name", nargs="+", default=[], help="experiments (default: all with results)")
    parser.add_argument(
        "--dataset", "--dataset_name", nargs="+", help=f"of: {', '.join(BENCHMARKS)} (default: those with results)"
    )
    parser.add_argument("--static_box", action="store_true", help="add a baseline row: the first box, never moved")
    parser.add_argument("--per_sequence", action="store_true", help="also a table of the average overlap by sequence")
    parser.add_argument("--protocol", default="seqtrack", help=f"conventions, one of: {', '.join(PROTOCOLS)}")
    parser.add_argument("--exclude_invalid_frames", action="store_true", help="do not count frames without a target")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="text", help="of the printed tables (default: text)"
    )
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw the plots")
    parser.add_argument("--no_plots", dest="plots", action="store_false", help=argparse.SUPPRESS)
    parser.add_argument("--data_dir", type=Path, help="folder of the data sets (default: ./data)")
    parser.add_argument("--save_dir", type=Path, help="folder below which test.py wrote its results (default: .)")
    parser.add_argument("--output_dir", type=Path, help="where to write (default: <save_dir>/test/result_plots)")
    return parser.parse_args(argv)


def analyse_benchmark(name: str, folder: Path, paths: Paths, args: argparse.Namespace) -> None:
    """Print the tables of a benchmark, and write tables and plots to a folder."""
    scoring = Scoring(args.protocol, args.exclude_invalid_frames)
    report = analyse(name, paths, scoring, Selection(args.tracker, args.config, args.static_box))
    tables = {"scores": report.scores()}
    if args.per_sequence:
        tables["per_sequence"] = report.per_sequence()
    written = []
    for stem, table in tables.items():
        print(FORMATS[args.format].write(table))
        written += write_table(table, folder, stem)
    if args.plots:
        written += write_plots(report.trackers, report.title, folder)
    print(f"written to {folder}: {', '.join(path.name for path in written)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Analyse the benchmarks; an error in one does not keep the others from being shown."""
    args = parse_args(argv)
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    lookup(PROTOCOLS, args.protocol, "protocol")
    for name in args.dataset or ():
        find_benchmark(name, paths)
    names, errors = args.dataset or found_benchmarks(paths), []
    for name in names:
        folder = plots_dir(paths.save_dir, find_benchmark(name, paths).name)
        if args.output_dir:
            folder = args.output_dir / folder.name if len(names) > 1 else args.output_dir
        try:
            analyse_benchmark(name, folder, paths, args)
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("; ".join(errors))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
