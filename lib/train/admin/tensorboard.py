"""TensorBoard curves and images, all over the same axis: optimization steps since the start of training."""

import io
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.models.seqtrack import SeqTrack
from lib.models.seqtrack.maps import MapRecorder, overlay
from lib.train.data.batch import TrainingBatch
from lib.utils.box_ops import box_xyxy_to_xywh
from lib.utils.cli import describe_os_error
from lib.utils.errors import DataError

_STAMP = re.compile(r"events\.out\.tfevents\.(\d{10})\..*")
_BOX_COLOR = (80, 255, 80)
_GENERATED_COLOR = (255, 160, 40)
MAX_SAMPLES = 8  # in an image


class TensorboardWriter:
    """Writes scalars and images to an event file of its own in a folder.

    Every call writes to disk before it returns, so errors surface where they happen and nothing is lost in a crash.
    (The writer of ``torch.utils.tensorboard`` writes in a thread, which hangs the process when the disk is full, and
    names files by the clock, by which TensorBoard orders them: after a clock was set back, curves lose points.)

    Args:
        folder: where the event files go.
        first_step: what earlier runs wrote from this step on is hidden, so that a resumed curve has no duplicates.

    Raises:
        DataError: if the file cannot be written; so do all methods.
    """

    def __init__(self, folder: Path, first_step: int = 1) -> None:
        # Slow to import, and needed by training runs only.
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event, self._records, self._summary = Event, RecordWriter, summary
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stamps = [int(match[1]) for path in folder.iterdir() if (match := _STAMP.fullmatch(path.name))]
        except OSError as error:
            raise DataError(f"{describe_os_error(error)}: TensorBoard events cannot be written") from error
        # Readers take the files in the order of their names.
        stamp = max(int(time.time()), max(stamps, default=0) + 1)
        self.path = folder / f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._append({"file_version": "brain.Event:2"})
        self._append({"session_log": SessionLog(status=SessionLog.START), "step": first_step})

    def write(self, prefix: str, scalars: Mapping[str, float], step: int) -> None:
        """Write ``prefix/<name>`` for each scalar."""
        made = [self._summary.scalar(f"{prefix}/{name}", value) for name, value in scalars.items()]
        self._append(*({"summary": summary, "step": step} for summary in made))

    def image(self, name: str, image: np.ndarray, step: int) -> None:
        """Write an image (H, W, 3) uint8 RGB."""
        self._append({"summary": self._summary.image(name, image, dataformats="HWC"), "step": step})

    def _append(self, *events: Mapping[str, Any]) -> None:
        records = io.BytesIO()
        for event in events:
            self._records(records).write(self._event(wall_time=time.time(), **event).SerializeToString())
        try:
            with self.path.open("ab") as file:
                file.write(records.getvalue())
        except OSError as error:
            raise DataError(f"{self.path}: cannot be written: {error.strerror}") from error


def draw_batch(
    batch: TrainingBatch, generated_xywh: Tensor | None = None, max_samples: int = MAX_SAMPLES
) -> np.ndarray:
    """Draw the first samples of a batch, one in each column: its templates, then its search crops.

    Args:
        batch: on any device.
        generated_xywh: (B, 4) normalized boxes that a network gave in the first search crops, drawn in orange.
        max_samples: columns at most.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    columns = []
    for sample in range(min(len(batch), max_samples)):
        template = (batch.template[sample], batch.template_gain[sample], batch.template_boxes_xywh[sample])
        search = (batch.search[sample], batch.search_gain[sample], batch.search_boxes_xywh[sample])
        templates, crops = _draw_crops(*template), _draw_crops(*search)
        if generated_xywh is not None:
            _draw_box(crops[0], generated_xywh[sample].tolist(), _GENERATED_COLOR)
        width = max(crop.shape[1] for crop in (*templates, *crops))
        columns.append(np.concatenate([_widen(crop, width) for crop in (*templates, *crops)]))
    return np.concatenate(columns, axis=1)


@torch.no_grad()
def draw_generated(network: SeqTrack, template: Tensor, search: Tensor, batch: TrainingBatch) -> dict[str, np.ndarray]:
    """Let a network generate boxes for the first samples of a batch, and draw them; no random number is drawn.

    Args:
        network: in eval mode.
        template: (B, T, 3, Ht, Wt) normalized.
        search: (B, S, 3, Hs, Ws) normalized.
        batch: that they were made from.

    Returns:
        By name, (H, W, 3) uint8 RGB: ``boxes``, as ``draw_batch``; ``attention``, where the decoder sees a map: the
        first search crop, and the mean attention of each of its four tokens.
    """
    count = min(len(batch), MAX_SAMPLES)
    has_maps = network.feature_type != "token"
    with MapRecorder(network, 1.0) if has_maps else nullcontext() as recorder:
        tokens, _ = network.generate(network.encode(template[:count], search[:count, :1]))
    boxes = box_xyxy_to_xywh(network.vocabulary.decode_to_xyxy(tokens))
    images = {"boxes": draw_batch(batch, boxes)}
    if has_maps:
        (crop,) = _draw_crops(batch.search[0, :1], batch.search_gain[0, :1], batch.search_boxes_xywh[0, :1])
        maps = recorder.read().cross[0].mean(dim=(1, 2)).numpy()  # (4, R, R)
        images["attention"] = np.concatenate([crop, *(overlay(crop, values) for values in maps)], axis=1)
    return images


def _draw_crops(crops: Tensor, gains: Tensor, boxes_xywh: Tensor) -> list[np.ndarray]:
    """Crops (K, S, S, 3) with the brightness that the device applies, and their normalized boxes."""
    drawn = []
    for crop, gain, box in zip(crops.cpu().numpy(), gains.tolist(), boxes_xywh.tolist(), strict=True):
        image = np.ascontiguousarray((crop * (gain * 255.0)).clip(0, 255).astype(np.uint8))
        _draw_box(image, box, _BOX_COLOR)
        drawn.append(image)
    return drawn


def _draw_box(image: np.ndarray, box_xywh: Sequence[float], color: tuple[int, int, int]) -> None:
    x, y, w, h = (round(value * len(image)) for value in box_xywh)
    cv2.rectangle(image, (x, y), (x + w, y + h), color, 1)


def _widen(image: np.ndarray, width: int) -> np.ndarray:
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)))
