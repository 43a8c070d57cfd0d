"""torchrun, started by its path.

``python -m torch.distributed.run`` would import modules of the current folder before those of Python (a ``numpy.py``
that is there, say), would outlive the process that started it, and prints a traceback of its own for the mistakes of
a user that the ranks have told.
"""

import logging
import os
import signal
import sys
from pathlib import Path

if __name__ == "__main__":  # run as a file: the folder of the project takes the place of the folder of this file
    sys.path[0] = str(Path(__file__).resolve().parents[2])
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback

from lib.utils.child import PARENT_VARIABLE, watch_given_parent

if __name__ == "__main__":
    watch_given_parent()  # before the imports, which take seconds
    os.environ[PARENT_VARIABLE] = str(os.getpid())  # for the ranks

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main


def launch() -> int:
    """Run torchrun and return the exit code of the rank that failed first, 128 + the number of a signal."""
    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    try:
        main()
    except SignalException as stopped:
        return 128 + stopped.sigval
    except ChildFailedError as failed:
        rank, failure = failed.get_first_failure()
        if failure.exitcode >= 0:
            return failure.exitcode  # it has reported why
        name = signal.Signals(-failure.exitcode).name
        print(f"rank {rank} was ended by {name} (SIGKILL: often out of memory)", file=sys.stderr)
        return 128 - failure.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(launch())
