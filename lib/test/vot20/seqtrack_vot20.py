"""SeqTrack as a tracker of the VOT toolkit: boxes, or masks with a segmenter such as Alpha-Refine.

Source: the rules of VOT-ST2020 (masks, several starting points per sequence), and SeqTrack's published set-up for it.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.seqtrack import SeqTrackTracker
from lib.test.vot20.trax_client import Request, TraxSession, WholeLines, fit_mask
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.image_io import read_image
from lib.utils.masks import box_to_mask, mask_to_box

BENCHMARK = "vot20"


class Segmenter(Protocol):
    """Turns the boxes of a tracker into masks."""

    def initialize(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        """Remember the target of the first frame."""

    def segment(self, image: np.ndarray, box_xywh: Sequence[float]) -> np.ndarray:
        """(H, W) uint8, 1 on the target."""


class Session(Protocol):
    """The conversation with the toolkit; see :class:`lib.test.vot20.trax_client.TraxSession`."""

    def wait(self) -> Request:
        """Block until the next request."""

    def reply_box(self, box_xywh: Sequence[float], confidence: float | None = None) -> None:
        """Answer with a box."""

    def reply_mask(self, mask: np.ndarray) -> None:
        """Answer with a mask."""


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

    def serve(self, session: Session) -> int:
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

    def _initialize(self, session: Session, image: np.ndarray, region: list[float] | np.ndarray) -> None:
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

    def _track(self, session: Session, image: np.ndarray) -> None:
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
