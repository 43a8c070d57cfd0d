"""What a request may ask for, and how it is read: limits, fields of its JSON, images, videos in allowed folders."""

import base64
import binascii
import io
import json
import math
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from PIL import Image

from lib.utils.errors import InputError, SeqTrackError, printable
from lib.utils.image_io import decode_image

IMAGE_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Refused(SeqTrackError):
    """A request that gets another status than 400.

    Args:
        status: of HTTP.
        message: one line.
        headers: further ones of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})


def _limit(default: int, lowest: int, highest: int, text: str) -> Any:
    return field(default=default, metadata={"range": (lowest, highest), "help": text})


@dataclass(frozen=True)
class Limits:
    """What one request, and all of them together, may take; each is a flag ``--max_<name>``."""

    body: int = _limit(64, 1, 4096, "MiB of a request")
    pixels: int = _limit(40, 1, 80, "million pixels of a frame")
    frames: int = _limit(1000, 1, 10**6, "frames that one request tracks; where a track stops the next one can go on")
    seconds: int = _limit(90, 1, 86400, "seconds that one request takes, then it is answered with what there is")
    targets: int = _limit(32, 1, 1000, "targets of a request")
    jobs: int = _limit(64, 1, 1000, "requests at a time; further ones are answered 503 with Retry-After")
    states: int = _limit(1000, 1, 10**6, "targets of CVAT that are remembered; the one longest unused is forgotten")
    hours: int = _limit(8, 1, 1000, "hours for which an unused target of CVAT is remembered")

    def deadline(self) -> float:
        """When a request that comes now must be answered, by ``time.monotonic``."""
        return time.monotonic() + self.seconds

    def check_pixels(self, width: int, height: int, where: str) -> None:
        """Raise Refused (413) if an image is too large."""
        if width * height > self.pixels * 10**6:
            raise Refused(413, f"{where}: {width}x{height} pixels, at most {self.pixels} million are taken")

    def check_count(self, count: int, name: str, where: str) -> None:
        """Raise Refused (413) if there are more than the limit of a name, such as ``frames``."""
        if count > getattr(self, name):
            raise Refused(413, f"{where}: {count}, at most {getattr(self, name)} are taken")


def parse_json(data: bytes) -> dict[str, Any]:
    """The JSON object that a request holds.

    Raises:
        InputError: if it is none.
    """
    try:
        content = json.loads(data)
    except json.JSONDecodeError as error:
        raise InputError(f"the request is not JSON: line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the request is not JSON: {printable(str(error), 100)}") from None
    if not isinstance(content, dict):
        raise InputError(f"the request must be a JSON object, got {_kind(content)}")
    return content


def items(value: Any, where: str) -> list[Any]:
    """A list. Raises InputError if it is none."""
    if not isinstance(value, list):
        raise InputError(f"{where}: expected a list, got {_kind(value)}")
    return value


def numbers(value: Any, where: str) -> tuple[float, float, float, float]:
    """Four finite numbers. Raises InputError if it is something else."""
    try:
        if len(value) == 4 and not any(isinstance(item, bool) or not isinstance(item, (int, float)) for item in value):
            a, b, c, d = map(float, value)
            if all(map(math.isfinite, (a, b, c, d))):
                return a, b, c, d
    except (TypeError, OverflowError):
        pass
    raise InputError(f"{where}: expected four finite numbers, got {printable(repr(value), 60)}")


def _kind(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__


def decode_base64(text: Any, where: str) -> bytes:
    """Bytes of a base64 text, which may be a ``data:`` address. Raises InputError if it is none."""
    if not isinstance(text, str) or not text:
        raise InputError(f"{where}: expected an image as base64, got {_kind(text)}")
    try:
        return base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: not base64: {printable(str(error), 100)}") from None


def decode_frame(data: bytes, where: str, limits: Limits) -> np.ndarray:
    """Decode an uploaded image; its size is read from its header before that.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        SeqTrackError: a ``DataError`` or ``InputError`` if it is no image, ``Refused`` (413) if it is too large.
    """
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
            width, height = header.size
    except Image.DecompressionBombError:
        raise Refused(413, f"{where}: too many pixels, at most {limits.pixels} million are taken") from None
    except Exception:  # whatever damaged headers make of a parser
        raise InputError(f"{where}: not an image ({', '.join(IMAGE_FORMATS)})") from None
    limits.check_pixels(width, height, where)
    return decode_image(data, where)


def find_video(text: Any, roots: Sequence[Path], where: str) -> Path:
    """The video file or folder of images that a request names, below an allowed folder.

    Args:
        text: a path in one of the folders, or a path as Label Studio has it, with its address before it or not:
            ``/data/local-files/?d=PATH`` or ``/data/PATH``. Nothing is fetched from an address.
        roots: the allowed folders.
        where: what an error calls it.

    Raises:
        InputError: if there is none; the same message for what is missing and for what is elsewhere.
    """
    if not isinstance(text, str) or not text:
        raise InputError(f"{where}: expected the path of a video, got {_kind(text)}")
    names = [text]
    if _ADDRESS.match(text) or text.startswith("/data/"):
        try:
            parts = urlsplit(text)
        except ValueError:
            raise InputError(f"{where}: not an address: {printable(text, 200)}") from None
        if parts.scheme not in ("", "http", "https") or not parts.path.startswith("/data/"):
            raise InputError(f"{where}: nothing is fetched from an address: {printable(text, 200)}")
        inside = unquote(parts.path).removeprefix("/data/")
        names = parse_qs(parts.query).get("d", []) if inside.strip("/") == "local-files" else [inside]
    for root in roots:
        for name in names:
            try:
                path = (root / name).resolve()
                if path.is_relative_to(root.resolve()) and (path.is_file() or path.is_dir()):
                    return path
            except (OSError, ValueError, RuntimeError):  # a name that is too long or holds a zero byte, a loop of links
                continue
    problem = "no such video below an allowed folder" if roots else "the service has no folder of videos (--root)"
    raise InputError(f"{where}: {problem}: {printable(text, 200)}")
