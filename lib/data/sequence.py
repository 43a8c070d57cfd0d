"""What a benchmark consists of: sequences of frames with a ground truth box for each, or for the first frame only."""

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from lib.config.paths import Paths
from lib.utils.errors import DataError, did_you_mean, printable
from lib.utils.files import require_plain_name
from lib.utils.image_io import read_image
from lib.utils.storage import Storage, find_storage, packed_path

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

    def same_as(self, other: "Sequence") -> bool:
        """Whether another sequence has the same name, frames and annotations, wherever their bytes are."""
        mine, others = vars(self), vars(other)
        return all(_equal(mine[name], others[name]) for name in mine if name != "storage")

    def read_frame(self, index: int) -> np.ndarray:
        """Decode a frame, (H, W, 3) uint8 RGB. Raises DataError naming the file."""
        name, first = self.frames[index], self.frames[0]
        return read_image(name, first) if self.storage is None else self.storage.read_image(str(name), str(first))


def _equal(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return type(one) is type(other) and one == other


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

    def require_all(self) -> "SequenceList":
        """Return the list itself. Raises DataError if a sequence could not be read, explaining the first."""
        total = len(self) + len(self.failures)
        for error in self.failures.values():
            counted = f"{len(self.failures)} of {total} sequences cannot be read (half a download?): "
            raise DataError(counted * (total > 1) + error)
        return self

    def same_as(self, other: "SequenceList") -> bool:
        """Whether another list holds the same sequences in the same order; see ``Sequence.same_as``."""
        return len(self) == len(other) and all(map(Sequence.same_as, self, other))

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


LONGEST = 200
"""Bytes of a name; file systems allow 255, and suffixes and temporary names need their part."""
TIME = "_time"


T = TypeVar("T", Sequence, Entry)


def check_distinct(items: Iterable[T]) -> dict[str, T]:
    """Sequences by name, if each has a result file of its own.

    Raises:
        DataError: if there is none, or two would share a file: equal names, names that differ in case or Unicode form
            only, and ``x`` beside ``x_time``, whose boxes belong where the times of ``x`` do. The message names them.
    """
    by_name: dict[str, T] = {}
    seen: dict[str, str] = {}
    for item in items:
        name = item.name
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            same = "are both called" if seen[key] == name else f"are called {printable(repr(seen[key]))} and"
            raise DataError(f"two sequences {same} {printable(repr(name))}: their results would be one file")
        seen[key], by_name[name] = name, item
    if not seen:
        raise DataError("there are no sequences")
    for key, name in seen.items():
        if other := seen.get(key + TIME):
            raise DataError(
                f"sequences {printable(repr(name))} and {printable(repr(other))}: the time file of the first is the "
                "box file of the second; rename one"
            )
    return by_name


def check_name(name: str) -> None:
    """Raise DataError if a sequence's name cannot be that of a file in the result folder."""
    require_plain_name(name, "sequence")
    if len(name.encode()) > LONGEST:
        raise DataError(f"sequence {printable(repr(name))} cannot name a result file: longer than {LONGEST} bytes")


def choose_names(names: list[str], wanted: Iterable[str]) -> list[str]:
    """Names that are asked for by name, or by position counted from 0; each once.

    Raises:
        DataError: if there is no such sequence.
    """
    known, chosen = set(names), {}
    for key in wanted:
        if key in known:
            chosen[key] = None
        elif key.isdecimal() and len(key) < 10 and int(key) < len(names):
            chosen[names[int(key)]] = None
        else:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise DataError(f"no sequence {printable(repr(key))} among {len(names)}{did_you_mean(key, names)}: {shown}")
    return list(chosen)


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is and how it is read.

    Attributes:
        name: by which it is chosen, and by which the update rule of the tracker is looked up.
        tag: name of its result folder, and of its conventions in scoring.
        entries: lists its sequences in an opened dataset without reading them.
        setting: its name among the path settings (``lib.config.paths.DATASET_DIRS``), if it has one.
        root: its folder, if it has no setting; None if it is rendered.
        render: makes the storage of its frames, if it is rendered.
        server: where results are scored if the ground truth is hidden, else None.
        sequences: how many there should be, if that is known.
        names: the official names, where the dataset lists its sequences itself.
        packed: whether it has to be in LMDB.
        origin: where ``root`` is from, for messages.
        has: whether an opened dataset holds this part of it, if its parts come apart.
        discover: whether results in its folder are taken for results on it, if several benchmarks share the tag.
    """

    name: str
    tag: str
    entries: Callable[[Storage], list[Entry]]
    setting: str | None = None
    root: Path | None = None
    server: str | None = None
    sequences: int | None = None
    names: Callable[[], Iterable[str]] | None = None
    packed: bool = False
    origin: str = "as given"
    render: Callable[[], Storage] | None = None
    has: Callable[[Storage], bool] = lambda storage: True
    discover: bool = True

    @property
    def split(self) -> str:
        """Which part of a dataset it is, if the parts have sequences of their own and share a result folder."""
        return self.name.removeprefix(f"{self.tag}_") if self.name.startswith(f"{self.tag}_") else ""

    def place(self, paths: Paths) -> tuple[Path | None, str]:
        """Folder of the dataset, and where that is set, for messages; None if it is rendered."""
        if self.setting is None:
            return self.root, self.origin
        return paths.dataset_dir(self.setting), paths.origin(self.setting)

    def is_present(self, paths: Paths) -> bool:
        """Whether there is something where it should be, packed or not, and this part of it."""
        folder, _ = self.place(paths)
        if folder is None or not is_there(folder):
            return folder is None
        try:
            return self.has(self.open(paths))
        except DataError:
            return True  # there is something, and it is unsound

    def open(self, paths: Paths) -> Storage:
        """Open the dataset. Raises DataError if it is missing."""
        folder, _ = self.place(paths)
        return self.render() if folder is None else find_storage(folder, packed=self.packed)

    def load(self, paths: Paths, wanted: Iterable[str] | None = None, *, strict: bool = False) -> SequenceList:
        """Read sequences; ``failures`` of the answer names those that cannot be read.

        Args:
            paths: path settings.
            wanted: names, or positions counted from 0, of the sequences to read; None for all. No other is looked at.
            strict: whether all have to be sound.

        Raises:
            DataError: if the dataset is missing, a wanted sequence is not part of it, or none can be read; the message
                names the file, and the setting that points there.
        """
        try:
            sequences = SequenceList.load(self.entries(self.open(paths)), wanted)
            return sequences.require_all() if strict or not sequences else sequences
        except DataError as error:
            folder, origin = self.place(paths)
            raise DataError(f"{self.name}: {error} ({folder} is {origin})") from error


def is_there(folder: Path) -> bool:
    """Whether a folder is there, or its packed form."""
    return os.path.isdir(folder) or os.path.isdir(packed_path(folder))
