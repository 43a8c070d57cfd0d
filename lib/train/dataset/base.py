"""What the sampler asks of a training dataset."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lib.utils.lazy_image import DecodedImage, LazyImage


@dataclass(frozen=True)
class SequenceInfo:
    """Annotations of one sequence of F frames.

    Attributes:
        boxes_xywh: (F, 4) float32, pixels.
        valid: (F,) bool, the box has a positive width and height.
        visible: (F,) bool, valid and the target can be seen; training frames are drawn among these.
    """

    boxes_xywh: np.ndarray
    valid: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.visible)


class TrainingDataset(ABC):
    """Sequences of frames with one target each.

    A dataset is pickled to the loader's workers, so it holds no open handles, and reading is free of random numbers
    and side effects: the same arguments always give the same pixels.

    Attributes:
        name: the name it has in the configuration, also shown in messages.
        is_video: ``False`` for still images: the template(s) and the search region then come from one image.
    """

    name: str
    is_video: bool = True

    @abstractmethod
    def __len__(self) -> int:
        """Number of sequences."""

    @abstractmethod
    def sequence_info(self, sequence: int) -> SequenceInfo:
        """Annotations of one sequence.

        Raises:
            DataError: if they are missing or malformed.
        """

    @abstractmethod
    def frames(self, sequence: int, frame_ids: Sequence[int]) -> list[np.ndarray]:
        """Frames of one sequence, each (H, W, 3) uint8 RGB.

        A frame that is asked for twice may be the same array twice; callers do not write to it.

        Raises:
            DataError: if a frame is missing or damaged.
        """

    def lazy_frames(self, sequence: int, frame_ids: Sequence[int]) -> list[LazyImage]:
        """As ``frames``, but pixels are decoded when they are asked for; the same frame is the same object.

        Raises:
            DataError: if a frame is missing; a damaged one may show only when its size or pixels are asked for.
        """
        frames = dict(zip(frame_ids, self.frames(sequence, frame_ids), strict=True))
        images = {frame: DecodedImage(pixels) for frame, pixels in frames.items()}
        return [images[frame] for frame in frame_ids]

    def sequence_name(self, sequence: int) -> str:
        """Name of a sequence for messages."""
        return f"{self.name}/{sequence}"
