"""A picture of a batch: what the network sees, with the boxes it is asked for."""

import cv2
import numpy as np
from torch import Tensor

from lib.train.data.batch import TrainingBatch

_BOX_COLOUR = (80, 255, 80)


def draw_batch(batch: TrainingBatch, max_samples: int = 8) -> np.ndarray:
    """Draw the first samples of a batch, one in each column: its templates, then its search crops.

    Args:
        batch: on any device.
        max_samples: columns at most.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    columns = []
    for sample in range(min(len(batch), max_samples)):
        template = (batch.template[sample], batch.template_gain[sample], batch.template_boxes_xywh[sample])
        search = (batch.search[sample], batch.search_gain[sample], batch.search_boxes_xywh[sample])
        crops = [crop for part in (template, search) for crop in _draw_crops(*part)]
        width = max(crop.shape[1] for crop in crops)
        columns.append(np.concatenate([_widen(crop, width) for crop in crops]))
    return np.concatenate(columns, axis=1)


def _draw_crops(crops: Tensor, gains: Tensor, boxes_xywh: Tensor) -> list[np.ndarray]:
    """Crops (K, S, S, 3) with the brightness that the device applies, and their normalised boxes."""
    drawn = []
    for crop, gain, box in zip(crops.cpu().numpy(), gains.tolist(), boxes_xywh.tolist(), strict=True):
        picture = np.ascontiguousarray((crop * (gain * 255.0)).clip(0, 255).astype(np.uint8))
        x, y, w, h = (round(value * len(crop)) for value in box)
        cv2.rectangle(picture, (x, y), (x + w, y + h), _BOX_COLOUR, 1)
        drawn.append(picture)
    return drawn


def _widen(picture: np.ndarray, width: int) -> np.ndarray:
    return np.pad(picture, ((0, 0), (0, width - picture.shape[1]), (0, 0)))
