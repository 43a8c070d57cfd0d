"""Reading text files of boxes: annotations and results, one box per line."""

from pathlib import Path

import numpy as np

from lib.utils import box_text
from lib.utils.errors import DataError


def parse_boxes(text: str, name: str, *, allow_nan: bool = True) -> np.ndarray:
    """Read one box per line, ``x, y, w, h``, separated by commas, tabs or spaces.

    Args:
        text: contents of the file; empty lines at its end are ignored.
        name: what to call the file in an error.
        allow_nan: whether a line may hold NaN (no target in this frame).

    Returns:
        (N, 4) float64; NaN stays NaN.

    Raises:
        DataError: if a line does not hold four finite numbers (or NaN, where allowed); the message names file and line.
    """
    boxes = box_text.parse_boxes(text, name)
    missing = np.isnan(boxes).any(axis=1)
    if missing.any() and not allow_nan:
        row = int(missing.argmax())
        raise DataError(f"{name}: line {row + 1}: expected 4 finite numbers, got {text.splitlines()[row].strip()!r}")
    return boxes


def read_boxes(path: Path | str, *, allow_nan: bool = True) -> np.ndarray:
    """Read a box file from disk; see ``parse_boxes``.

    Raises:
        DataError: if the file cannot be read or is malformed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file") from error
    return parse_boxes(text, str(path), allow_nan=allow_nan)


def load_ground_truth(path: Path | str) -> np.ndarray:
    """Read an annotation file, (N, 4) float64 xywh; a line that says ``NaN`` stays NaN (the target is absent).

    Raises:
        DataError: if a line does not hold four numbers; the message names the file and the line.
    """
    return read_boxes(path)
