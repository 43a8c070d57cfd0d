"""Shared by the scripts: how an error becomes an exit code."""

import sys
from collections.abc import Callable
from pathlib import Path

from lib.utils.errors import SeqTrackError


def run_script(main: Callable[[], int]) -> int:
    """Run a script's ``main`` and return its exit code.

    A mistake of the user (``SeqTrackError``) is one line on standard error and exit code 2; Ctrl-C is 130; a bug keeps
    its traceback.
    """
    name = Path(sys.argv[0]).name
    try:
        return main()
    except SeqTrackError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130


def show(text: str) -> None:
    """Pass on to the user, at once, what another program prints."""
    sys.stdout.write(text)
    sys.stdout.flush()
