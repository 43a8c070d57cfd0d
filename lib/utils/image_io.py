"""Reading and writing images; everything in this project is RGB uint8 ``(H, W, 3)``."""

from pathlib import Path

import cv2
import numpy as np

from lib.utils.errors import DataError, InputError
from lib.utils.files import atomic_path

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})


# Since OpenCV 4.10.1 the decoder gives RGB itself, the same pixels without a second pass over them.
_DECODES_RGB = hasattr(cv2, "IMREAD_COLOR_RGB")
_FULL = cv2.IMREAD_COLOR_RGB if _DECODES_RGB else cv2.IMREAD_COLOR
_FLAGS = {1: _FULL, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def decode_image(data: bytes, name: str, reduction: int = 1) -> np.ndarray:
    """Decode an image file held in memory; grey and RGBA files become RGB.

    Args:
        data: contents of a JPEG, PNG, ... file.
        name: what to call it in an error.
        reduction: decode a JPEG 1, 2, 4 or 8 times smaller in width and height, averaged, for less work.

    Returns:
        (H, W, 3) uint8 RGB, sides divided by ``reduction`` and rounded up.

    Raises:
        DataError: if the data is empty, truncated, or no image.
    """
    check_complete(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _FLAGS[reduction])
    except cv2.error as error:
        raise DataError(f"{name}: cannot decode the image") from error
    if image is None:
        raise DataError(f"{name}: cannot decode the image (truncated, or not an image)")
    return image if _DECODES_RGB and reduction == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def check_complete(data: bytes, name: str) -> None:
    """Raise DataError if an image file held in memory is empty, or a JPEG that has lost its end."""
    if not data:
        raise DataError(f"{name}: the image file is empty")
    if data[:2] == b"\xff\xd8" and b"\xff\xd9" not in data[-4096:]:
        # OpenCV fills what is missing of a truncated JPEG with grey and says nothing.
        raise DataError(f"{name}: the image file is truncated")


def read_image(path: Path | str) -> np.ndarray:
    """Read an image file as RGB uint8 ``(H, W, 3)``.

    Raises:
        DataError: if the file is missing, empty, truncated, or no image; the message names it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the image: {error.strerror}") from error
    return decode_image(data, str(path))


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
