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
    """Segments one target, or with ``start`` and ``segment_batch`` several in one batch.

    The boxes come from a tracker; the masks never influence it.

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

    def initialize(self, image: np.ndarray, box_xywh: Sequence[float]) -> None:
        """Remember the target; it is never updated afterwards. Arguments and errors are those of :meth:`start`."""
        self._kernel = self.start(image, box_xywh)

    @torch.inference_mode()
    def start(self, image: np.ndarray, box_xywh: Sequence[float]) -> Tensor:
        """Describe a target.

        Args:
            image: (H, W, 3) uint8 RGB.
            box_xywh: the target in pixels, top-left corner and size.

        Returns:
            (1, 1024, 12, 12) its kernel, for :meth:`segment_batch`.

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
        return self.network.encode_reference(self._prepare([crop_patch(image, window)]), boxes)

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
        return self._refine_batch(image, [box_xywh], [self._kernel])[0]

    @torch.inference_mode()
    def _refine_batch(
        self, image: np.ndarray, boxes_xywh: Sequence[Sequence[float]], kernels: Sequence[Tensor]
    ) -> list[np.ndarray]:
        """Soft masks of B targets in one image, one forward pass."""
        windows = [crop_window(box) for box in boxes_xywh]
        patches = self._prepare([crop_patch(image, window) for window in windows])
        logits = self.network(patches, kernels[0] if len(kernels) == 1 else torch.cat(list(kernels)))
        soft = logits[:, 0].sigmoid().float().cpu().numpy()  # (B, 384, 384)
        return [paste_mask(mask, window, *image.shape[:2]) for mask, window in zip(soft, windows, strict=True)]

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

    def segment_batch(
        self, image: np.ndarray, boxes_xywh: Sequence[Sequence[float]], references: Sequence[Tensor]
    ) -> list[np.ndarray]:
        """Binary masks of several targets of one image, in one batch.

        Args:
            image: (H, W, 3) uint8 RGB.
            boxes_xywh: B boxes as for ``refine``.
            references: what :meth:`start` returned for each.

        Returns:
            B masks as ``segment`` returns them; they may differ from its own where the soft mask is at the threshold up
            to rounding.

        Raises:
            InputError: as for ``refine``.
        """
        _check_image(image)
        masks = self._refine_batch(image, boxes_xywh, references) if boxes_xywh else []
        return [(mask > THRESHOLD).astype(np.uint8) for mask in masks]

    def _prepare(self, patches: Sequence[np.ndarray]) -> Tensor:
        """B patches (384, 384, 3) uint8 to (B, 3, 384, 384) float32, ImageNet-normalized, on the device."""
        pixels = upload(torch.from_numpy(np.stack(patches)), self.device).long()  # a quarter of the bytes of float32
        channels = [self._normalized[:, channel][pixels[..., channel]] for channel in range(3)]
        return torch.stack(channels, dim=1)


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"expected an RGB image, uint8 of shape (H, W, 3), got {found}")
