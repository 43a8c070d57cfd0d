"""Pack results for the evaluation server of GOT-10k or TrackingNet, and look at the zip as the server will."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.test.utils.submission import SUBMISSIONS, add_arguments, pack_and_check
from lib.utils.cli import ScriptParser, run_script


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(
        description=__doc__ + " The results stay as they are. Exit code 1 if the server would refuse the zip."
    )
    parser.add_argument("server", help=f"one of: {', '.join(SUBMISSIONS)}")
    add_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Pack and check; return 1 if there are problems."""
    args = parse_args(argv)
    answer, problems = pack_and_check(args.server, args)
    print(answer)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
