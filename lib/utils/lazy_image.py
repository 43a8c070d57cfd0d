"""Images whose size is known before their pixels: they are decoded when, and only as finely as, they are needed."""

from typing import NamedTuple, Protocol

import numpy as np

from lib.utils.image_io import FirstFrame, check_complete, decode_image, jpeg_segments

try:
    import simplejpeg
except ImportError:  # pixels are the same without it, they only take longer
    simplejpeg = None

REDUCTIONS = (8, 4, 2)
"""How many times smaller, in width and height, a JPEG can be decoded; coarsest first."""

_BASELINE = 0xC0
_START_OF_FRAME = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive; others are exotic
_EXIF = 0xE1


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
