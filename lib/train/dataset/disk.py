"""What all datasets on disk share: annotations in an index, frames in a storage, and checks of what is there."""

import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from lib.train.dataset.base import SequenceInfo, TrainingDataset
from lib.train.dataset.index import IndexKey, SequenceRecord, open_index
from lib.utils.box_text import parse_boxes, parse_integers
from lib.utils.errors import DataError
from lib.utils.files import read_names, read_text
from lib.utils.lazy_image import EncodedImage, LazyImage
from lib.utils.storage import Storage, what_lies_near

logger = logging.getLogger(__name__)


class DiskDataset(TrainingDataset):
    """Sequences whose annotations stand in an index and whose frames are in a storage.

    Args:
        storage: the dataset.
        name: as in the configuration.
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
        """Number of sequences."""
        return len(self.index)

    def sequence_info(self, sequence: int) -> SequenceInfo:
        """Annotations of one sequence."""
        return self.index.info(sequence)

    def frames(self, sequence: int, frame_ids: Sequence[int]) -> list[np.ndarray]:
        """Frames of one sequence, each (H, W, 3) uint8 RGB.

        Raises:
            DataError: if a frame is missing or damaged.
        """
        return [image.pixels() for image in self.lazy_frames(sequence, frame_ids)]

    def lazy_frames(self, sequence: int, frame_ids: Sequence[int]) -> list[LazyImage]:
        """The files of frames, read but not decoded; a file that is asked for twice is the same object.

        Raises:
            DataError: if a file is missing.
        """
        paths = [self.frame_path(sequence, frame) for frame in frame_ids]
        root, read = self.storage.root, self.storage.read_bytes
        begin = self.frame_path(sequence, 0)
        first = os.path.join(root, begin), partial(read, begin)
        images = {path: EncodedImage(read(path), os.path.join(root, path), first) for path in dict.fromkeys(paths)}
        return [images[path] for path in paths]

    def sequence_name(self, sequence: int) -> str:
        """Name of a sequence for messages."""
        return f"{self.name}/{self.index.name(sequence)}"


def require_files(storage: Storage, names: Sequence[str], what: str) -> None:
    """Check that files are there.

    Args:
        storage: the dataset.
        names: paths that have to exist.
        what: what they are, for the message.

    Raises:
        DataError: if not; one line says how many are missing, what was expected and what is there instead.
    """
    missing = [name for name in names if not storage.exists(name)]
    if missing:
        raise DataError(
            f"{storage.root}: {len(missing)} of {len(names)} {what} are missing (half a download, or another layout?): "
            f"expected {missing[0]}, found {what_lies_near(storage, missing[0])}"
        )


def read_boxes(storage: Storage, name: str) -> np.ndarray:
    """Boxes of a sequence, (F, 4) float32 xywh, one line each.

    Raises:
        DataError: if the file is missing, malformed or empty.
    """
    boxes = parse_boxes(storage.read_text(name), str(storage.root / name)).astype(np.float32)
    if len(boxes) == 0:
        raise DataError(f"{storage.root / name}: the sequence is empty, expected at least one box")
    return boxes


def read_labels(storage: Storage, name: str, count: int) -> np.ndarray:
    """Integer labels of the frames of a sequence, (F,) int64.

    Raises:
        DataError: if the file is missing or malformed, or does not hold ``count`` labels.
    """
    labels = parse_integers(storage.read_text(name), str(storage.root / name))
    if len(labels) != count:
        raise DataError(f"{storage.root / name}: {len(labels)} labels, but the sequence has {count} boxes")
    return labels


def has_area(boxes_xywh: np.ndarray) -> np.ndarray:
    """Whether boxes have a positive width and height, (F, 4) -> (F,) bool; False for NaN."""
    return (boxes_xywh[:, 2:] > 0).all(axis=1)


def read_split(path: Path) -> Iterator[tuple[int, str]]:
    """Entries of a split file, one per line, with their line numbers; empty lines are left out.

    Raises:
        DataError: if the file cannot be read or has no entries.
    """
    entries = read_names(read_text(path), str(path))
    if not entries:
        raise DataError(f"{path}: the split file is empty")
    yield from entries
