"""The tracker's end of TraX, the protocol of the VOT toolkit, and a stream that does not disturb it.

Source: package ``vot-trax``, 4.0 or newer, whose sessions may hold several objects.
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO, TypeAlias

import numpy as np

from lib.utils.errors import InputError

REGION_FORMATS = ("rectangle", "mask")

Region: TypeAlias = list[float] | np.ndarray
"""``[x, y, w, h]`` in pixels, or a mask (h, w) that starts in the top left corner of the image."""
Answer: TypeAlias = tuple[Sequence[float] | np.ndarray, float | None]
"""Region and confidence (None: not reported) of one object."""


@dataclass(frozen=True)
class Request:
    """What the toolkit asks for.

    Attributes:
        kind: ``initialize``, ``frame`` or ``quit``.
        image: file of the frame; None for ``quit``.
        regions: the targets that begin in this frame: all of a session for ``initialize``, those that appear later for
            ``frame``. A mask (h, w) uint8 may be smaller or larger than the image.
    """

    kind: str
    image: Path | None = None
    regions: Sequence[Region] = ()


def import_trax() -> ModuleType:
    """Import ``trax``.

    Raises:
        InputError: if it is missing or too old; the message says what to install where.
    """
    install = f"`{sys.executable} -m pip install vot-trax`"
    try:
        import trax
        import trax.region
    except ImportError as error:
        raise InputError(f"the package vot-trax is needed to talk to the VOT toolkit ({error}): {install}") from error
    if not hasattr(trax, "Server") or "objects" not in trax.server.Request._fields:
        raise InputError(f"this vot-trax is older than 4.0: {install.replace('vot-trax', 'vot-trax>=4.0.2')}")
    return trax


class TraxSession:
    """One conversation with the toolkit; load the model first, the toolkit's clock starts with the first request.

    Args:
        region_format: what is exchanged, ``rectangle`` or ``mask``.

    Raises:
        InputError: if the format is another, or the package is missing.
    """

    def __init__(self, region_format: str) -> None:
        if region_format not in REGION_FORMATS:
            raise InputError(f"unknown region format {region_format!r}; known: {', '.join(REGION_FORMATS)}")
        self._trax = import_trax()
        # Announced always: the toolkit sends several objects only in challenges that have them.
        self._server: Any = self._trax.Server([region_format], [self._trax.Image.PATH], ["color"], multiobject=True)

    def wait(self) -> Request:
        """Block until the next request.

        Raises:
            InputError: if the toolkit sends a kind of region that was not announced.
            trax.TraxException: if the conversation broke off.
        """
        request = self._server.wait()
        if request.type not in (self._trax.TraxStatus.INITIALIZE, self._trax.TraxStatus.FRAME):
            return Request("quit")
        kind = "initialize" if request.type == self._trax.TraxStatus.INITIALIZE else "frame"
        regions = [self._read_region(region) for region, _ in request.objects or ()]
        return Request(kind, Path(next(iter(request.image.values())).path()), regions)

    def _read_region(self, region: Any) -> Region:
        if isinstance(region, self._trax.region.Mask):
            return region.array(True)
        if isinstance(region, self._trax.region.Rectangle):
            return [float(value) for value in region.bounds()]
        if isinstance(region, self._trax.region.Special):  # "there is no target"
            return [0.0] * 4
        raise InputError(f"cannot start from a region of type {region.type}")

    def reply(self, answers: Sequence[Answer]) -> None:
        """Answer with one region for each object, in the order in which the objects came.

        Masks (H, W) have the size of the image. The box ``0, 0, 0, 0`` or a mask of zeros says that a target is lost
        (overlap 0).
        """
        properties = [{} if confidence is None else {"confidence": float(confidence)} for _, confidence in answers]
        regions = [self._to_trax(region) for region, _ in answers]
        self._server.status(list(zip(regions, properties, strict=True)))

    def _to_trax(self, region: Sequence[float] | np.ndarray) -> Any:
        if isinstance(region, np.ndarray):
            # The library reads the memory as if it were one block of bytes and does not check that it is.
            return self._trax.region.Mask.create(np.ascontiguousarray(region, dtype=np.uint8))
        return self._trax.region.Rectangle.create(*(float(value) for value in region))

    def close(self, reason: str | None = None) -> None:
        """End the conversation; ``reason`` is shown by the toolkit."""
        server, self._server = self._server, None
        if server is None:
            return
        try:
            server.quit(None if reason is None else " ".join(reason.split())[:200])
        except self._trax.TraxException:
            if reason is None:  # else the toolkit is gone already, and there is a better error to report
                raise


class WholeLines(io.TextIOBase):
    """A text stream that passes on whole lines only.

    Protocol and output of a tracker share one pipe. A line between two messages does no harm, but a message that starts
    in the middle of a line (after a progress bar, say) is not recognized, and the toolkit waits until its time is up.

    Args:
        stream: where lines go. Of a line that was rewritten (carriage returns) the last version is passed on.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._pending = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        """Keep the text until its line is complete."""
        *lines, self._pending = (self._pending + text).split("\n")
        for line in lines:
            self._stream.write(line.rstrip("\r").rpartition("\r")[2] + "\n")
        self._pending = self._pending.rpartition("\r")[2] if not self._pending.endswith("\r") else self._pending
        if lines:
            self._stream.flush()
        return len(text)

    def finish(self) -> None:
        """Complete the last line, if there is one."""
        if self._pending:
            self.write("\n")
