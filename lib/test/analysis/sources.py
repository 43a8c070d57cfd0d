"""Where the boxes of a tracker come from: a result folder of ours, or results that others published."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import DataError


class Source(Protocol):
    """Box files of one tracker (one run of it) on one benchmark."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def file(self, sequence: Sequence) -> Path:
        """The box file of a sequence, whether it exists or not."""

    def how_to_make(self) -> str:
        """What to do about a missing file."""


@dataclass(frozen=True)
class OwnResults:
    """Results that tracking/test.py wrote, or that were put where it writes."""

    folder: ResultFolder

    @property
    def name(self) -> str:
        """Tracker and configuration."""
        return f"{self.folder.tracker} {self.folder.config}"

    def file(self, sequence: Sequence) -> Path:
        """The box file of a sequence."""
        return self.folder.read_path(sequence.name)

    def how_to_make(self) -> str:
        """The command that makes them."""
        floats = " --float" if self.folder.floats else ""
        return f"track them with tracking/test.py {self.folder.tracker} {self.folder.config}{floats}"


@dataclass(frozen=True)
class RawResults:
    """Published box files in a folder of their own.

    Known layouts below ``root``, the first that holds the file counts: ``<dataset>/<sequence>.txt`` (as in the model
    zoo), ``<sequence>.txt``, and ``<sequence>/<sequence>_001.txt`` (the GOT-10k toolkit). Numbers may be separated by
    tabs, commas or spaces.

    Attributes:
        label: how tables call the tracker.
        root: the folder.
        datasets: names that the folder of the data set may have.
    """

    label: str
    root: Path
    datasets: tuple[str, ...]

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    def file(self, sequence: Sequence) -> Path:
        """The box file of a sequence; the most likely place if there is none."""
        name = sequence.name
        relative = (f"{name}.txt", f"{name}/{name}_001.txt")
        folders = [self.root / dataset for dataset in self.datasets if (self.root / dataset).is_dir()] + [self.root]
        candidates = [folder / file for folder in folders for file in relative]
        return next((path for path in candidates if path.is_file()), candidates[0])

    def how_to_make(self) -> str:
        """Where they should be."""
        return f"put them below {self.root}"


def parse_raw_results(texts: Iterable[str], datasets: Iterable[str]) -> list[RawResults]:
    """Turn ``label=folder`` or ``folder`` into sources.

    Raises:
        DataError: if there is no such folder.
    """
    sources = []
    for text in texts:
        label, separator, folder = text.partition("=")
        root = Path(folder if separator else text).expanduser()
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of results")
        sources.append(RawResults(label if separator else root.resolve().name, root, tuple(dict.fromkeys(datasets))))
    return sources


def missing_sequences(source: Source, sequences: SequenceList) -> list[str]:
    """Names of the sequences whose box file is missing or has fewer lines than the sequence has frames."""
    missing = []
    for sequence in sequences:
        try:
            text = source.file(sequence).read_bytes().rstrip()
        except OSError:
            text = b""
        if not text or text.count(b"\n") + 1 < len(sequence.frames):
            missing.append(sequence.name)
    return missing
