"""Log set-up, called by entry points only."""

import logging
import sys
from pathlib import Path

from tqdm import tqdm

from lib.utils.dist import is_main_process


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
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    for handler in handlers:
        handler.setFormatter(formatter)
        root.addHandler(handler)
    root.setLevel(level if is_main_process() else "WARNING")
