"""SeqTrack as a tracker of the VOT toolkit: boxes, or masks with a segmenter such as Alpha-Refine.

The VOT toolkit starts a tracker as a program and talks to it through pipes, in the TraX protocol (package ``vot-trax``,
4.0 or newer): *initialize* with an image and a region, *frame* with an image, *quit*. A session answers any number of
initializations, so that the toolkit keeps one process for all starting points of a sequence. (The usual helper,
``vot.py``, announces ``vot=python``, which makes the toolkit start a new process, hence load the model, for each.)
Source: the rules of VOT-ST2020 (masks, several starting points per sequence), and SeqTrack's published set-up for it.
"""

import io
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TextIO

import numpy as np
import torch

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.image_io import read_image
from lib.utils.masks import box_to_mask, mask_to_box

BENCHMARK = "vot20"
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
        self._server.status([(region, {} if confidence is None else {"confidence": float(confidence)})])

    def reply_mask(self, mask: np.ndarray) -> None:
        """Answer with a mask (H, W) of the size of the image; all zeros say that the target is lost."""
        # The library reads the memory as if it were one block of bytes and does not check that it is.
        region = self._trax.region.Mask.create(np.ascontiguousarray(mask, dtype=np.uint8))
        self._server.status([(region, {})])

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


class Segmenter(Protocol):
    """Turns the boxes of a tracker into masks."""

    def initialize(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        """Remember the target of the first frame."""

    def segment(self, image: np.ndarray, box_xywh: Sequence[float]) -> np.ndarray:
        """(H, W) uint8, 1 on the target."""


class VotTracker:
    """Answers the requests of a toolkit.

    Args:
        tracker: follows the box.
        segmenter: makes masks of the boxes; None reports boxes.
    """

    def __init__(self, tracker: SeqTrackTracker, segmenter: Segmenter | None = None) -> None:
        self.tracker = tracker
        self.segmenter = segmenter
        self._started = False
        self._has_target = False

    @property
    def region_format(self) -> str:
        """What is exchanged with the toolkit: ``rectangle`` or ``mask``."""
        return "rectangle" if self.segmenter is None else "mask"

    def serve(self, session: TraxSession) -> int:
        """Answer requests until the toolkit says quit.

        Returns:
            Number of initialisations.

        Raises:
            InputError: if a region cannot be used.
            DataError: if an image cannot be read.
        """
        starts = 0
        while (request := session.wait()).kind != "quit":
            image = read_image(request.image)
            if request.kind == "initialize":
                self._initialize(session, image, request.region)
                starts += 1
            else:
                self._track(session, image)
        return starts

    def _initialize(self, session: TraxSession, image: np.ndarray, region: list[float] | np.ndarray) -> None:
        """Start again and repeat the region, as the protocol asks for.

        A region without a pixel in the image is an anchor that the sequence should not have. It is reported as lost
        until the next start, since an error would end the evaluation of all sequences.
        """
        height, width = image.shape[:2]
        mask = fit_mask(region, height, width) if isinstance(region, np.ndarray) else None
        box = list(region) if mask is None else mask_to_box(mask) if mask.any() else [0.0] * 4
        self._started, self._has_target = True, not _is_outside(box, height, width)
        if self._has_target:
            self.tracker.initialize(image, {"init_bbox": box})
        else:
            print(
                f"seqtrack_vot20: warning: the region {box} is empty or outside the image; reported as lost",
                file=sys.stderr,
            )
        if self.segmenter is None:
            session.reply_box(box)
        else:
            if self._has_target:
                self.segmenter.initialize(image, box)
            session.reply_mask(box_to_mask(box, height, width) if mask is None else mask)

    def _track(self, session: TraxSession, image: np.ndarray) -> None:
        if not self._started:
            raise InputError("the toolkit sent a frame before the first initialization")
        result = self.tracker.track(image) if self._has_target else {"target_bbox": [0.0] * 4, "confidence": 0.0}
        box = result["target_bbox"]
        lost = not np.isfinite(box).all() or min(box[2:]) <= 0
        if self.segmenter is None:
            session.reply_box([0, 0, 0, 0] if lost else box, result["confidence"])
        else:
            # Published: an empty mask is reported as such, and masks never feed back into the tracker.
            session.reply_mask(np.zeros(image.shape[:2], np.uint8) if lost else self.segmenter.segment(image, box))


def _is_outside(box_xywh: Sequence[float], height: int, width: int) -> bool:
    """Whether a box of finite numbers has no part in an image."""
    x, y, w, h = box_xywh
    return bool(np.isfinite(box_xywh).all()) and (
        w <= 0 or h <= 0 or x >= width or y >= height or x + w <= 0 or y + h <= 0
    )


def load_vot_tracker(
    config: str | Path,
    make_segmenter: Callable[[], Segmenter] | None = None,
    *,
    checkpoint: str | Path | None = None,
    save_dir: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> VotTracker:
    """Load everything that the tracker needs.

    Args:
        config: name of an experiment, or path of its YAML file.
        make_segmenter: loads what makes the masks; None reports boxes.
        checkpoint: file with the weights; by default that of the experiment below ``save_dir``.
        save_dir: where ``checkpoints/`` is. A relative one (the default too) counts from the project's folder, since
            the toolkit starts trackers in a temporary folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``.
        dtype: ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ConfigError: if the experiment is unknown.
        CheckpointError: if weights are missing or damaged; the message names the places looked at.
    """
    root = PROJECT_ROOT / load_paths("test", save_dir=save_dir).save_dir
    params = parameters(config, BENCHMARK, checkpoint=checkpoint, save_dir=root, device=device, dtype=dtype)
    tracker = SeqTrackTracker(params)
    if tracker.engine.device.type != "cpu":
        torch.set_num_threads(1)  # as published; leaves the CPU to the toolkit
    return VotTracker(tracker, None if make_segmenter is None else make_segmenter())


def run_vot(load: Callable[[], VotTracker]) -> int:
    """Load a tracker, then serve the toolkit at the other end of standard input and output.

    Args:
        load: makes the tracker, for example by :func:`load_vot_tracker`.

    Returns:
        Exit code: 0, 2 after a mistake of the user (one line says which), 1 after a crash (its traceback is printed).
    """
    code, session, reason = 0, None, None
    out, err = WholeLines(sys.stdout), WholeLines(sys.stderr)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            # The model comes before the handshake: until then the toolkit waits without limit.
            tracker = load()
            session = TraxSession(tracker.region_format)
            tracker.serve(session)
        except SeqTrackError as error:
            code, reason = 2, str(error)
            print(f"seqtrack_vot20: error: {error}", file=sys.stderr)
        except Exception as error:  # must reach the toolkit's log, and must not end as if all were well
            code, reason = 1, f"{type(error).__name__}: {error}"
            traceback.print_exc()
        out.finish()
        err.finish()
    if session is not None:  # only now: once the conversation has ended the toolkit reads no more
        session.close(reason)
    return code
