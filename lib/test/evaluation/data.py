"""What a benchmark consists of: sequences of frames with a ground truth box for each, or for the first frame only."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from lib.test.evaluation.names import check_distinct, check_name, choose_names
from lib.utils.box_text import parse_boxes
from lib.utils.errors import DataError
from lib.utils.image_io import read_image
from lib.utils.storage import Storage

MAX_COORDINATE = 1e6
"""Pixels; no image that can be decoded is as large."""


@dataclass(frozen=True, eq=False)
class Sequence:
    """One video with its ground truth; F frames.

    Attributes:
        name: unique in its dataset; names the result file.
        frames: F image files, as ``storage`` names them, or paths if there is no storage.
        dataset: tag of the dataset, which names the result folder (``got10k`` for its val and its test split).
        ground_truth_rect: (F, 4) float64 x, y, w, h in pixels, or (1, 4) where only the first box is public.
        target_visible: (F,) bool, or None where the dataset does not say.
        object_class: kind of target, if known.
        storage: where the frames are.
        attributes: challenges of the sequence as its dataset names them, such as ``Fast Motion``; None where it does
            not say.
        resolution: width and height of the frames in pixels, if an annotation says so (protocol ``got10k`` uses it).
        target_present: (F,) bool, frames that the protocol ``got10k`` counts (``cover.label`` above 0), if known. Apart
            from ``target_visible``, which other protocols score by and the published numbers of GOT-10k do not.

    Raises:
        DataError: if there is no frame, or the number of boxes is neither that of the frames nor 1.
    """

    name: str
    frames: list[str]
    dataset: str
    ground_truth_rect: np.ndarray
    target_visible: np.ndarray | None = None
    object_class: str | None = None
    storage: Storage | None = field(default=None, repr=False)
    attributes: tuple[str, ...] | None = None
    resolution: tuple[int, int] | None = None
    target_present: np.ndarray | None = None

    def __post_init__(self) -> None:
        ground_truth = np.asarray(self.ground_truth_rect, dtype=np.float64).reshape(-1, 4)
        object.__setattr__(self, "ground_truth_rect", ground_truth)
        if not self.frames:
            raise DataError(f"sequence {self.name}: it has no frames")
        if len(ground_truth) not in (1, len(self.frames)):
            raise DataError(
                f"sequence {self.name}: {len(ground_truth)} ground truth boxes for {len(self.frames)} frames"
            )
        for flags in (self.target_visible, self.target_present):
            if flags is not None and len(flags) != len(ground_truth):
                raise DataError(f"sequence {self.name}: {len(flags)} visibility flags, {len(ground_truth)} boxes")

    @property
    def init_box_xywh(self) -> list[float]:
        """The box given to the tracker in the first frame.

        Raises:
            DataError: if it holds NaN, has no area, or is larger than any image.
        """
        box = [float(value) for value in self.ground_truth_rect[0]]
        if not (box[2] > 0 and box[3] > 0 and max(map(abs, box)) < MAX_COORDINATE):
            raise DataError(f"sequence {self.name}: the first box, which starts the tracker, makes no sense: {box}")
        return box

    @property
    def has_ground_truth(self) -> bool:
        """Whether every frame has a ground truth box; if not, only the benchmark's server can score results."""
        return len(self.ground_truth_rect) == len(self.frames)

    def read_frame(self, index: int) -> np.ndarray:
        """Decode a frame, (H, W, 3) uint8 RGB. Raises DataError naming the file."""
        name, first = self.frames[index], self.frames[0]
        return read_image(name, first) if self.storage is None else self.storage.read_image(str(name), str(first))


@dataclass(frozen=True)
class Entry:
    """A sequence that should be there and has not been read yet.

    Attributes:
        name: name of the sequence.
        load: reads its annotation and lists its frames; raises DataError if something is missing or malformed.
    """

    name: str
    load: Callable[[], Sequence]


class SequenceList(list[Sequence]):
    """Sequences of one or more datasets.

    Attributes:
        failures: why a sequence that belongs here could not be read, in one line, by its name.
        listed: names of all sequences of the dataset, whether they were to be read or not.
    """

    def __init__(
        self, sequences: Iterable[Sequence] = (), failures: Mapping[str, str] | None = None, listed: Iterable[str] = ()
    ) -> None:
        super().__init__(sequences)
        self.failures = dict(failures or {})
        self.listed = tuple(listed)

    @classmethod
    def load(cls, entries: list[Entry], wanted: Iterable[str] | None = None) -> "SequenceList":
        """Read the sequences of a dataset; those that cannot be read are in ``failures``.

        Args:
            entries: all sequences of the dataset.
            wanted: names, or positions counted from 0, of those to read; None for all.

        Raises:
            DataError: if there is none, there is no such sequence, or two would share a result file.
        """
        by_name = check_distinct(entries)
        sequences = cls(listed=by_name)
        for name in by_name if wanted is None else choose_names(list(by_name), wanted):
            try:
                check_name(name)
                sequences.append(by_name[name].load())
            except DataError as error:
                sequences.failures[name] = str(error)
        return sequences

    @classmethod
    def from_entries(cls, entries: list[Entry]) -> "SequenceList":
        """Read all sequences of a dataset.

        Raises:
            DataError: if one cannot be read, or two have one name; the message counts them and explains the first.
        """
        return cls.load(entries).require_all()

    def require_all(self) -> "SequenceList":
        """Return the list itself. Raises DataError if a sequence could not be read, explaining the first."""
        total = len(self) + len(self.failures)
        for error in self.failures.values():
            counted = f"{len(self.failures)} of {total} sequences cannot be read (half a download?): "
            raise DataError(counted * (total > 1) + error)
        return self

    @property
    def names(self) -> list[str]:
        """Names in order."""
        return [sequence.name for sequence in self]

    @property
    def num_frames(self) -> int:
        """Frames of all sequences together."""
        return sum(len(sequence.frames) for sequence in self)

    def select(self, wanted: Iterable[str]) -> "SequenceList":
        """Sequences by name, or by position counted from 0.

        Raises:
            DataError: if there is no such sequence.
        """
        by_name = {sequence.name: sequence for sequence in self}
        return SequenceList(by_name[name] for name in choose_names(self.names, wanted))


def read_ground_truth(
    storage: Storage, name: str, frames: int | None = None, *, hidden: bool = False, allow_nan: bool = False
) -> np.ndarray:
    """Read and check the annotation file of a sequence.

    Args:
        storage: the dataset.
        name: the annotation file.
        frames: number of frames of the sequence; None if this file decides it.
        hidden: whether the file may hold the first box only.
        allow_nan: whether the dataset marks absent targets with NaN.

    Returns:
        (frames, 4) float64 xywh, or (1, 4) where only the first box is public.

    Raises:
        DataError: if the file is missing or malformed, or its length does not fit the frames.
    """
    path = storage.root / name
    boxes = parse_boxes(storage.read_text(name), str(path), allow_nan=allow_nan)
    if frames is None and len(boxes) == 0:
        raise DataError(f"{path}: the file is empty")
    if frames is not None and len(boxes) != frames and not (hidden and len(boxes) == 1):
        raise DataError(f"{path}: {len(boxes)} boxes for {frames} frames")
    return boxes
