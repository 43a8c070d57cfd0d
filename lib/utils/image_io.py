"""Reading and writing images; everything in this project is RGB uint8 ``(H, W, 3)``."""

import logging
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np

from lib.utils.errors import DataError, InputError
from lib.utils.files import atomic_path

try:
    import simplejpeg
except ImportError:  # pixels are the same without it, they only take longer
    simplejpeg = None

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
REDUCTIONS = (8, 4, 2)
"""How many times smaller, in width and height, a JPEG can be decoded; coarsest first."""

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
_BASELINE = 0xC0
_START_OF_FRAME = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive; others are exotic
_EXIF = 0xE1
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


class LazyImage(Protocol):
    """An image of known size."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""

    def pixels(self, reduction: int = 1, rows: int | None = None) -> np.ndarray:
        """The image, or a smaller one or its upper part if that is less work.

        Args:
            reduction: 1, or one of ``REDUCTIONS``.
            rows: how many rows (of the whole image, from the top) are needed; ``None`` for all.

        Returns:
            (H, W, 3) uint8 RGB, or (ceil(H / reduction), ceil(W / reduction), 3); pixel *i* of the small image covers
            the pixels ``i * reduction .. (i + 1) * reduction - 1``. Either has all rows, or more than were asked for.
            Not to be written to.
        """


class DecodedImage:
    """Pixels that are there already.

    Args:
        image: (H, W, 3) uint8 RGB, any strides.
    """

    def __init__(self, image: np.ndarray) -> None:
        self._image = image

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self._image.shape[1], self._image.shape[0]

    def pixels(self, reduction: int = 1, rows: int | None = None) -> np.ndarray:
        """The whole image, whatever is asked for: making it smaller would be more work."""
        return self._image


class EncodedImage:
    """Contents of an image file; a JPEG tells its size without being decoded.

    Args:
        data: contents of the file.
        name: what to call it in an error.
        first: first frame of its sequence; see ``decode_image``.
    """

    def __init__(self, data: bytes, name: str, first: FirstFrame | None = None) -> None:
        self._data = data
        self._name = name
        self._first = first
        self._header = read_jpeg_header(data)
        self._decoded: dict[tuple[int, int | None], np.ndarray] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels. Raises DataError if they cannot be read."""
        if self._header is None:
            height, width = self.pixels().shape[:2]
            return width, height
        return self._header.width, self._header.height

    def pixels(self, reduction: int = 1, rows: int | None = None) -> np.ndarray:
        """The image, or a smaller one or its upper part; anything but a plain JPEG comes whole.

        Raises:
            DataError: if the image is empty, truncated, or cannot be decoded; the message names it.
        """
        key = (reduction, rows) if self._header is not None else (1, None)
        if key not in self._decoded:
            image = None
            if simplejpeg is not None and self._header is not None:
                check_complete(self._data, self._name)
                image = _decode_jpeg(self._data, self._header, *key)
            if image is None:
                image = decode_image(self._data, self._name, key[0], self._first)
            self._decoded[key] = image
        return self._decoded[key]


class JpegHeader(NamedTuple):
    """What the start of a JPEG says.

    Attributes:
        width: in pixels.
        height: in pixels.
        height_at: where the two bytes of the height stand in the file.
        is_baseline: rows are coded from top to bottom, so that the decoder may stop early.
    """

    width: int
    height: int
    height_at: int
    is_baseline: bool


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a JPEG.

    Returns:
        ``None`` if it is no JPEG, its header is damaged, or it has EXIF data, which may say that the image is turned.
    """
    if data[:2] != b"\xff\xd8":
        return None
    for marker, position in jpeg_segments(data):
        if marker in _START_OF_FRAME and position + 9 <= len(data):
            height, width = (int.from_bytes(data[position + k : position + k + 2], "big") for k in (5, 7))
            return JpegHeader(width, height, position + 5, marker == _BASELINE) if width and height else None
        if marker == _EXIF and data[position + 4 : position + 8] == b"Exif":
            return None
    return None


def _decode_jpeg(data: bytes, header: JpegHeader, reduction: int, rows: int | None) -> np.ndarray | None:
    """Decode by libjpeg-turbo, as OpenCV does, but no further down than needed; ``None`` if it refuses."""
    height = header.height
    if rows is not None and header.is_baseline:
        # The last rows that are decoded lack their neighbors below, from which colors are interpolated.
        needed = max(rows, 0) + 2 * reduction
        if needed < height:
            height = needed
            data = data[: header.height_at] + height.to_bytes(2, "big") + data[header.height_at + 2 :]
    smallest = (
        {} if reduction == 1 else {"min_height": -(-height // reduction), "min_width": -(-header.width // reduction)}
    )
    try:
        image = simplejpeg.decode_jpeg(data, colorspace="RGB", min_factor=reduction, strict=False, **smallest)
    except ValueError:  # CMYK, or damaged: OpenCV decides
        return None
    return image if image.shape[:2] == (-(-height // reduction), -(-header.width // reduction)) else None


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a JPEG, PNG or BMP image as it is decoded; None if it is none of them.

    They are read from the header, unless the image says that it is turned.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24 and b"eXIf" not in data[:4096]:
        return struct.unpack(">II", data[16:24])
    if data[:2] == b"BM" and len(data) >= 26:
        width, height = struct.unpack("<ii", data[18:26])
        return width, abs(height)
    if data[:2] != b"\xff\xd8" and data[:4] != b"\x89PNG":
        return None
    try:
        return EncodedImage(data, "").size
    except DataError:
        return None
