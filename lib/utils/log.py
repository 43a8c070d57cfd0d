"""Log set-up, called by entry points only."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from lib.utils.errors import DataError, printable
from lib.utils.launch import get_rank, is_main_process

MESSAGE_LIMIT = 4000
"""Longest message of a log record in characters; tracebacks keep their lines."""


class _Formatter(logging.Formatter):
    """Writes messages on one line, whatever names from outside they hold.

    Where they are asked for, a record's ``details`` (``extra={"details": ...}``), such as the traceback of an expected
    failure, follow on lines of their own.
    """

    has_details = False

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        details = getattr(record, "details", "")
        return f"{text}\n{details.rstrip()}" if self.has_details and details else text

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format the line of a record; a traceback follows on lines of its own."""
        record.message = printable(record.message, MESSAGE_LIMIT)
        return super().formatMessage(record)


class _ConsoleHandler(logging.Handler):
    """Writes records to standard error above any progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)


class _FileHandler(logging.FileHandler):
    """Ends the run with one line if the log cannot be written, where logging prints a traceback for every record."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Raise DataError for what the system refuses; a bug in a log call is printed as usual."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise DataError(f"{self.baseFilename}: cannot be written: {error.strerror}") from error
        super().handleError(record)

    def close(self) -> None:
        """Close the file; what it could not take has been reported."""
        with contextlib.suppress(OSError):
            super().close()


def setup_logging(log_file: Path | str | None = None, level: str = "INFO") -> None:
    """Log to standard error and, if asked, to a file; ranks other than 0 log errors only.

    Args:
        log_file: appended to; its folder is made if missing.
        level: name of the lowest level shown.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    _add(_ConsoleHandler(), with_details=level == "DEBUG")
    if log_file is not None and is_main_process():
        _add(_file_handler(log_file), with_details=True)
    if not is_main_process():
        warnings.simplefilter("ignore")  # of libraries: rank 0 gives them as well
    root.setLevel(level if is_main_process() else "ERROR")


@contextmanager
def logging_to(log_file: Path | str) -> Iterator[None]:
    """Log to a file as well while the block runs."""
    handler = _file_handler(log_file)
    _add(handler, with_details=True)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()


def _file_handler(log_file: Path | str) -> logging.Handler:
    Path(log_file).parent.mkdir(parents=True, exist_ok=True)
    return _FileHandler(log_file, encoding="utf-8")


def _add(handler: logging.Handler, *, with_details: bool) -> None:
    rank = "" if is_main_process() else f" rank {get_rank()}:"
    formatter = _Formatter(f"%(asctime)s %(levelname)s{rank} %(message)s", "%H:%M:%S")
    formatter.has_details = with_details
    handler.setFormatter(formatter)
    logging.getLogger().addHandler(handler)
