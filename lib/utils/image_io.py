"""Reading and writing images; everything in this project is RGB uint8 ``(H, W, 3)``."""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError, InputError
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


# Since OpenCV 4.10.1 the decoder gives RGB itself, the same pixels without a second pass over them.
_DECODES_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_FULL = cv2.IMREAD_COLOR_RGB if _DECODES_RGB else cv2.IMREAD_COLOR
_FLAGS = {1: _FULL, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


FirstFrame = tuple[str, Callable[[], bytes]]
"""Name of the first frame of a sequence, and what reads its file."""


def decode_image(data: bytes, name: str, reduction: int = 1, first: FirstFrame | None = None) -> np.ndarray:
    """Decode an image file held in memory; grey and RGBA files become RGB.

    Args:
        data: contents of a JPEG, PNG, ... file.
        name: what to call it in an error.
        reduction: decode a JPEG 1, 2, 4 or 8 times smaller in width and height, averaged, for less work.
        first: the frame whose range of values becomes 0 to 255, if this one has more than 8 bits (thermal cameras);
            None for the image itself.

    Returns:
        (H, W, 3) uint8 RGB, sides divided by ``reduction`` and rounded up.

    Raises:
        DataError: if the data is empty, truncated, or no image.
    """
    deep = _decode_deep(data, name)
    if deep is not None:
        low, high = _range_of(first) if first else _measure_range(deep)
        scaled = (deep.astype(np.float64) - low) * (255.0 / (high - low))
        return np.rint(np.clip(np.nan_to_num(scaled), 0.0, 255.0)).astype(np.uint8)
    image = _decode(data, name, _FLAGS[reduction])
    return image if _DECODES_RGB and reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _decode(data: bytes, name: str, flags: int) -> np.ndarray:
    check_complete(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise DataError(f"{name}: cannot decode the image") from error
    if image is None:
        raise DataError(f"{name}: cannot decode the image (truncated, or not an image)")
    return image


def _decode_deep(data: bytes, name: str) -> np.ndarray | None:
    """An image of more than 8 bits per value, (H, W, 3) RGB of any type; None for all others."""
    is_deep_png = data[:8] == b"\x89PNG\r\n\x1a\n" and data[24:25] == b"\x10"
    if not is_deep_png and data[:4] not in _TIFF:
        return None
    image = _decode(data, name, cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH)
    if image.dtype == np.uint8:
        return None
    return image[:, :, ::-1] if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RANGE_PERCENTILES = (0.1, 99.9)  # a dead pixel decides nothing
_ranges: dict[str, tuple[float, float]] = {}


def _range_of(first: FirstFrame) -> tuple[float, float]:
    """Range of values of a sequence, which is that of its first frame: were it each frame's own, it would flicker."""
    name, read = first
    if name not in _ranges:
        deep = _decode_deep(read(), name)
        measured = (0.0, 255.0) if deep is None else _measure_range(deep)
        if _ranges.setdefault(name, measured) is measured:
            logger.info("%s and its sequence: values %g to %g are shown as 0 to 255", name, *measured)
    return _ranges[name]


def _measure_range(image: np.ndarray) -> tuple[float, float]:
    values = image[np.isfinite(image)]
    low, high = np.percentile(values, _RANGE_PERCENTILES).tolist() if values.size else (0.0, 0.0)
    if high > low:
        return low, high
    return (0.0, float(np.iinfo(image.dtype).max)) if image.dtype.kind in "iu" else (low, low + 1.0)


def check_complete(data: bytes, name: str) -> None:
    """Raise DataError if an image file held in memory is empty, or a JPEG that has lost its end."""
    if not data:
        raise DataError(f"{name}: the image file is empty")
    if data[:2] == b"\xff\xd8" and data[-2:] != END_OF_IMAGE:
        # Anything may follow the end; a thumbnail in the header has an end of its own.
        scan = next((position for marker, position in jpeg_segments(data) if marker == START_OF_SCAN), 0)
        if data.find(END_OF_IMAGE, scan) < 0:
            # OpenCV fills what is missing of a truncated JPEG with grey and says nothing.
            raise DataError(f"{name}: the image file is truncated")


START_OF_SCAN = 0xDA
END_OF_IMAGE = b"\xff\xd9"
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Markers of the header of a JPEG and where their ``FF`` is, up to the start of the coded pixels or to damage."""
    position = 2
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # any number of FF may stand before a marker
            position += 1
            continue
        yield marker, position
        if marker in (START_OF_SCAN, END_OF_IMAGE[1]):
            return
        length = 0 if marker in _STANDALONE else int.from_bytes(data[position + 2 : position + 4], "big")
        position += 2 + length


def read_image(path: Path | str, first: Path | str | None = None) -> np.ndarray:
    """Read an image file as RGB uint8 ``(H, W, 3)``.

    Args:
        path: the file.
        first: first frame of its sequence; see ``decode_image``.

    Raises:
        DataError: if the file is missing, empty, truncated, or no image; the message names it.
    """
    return decode_image(_read(path), str(path), first=None if first is None else (str(first), partial(_read, first)))


def _read(path: Path | str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the image: {error.strerror}") from error


def encode_image(image: np.ndarray, suffix: str, quality: int = 95) -> bytes:
    """Encode an RGB image ``(H, W, 3)`` uint8 in the format of ``suffix`` (``quality`` matters for JPEG only)."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix.lower() in (".jpg", ".jpeg") else []
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    if not done:
        raise InputError(f"cannot encode an image as {suffix}")
    return data.tobytes()


def write_image(path: Path | str, image: np.ndarray, quality: int = 95) -> None:
    """Write an RGB image ``(H, W, 3)`` uint8, whole or not at all; the suffix chooses the format."""
    data = encode_image(image, Path(path).suffix, quality)
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Bring an image array to RGB uint8 ``(H, W, 3)``.

    Args:
        image: uint8, grey ``(H, W)`` or ``(H, W, 1)``, RGB ``(H, W, 3)``, or RGBA ``(H, W, 4)`` (alpha is dropped).

    Raises:
        InputError: for any other shape or dtype.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.size == 0:
        kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"expected an RGB uint8 image (H, W, 3), got {kind}")
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.ndim == 3 and image.shape[2] in (3, 4):
        return image[:, :, :3]
    raise InputError(f"expected an RGB uint8 image (H, W, 3), got shape {image.shape}")
