"""Images whose size is known before their pixels: they are decoded when, and only as finely as, they are needed."""

from typing import Protocol

import numpy as np

from lib.utils.image_io import decode_image

REDUCTIONS = (8, 4, 2)
"""How many times smaller, in width and height, a JPEG can be decoded; coarsest first."""

_START_OF_FRAME = frozenset((0xC0, 0xC1, 0xC2))  # baseline, extended and progressive; others are exotic
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD8)))
_EXIF = 0xE1
_END_OF_HEADER = frozenset((0xD9, 0xDA))


class LazyImage(Protocol):
    """An image of known size."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """The image, or a smaller one if it can be had for less work.

        Args:
            reduction: 1, or one of ``REDUCTIONS``.

        Returns:
            (H, W, 3) uint8 RGB, or (ceil(H / reduction), ceil(W / reduction), 3); pixel *i* of the small image covers
            the pixels ``i * reduction .. (i + 1) * reduction - 1``. Not to be written to.
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

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """The whole image, whatever ``reduction`` is: making it smaller would be more work."""
        return self._image


class EncodedImage:
    """Contents of an image file; a JPEG tells its size without being decoded.

    Args:
        data: contents of the file.
        name: what to call it in an error.
    """

    def __init__(self, data: bytes, name: str) -> None:
        self._data = data
        self._name = name
        self._header_size = jpeg_size(data)
        self._decoded: dict[int, np.ndarray] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels. Raises DataError if they cannot be read."""
        if self._header_size is None:
            height, width = self.pixels().shape[:2]
            return width, height
        return self._header_size

    def pixels(self, reduction: int = 1) -> np.ndarray:
        """The image, or a smaller one; anything but a plain JPEG comes whole.

        Raises:
            DataError: if the image is empty, truncated, or cannot be decoded; the message names it.
        """
        if self._header_size is None:
            reduction = 1
        if reduction not in self._decoded:
            self._decoded[reduction] = decode_image(self._data, self._name, reduction)
        return self._decoded[reduction]


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Read (width, height) off the header of a JPEG.

    Returns:
        ``None`` if it is no JPEG, its header is damaged, or it has EXIF data, which may say that the image is turned.
    """
    if data[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker in _START_OF_FRAME:
            height, width = (int.from_bytes(data[position + k : position + k + 2], "big") for k in (5, 7))
            return (width, height) if width and height else None
        is_exif = marker == _EXIF and data[position + 4 : position + 8] == b"Exif"
        if is_exif or marker in _END_OF_HEADER:
            return None
        length = 0 if marker in _STANDALONE else int.from_bytes(data[position + 2 : position + 4], "big")
        position += 1 if marker == 0xFF else 2 + length  # any number of FF may stand before a marker
    return None
