"""Frames as callers have them (NumPy, PyTorch, PIL; RGB or BGR) become what the tracker takes."""

import sys
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from lib.utils.errors import InputError, printable

Image: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) uint8."""

if TYPE_CHECKING:
    import PIL.Image
    import torch

    Frame: TypeAlias = npt.NDArray[Any] | torch.Tensor | PIL.Image.Image  # the type of values is checked at run time
else:
    Frame = Any

Color = Literal["rgb", "bgr"]
_PIL_MODES = ("RGB", "RGBA", "L", "LA", "P", "CMYK", "YCbCr", "1")  # of 8 bits per value at most


def check_color(color: str) -> Color:
    """Return ``color``, or raise InputError if it is neither ``rgb`` nor ``bgr``."""
    if color not in ("rgb", "bgr"):
        raise InputError(f"color must be 'rgb' or 'bgr', got {color!r}")
    return cast(Color, color)


def to_rgb(frame: Frame, color: Color) -> Image:
    """Bring a frame to (H, W, 3) uint8 RGB in the memory of the CPU; without a copy where it is that already.

    Args:
        frame: NumPy array or torch tensor (of any device) of shape (H, W, 3) and type uint8, or a PIL image.
        color: order of the channels of arrays and tensors; a PIL image knows its own.

    Raises:
        InputError: naming what was given.
    """
    image: Any = frame
    torch_module, pil_module = sys.modules.get("torch"), sys.modules.get("PIL.Image")
    if pil_module is not None and isinstance(image, pil_module.Image):
        if image.mode not in _PIL_MODES or 0 in image.size:
            raise InputError(f"expected a PIL image of 8 bits, got mode {image.mode} of {image.width}x{image.height}")
        try:
            return np.asarray(image.convert("RGB"))
        except (OSError, ValueError, SyntaxError) as error:  # PIL reads a file no earlier than now
            raise InputError(f"the PIL image cannot be decoded: {printable(str(error), 100)}") from error
    if torch_module is not None and isinstance(image, torch_module.Tensor):
        if image.dtype != torch_module.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise InputError(f"expected a uint8 tensor (H, W, 3), got {image.dtype} {tuple(image.shape)}")
        image = image.detach().cpu().numpy()
    from lib.test.tracker.preprocess import check_image  # imports PyTorch

    check_image(image)
    if color == "bgr":
        import cv2

        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return cast(Image, image)


def check_size(image: Image, size: tuple[int, int], again: str) -> None:
    """Raise InputError if an image is not of the (height, width) of the first frame; ``again`` says what to call."""
    if image.shape[:2] != size:
        given = f"{image.shape[1]}x{image.shape[0]}"
        raise InputError(f"the frame is {given} pixels, the first one {size[1]}x{size[0]}; {again} for another video")
