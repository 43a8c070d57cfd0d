"""Masks for the boxes of a tracker: load the weights, remember the target, segment it frame by frame."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from external.AR.geometry import box_in_patch, crop_patch, crop_window, paste_mask
from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.device import resolve_device, upload
from lib.utils.errors import CheckpointError, InputError

if TYPE_CHECKING:
    from external.AR.network import AlphaRefineNetwork

# Where the code of the authors looks for the weights, and the threshold of all four published SeqTrack+AR trackers.
CHECKPOINT_FOLDER = Path(__file__).parent / "ltr/checkpoints/ltr/ARcm_seg/ARcm_coco_seg_only_mask_384"
THRESHOLD = 0.65

_LEVELS = np.arange(256) / 255
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Computed in double and rounded once, as the published code normalizes.
_NORMALIZED = np.stack([(_LEVELS - m) / s for m, s in zip(_MEAN, _STD, strict=True)], -1).astype(np.float32)  # (256, 3)


def find_checkpoint(path: Path | str | None = None) -> Path:
    """File with the weights.

    Args:
        path: a file, or a folder whose last ``*.pth.tar`` in order of names is taken; by default the published place,
            ``external/AR/ltr/checkpoints/ltr/ARcm_seg/ARcm_coco_seg_only_mask_384``.

    Raises:
        CheckpointError: if there is none; the message names the place.
    """
    place = CHECKPOINT_FOLDER if path is None else Path(path)
    if place.is_file():
        return place
    files = sorted(place.glob("*.pth.tar")) if place.is_dir() else []
    if not files:
        raise CheckpointError(f"{place}: no Alpha-Refine checkpoint; external/AR/README.md says how to get it")
    return files[-1]


def load_network(path: Path | str | None = None) -> "AlphaRefineNetwork":
    """Build the network with published weights, on the CPU and in evaluation mode.

    Args:
        path: see ``find_checkpoint``.

    Raises:
        CheckpointError: if there is no file, it is damaged, or it belongs to another network (names the keys).
    """
    from external.AR.network import AlphaRefineNetwork  # brings torchvision, which trackers without masks do not need

    file = find_checkpoint(path)
    state = load_checkpoint(file)
    network = AlphaRefineNetwork()
    load_model_weights(network, state, file)
    return network.eval()


class AlphaRefine:
    """Segments one target. The boxes come from a tracker; the masks never influence it.

    Args:
        checkpoint: file or folder with the weights, see ``find_checkpoint``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``.
        network: a loaded network to use instead of a checkpoint; several targets can share one. It is moved to
            ``device`` and set to evaluation mode.

    Raises:
        CheckpointError: if the weights are missing, damaged, or those of another network.
        InputError: if there is no such device.
    """

    def __init__(
        self,
        checkpoint: Path | str | None = None,
        device: str | torch.device = "auto",
        *,
        network: "AlphaRefineNetwork | None" = None,
    ) -> None:
        self.device = resolve_device(str(device))
        self.network = (load_network(checkpoint) if network is None else network).to(self.device).eval()
        self._normalized = torch.from_numpy(_NORMALIZED).to(self.device)
        self._kernel: Tensor | None = None

    @torch.inference_mode()
    def initialize(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        """Remember the target; it is never updated afterwards.

        Args:
            image: (H, W, 3) uint8 RGB.
            box_xywh: the target in pixels, top-left corner and size.

        Raises:
            InputError: if the image is of another kind, or the box is malformed or outside the image.
        """
        _check_image(image)
        window = crop_window(box_xywh)
        x, y, w, h = (float(value) for value in box_xywh)
        height, width = image.shape[:2]
        if x >= width or y >= height or x + w <= 0 or y + h <= 0:
            raise InputError(f"the box {[x, y, w, h]} is outside the image ({width} x {height} pixels)")
        boxes = torch.tensor([box_in_patch(box_xywh, window)])  # (1, 4)
        self._kernel = self.network.encode_reference(self._prepare(crop_patch(image, window)), boxes)

    @torch.inference_mode()
    def refine(self, image: np.ndarray, box_xywh: Sequence[float]) -> np.ndarray:
        """Soft mask of the target.

        Args:
            image: (H, W, 3) uint8 RGB.
            box_xywh: where the tracker sees the target, in pixels; may reach outside the image.

        Returns:
            (H, W) float32 in 0..1, zeros outside the region of twice the size of the box.

        Raises:
            InputError: if the image is of another kind, the box is malformed, or ``initialize`` was not called.
        """
        _check_image(image)
        if self._kernel is None:
            raise InputError("initialize() must be called before refine()")
        window = crop_window(box_xywh)
        logits = self.network(self._prepare(crop_patch(image, window)), self._kernel)  # (1, 1, 384, 384)
        return paste_mask(logits[0, 0].sigmoid().float().cpu().numpy(), window, *image.shape[:2])

    def segment(self, image: np.ndarray, box_xywh: Sequence[float], threshold: float = THRESHOLD) -> np.ndarray:
        """Binary mask of the target, empty if no pixel reaches the threshold.

        Args:
            image: (H, W, 3) uint8 RGB.
            box_xywh: as for ``refine``.
            threshold: pixels of the soft mask above it belong to the target.

        Returns:
            (H, W) uint8, 0 or 1, contiguous.

        Raises:
            InputError: as for ``refine``.
        """
        return (self.refine(image, box_xywh) > threshold).astype(np.uint8)

    def _prepare(self, patch: np.ndarray) -> Tensor:
        """(384, 384, 3) uint8 to (1, 3, 384, 384) float32, ImageNet-normalized, on the device."""
        pixels = upload(torch.from_numpy(patch), self.device).long()  # a quarter of the bytes of float32 go up
        channels = [self._normalized[:, channel][pixels[..., channel]] for channel in range(3)]
        return torch.stack(channels)[None]


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"expected an RGB image, uint8 of shape (H, W, 3), got {found}")
