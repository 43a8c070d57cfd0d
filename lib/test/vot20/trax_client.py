"""The tracker's end of the TraX protocol, over the package ``vot-trax`` (4.0 or newer).

The VOT toolkit starts a tracker as a program and talks to it through pipes: *initialize* with an image and a region,
*frame* with an image, *quit*. A session answers any number of initialisations, so that the toolkit keeps one process
for all starting points of a sequence. (The usual helper, ``vot.py``, announces ``vot=python``, which makes the toolkit
start a new process, hence load the model, for each of them.)
"""

import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

import numpy as np

from lib.utils.errors import InputError

REGION_FORMATS = ("rectangle", "mask")


@dataclass(frozen=True)
class Request:
    """What the toolkit asks for.

    Attributes:
        kind: ``initialize``, ``frame`` or ``quit``.
        image: file of the frame; None for ``quit``.
        region: the target, for ``initialize``: ``[x, y, w, h]`` in pixels, or a mask (h, w) uint8 that starts in the
            top left corner of the image and may be smaller or larger than it (:func:`fit_mask`).
    """

    kind: str
    image: Path | None = None
    region: list[float] | np.ndarray | None = None


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
        self._server: Any = self._trax.Server([region_format], [self._trax.Image.PATH], ["color"])

    def wait(self) -> Request:
        """Block until the next request.

        Raises:
            InputError: if the toolkit sends other than one object, or a kind of region that was not announced.
            trax.TraxException: if the conversation broke off.
        """
        request = self._server.wait()
        if request.type not in (self._trax.TraxStatus.INITIALIZE, self._trax.TraxStatus.FRAME):
            return Request("quit")
        image = Path(next(iter(request.image.values())).path())
        if request.type == self._trax.TraxStatus.FRAME:
            return Request("frame", image)
        if len(request.objects) != 1:
            raise InputError(f"SeqTrack follows one object, but the toolkit sent {len(request.objects)}")
        return Request("initialize", image, self._read_region(request.objects[0][0]))

    def _read_region(self, region: Any) -> list[float] | np.ndarray:
        if isinstance(region, self._trax.region.Mask):
            return region.array(True)
        if isinstance(region, self._trax.region.Rectangle):
            return [float(value) for value in region.bounds()]
        if isinstance(region, self._trax.region.Special):  # "there is no target"
            return [0.0] * 4
        raise InputError(f"cannot start from a region of type {region.type}")

    def reply_box(self, box_xywh: Sequence[float], confidence: float | None = None) -> None:
        """Answer with a box in pixels; ``0, 0, 0, 0`` says that the target is lost (overlap 0)."""
        region = self._trax.region.Rectangle.create(*(float(value) for value in box_xywh))
        self._reply(region, {} if confidence is None else {"confidence": float(confidence)})

    def reply_mask(self, mask: np.ndarray) -> None:
        """Answer with a mask (H, W) of the size of the image; all zeros say that the target is lost."""
        # The library reads the memory as if it were one block of bytes and does not check that it is.
        self._reply(self._trax.region.Mask.create(np.ascontiguousarray(mask, dtype=np.uint8)), {})

    def _reply(self, region: Any, properties: dict[str, float]) -> None:
        self._server.status([(region, properties)])

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


def fit_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Give a mask the size of the image: (height, width), cut off or filled with zeros on the right and below."""
    fitted = np.zeros((height, width), dtype=np.uint8)
    part = mask[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part != 0
    return fitted


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
        """Yes."""
        return True

    def fileno(self) -> int:
        """That of the stream behind."""
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
