"""A benchmark: where it is, which sequences it has and how they are read."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lib.config.paths import Paths
from lib.data.sequence import Entry, SequenceList
from lib.utils.errors import DataError
from lib.utils.storage import Storage, find_storage, packed_path


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
