"""Where the boxes of a tracker come from: a result folder of ours, or results that others published."""

import argparse
import contextlib
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lib.config.paths import PROJECT_ROOT
from lib.data.sequence import Sequence, SequenceList
from lib.test.evaluation.manifest import read_manifest
from lib.test.evaluation.results import ResultFolder
from lib.utils.cli import user_path
from lib.utils.errors import DataError, InputError, printable

HASH_DIGITS = 12
"""Digits of a checkpoint's SHA-256 that a caption shows."""
UNKNOWN_WEIGHTS = "weights unknown"


class Source(Protocol):
    """Box files of one tracker (one run of it) on one benchmark."""

    @property
    def name(self) -> str:
        """What messages call it."""

    @property
    def weights(self) -> str:
        """Which checkpoint made the results, as far as that is known."""

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

    @property
    def weights(self) -> str:
        """File name and hash of the checkpoint, from the manifest beside the results."""
        manifest = read_manifest(self.folder)
        checkpoint, digest = manifest.get("checkpoint"), manifest.get("sha256")
        if not isinstance(checkpoint, str) or not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
            return UNKNOWN_WEIGHTS
        bundled = "bundled weights " * (PROJECT_ROOT / "data" / "demo" in Path(checkpoint).parents)
        return f"{bundled}{printable(Path(checkpoint).name, 60)} (SHA-256 {str(digest)[:HASH_DIGITS]})"

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
        datasets: names that the folder of the dataset may have.
    """

    label: str
    root: Path
    datasets: tuple[str, ...]

    @property
    def name(self) -> str:
        """The label."""
        return self.label

    @property
    def weights(self) -> str:
        """Published results do not say."""
        return UNKNOWN_WEIGHTS

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
    """Turn ``label=folder`` or ``folder`` into sources; a folder may itself have a ``=`` in its name.

    Raises:
        DataError: if there is no such folder.
    """
    sources = []
    for text in texts:
        label, separator, folder = text.partition("=")
        if not separator or _folder(text).is_dir():
            label, folder = "", text
        root = _folder(folder)
        if not folder or not root.is_dir():
            raise DataError(f"{printable(repr(text))}: no such folder of results")
        sources.append(RawResults(label or root.resolve().name, root, tuple(dict.fromkeys(datasets))))
    return sources


def _folder(text: str) -> Path:
    try:
        return user_path(text or ".")
    except argparse.ArgumentTypeError as error:
        raise InputError(str(error)) from error


def read_result(source: Source, sequence: Sequence) -> bytes | None:
    """Contents of the box file of a sequence; None if there is none.

    Raises:
        DataError: if it is there and cannot be read; that is never taken for a missing result.
    """
    path = source.file(sequence)
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot read the result: {error.strerror}") from error


def count_rows(content: bytes) -> int:
    """Lines of a box file without empty ones at its end."""
    return len(content.rstrip().splitlines())


def missing_sequences(source: Source, sequences: SequenceList) -> list[str]:
    """Names of the sequences whose box file is missing or has fewer lines than the sequence has frames.

    Raises:
        DataError: if a box file is there and cannot be read.
    """
    return [
        sequence.name
        for sequence in sequences
        if count_rows(read_result(source, sequence) or b"") < len(sequence.frames)
    ]


def near_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Words about files beside missing ones whose names differ from theirs in case, ``-`` and ``_`` only."""
    missing = [path for path in paths if not path.exists()]
    there: dict[tuple[Path, str], str] = {}
    for folder in {path.parent for path in missing}:
        with contextlib.suppress(OSError):
            there |= {(folder, _plain(file.stem)): file.name for file in sorted(folder.iterdir())}
    found = {path: there.get((path.parent, _plain(path.stem))) for path in missing}
    return {path: f" ({name} is there: if it is the same sequence, rename it)" for path, name in found.items() if name}


def warn_once(logger: logging.Logger, messages: list[str]) -> None:
    """Log the first of messages of one kind, and how many more there are."""
    if messages:
        more = f" ({len(messages) - 1} more like this)" if len(messages) > 1 else ""
        logger.warning("%s%s", messages[0], more)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()
