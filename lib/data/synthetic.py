"""Training on rendered videos: no download, no disk."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib.synthetic import SyntheticSequence
from lib.data.base import SequenceInfo, TrainingDataset

MIN_VISIBLE_FRACTION = 0.25
"""Part of the target that has to be in sight for its frame to be drawn."""


class Synthetic(TrainingDataset):
    """Rendered sequences ``0 .. num_sequences - 1`` of a split.

    Args:
        num_sequences: how many worlds there are.
        num_frames: frames per sequence.
        size: (width, height) of a frame in pixels.
        difficulty: preset of the renderer.
        split: worlds of different splits never coincide.
        backgrounds: folder of photos, or ``None`` for procedural textures.
        cutouts: folder of RGBA cut-outs, or ``None`` for procedural shapes.
        cache_sequences: worlds (not frames) kept ready in memory per process; one takes about 1.4 MB at 320 x 240 and
            saves most of the cost of a sample.
        name: as in the configuration.
    """

    def __init__(
        self,
        *,
        num_sequences: int,
        num_frames: int,
        size: tuple[int, int],
        difficulty: str = "mixed",
        split: str = "train",
        backgrounds: Path | None = None,
        cutouts: Path | None = None,
        cache_sequences: int = 256,
        name: str = "SYNTHETIC",
    ) -> None:
        self.name = name
        self.num_sequences = num_sequences
        self.cache_sequences = cache_sequences
        self._arguments = {
            "num_frames": num_frames,
            "size": size,
            "difficulty": difficulty,
            "split": split,
            "backgrounds": backgrounds,
            "cutouts": cutouts,
        }
        self._cache: OrderedDict[int, tuple[SyntheticSequence, SequenceInfo]] = OrderedDict()

    def __len__(self) -> int:
        """Number of sequences."""
        return self.num_sequences

    def __getstate__(self) -> dict:
        """What workers receive: everything but the worlds built so far."""
        return self.__dict__ | {"_cache": OrderedDict()}

    def _world(self, sequence: int) -> tuple[SyntheticSequence, SequenceInfo]:
        if sequence not in self._cache:
            world = SyntheticSequence(sequence, **self._arguments)
            boxes = np.asarray(world.boxes_xywh, dtype=np.float32)
            valid = (boxes[:, 2:] > 0).all(axis=1)
            visible = valid & (np.asarray(world.visible_fraction) >= MIN_VISIBLE_FRACTION)
            self._cache[sequence] = world, SequenceInfo(boxes, valid, visible)
            while len(self._cache) > max(self.cache_sequences, 1):
                self._cache.popitem(last=False)
        self._cache.move_to_end(sequence)
        return self._cache[sequence]

    def sequence_info(self, sequence: int) -> SequenceInfo:
        """Annotations of one sequence."""
        return self._world(sequence)[1]

    def frames(self, sequence: int, frame_ids: Sequence[int]) -> list[np.ndarray]:
        """Render frames, each (H, W, 3) uint8 RGB."""
        world = self._world(sequence)[0]
        rendered = {frame: world.frame(frame) for frame in dict.fromkeys(frame_ids)}
        return [rendered[frame] for frame in frame_ids]
