"""Annotations as images whose pixels are numbers of targets, as DAVIS and VOS datasets have them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lib.data.exchange.text import mask_box
from lib.data.exchange.tracks import Source, Video, folders_with, in_order
from lib.utils.errors import DataError

NOTHING, VOID = 0, 255


def read_masks(path: Path, source: Source) -> Iterator[Video]:
    """Read a folder of indexed PNGs, or a folder of such folders; the box of a target is the tight one of its pixels.

    255 is void, unless it is the only number of a video: then it is the target, as in sets with one.
    """
    for folder in folders_with(path, "*.png"):
        files = in_order(folder.glob("*.png"))
        video = Video(folder.resolve().name, num_frames=len(files), frame_names=[file.name for file in files])
        for frame, file in enumerate(files):
            indices = _read_indices(file)
            video.size = video.size or (indices.shape[1], indices.shape[0])
            for number in np.unique(indices).tolist():
                box = None if number == NOTHING else mask_box(indices == number)
                if box is not None:
                    video.track(number).add(frame, box, str(file))
        if len(video.tracks) > 1:
            video.tracks.pop(str(VOID), None)
        yield video


def _read_indices(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1", "I;16"):
                raise DataError(f"{path}: an image of colors ({image.mode}), not of numbers of targets")
            return np.array(image).astype(np.int64) * (VOID if image.mode == "1" else 1)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image: {error}") from error
