"""The making of a training sample written out plainly, as the family of STARK does it: the baseline of the benchmark.

Whole frames are decoded, turned to RGB, greyed and mirrored as copies; a mask of the target and an attention mask, at
which SeqTrack never looks, go through every step; crops become floating point and are brightened and normalized one by
one on the processor. Random numbers are drawn in the order of ``lib.train.data``, so that the samples are the same.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.functional import normalize

from lib.data.base import DiskDataset, SequenceInfo
from lib.data.lasot import Lasot
from lib.train.data.frame_choice import FrameChoice
from lib.train.data.processing import CropSettings
from lib.train.data.sampler import TrackingSampler
from lib.utils.seed import SampleRng

Crops = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of K frames: images (K, 3, S, S), boxes (K, 4), masks (K, S, S), attention masks (K, S, S)."""


class PlainSampler(TrackingSampler):
    """Draws the same frames as its base class and processes them plainly.

    Args:
        mean: of pixels in [0, 1], for each channel.
        std: as above.
        arguments: those of ``TrackingSampler``.
    """

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], **arguments) -> None:
        super().__init__(**arguments)
        self.mean, self.std = mean, std

    def _process(
        self, dataset: DiskDataset, sequence: int, info: SequenceInfo, choice: FrameChoice, rng: SampleRng
    ) -> tuple[Crops, Crops] | None:
        ids = choice.template + choice.search
        frames = [read(dataset, sequence, frame) for frame in ids]
        n = len(choice.template)
        # One empty mask for the frames of a kind, as the published sampler makes them for datasets without masks.
        template_mask, search_mask = torch.zeros(frames[0].shape[:2]), torch.zeros(frames[n].shape[:2])
        masks = [template_mask] * n + [search_mask] * len(choice.search)
        boxes = [torch.from_numpy(info.boxes_xywh[frame]) for frame in ids]
        augmentation = self.processing.augmentation
        if rng.python.random() < augmentation.gray:
            frames = [np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)] * 3, axis=2) for frame in frames]
        flip = rng.python.random() < augmentation.joint_flip
        boxes = [mirrored(box, flip, frame.shape[1] - 1) for box, frame in zip(boxes, frames, strict=True)]
        if flip:
            frames = [np.fliplr(frame).copy() for frame in frames]
            masks = [mask.flip((1,)) for mask in masks]
        template = self._crops(frames[:n], boxes[:n], masks[:n], self.processing.template, rng)
        search = self._crops(frames[n:], boxes[n:], masks[n:], self.processing.search, rng)
        return template, search

    def _crops(
        self,
        frames: Sequence[np.ndarray],
        boxes: Sequence[Tensor],
        masks: Sequence[Tensor],
        settings: CropSettings,
        rng: SampleRng,
    ) -> Crops:
        centers = [jittered(box, settings, rng) for box in boxes]
        cut = [crop(*item, settings) for item in zip(frames, boxes, centers, masks, strict=True)]
        brightness = [rng.numpy.uniform(0.8, 1.2) for _ in cut]
        flips = [rng.python.random() < self.processing.augmentation.frame_flip for _ in cut]
        parts = []
        for (image, box, mask, attention), factor, flip in zip(cut, brightness, flips, strict=True):
            pixels = torch.from_numpy(image.transpose(2, 0, 1)).float().mul(factor / 255.0).clamp(0.0, 1.0)
            if flip:
                pixels, mask, attention = (x.flip((-1,)) for x in (pixels, mask, torch.from_numpy(attention)))
            pixels = normalize(pixels, self.mean, self.std)
            parts.append((pixels, mirrored(box, flip, 1.0), mask, torch.as_tensor(attention)))
        return tuple(torch.stack(part) for part in zip(*parts, strict=True))


def read(dataset: Lasot, sequence: int, frame: int) -> np.ndarray:
    """A whole frame."""
    path = dataset.storage.root / dataset.frame_path(sequence, frame)
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def jittered(box: Tensor, settings: CropSettings, rng: SampleRng) -> Tensor:
    """The box that a crop is taken around."""
    size = box[2:] * torch.exp(torch.randn(2, generator=rng.torch) * settings.scale_jitter)
    reach = size.prod().sqrt() * torch.tensor(settings.center_jitter).float()
    center = box[:2] + 0.5 * box[2:] + reach * (torch.rand(2, generator=rng.torch) - 0.5)
    return torch.cat((center - 0.5 * size, size))


def mirrored(box: Tensor, flip: bool, last: float) -> Tensor:
    """A box from its corners, mirrored if ``flip``."""
    x, y, w, h = box
    columns, rows = torch.stack((x, x + w)), torch.stack((y, y + h))
    if flip:
        columns = last - columns
    return torch.stack((columns.min(), rows.min(), columns.max() - columns.min(), rows.max() - rows.min()))


def crop(
    frame: np.ndarray, box: Tensor, center: Tensor, mask: Tensor, settings: CropSettings
) -> tuple[np.ndarray, Tensor, Tensor, np.ndarray]:
    """Cut image, box, mask and attention mask around ``center``; what is outside the frame is padded first."""
    x, y, w, h = center.tolist()
    side, size = math.ceil(math.sqrt(w * h) * settings.factor), settings.size
    left, top = round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)
    height, width = frame.shape[:2]
    before_x, before_y = max(0, -left), max(0, -top)
    after_x, after_y = max(left + side - width + 1, 0), max(top + side - height + 1, 0)
    rows, columns = slice(top + before_y, top + side - after_y), slice(left + before_x, left + side - after_x)
    scale = size / side
    offset = (box[:2] + 0.5 * box[2:] - center[:2] - 0.5 * center[2:]) * scale + (size - 1) / 2
    new_box = torch.cat((offset - 0.5 * box[2:] * scale, box[2:] * scale)) / (size - 1)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        empty = np.zeros((size, size))
        return np.zeros((size, size, 3), np.uint8), new_box, torch.zeros(size, size), empty.astype(bool)
    padded = cv2.copyMakeBorder(
        frame[rows, columns], before_y, after_y, before_x, after_x, cv2.BORDER_CONSTANT, value=(0, 0, 0)
    )
    attention = np.ones(padded.shape[:2])
    attention[before_y : side - after_y, before_x : side - after_x] = 0
    attention = cv2.resize(attention, (size, size)).astype(bool)
    mask = F.pad(mask[rows, columns], (before_x, after_x, before_y, after_y))
    mask = F.interpolate(mask[None, None], (size, size), mode="bilinear", align_corners=False)[0, 0]
    return cv2.resize(padded, (size, size)), new_box, mask, attention


def collate_plain(samples: Sequence[tuple[Crops, Crops]]) -> tuple[Crops, Crops]:
    """Batches of template and search crops, frames first, as the family stacks them."""
    return tuple(
        tuple(torch.stack(part, dim=1) for part in zip(*kind, strict=True)) for kind in zip(*samples, strict=True)
    )
