"""Text files of boxes and flags: annotations and results. Long training sets are read by this, so it is fast."""

import re
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import read_text
from lib.utils.text import printable


def parse_boxes(text: str, name: str, *, allow_nan: bool = True) -> np.ndarray:
    """Read one box per line, ``x, y, w, h``, separated by commas, tabs or spaces.

    Args:
        text: contents of the file; empty lines at its end are ignored, and the last line counts with or without an
            end-of-line.
        name: what to call the file in an error.
        allow_nan: whether a line may hold NaN (no target in this frame).

    Returns:
        (N, 4) float64; NaN stays NaN, and a line that is just ``NaN`` is four of them.

    Raises:
        DataError: if a line does not hold four finite numbers (or NaN, where allowed); the message names file and line.
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
    wrong = (np.isinf(boxes) if allow_nan else ~np.isfinite(boxes)).any(axis=1)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{name}: line {row + 1}: expected 4 finite numbers, got {_shown(lines[row])}")
    return boxes


def _shown(line: str) -> str:
    return printable(repr(line.strip()))


def _parse_line(line: str, name: str, number: int) -> tuple[float, float, float, float]:
    fields = line.strip().removesuffix(",").split("," if "," in line else None)
    if [field.strip().lower() for field in fields] == ["nan"]:
        fields *= 4
    try:
        if "_" in line or not line.isascii():  # Python takes 1_000 and digits of any script for numbers
            raise ValueError
        x, y, w, h = map(float, fields)
    except ValueError as error:
        raise DataError(f"{name}: line {number}: expected 4 numbers, got {_shown(line)}") from error
    return x, y, w, h


def parse_integers(text: str, name: str) -> np.ndarray:
    """Read integers separated by commas, white space or ends of lines, as flag files hold them.

    Returns:
        (N,) int64.

    Raises:
        DataError: if something is not an integer of at most 18 digits; the message names file and line.
    """
    fields = text.replace(",", " ").split()
    if all(map(_INTEGER.fullmatch, set(fields))):
        return np.array(fields, dtype=np.int64)
    for number, line in enumerate(text.splitlines(), start=1):
        for field in line.replace(",", " ").split():
            if not _INTEGER.fullmatch(field):
                raise DataError(f"{name}: line {number}: expected an integer, got {_shown(field)}")
    raise AssertionError("split() and splitlines() know the same separators")


_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def read_boxes(path: Path | str, *, allow_nan: bool = True) -> np.ndarray:
    """Read a box file from disk; see ``parse_boxes``.

    Raises:
        DataError: if the file cannot be read or is malformed.
    """
    return parse_boxes(read_text(path), str(path), allow_nan=allow_nan)


def load_ground_truth(path: Path | str) -> np.ndarray:
    """Read an annotation file, (N, 4) float64 xywh; a line that says ``NaN`` stays NaN (the target is absent).

    Raises:
        DataError: if a line does not hold four numbers; the message names the file and the line.
    """
    return read_boxes(path)
