"""What the sampler asks of a training dataset."""

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from easydict import EasyDict

from lib.config.paths import Paths, annotation_cache_dir
from lib.data.index import IndexKey, SequenceInfo, SequenceRecord, open_index
from lib.utils.errors import ConfigError, DataError
from lib.utils.files import expand_home
from lib.utils.image_io import DecodedImage, EncodedImage, LazyImage
from lib.utils.storage import Storage, find_storage, split_packed


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


logger = logging.getLogger(__name__)


class DiskDataset(TrainingDataset):
    """Sequences whose annotations stand in an index and whose frames are in a storage.

    Args:
        storage: the dataset.
        name: as in the configuration (all datasets take it, and ``cache_dir``).
        options: class and options of the dataset, as far as they decide what is parsed.
        sources: annotation files (or folders); when one changes, they are parsed again.
        parse: reads the annotations.
        cache_dir: where the index is kept; None parses at each start and keeps it in memory.

    Raises:
        DataError: if files are missing or malformed, or no frame of any sequence shows a target.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        name: str,
        options: str,
        sources: Iterable[str],
        parse: Callable[[], Iterable[SequenceRecord]],
        cache_dir: Path | None,
    ) -> None:
        self.storage = storage
        self.name = name
        key = IndexKey(options, str(storage.root.resolve()), storage.fingerprint(sources))
        self.index = open_index(cache_dir, key, parse)
        if len(self.index) == 0:
            raise DataError(f"{storage.root}: no sequences found for {name}")
        if self.is_video:
            self._check_visibility()

    def _check_visibility(self) -> None:
        unseen = self.index.unseen()
        if len(unseen) == len(self.index):
            raise DataError(f"{self.storage.root}: the target is visible in no frame of any sequence of {self.name}")
        if len(unseen):
            logger.warning(
                "%s: %d of %d sequences show their target in no frame and are never drawn, such as %s",
                self.name, len(unseen), len(self.index), self.index.name(int(unseen[0])),
            )  # fmt: skip

    @abstractmethod
    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the dataset."""

    def __len__(self) -> int:
        return len(self.index)

    def sequence_info(self, sequence: int) -> SequenceInfo:
        return self.index.info(sequence)

    def frames(self, sequence: int, frame_ids: Sequence[int]) -> list[np.ndarray]:
        return [image.pixels() for image in self.lazy_frames(sequence, frame_ids)]

    def lazy_frames(self, sequence: int, frame_ids: Sequence[int]) -> list[LazyImage]:
        paths = [self.frame_path(sequence, frame) for frame in frame_ids]
        root, read = self.storage.root, self.storage.read_bytes
        begin = self.frame_path(sequence, 0)
        first = os.path.join(root, begin), partial(read, begin)
        images = {path: EncodedImage(read(path), os.path.join(root, path), first) for path in dict.fromkeys(paths)}
        return [images[path] for path in paths]

    def same_as(self, other: "DiskDataset") -> bool:
        """Whether another dataset has the same annotations, bit for bit."""
        return self.index.same_as(other.index)

    def sequence_name(self, sequence: int) -> str:
        return f"{self.name}/{self.index.name(sequence)}"


@dataclass(frozen=True)
class DiskOpener:
    """How a dataset on disk is opened from its name in the configuration.

    Attributes:
        setting: its name among the path settings; empty if its folder follows the colon of the name.
        open: makes the dataset from its storage, what follows the colon, ``cache_dir`` and ``name``.
        argument: what may follow a colon in the name, for messages; empty if nothing may.
        is_path: the argument is a path, relative to ``data_dir``.
    """

    setting: str
    open: Callable[..., DiskDataset]
    argument: str = ""
    is_path: bool = False

    def __call__(self, name: str, cfg: EasyDict, paths: Paths) -> DiskDataset:
        """Open the dataset.

        Raises:
            ConfigError: if what follows the colon is missing or not expected.
            DataError: if files are missing or malformed; the message names the setting that points to them.
        """
        base, colon, given = name.partition(":")
        if colon and not self.argument:
            raise ConfigError(f"training dataset {name!r}: {base} takes nothing after a colon")
        if not given and (colon or not self.setting):
            raise ConfigError(f"training dataset {name!r}: expected {self.argument} after the colon, {base}:...")
        if given and self.is_path:
            given = str(paths.data_dir / expand_home(given))
        root = paths.dataset_dir(self.setting) if self.setting else Path(given)
        try:
            storage = find_storage(root, packed=split_packed(base)[1])
            return self.open(storage, given, cache_dir=annotation_cache_dir(paths.save_dir), name=name)
        except DataError as error:
            origin = f" ({root} is {paths.origin(self.setting)})" if self.setting else ""
            raise DataError(f"{name}: {error}{origin}") from error
