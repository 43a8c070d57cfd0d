"""Pack results for the evaluation server of TrackingNet into ``trackingnet_submit.zip``; the results stay."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.test.utils.submission import transform
from lib.utils.cli import run_script


def main(argv: Sequence[str] | None = None) -> int:
    """Pack; return 1 if ``--check`` was given and finds problems."""
    return transform("trackingnet", __doc__, argv)


if __name__ == "__main__":
    sys.exit(run_script(main))
