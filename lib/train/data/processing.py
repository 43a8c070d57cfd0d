"""From frames and boxes to the crops of one training sample: jitter, crop, augmentation.

The order of random draws, the arithmetic of boxes and every pixel agree with the published SeqTrack (the processing it
inherits from STARK). What differs is the work: frames are mirrored as views, greyed inside the crop only, and leave as
uint8; brightness and normalisation are numbers that the device applies (``normalize_crops``).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lib.train.data.transforms import draw_brightness, draw_chance, mirror_box, mirror_view, to_gray
from lib.utils.crop import sample_target, transform_image_to_crop
from lib.utils.seed import SampleRng


@dataclass(frozen=True)
class CropSettings:
    """How one kind of frame (template or search) is cropped.

    Attributes:
        size: side of the crop in pixels.
        factor: side of the crop in the image over ``sqrt(w * h)`` of the jittered box.
        center_jitter: range of the random shift in units of ``sqrt(w * h)`` (half of it to each side).
        scale_jitter: standard deviation of the logarithm of the random size factors.
    """

    size: int
    factor: float
    center_jitter: float = 0.0
    scale_jitter: float = 0.0


@dataclass(frozen=True)
class Augmentation:
    """Strengths of the image augmentations; the defaults are the published ones for training.

    Attributes:
        gray: probability that all frames of a sample are greyed.
        joint_flip: probability that all frames of a sample are mirrored.
        brightness: half-width of the range of the brightness factor, drawn per frame.
        frame_flip: probability that a crop is mirrored, drawn per frame.
    """

    gray: float = 0.05
    joint_flip: float = 0.5
    brightness: float = 0.2
    frame_flip: float = 0.5

    @classmethod
    def for_validation(cls) -> "Augmentation":
        """Only what the published code keeps for validation: the joint augmentations."""
        return cls(brightness=0.0, frame_flip=0.0)


@dataclass(frozen=True)
class CropSet:
    """K crops of one kind.

    Attributes:
        crops: (K, S, S, 3) uint8 RGB.
        boxes_xywh: (K, 4) float32, the target in each crop, normalised; may reach outside [0, 1].
        gain: (K,) float32, what the device multiplies uint8 pixels with: brightness / 255.
    """

    crops: np.ndarray
    boxes_xywh: Tensor
    gain: Tensor


@dataclass(frozen=True)
class ProcessedSample:
    """The crops of one sample: T templates and S search regions."""

    template: CropSet
    search: CropSet


BoxJitter = Callable[[Tensor, CropSettings, SampleRng], Tensor]


def jitter_box(box_xywh: Tensor, settings: CropSettings, rng: SampleRng) -> Tensor:
    """Shift and scale a box at random, as if a tracker had been a little wrong in the frame before.

    Args:
        box_xywh: (4,) float32, pixels.
        settings: strengths of the jitter.
        rng: two normal and two uniform numbers are drawn from its torch generator, in this order.

    Returns:
        (4,) float32, pixels.
    """
    size = box_xywh[2:] * torch.exp(torch.randn(2, generator=rng.torch) * settings.scale_jitter)
    reach = size.prod().sqrt() * settings.center_jitter
    centre = box_xywh[:2] + 0.5 * box_xywh[2:] + reach * (torch.rand(2, generator=rng.torch) - 0.5)
    return torch.cat((centre - 0.5 * size, size))


class SeqTrackProcessing:
    """Cuts and augments the crops of one sample.

    Args:
        template: how template frames are cropped.
        search: how search frames are cropped.
        augmentation: strengths of the augmentations.
        jitter: draws the box that a crop is taken around (replaced in tests).
    """

    def __init__(
        self,
        *,
        template: CropSettings,
        search: CropSettings,
        augmentation: Augmentation,
        jitter: BoxJitter = jitter_box,
    ) -> None:
        self.template = template
        self.search = search
        self.augmentation = augmentation
        self.jitter = jitter

    def __call__(
        self,
        template_frames: Sequence[np.ndarray],
        template_boxes_xywh: Tensor,
        search_frames: Sequence[np.ndarray],
        search_boxes_xywh: Tensor,
        rng: SampleRng,
    ) -> ProcessedSample | None:
        """Process the frames of one sample.

        Args:
            template_frames: T frames (H, W, 3) uint8 RGB, only read.
            template_boxes_xywh: (T, 4) float32, pixels.
            search_frames: S frames, likewise.
            search_boxes_xywh: (S, 4) float32, pixels.
            rng: every random number comes from here.

        Returns:
            The sample, or ``None`` if a crop would be smaller than one pixel; another sample has to be drawn then.
        """
        gray = draw_chance(rng, self.augmentation.gray)
        mirrored = draw_chance(rng, self.augmentation.joint_flip)
        template = self._crops(template_frames, template_boxes_xywh, self.template, gray, mirrored, rng)
        if template is None:
            return None
        search = self._crops(search_frames, search_boxes_xywh, self.search, gray, mirrored, rng)
        return ProcessedSample(template, search) if search is not None else None

    def _crops(
        self,
        frames: Sequence[np.ndarray],
        boxes_xywh: Tensor,
        settings: CropSettings,
        gray: bool,
        mirrored: bool,
        rng: SampleRng,
    ) -> CropSet | None:
        boxes = [mirror_box(box, mirrored, frame.shape[1] - 1) for frame, box in zip(frames, boxes_xywh, strict=True)]
        centres = [self.jitter(box, settings, rng) for box in boxes]
        if any(_is_too_small(centre, settings.factor) for centre in centres):
            return None
        crops, crop_boxes = [], []
        for frame, box, centre in zip(frames, boxes, centres, strict=True):
            view = mirror_view(frame) if mirrored else frame
            crop, resize_factor = sample_target(
                view, centre.tolist(), settings.factor, settings.size, prepare=to_gray if gray else None
            )
            crops.append(crop)
            crop_boxes.append(transform_image_to_crop(box, centre, resize_factor, settings.size))
        # Brightness and the second flip are drawn for each frame by itself, so that template and search region may be
        # mirrored with respect to each other.
        gain = [draw_brightness(rng, self.augmentation.brightness) / 255.0 for _ in crops]
        flips = [draw_chance(rng, self.augmentation.frame_flip) for _ in crops]
        crops = [mirror_view(crop) if flip else crop for crop, flip in zip(crops, flips, strict=True)]
        if self.augmentation.frame_flip:
            crop_boxes = [mirror_box(box, flip, 1.0) for box, flip in zip(crop_boxes, flips, strict=True)]
        return CropSet(np.stack(crops), torch.stack(crop_boxes), torch.tensor(gain))


def _is_too_small(box_xywh: Tensor, factor: float) -> bool:
    """Whether the crop side falls below one pixel, or is not a number at all."""
    side = (box_xywh[2] * box_xywh[3]).sqrt().item() * factor
    return not (math.isfinite(side) and math.ceil(side) >= 1)
