"""Write one HTML file about the results of trackers on one or more benchmarks, to look at in a browser or to mail."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.test.analysis.report import Report
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import DataError, SeqTrackError
from lib.utils.log import setup_logging
from tracking.analysis_results import add_page_flags, add_selection_flags, prepare, reports_of, write_html


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=__doc__ + " Without flags: everything found below the save_dir. A missing or incomplete result is "
        "an error (exit code 2), which the report names, too; the other benchmarks are still shown."
    )
    add_selection_flags(parser)
    parser.add_argument("--output", type=user_path, default=Path("report.html"), help="the file (default: report.html)")
    add_page_flags(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Score the results and write the file."""
    args = parse_args(argv)
    setup_logging(level="WARNING")
    paths, names = prepare(args, args.output)
    reports: list[Report] = []
    errors: list[str] = []
    for name in dict.fromkeys(names):
        try:
            reports += reports_of(name, paths, args)
        except SeqTrackError as error:
            errors.append(str(error))
    write_html(args.output, reports, errors, args)
    if errors:
        raise DataError("; ".join(errors))
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
