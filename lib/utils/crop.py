"""The crop geometry of SeqTrack: a square around a box, resized to the network's input, and the way back.

This is the only copy; training, tracking and the tests all call it. Sources: SeqTrack, section 3.1 (search and template
regions), and the geometry of the published training code, which is inherited from STARK and PyTracking.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch import Tensor

from lib.utils.errors import InputError

MAX_SIDE = 2**24  # of a crop in image pixels: positions in it are float32
_PIXELS_PADDED_PER_PIXEL_READ = 64  # padding so many costs as much time as reading one by itself


def crop_side(box_xywh: Sequence[float], factor: float) -> int:
    """Side of the square crop in image pixels: ``ceil(sqrt(w * h) * factor)``.

    Raises:
        InputError: if the box holds NaN or infinity, has a negative area, or its side is below one pixel or above
            ``MAX_SIDE``.
    """
    box = [float(value) for value in box_xywh]
    w, h = box[2:]
    side = math.sqrt(w * h) * factor if w * h >= 0 else math.nan
    if not all(map(math.isfinite, (side, *box))) or not 0 < side <= MAX_SIDE:
        problem = "its area is too large" if side > MAX_SIDE else "its area is too small"
        raise InputError(f"cannot crop around the box {box}: {problem}")
    return math.ceil(side)


def crop_window(box_xywh: Sequence[float], side: int) -> tuple[int, int]:
    """Top-left corner (x, y) of the square crop in image pixels; it may be outside the image."""
    x, y, w, h = (float(value) for value in box_xywh)
    # Faithful: rounds half to even, and the rounding is never fed back into the box mapping.
    return round(x + 0.5 * w - side * 0.5), round(y + 0.5 * h - side * 0.5)


def sample_target(
    image: np.ndarray,
    box_xywh: Sequence[float] | Tensor,
    factor: float,
    output_size: int,
    *,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[np.ndarray, float]:
    """Cut a square around a box and resize it; what is outside the image is black.

    Args:
        image: (H, W, 3) uint8, any strides (a mirrored view costs nothing: only the crop is touched).
        box_xywh: the box in pixels of ``image``.
        factor: side of the crop over ``sqrt(w * h)``.
        output_size: side of the result in pixels.
        prepare: applied to the part of the crop inside the image, before padding and resizing, or to those of its
            pixels that are read; treats each pixel by itself and keeps shape and dtype.

    Returns:
        ``(crop, resize_factor)``: crop (output_size, output_size, 3) uint8, and output pixels per image pixel.

    Raises:
        InputError: as ``crop_side``.
    """
    side = crop_side(box_xywh, factor)
    left, top = crop_window(box_xywh, side)
    height, width = image.shape[:2]
    x0, x1 = max(left, 0), min(left + side, width)
    y0, y1 = max(top, 0), min(top + side, height)
    resize_factor = output_size / side
    if x0 >= x1 or y0 >= y1:  # wholly outside: black (the published slice wraps around, see docs/numerics.md)
        return np.zeros((output_size, output_size, image.shape[2]), dtype=image.dtype), resize_factor
    # Faithful: one pixel too much is padded on the right and at the bottom, so a crop that ends exactly at the border
    # loses its last column or row to black.
    x1 -= left + side >= width
    y1 -= top + side >= height
    patch = image[y0:y1, x0:x1]
    if patch.size == 0:
        return np.zeros((output_size, output_size, image.shape[2]), dtype=image.dtype), resize_factor
    padding = y0 - top, top + side - y1, x0 - left, left + side - x1
    read = 4 * resize_factor**2 * patch.shape[0] * patch.shape[1]
    if any(padding) and side * side > _PIXELS_PADDED_PER_PIXEL_READ * read and _resizes_like_opencv():
        return _resize_padded(patch, padding[0], padding[2], side, output_size, prepare), resize_factor
    patch = _packed_rows(patch)
    if prepare is not None:
        patch = prepare(patch)
    if any(padding):
        patch = cv2.copyMakeBorder(patch, *padding, cv2.BORDER_CONSTANT | cv2.BORDER_ISOLATED, value=0)
    # Faithful: bilinear without anti-aliasing, as the published models were trained.
    return cv2.resize(patch, (output_size, output_size)), resize_factor


def _resize_padded(
    patch: np.ndarray,
    above: int,
    before: int,
    side: int,
    size: int,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Resize a patch within a black square without making the square: only the pixels that are read are touched.

    The arithmetic is that of ``cv2.resize`` for bytes: weights of 11 bits, and 4 bits dropped between the directions.

    Args:
        patch: (H, W, 3) uint8.
        above: rows of the square above the patch.
        before: columns of the square to the left of the patch.
        side: of the square, at least twice ``size``.
        size: side of the result.
        prepare: applied to the pixels that are read.

    Returns:
        (size, size, 3) uint8.
    """
    rows, row_indices, row_weights = _taps(side, size, above, patch.shape[0])
    columns, column_indices, column_weights = _taps(side, size, before, patch.shape[1])
    crop = np.zeros((size, size, patch.shape[2]), np.uint8)
    if not len(row_indices) or not len(column_indices):
        return crop
    pixels = patch[row_indices.reshape(-1, 1), column_indices.reshape(-1)]
    if prepare is not None:
        pixels = prepare(pixels)
    pixels = pixels.reshape(len(row_indices), 2, len(column_indices), 2, -1)
    across = pixels[..., 0, :] * column_weights[:, :1] + pixels[..., 1, :] * column_weights[:, 1:]
    down = ((across >> 4) * row_weights[:, :, None, None]) >> 16
    crop[rows, columns] = (down[:, 0] + down[:, 1] + 2) >> 2
    return crop


def _taps(side: int, size: int, before: int, length: int) -> tuple[slice, np.ndarray, np.ndarray]:
    """The two pixels that each output pixel is interpolated from, along one direction.

    Args:
        side: pixels of the source, of which ``length`` from ``before`` on are not black.
        size: pixels of the output.
        before: see ``side``.
        length: see ``side``.

    Returns:
        The R output pixels that are not wholly black, (R, 2) positions among the ``length`` pixels, and (R, 2) int32
        weights of 11 bits; pixels outside have weight 0.
    """
    position = ((np.arange(size) + 0.5) * (1.0 / (size / side)) - 0.5).astype(np.float32)
    first = np.floor(position)
    share = position - first
    weights = np.rint(np.stack((np.float32(1) - share, share), axis=1) * np.float32(2048)).astype(np.int32)
    indices = first.astype(np.int64)[:, None] + np.arange(2) - before
    inside = (indices >= 0) & (indices < length)
    used = np.flatnonzero(inside.any(axis=1))
    pixels = slice(used[0], used[-1] + 1) if used.size else slice(0)
    return pixels, indices[pixels].clip(0, length - 1), (weights * inside)[pixels]


@lru_cache(maxsize=1)
def _resizes_like_opencv() -> bool:
    """Whether this OpenCV interpolates as ``_resize_padded`` does: builds for some processors have their own way."""
    patch = np.random.RandomState(0).randint(0, 256, (331, 331, 3)).astype(np.uint8)
    return np.array_equal(_resize_padded(patch, 0, 0, 331, 96), cv2.resize(patch, (96, 96)))


def _packed_rows(patch: np.ndarray) -> np.ndarray:
    """The patch with pixels side by side in each row, as OpenCV reads them; copied only if they are not."""
    channels = patch.shape[2]
    if patch.dtype == np.uint8 and patch.strides[2] == 1 and patch.strides[1] == -channels:
        return cv2.flip(patch[:, ::-1], 1)  # many times faster than NumPy's copy of a mirrored view
    is_packed = patch.strides[1:] == (channels * patch.itemsize, patch.itemsize) and patch.strides[0] > 0
    return patch if is_packed else np.ascontiguousarray(patch)


def sample_reduced(
    image: np.ndarray,
    reduction: int,
    size: tuple[int, int],
    box_xywh: Sequence[float] | Tensor,
    factor: float,
    output_size: int,
    *,
    mirrored: bool = False,
    flip: bool = False,
) -> tuple[np.ndarray, float]:
    """As ``sample_target``, from an image decoded smaller; geometry and resize factor are those of the full image.

    Pixels differ: what the small image has averaged is no longer sampled, so the crop is anti-aliased.

    Args:
        image: (ceil(H / reduction), ceil(W / reduction), 3) uint8; pixel *i* covers ``reduction`` pixels of the full
            image, from ``i * reduction`` on.
        reduction: full pixels per pixel of ``image``.
        size: (W, H), size of the full image.
        box_xywh: the box in pixels of the full image (of its mirror image, if ``mirrored``).
        factor: side of the crop over ``sqrt(w * h)``.
        output_size: side of the result in pixels.
        mirrored: crop the mirror image.
        flip: mirror the crop.

    Returns:
        ``(crop, resize_factor)``: crop (output_size, output_size, 3) uint8, and output pixels per full pixel.

    Raises:
        InputError: as ``crop_side``.
    """
    side = crop_side(box_xywh, factor)
    left, top = crop_window(box_xywh, side)
    if mirrored:
        left = size[0] - left - side
    # Pixel centers: output u is at (u + 0.5) * side / output_size + left in the full image.
    scale = side / (output_size * reduction)
    matrix = np.array([[scale, 0, left / reduction], [0, scale, top / reduction]])
    matrix[:, 2] += 0.5 * scale - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    crop = cv2.warpAffine(image, matrix, (output_size, output_size), flags=flags, borderMode=cv2.BORDER_CONSTANT)
    return cv2.flip(crop, 1) if mirrored != flip else crop, output_size / side


def transform_image_to_crop(
    box_xywh: Tensor,
    crop_box_xywh: Tensor,
    resize_factor: float | Tensor,
    crop_size: int | Tensor,
    normalize: bool = True,
) -> Tensor:
    """Express a box of the image in the coordinates of a crop (training side).

    Args:
        box_xywh: (4,) float32, the box to express, in image pixels.
        crop_box_xywh: (4,) float32, the box that the crop was taken around, in image pixels.
        resize_factor: output pixels per image pixel.
        crop_size: side of the crop in output pixels.
        normalize: divide by ``crop_size - 1``.

    Returns:
        (4,) xywh in crop pixels, or normalized so that the crop spans 0 to 1.
    """
    # float32 throughout, as NumPy's scalars: for so few numbers torch and arrays take several times as long.
    half, scale = np.float32(0.5), np.float32(float(resize_factor))
    x, y, w, h = box_xywh.numpy()
    around_x, around_y, around_w, around_h = crop_box_xywh.numpy()
    # Faithful: training maps around (S - 1) / 2 and divides by S - 1, tracking uses S (see map_box_back).
    last = np.float32(int(crop_size) - 1)
    out_w, out_h = w * scale, h * scale
    out_x = last * half + ((x + half * w) - (around_x + half * around_w)) * scale - half * out_w
    out_y = last * half + ((y + half * h) - (around_y + half * around_h)) * scale - half * out_h
    out = np.array((out_x, out_y, out_w, out_h))
    return torch.from_numpy(out / last if normalize else out)


def map_box_back(
    box_cxcywh: Sequence[float], state_xywh: Sequence[float], resize_factor: float, crop_size: int
) -> list[float]:
    """Express a box found in a search crop in image pixels (tracking side).

    Args:
        box_cxcywh: center and size in image pixels, relative to the crop's top-left corner (crop pixels divided by
            ``resize_factor``).
        state_xywh: the box that the crop was taken around, in image pixels.
        resize_factor: output pixels per image pixel.
        crop_size: side of the crop in output pixels.

    Returns:
        ``[x, y, w, h]`` in image pixels.
    """
    cx, cy, w, h = box_cxcywh
    # Faithful: the crop is taken to be centerd exactly on the state, whatever its corner was rounded to.
    half_side = 0.5 * crop_size / resize_factor
    cx_image = cx + (state_xywh[0] + 0.5 * state_xywh[2] - half_side)
    cy_image = cy + (state_xywh[1] + 0.5 * state_xywh[3] - half_side)
    return [cx_image - 0.5 * w, cy_image - 0.5 * h, w, h]
