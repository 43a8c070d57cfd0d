"""SeqTrack as a tracker of the VOT toolkit: boxes, or masks with a segmenter such as Alpha-Refine.

The VOT toolkit starts a tracker as a program and talks to it through pipes, in the TraX protocol (package ``vot-trax``,
4.0 or newer): *initialize* with an image and a region for each target, *frame* with an image, *quit*. A session answers
any number of initializations, so that the toolkit keeps one process for all starting points of a sequence. (The usual
helper, ``vot.py``, announces ``vot=python``, which makes the toolkit start a new process, hence load the model, for
each.) All targets of a session are one batch of the network per frame.
Source: the rules of VOT-ST2020 (masks, several starting points per sequence) and of VOTS2023 (several targets), and
SeqTrack's published set-up for the former.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.engine import SeqTrackEngine, TrackState
from lib.test.vot20.session import Answer, Region, TraxSession, WholeLines
from lib.utils.box_ops import box_to_mask, mask_to_box
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.image_io import read_image

BENCHMARK = "vot20"


def fit_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """Give a mask the size of the image: (height, width), cut off or filled with zeros on the right and below."""
    fitted = np.zeros((height, width), dtype=np.uint8)
    part = mask[:height, :width]
    fitted[: part.shape[0], : part.shape[1]] = part != 0
    return fitted


class Segmenter(Protocol):
    """Turns the boxes of a tracker into masks."""

    def start(self, image: np.ndarray, box_xywh: Sequence[float]) -> Any:
        """Describe the target of the first frame."""

    def segment_batch(
        self, image: np.ndarray, boxes_xywh: Sequence[Sequence[float]], references: Sequence[Any]
    ) -> list[np.ndarray]:
        """A mask (H, W) uint8, 1 on the target, for each box; the references are what ``start`` returned."""


@dataclass
class _Object:
    """One object of a session.

    Attributes:
        state: of the engine; None if there was no target to start from.
        reference: of the segmenter.
    """

    state: TrackState | None = None
    reference: Any = None


class VotTracker:
    """Answers the requests of a toolkit.

    Args:
        engine: follows the boxes.
        segmenter: makes masks of the boxes; None reports boxes.
    """

    def __init__(self, engine: SeqTrackEngine, segmenter: Segmenter | None = None) -> None:
        self.engine = engine
        self.segmenter = segmenter
        self._objects: list[_Object] = []

    @property
    def region_format(self) -> str:
        """What is exchanged with the toolkit: ``rectangle`` or ``mask``."""
        return "rectangle" if self.segmenter is None else "mask"

    def serve(self, session: TraxSession) -> int:
        """Answer requests until the toolkit says quit.

        Returns:
            Number of initializations.

        Raises:
            InputError: if a region cannot be used.
            DataError: if an image cannot be read.
        """
        starts = 0
        while (request := session.wait()).kind != "quit":
            image = read_image(request.image)
            if request.kind == "initialize":
                self._objects = []
                starts += 1
            elif not starts:
                raise InputError("the toolkit sent a frame before the first initialization")
            answers = self._track(image)
            session.reply([*answers, *(self._start(image, region) for region in request.regions)])
        return starts

    def _start(self, image: np.ndarray, region: Region) -> Answer:
        """Add an object and repeat its region, as the protocol asks for.

        A region without a pixel in the image is an anchor that the sequence should not have. It is reported as lost
        until the next start, since an error would end the evaluation of all sequences.
        """
        height, width = image.shape[:2]
        mask = fit_mask(region, height, width) if isinstance(region, np.ndarray) else None
        box = list(region) if mask is None else mask_to_box(mask) if mask.any() else [0.0] * 4
        target = _Object()
        if _is_outside(box, height, width):
            print(
                f"seqtrack_vot20: warning: the region {box} is empty or outside the image; reported as lost",
                file=sys.stderr,
            )
        else:
            target.state = self.engine.start(image, box)
            target.reference = None if self.segmenter is None else self.segmenter.start(image, box)
        self._objects.append(target)
        if self.segmenter is None:
            return box, None
        return box_to_mask(box, height, width) if mask is None else mask, None

    def _track(self, image: np.ndarray) -> list[Answer]:
        """Follow the objects into the next frame, all in one batch."""
        followed = [index for index, target in enumerate(self._objects) if target.state is not None]
        states = [self._objects[index].state for index in followed]
        results = self.engine.step(states, [image] * len(states)) if states else []
        found = dict(zip(followed, results, strict=True))
        boxes = {
            index: result.box_xywh
            for index, result in found.items()
            if np.isfinite(result.box_xywh).all() and min(result.box_xywh[2:]) > 0
        }
        if self.segmenter is None:
            return [
                (boxes.get(index, [0.0] * 4), found[index].confidence if index in found else 0.0)
                for index in range(len(self._objects))
            ]
        # Published: an empty mask is reported as such, and masks never feed back into the tracker.
        references = [self._objects[index].reference for index in boxes]
        masks = dict(zip(boxes, self.segmenter.segment_batch(image, list(boxes.values()), references), strict=True))
        nothing = np.zeros(image.shape[:2], np.uint8)
        return [(masks.get(index, nothing), None) for index in range(len(self._objects))]


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
    engine = SeqTrackEngine(params)
    if engine.device.type != "cpu":
        torch.set_num_threads(1)  # as published; leaves the CPU to the toolkit
    return VotTracker(engine, None if make_segmenter is None else make_segmenter())


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
