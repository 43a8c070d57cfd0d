"""From frames and boxes to the crops of one training sample: jitter, crop, augmentation.

The order of random draws, the arithmetic of boxes and every pixel agree with the published SeqTrack (the processing it
inherits from STARK). What differs is the work: all random numbers are drawn before a pixel is decoded, frames are
mirrored as views, grayed inside the crop only, and leave as uint8; brightness and normalization are numbers that the
device applies (``normalize_crops``).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.train.data.transforms import draw_brightness, draw_chance, mirror_box, mirror_view, to_gray
from lib.utils.crop import crop_side, crop_window, sample_reduced, sample_target, transform_image_to_crop
from lib.utils.errors import InputError
from lib.utils.image_io import REDUCTIONS, DecodedImage, LazyImage
from lib.utils.seed import SampleRng

MAX_REACH = 64
"""Crops larger than so many times the frame, or as far outside it, come from a mistake in the annotation."""


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
        gray: probability that all frames of a sample are grayed.
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
        boxes_xywh: (K, 4) float32, the target in each crop, normalized; may reach outside [0, 1].
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


@dataclass(frozen=True)
class CropPlan:
    """All that is drawn for one crop, before a pixel is looked at.

    Attributes:
        frame: the whole frame.
        settings: how it is cropped.
        center_xywh: the box that the crop is taken around, pixels of the frame, mirrored with it.
        side: of the crop, pixels of the frame.
        box_xywh: (4,) float32, the target in the crop, normalized.
        gain: brightness / 255.
        flip: mirror the crop.
    """

    frame: LazyImage
    settings: CropSettings
    center_xywh: list[float]
    side: int
    box_xywh: Tensor
    gain: float
    flip: bool

    @property
    def reduction(self) -> int:
        """How many times smaller the frame may be decoded: the crop is shrunk at least as much."""
        shrink = self.side / self.settings.size
        return next((reduction for reduction in REDUCTIONS if reduction <= shrink), 1)

    @property
    def rows(self) -> int:
        """How many rows of the frame, from the top, the crop reaches down to; may be more than there are."""
        return crop_window(self.center_xywh, self.side)[1] + self.side


Needs = dict[int, tuple[int, int]]
"""By identity of the frame: how many times smaller it may be decoded, and down to which row."""

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
    # Exponential and root are torch's, whose last bit is the published one; NumPy takes less time for the rest.
    factors = torch.exp(torch.randn(2, generator=rng.torch) * settings.scale_jitter)
    uniform = torch.rand(2, generator=rng.torch)
    half = np.float32(0.5)
    x, y, w, h = box_xywh.numpy()
    shift_x, shift_y = uniform.numpy() - half
    size = box_xywh[2:] * factors
    new_w, new_h = size.numpy()
    reach = np.float32(size.prod().sqrt().item() * settings.center_jitter)
    new_x = x + half * w + reach * shift_x - half * new_w
    new_y = y + half * h + reach * shift_y - half * new_h
    return torch.from_numpy(np.array((new_x, new_y, new_w, new_h)))


class SeqTrackProcessing:
    """Cuts and augments the crops of one sample.

    Args:
        template: how template frames are cropped.
        search: how search frames are cropped.
        augmentation: strengths of the augmentations.
        jitter: draws the box that a crop is taken around (replaced in tests).
        reduced_decode: decode JPEGs 2, 4 or 8 times smaller where all crops of a frame are shrunk at least as much.
            Crops are anti-aliased then, which published weights have not seen.
    """

    def __init__(
        self,
        *,
        template: CropSettings,
        search: CropSettings,
        augmentation: Augmentation,
        jitter: BoxJitter = jitter_box,
        reduced_decode: bool = False,
    ) -> None:
        self.template = template
        self.search = search
        self.augmentation = augmentation
        self.jitter = jitter
        self.reduced_decode = reduced_decode

    def __call__(
        self,
        template_frames: Sequence[np.ndarray | LazyImage],
        template_boxes_xywh: Tensor,
        search_frames: Sequence[np.ndarray | LazyImage],
        search_boxes_xywh: Tensor,
        rng: SampleRng,
    ) -> ProcessedSample | None:
        """Process the frames of one sample.

        Args:
            template_frames: T frames (H, W, 3) uint8 RGB, only read, or images that are decoded here.
            template_boxes_xywh: (T, 4) float32, pixels.
            search_frames: S frames, as above.
            search_boxes_xywh: (S, 4) float32, pixels.
            rng: every random number comes from here.

        Returns:
            The sample, or ``None`` if a box cannot be cropped around: the crop would be smaller than one pixel, larger
            than ``MAX_REACH`` frames or as far outside, or the box is not finite. Another sample has to be drawn then.

        Raises:
            DataError: if a frame cannot be decoded.
        """
        gray = draw_chance(rng, self.augmentation.gray)
        mirrored = draw_chance(rng, self.augmentation.joint_flip)
        template = self._plan(template_frames, template_boxes_xywh, self.template, mirrored, rng)
        if template is None:
            return None
        search = self._plan(search_frames, search_boxes_xywh, self.search, mirrored, rng)
        if search is None:
            return None
        needs = self._needs(template + search)
        template_crops, search_crops = (self._cut(plans, needs, gray, mirrored) for plans in (template, search))
        return ProcessedSample(template_crops, search_crops)

    def _plan(
        self,
        frames: Sequence[np.ndarray | LazyImage],
        boxes_xywh: Tensor,
        settings: CropSettings,
        mirrored: bool,
        rng: SampleRng,
    ) -> list[CropPlan] | None:
        """Draw all that is random about the crops of one kind; ``None`` if one of them cannot be cut."""
        images = [DecodedImage(frame) if isinstance(frame, np.ndarray) else frame for frame in frames]
        with np.errstate(invalid="ignore", over="ignore"):  # what comes of boxes that are not finite is refused below
            pairs = zip(images, boxes_xywh, strict=True)
            boxes = [mirror_box(box, mirrored, image.size[0] - 1) for image, box in pairs]
            centers = [self.jitter(box, settings, rng) for box in boxes]
        around = [center.tolist() for center in centers]
        try:
            sides = [crop_side(center, settings.factor) for center in around]
        except InputError:  # below one pixel, or not a number at all
            return None
        if not all(map(_is_within_reach, images, around, sides)):
            return None
        # Brightness and the second flip are drawn for each frame by itself, so that template and search region may be
        # mirrored with respect to each other.
        gain = [draw_brightness(rng, self.augmentation.brightness) / 255.0 for _ in images]
        flips = [draw_chance(rng, self.augmentation.frame_flip) for _ in images]
        # Boxes in the crops are computed here, not after decoding, which would have pushed everything out of the cache.
        inside = [self._box_in_crop(*item, settings.size) for item in zip(boxes, centers, sides, flips, strict=True)]
        plans = zip(images, around, sides, inside, gain, flips, strict=True)
        return [CropPlan(image, settings, *drawn) for image, *drawn in plans]

    def _box_in_crop(self, box: Tensor, center: Tensor, side: int, flip: bool, size: int) -> Tensor:
        inside = transform_image_to_crop(box, center, size / side, size)
        return mirror_box(inside, flip, 1.0) if self.augmentation.frame_flip else inside

    def _needs(self, plans: Sequence[CropPlan]) -> Needs:
        """What each frame is decoded to, once, for all the crops that are cut from it."""
        needs: Needs = {}
        for plan in plans:
            reduction = plan.reduction if self.reduced_decode else 1
            finest, lowest = needs.get(id(plan.frame), (reduction, 0))
            needs[id(plan.frame)] = min(reduction, finest), max(plan.rows, lowest)
        return needs

    @staticmethod
    def _cut(plans: Sequence[CropPlan], needs: Needs, gray: bool, mirrored: bool) -> CropSet:
        crops = [_cut_crop(plan, *needs[id(plan.frame)], gray, mirrored) for plan in plans]
        boxes, gain = [plan.box_xywh for plan in plans], [plan.gain for plan in plans]
        return CropSet(np.stack(crops), torch.stack(boxes), torch.tensor(gain))


def _is_within_reach(image: LazyImage, center_xywh: Sequence[float], side: int) -> bool:
    reach = MAX_REACH * max(image.size)
    return all(abs(value) <= reach for value in (*center_xywh, side))  # never true of NaN


def _cut_crop(plan: CropPlan, reduction: int, rows: int, gray: bool, mirrored: bool) -> np.ndarray:
    image, settings, size = plan.frame.pixels(reduction, rows), plan.settings, plan.frame.size
    if image.shape[1] == size[0]:  # not reduced, whatever was asked for
        view = mirror_view(image) if mirrored else image
        prepare = to_gray if gray else None
        crop, _ = sample_target(view, plan.center_xywh, settings.factor, settings.size, prepare=prepare)
        return cv2.flip(crop, 1) if plan.flip else crop
    around = plan.center_xywh, settings.factor, settings.size
    crop, _ = sample_reduced(image, reduction, size, *around, mirrored=mirrored, flip=plan.flip)
    return to_gray(crop) if gray else crop
