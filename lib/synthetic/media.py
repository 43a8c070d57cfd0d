"""The user's own photos as backgrounds and RGBA cut-outs as figures."""

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from lib.synthetic.stable import shrink
from lib.utils.errors import DataError, InputError
from lib.utils.image_io import IMAGE_SUFFIXES, read_image
from lib.utils.storage import is_clutter

_MIN_ALPHA_PIXELS = 16


@lru_cache(maxsize=16)
def list_images(folder: Path) -> tuple[Path, ...]:
    """All image files below a folder, sorted by their path relative to it, so that every machine counts alike.

    Raises:
        InputError: if the folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(map(is_clutter, path.relative_to(folder).parts))
    ]
    if not paths:
        raise InputError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return tuple(sorted(paths, key=lambda path: path.relative_to(folder).as_posix()))


@lru_cache(maxsize=32)
def load_photo(path: Path, width: int, height: int) -> np.ndarray:
    """A photo that covers ``(height, width)``, shrunk or enlarged as little as needed; (h, w, 3) uint8 RGB, read-only.

    Raises:
        DataError: if the file is no image.
    """
    photo = read_image(path)
    rows, columns = photo.shape[:2]
    scale = max(width / columns, height / rows)
    photo = shrink(photo, max(width, round(columns * scale)), max(height, round(rows * scale)))
    photo.setflags(write=False)
    return photo


@lru_cache(maxsize=64)
def load_cutout(path: Path, side: int) -> np.ndarray:
    """A cut-out whose opaque part fits into ``side`` pixels; (h, w, 4) uint8, RGB multiplied by alpha, read-only.

    Raises:
        DataError: if the file is no image, has no alpha channel, or is transparent all over.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        read_image(path)  # says what is wrong with the file
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        raise DataError(f"{path}: a cut-out needs an alpha channel (an RGBA PNG)")
    if image.dtype != np.uint8:
        image = (image >> 8).astype(np.uint8)
    rows, columns = np.nonzero(image[:, :, 3] > 127)
    if rows.size < _MIN_ALPHA_PIXELS:
        raise DataError(f"{path}: the cut-out is transparent")
    image = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    alpha = image[:, :, 3:].astype(np.uint16)
    image = np.concatenate(
        [(image[:, :, 2::-1] * (alpha + (alpha >> 7)) >> 8).astype(np.uint8), image[:, :, 3:]], axis=2
    )
    scale = side / max(image.shape[:2])
    height, width = (max(2, round(s * scale)) for s in image.shape[:2])
    image = shrink(image, width, height)
    image.setflags(write=False)
    return image
