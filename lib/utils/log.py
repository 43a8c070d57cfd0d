"""Log set-up, called by entry points only."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from lib.utils.launch import is_main_process
from lib.utils.text import printable

MESSAGE_LIMIT = 4000
"""Longest message of a log record in characters; tracebacks keep their lines."""


class _Formatter(logging.Formatter):
    """Writes messages on one line, whatever names from outside they hold.

    Where they are asked for, a record's ``details`` (``extra={"details": ...}``), such as the traceback of an expected
    failure, follow on lines of their own.
    """

    has_details = False

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
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
        """Write one record."""
        tqdm.write(self.format(record), file=sys.stderr)


def setup_logging(log_file: Path | str | None = None, level: str = "INFO") -> None:
    """Log to standard error and, if asked, to a file; ranks other than 0 log warnings only.

    Args:
        log_file: appended to; its folder is made if missing.
        level: name of the lowest level shown.
    """
    root = logging.getLogger()
    for handler in list(root.handlers):
        root.removeHandler(handler)
    handlers: list[logging.Handler] = [_ConsoleHandler()]
    if log_file is not None and is_main_process():
        Path(log_file).parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log_file, encoding="utf-8"))
    for handler in handlers:
        formatter = _Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
        formatter.has_details = isinstance(handler, logging.FileHandler) or level == "DEBUG"
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level if is_main_process() else "WARNING")
