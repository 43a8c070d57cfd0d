"""Text annotations: boxes one per line, and flags. Long training sets are read by this, so the common case is fast."""

import numpy as np

from lib.utils.errors import DataError


def parse_boxes(text: str, name: str) -> np.ndarray:
    """Read one box per line, ``x, y, w, h``, separated by commas, tabs or spaces.

    Args:
        text: contents of the file; empty lines at its end are ignored, and the last line counts with or without an
            end-of-line.
        name: what to call the file in an error.

    Returns:
        (N, 4) float64; a line that says ``NaN`` stays NaN (no target in this frame).

    Raises:
        DataError: if a line does not hold four numbers, or an infinite one; the message names file and line.
    """
    lines = text.rstrip().splitlines()
    # Official files have commas, result files have tabs; four numbers in each line.
    delimiter = next((mark for mark in ",\t" if lines and mark in lines[0]), None)
    try:
        boxes = np.loadtxt(lines, delimiter=delimiter, comments=None, ndmin=2) if lines else np.zeros((0, 4))
    except ValueError:
        boxes = np.zeros((0, 0))
    if boxes.shape != (len(lines), 4):  # other separators, or a mistake: look at each line
        boxes = np.array([_parse_line(line, name, i) for i, line in enumerate(lines, 1)], dtype=np.float64)
    infinite = np.isinf(boxes).any(axis=1)
    if infinite.any():
        row = int(infinite.argmax())
        raise DataError(f"{name}: line {row + 1}: expected 4 finite numbers, got {lines[row].strip()!r}")
    return boxes


def _parse_line(line: str, name: str, number: int) -> tuple[float, float, float, float]:
    try:
        x, y, w, h = map(float, line.replace(",", " ").split())
    except ValueError as error:
        raise DataError(f"{name}: line {number}: expected 4 numbers, got {line.strip()!r}") from error
    return x, y, w, h


def parse_integers(text: str, name: str) -> np.ndarray:
    """Read integers separated by commas, white space or ends of lines, as flag files hold them.

    Returns:
        (N,) int64.

    Raises:
        DataError: if something is not an integer; the message names file and line.
    """
    try:
        return np.array(text.replace(",", " ").split(), dtype=np.int64)
    except ValueError:
        for number, line in enumerate(text.splitlines(), start=1):
            for field in line.replace(",", " ").split():
                try:
                    int(field)
                except ValueError as error:
                    raise DataError(f"{name}: line {number}: expected an integer, got {field!r}") from error
        raise
