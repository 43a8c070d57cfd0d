"""What the page shows of single frames: boxes, overlaps and scores, packed; names of the image files; thumbnails."""

import base64
import os
import re
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from lib.data.sequence import Sequence as VideoSequence
from lib.test.analysis.selection import Source
from lib.test.evaluation.results import FLOAT_DIR, TIME_SUFFIX
from lib.utils.errors import DataError
from lib.utils.files import read_text
from lib.utils.image_io import encode_image

SCORE_SUFFIXES = ("_score.txt", "_all_scores.txt", "_confidence.value", "_001_confidence.value")
"""Files beside the boxes of a sequence that hold the score of every frame, as trackers and toolkits call them."""
LARGEST = 10**8
"""Pixels; what is further out is drawn there."""
FINEST_STEPS = 10
"""Of a pixel, for boxes with fractions."""
LEVELS = 250
"""Steps of an overlap or a score between 0 and 1; ``NOTHING`` says that there is none."""
NOTHING = 255
THUMBNAIL_WIDTH, THUMBNAIL_QUALITY = 320, 60
MOST_THUMBNAILS = 240
"""Of one sequence."""


def pack_boxes(boxes_xywh: Sequence[np.ndarray], scale: int) -> bytes:
    """Boxes of F frames as bytes that compress well.

    Args:
        boxes_xywh: (F, 4) each, in pixels; NaN becomes a box without size.
        scale: steps of a pixel.

    Returns:
        Differences from frame to frame, with the sign in the lowest bit, as uint32: first all lowest bytes, then the
        next ones, ...; coordinate by coordinate, box set by box set. Undone by ``unpackBoxes`` of ``data.js``.
    """
    stacked = np.concatenate([np.asarray(boxes, dtype=np.float64).T for boxes in boxes_xywh])  # (4 sets, F)
    steps = np.rint(np.nan_to_num(stacked).clip(-LARGEST, LARGEST) * scale).astype(np.int64)
    deltas = np.diff(steps, axis=1, prepend=0)
    folded = np.where(deltas < 0, -2 * deltas - 1, 2 * deltas).astype("<u4")  # small numbers, whatever their sign
    return np.ascontiguousarray(folded.reshape(-1).view(np.uint8).reshape(-1, 4).T).tobytes()


def pack_levels(values: np.ndarray) -> bytes:
    """Values in [0, 1] as a byte each; NaN and what is negative is ``NOTHING``."""
    levels = np.rint(np.nan_to_num(values, nan=-1.0).clip(-1, 1) * LEVELS)
    return np.where(levels < 0, NOTHING, levels).astype(np.uint8).tobytes()


def compress(*parts: bytes) -> str:
    """Parts one behind the other, as zlib in base64."""
    return base64.b64encode(zlib.compress(b"".join(parts), 6)).decode("ascii")


def scale_of(boxes_xywh: Iterable[np.ndarray], steps: int = FINEST_STEPS) -> int:
    """Steps of a pixel that boxes are rounded to: 1 if all are integers, else ``steps``."""
    return steps if any((np.nan_to_num(boxes) % 1).any() for boxes in boxes_xywh) else 1


def describe_files(frames: list[str]) -> dict[str, str | int] | list[str]:
    """Names of the image files as a rule (prefix, first number, its digits, suffix), or one by one if there is none.

    Of absolute paths only the last three parts are kept: the page goes to others, and finds images by their ends.
    """
    names = ["/".join(name.split("/")[-3:]) for name in frames] if os.path.isabs(frames[0]) else frames
    if match := re.fullmatch(r"(.*?)(\d{1,15})(\D*)", names[0], re.DOTALL):
        prefix, digits, suffix = match.groups()
        width = len(digits) if digits[0] == "0" else 1
        if all(name == f"{prefix}{int(digits) + i:0{width}d}{suffix}" for i, name in enumerate(names)):
            return {"prefix": prefix, "first": int(digits), "width": width, "suffix": suffix}
    return names


def read_numbers(source: Source, sequence: VideoSequence, suffixes: Iterable[str]) -> np.ndarray | None:
    """The numbers of a file beside the boxes of a sequence, (F,) float64; None if there is none of that length."""
    box_file = source.file(sequence.name)
    folder = box_file.parent.parent if box_file.parent.name == FLOAT_DIR else box_file.parent
    path = next(filter(Path.is_file, (folder / f"{sequence.name}{suffix}" for suffix in suffixes)), None)
    if path is None:
        return None
    try:
        numbers = np.array(
            [float(line.replace(",", " ").split()[0]) for line in read_text(path).split("\n") if line.strip()]
        )
    except (DataError, ValueError):
        return None
    frames = len(sequence.frames)
    if len(numbers) == frames - 1:
        numbers = np.insert(numbers, 0, np.nan)  # the toolkit of VOT leaves the first frame out
    return numbers if len(numbers) == frames else None


def read_scores(source: Source, sequence: VideoSequence) -> np.ndarray | None:
    """Scores of a tracker by its own account, (F,) in [0, 1]; None if there are none, or they have another range."""
    scores = read_numbers(source, sequence, SCORE_SUFFIXES)
    return (
        scores
        if scores is not None and np.nanmin(scores, initial=0) >= 0 and np.nanmax(scores, initial=0) <= 1
        else None
    )


def read_seconds(source: Source, sequence: VideoSequence) -> np.ndarray | None:
    """Seconds that a tracker spent on each frame but the first one, (F - 1,)."""
    seconds = read_numbers(source, sequence, (TIME_SUFFIX,))
    return None if seconds is None else seconds[1:]


def thumbnails(sequence: VideoSequence, budget: float) -> dict[str, list]:
    """Small JPEG images of frames, evenly spread, in at most so many bytes of base64.

    Returns:
        The embedded ``frames`` (from 0), and their ``images``.

    Raises:
        DataError: if a frame cannot be read.
    """
    largest = max(len(_thumbnail(sequence, index)) for index in (0, len(sequence.frames) // 2))
    count = int(min(len(sequence.frames), MOST_THUMBNAILS, max(budget, 0) // largest))
    frames, images = [], []
    for index in np.unique(np.linspace(0, len(sequence.frames) - 1, count).round().astype(int)).tolist():
        image = _thumbnail(sequence, index)
        budget -= len(image)
        if budget < 0:
            break
        frames.append(index)
        images.append(image)
    return {"frames": frames, "images": images}


def _thumbnail(sequence: VideoSequence, index: int) -> str:
    image = sequence.read_frame(index)
    height, width = image.shape[:2]
    if width > THUMBNAIL_WIDTH:
        size = (THUMBNAIL_WIDTH, max(1, round(height * THUMBNAIL_WIDTH / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return base64.b64encode(encode_image(image, ".jpg", THUMBNAIL_QUALITY)).decode("ascii")
