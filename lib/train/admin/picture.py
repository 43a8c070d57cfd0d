"""An image of a batch: the crops that the network gets, with the ground-truth boxes."""

import cv2
import numpy as np
from torch import Tensor

from lib.train.data.batch import TrainingBatch

_BOX_COLOR = (80, 255, 80)


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
    """Crops (K, S, S, 3) with the brightness that the device applies, and their normalized boxes."""
    drawn = []
    for crop, gain, box in zip(crops.cpu().numpy(), gains.tolist(), boxes_xywh.tolist(), strict=True):
        image = np.ascontiguousarray((crop * (gain * 255.0)).clip(0, 255).astype(np.uint8))
        x, y, w, h = (round(value * len(crop)) for value in box)
        cv2.rectangle(image, (x, y), (x + w, y + h), _BOX_COLOR, 1)
        drawn.append(image)
    return drawn


def _widen(image: np.ndarray, width: int) -> np.ndarray:
    return np.pad(image, ((0, 0), (0, width - image.shape[1]), (0, 0)))
