"""Annotations: text files of boxes, flags and names (results too), and what follows from boxes.

Long training sets are read by this, so it is fast.
"""

import re
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import read_names, read_text
from lib.utils.storage import Storage
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


def read_ground_truth(
    storage: Storage, name: str, frames: int | None = None, *, hidden: bool = False, allow_nan: bool = False
) -> np.ndarray:
    """Read and check the box file of a sequence.

    Args:
        storage: the dataset.
        name: the box file.
        frames: number of frames of the sequence; None if this file decides it.
        hidden: whether the file may hold the first box only.
        allow_nan: whether the dataset marks absent targets with NaN.

    Returns:
        (frames, 4) float64 xywh, or (1, 4) where only the first box is public.

    Raises:
        DataError: if the file is missing, malformed or empty, or its length does not fit the frames.
    """
    path = storage.root / name
    boxes = parse_boxes(storage.read_text(name), str(path), allow_nan=allow_nan)
    if frames is None and len(boxes) == 0:
        raise DataError(f"{path}: the file is empty, expected at least one box")
    if frames is not None and len(boxes) != frames and not (hidden and len(boxes) == 1):
        raise DataError(f"{path}: {len(boxes)} boxes for {frames} frames")
    return boxes


def read_labels(storage: Storage, name: str, *counts: int) -> np.ndarray:
    """Read the integer labels of a sequence, (F,) int64; ``counts`` are the numbers of labels that are allowed, if any.

    Raises:
        DataError: if the file is missing or malformed, or holds another number of labels.
    """
    labels = parse_integers(storage.read_text(name), str(storage.root / name))
    if counts and len(labels) not in counts:
        raise DataError(f"{storage.root / name}: {len(labels)} labels for {counts[0]} boxes")
    return labels


def read_list(storage: Storage, name: str) -> list[str]:
    """Sequence names of a list of the dataset. Raises DataError if it is missing, malformed or empty."""
    path = storage.root / name
    names = [name for _, name in read_names(storage.read_text(name), str(path))]
    if not names:
        raise DataError(f"{path}: the list is empty")
    return names


def read_split(path: Path) -> list[tuple[int, str]]:
    """Entries of a split file of the user, one per line, with their line numbers; empty lines are left out.

    Raises:
        DataError: if the file cannot be read or has no entries.
    """
    entries = read_names(read_text(path), str(path))
    if not entries:
        raise DataError(f"{path}: the split file is empty")
    return entries


MARGIN = 2.0
"""Pixels by which annotations may miss the edge of an image, for counting from 1 and rounding."""


def has_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Whether boxes (F, 4) have a positive width and height, (F,) bool; False for NaN."""
    return (boxes_xywh[:, 2:] > 0).all(axis=1)


def outside(boxes_xywh: np.ndarray, width: np.ndarray | float, height: np.ndarray | float) -> np.ndarray:
    """Whether boxes (F, 4) with an area do not touch their image at all, (F,) bool."""
    x, y, w, h = boxes_xywh.T
    with np.errstate(invalid="ignore"):
        beyond = (x >= width + MARGIN) | (y >= height + MARGIN) | (x + w <= -MARGIN) | (y + h <= -MARGIN)
    return beyond & has_area(boxes_xywh)


def corners_to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Boxes x1, y1, x2, y2 (F, 4) as x, y, w, h."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def looks_like_corners(boxes: np.ndarray, width: float, height: float) -> bool:
    """Whether boxes (F, 4) make sense as x1, y1, x2, y2 only.

    That is so if, read as x, y, w, h, most of them stick out of the image, while all are in it read as corners.
    """
    rows = boxes[has_area(boxes)]
    if len(rows) == 0:
        return False
    limit = np.array([width, height]) + MARGIN
    sticks_out = (rows[:, :2] + rows[:, 2:] > limit).any(axis=1)
    fits = (rows[:, 2:] > rows[:, :2]).all(axis=1) & (rows[:, 2:] <= limit).all(axis=1) & (rows >= -MARGIN).all(axis=1)
    return bool(sticks_out.mean() > 0.5 and fits.all())
