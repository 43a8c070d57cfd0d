"""Score the results of trackers: tables and plots of success, precision and normalized precision; play them back."""

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.config.paths import Paths, load_paths
from lib.config.seqtrack.config import experiment_name
from lib.test.analysis.page.render import PageOptions, write_page
from lib.test.analysis.plots import write_playback, write_plots
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.report import Report, analyze
from lib.test.analysis.scoring import ScoreCache, Scoring, read_boxes_of
from lib.test.analysis.selection import Selection, choose_sources, found_benchmarks
from lib.test.analysis.style import STYLES, PlotStyle, parse_colors
from lib.test.analysis.tables import FORMATS, TEXT_WIDTH, format_text, write_table
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.test.evaluation.results import plots_dir
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.errors import DataError, InputError, SeqTrackError, lookup, printable
from lib.utils.files import check_writable
from lib.utils.log import setup_logging


def add_page_flags(parser: argparse.ArgumentParser) -> None:
    """Add the colors of trackers, and what goes into a report for the browser."""
    parser.add_argument(
        "--colors", nargs="+", default=[], metavar="NAME=COLOR", help="colors of trackers, such as KCF=#0072B2"
    )
    parser.add_argument(
        "--thumbnails",
        type=int,
        default=8,
        metavar="N",
        help="embed the frames of the N sequences in which the best tracker is worst (default: 8)",
    )
    parser.add_argument(
        "--frames_of", nargs="+", default=[], metavar="SEQ", help="also embed the frames of these sequences"
    )
    parser.add_argument(
        "--budget",
        type=int,
        default=15,
        metavar="MB",
        help="size of the HTML file up to which frames are embedded (default: 15)",
    )


def add_selection_flags(parser: argparse.ArgumentParser) -> None:
    """Add which results are scored, and how."""
    parser.add_argument(
        "--tracker", "--tracker_name", nargs="+", default=[], help="trackers (default: all with results)"
    )
    parser.add_argument("--config", "--cfg_name", nargs="+", default=[], help="experiments (default: all with results)")
    parser.add_argument(
        "--dataset", "--dataset_name", nargs="+", help=f"of: {', '.join(BENCHMARKS)} (default: those with results)"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="[LABEL=]DIR",
        help="also folders of box files that others published",
    )
    parser.add_argument("--float", dest="floats", action="store_true", help="score the boxes of test.py --float")
    parser.add_argument("--merge_runs", action="store_true", help="<config>_000, <config>_001, ...: mean ± deviation")
    parser.add_argument(
        "--allow_missing",
        "--allow-missing",
        action="store_true",
        help="leave out the sequences that a tracker lacks, and say how many in the table",
    )
    parser.add_argument("--static_box", action="store_true", help="add a baseline row: the first box, never moved")
    parser.add_argument(
        "--protocol",
        nargs="+",
        default=["seqtrack"],
        help=f"conventions, of: {', '.join(PROTOCOLS)} (default: seqtrack)",
    )
    parser.add_argument("--exclude_invalid_frames", action="store_true", help="do not count frames without a target")
    parser.add_argument("--cache", action=argparse.BooleanOptionalAction, default=True, help="reuse computed scores")
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets (default: ./data)")
    parser.add_argument("--save_dir", type=user_path, help="folder below which test.py wrote its results (default: .)")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=__doc__
        + " Without flags: everything found below the save_dir. A missing or incomplete result is an "
        "error (exit code 2), never a score."
    )
    add_selection_flags(parser)
    parser.add_argument("--per_sequence", action="store_true", help="also a table of the average overlap by sequence")
    parser.add_argument("--per_attribute", action="store_true", help="also a table and a radar plot by attribute")
    parser.add_argument("--per_class", action="store_true", help="also a table by class of target")
    parser.add_argument("--playback", nargs="+", metavar="SEQ", help="instead, write MP4 videos of these sequences")
    parser.add_argument(
        "--format", choices=tuple(FORMATS), default="text", help="of the printed tables (default: text)"
    )
    parser.add_argument("--plots", action=argparse.BooleanOptionalAction, default=True, help="draw the plots")
    parser.add_argument(
        "--style",
        choices=tuple(STYLES),
        default="screen",
        help="of the plots: PNG and PDF for a screen (default), or PDF and SVG sized for the columns of a paper",
    )
    parser.add_argument("--no_plots", dest="plots", action="store_false", help=argparse.SUPPRESS)
    parser.add_argument("--output_dir", type=user_path, help="where to write (default: <save_dir>/test/result_plots)")
    parser.add_argument(
        "--html", type=user_path, metavar="FILE", help="also one HTML file with everything, to look at in a browser"
    )
    add_page_flags(parser)
    return parser.parse_args(argv)


def chosen(args: argparse.Namespace) -> Selection:
    """What the flags select."""
    return Selection(
        trackers=args.tracker,
        configs=[experiment_name(config) for config in args.config],
        raw=args.results,
        static_box=args.static_box,
        floats=args.floats,
        merge_runs=args.merge_runs,
        allow_missing=args.allow_missing,
    )


def reports_of(name: str, paths: Paths, args: argparse.Namespace) -> Iterator[Report]:
    """The scores on a benchmark by each protocol."""
    cache = ScoreCache(paths.save_dir / "cache" / "analysis" if args.cache else None)
    for protocol in args.protocol:
        yield analyze(name, paths, Scoring(protocol, args.exclude_invalid_frames), chosen(args), cache)


def analyze_benchmark(name: str, folder: Path, paths: Paths, args: argparse.Namespace) -> list[Report]:
    """Print the tables of a benchmark by each protocol, write tables and plots to a folder, and return the scores."""
    reports, written = [], []
    for report in reports_of(name, paths, args):
        suffix = f"_{report.scoring.protocol}" if len(args.protocol) > 1 else ""
        tables = report.tables(
            per_sequence=args.per_sequence, per_attribute=args.per_attribute, per_class=args.per_class
        )
        for stem, table in tables.items():
            text = format_text(table, terminal_width()) if args.format == "text" else FORMATS[args.format].write(table)
            print(text)
            written += write_table(table, folder, stem + suffix)
        if args.plots:
            groups = report.attributes() if args.per_attribute else None
            written += write_plots(report.trackers, report.title, folder, groups, suffix, style_of(args))
        reports.append(report)
    print(f"written to {printable(folder, 1000)}: {', '.join(path.name for path in written)}")
    return reports


def style_of(args: argparse.Namespace) -> PlotStyle:
    """How plots look."""
    return STYLES[args.style]._replace(colors=parse_colors(args.colors))


def terminal_width() -> int:
    """Columns that a printed table may have."""
    return max(40, shutil.get_terminal_size((TEXT_WIDTH, 0)).columns)


def play_back(name: str, folder: Path, paths: Paths, args: argparse.Namespace) -> None:
    """Write videos of sequences with the ground truth and the boxes of the trackers; a bad one is left out."""
    sequences = find_benchmark(name, paths).load(paths, args.playback, strict=True)
    sources, errors = choose_sources(name, sequences, paths, chosen(args)), []
    for sequence in sequences:
        path = folder / f"{sequence.name}.mp4"
        try:
            boxes = {label: read_boxes_of(runs[0], sequence) for label, runs in sources.items()}
            write_playback(sequence, boxes, path, style_of(args))
            print(f"written: {printable(path, 1000)}")
        except DataError as error:
            errors.append(str(error))
    if errors:
        raise DataError("; ".join(errors))


def output_folders(names: Sequence[str], paths: Paths, output_dir: Path | None) -> dict[str, Path]:
    """Where to write, by benchmark.

    Raises:
        InputError: if two benchmarks would be written to one folder.
    """
    folders: dict[str, Path] = {}
    for name in dict.fromkeys(names):
        folder = plots_dir(paths.save_dir, find_benchmark(name, paths).name)
        if output_dir is not None:
            folder = output_dir / folder.name if len(names) > 1 else output_dir
        if other := next((other for other in folders if folders[other] == folder), None):
            raise InputError(f"{other} and {name}: both would be written to {folder}; analyze them one by one")
        folders[name] = folder
    return folders


def prepare(args: argparse.Namespace, html: Path | None) -> tuple[Paths, list[str]]:
    """Check the flags; return the path settings and the names of the benchmarks.

    Raises:
        SeqTrackError: if a flag cannot be used, or there is nothing to analyze.
    """
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    args.protocol = list(dict.fromkeys(args.protocol))
    for name in args.protocol:
        lookup(PROTOCOLS, name, "protocol")
    if args.results and not args.dataset:
        raise InputError("--results needs --dataset")
    check_ranges(args, {"thumbnails": (0, 10_000), "budget": (1, 1000)})
    if html is not None:
        check_writable(html)
    return paths, args.dataset or found_benchmarks(paths)


def write_html(path: Path, reports: list[Report], errors: list[str], args: argparse.Namespace) -> None:
    """Write the report for the browser, if there is something to show."""
    if reports:
        options = PageOptions(args.thumbnails, args.frames_of, args.budget, parse_colors(args.colors))
        write_page(path, reports, options, errors)
        print(f"written: {printable(path, 1000)} ({path.stat().st_size / 1e6:.1f} MB)")


def main(argv: Sequence[str] | None = None) -> int:
    """Analyze the benchmarks; an error in one does not keep the others from being shown."""
    args = parse_args(argv)
    setup_logging(level="WARNING")
    if args.playback and (args.html or not args.dataset):
        raise InputError("--playback needs --dataset, and writes no --html")
    style_of(args)  # fails here if a color is none
    paths, names = prepare(args, args.html)
    errors: list[str] = []
    reports: list[Report] = []
    for name, folder in output_folders(names, paths, args.output_dir).items():
        try:
            if args.playback:
                play_back(name, folder, paths, args)
            else:
                reports += analyze_benchmark(name, folder, paths, args)
        except SeqTrackError as error:
            errors.append(str(error))
    if args.html:
        write_html(args.html, reports, errors, args)
    if errors:
        raise DataError("; ".join(errors))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
