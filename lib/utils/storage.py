"""Where the bytes of a dataset are. Datasets name files by their path relative to the root and know nothing else."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import decode_text, require_folder
from lib.utils.image_io import decode_image


class Storage(Protocol):
    """Read access to the files of one dataset; every ``name`` is a ``/``-separated path relative to the root."""

    root: Path

    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""

    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""

    def read_text(self, name: str) -> str:
        """Contents of a UTF-8 text file. Raises DataError naming it."""

    def read_image(self, name: str, first: str | None = None) -> np.ndarray:
        """Decode a frame of the sequence that starts at ``first``, (H, W, 3) uint8 RGB. Raises DataError naming it."""

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted; what a system or a tool left there (``is_clutter``) is not."""

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted and without clutter; ``suffixes`` in lower case with the dot."""

    def size(self, name: str) -> int:
        """Length of a file in bytes. Raises DataError naming it."""

    def fingerprint(self, names: Iterable[str]) -> str:
        """A text that changes with these files or folders, without reading them: from their sizes and times.

        Names of files that do not exist are allowed and count as such.
        """


class FileReading(ABC):
    """What every storage does with the bytes of a file."""

    root: Path

    @abstractmethod
    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""

    def read_text(self, name: str) -> str:
        """Contents of a UTF-8 text file. Raises DataError naming it."""
        return decode_text(self.read_bytes(name), str(self.root / name))

    def read_image(self, name: str, first: str | None = None) -> np.ndarray:
        """Decode a frame of the sequence that starts at ``first``, (H, W, 3) uint8 RGB. Raises DataError naming it."""
        start = None if first is None else (str(self.root / first), partial(self.read_bytes, first))
        return decode_image(self.read_bytes(name), str(self.root / name), first=start)


class DirectoryStorage(FileReading):
    """A dataset as plain files below a folder.

    Raises:
        DataError: if ``root`` is not a folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        require_folder(self.root)

    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""
        return os.path.isfile(self.root / name)  # unlike Path.is_file, whatever the system says

    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""
        try:
            with open(os.path.join(self.root, name), "rb", buffering=0) as file:  # half the time of Path.read_bytes
                return file.read()
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot read the file: {error.strerror}") from error

    def _list(self, name: str) -> list[os.DirEntry]:
        try:
            with os.scandir(self.root / name) as entries:
                return sorted((entry for entry in entries if not is_clutter(entry.name)), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot list the folder: {error.strerror}") from error

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted; links that lead back to a folder above are left out."""
        return [entry.name for entry in self._list(name) if _is(entry.is_dir) and not self._leads_back(name, entry)]

    def _leads_back(self, name: str, entry: os.DirEntry) -> bool:
        if not entry.is_symlink():
            return False
        parents = (self.root, *(self.root / part for part in _prefixes(name)))
        return os.path.realpath(entry.path) in map(os.path.realpath, parents)

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted; ``suffixes`` in lower case with the dot."""
        return [entry.name for entry in self._list(name) if has_suffix(entry.name, suffixes) and _is(entry.is_file)]

    def size(self, name: str) -> int:
        """Length of a file in bytes. Raises DataError naming it."""
        try:
            return (self.root / name).stat().st_size
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot read the file: {error.strerror}") from error

    def fingerprint(self, names: Iterable[str]) -> str:
        """A text that changes with these files or folders, without reading them: from their sizes and times."""
        return stat_fingerprint((name, os.path.join(self.root, name)) for name in names)


_CLUTTER = frozenset(
    ("__macosx", "@eadir", "thumbs.db", "desktop.ini", "$recycle.bin", "lost+found", "system volume information")
)


def is_clutter(name: str) -> bool:
    """Whether a file or folder is hidden (``.ipynb_checkpoints``, ``._a.jpg``) or what a system leaves (``@eaDir``)."""
    return name.startswith(".") or name.lower() in _CLUTTER


def _is(ask: Callable[[], bool]) -> bool:
    try:
        return ask()
    except OSError:  # a link to itself
        return False


def _prefixes(name: str) -> list[str]:
    """``a/b/c`` as ``a``, ``a/b`` and ``a/b/c``."""
    parts = name.split("/") if name else []
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def has_suffix(name: str, suffixes: Collection[str] | None) -> bool:
    """Whether a file name ends in one of ``suffixes`` (lower case, with the dot) in any case; None allows all."""
    return suffixes is None or os.path.splitext(name)[1].lower() in suffixes


def stat_fingerprint(files: Iterable[tuple[str, str]]) -> str:
    """Hash of names, sizes and modification times.

    Args:
        files: pairs of the name that counts and the path that is looked at.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, path in files:
        try:
            status = os.stat(path)
            stamp = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0"
        except OSError:
            stamp = f"{name}\0missing\0"
        digest.update(stamp.encode(errors="surrogateescape"))
    return digest.hexdigest()


def walk_files(storage: Storage, folder: str = "") -> Iterator[str]:
    """Names of all files below a folder, relative to the root; hidden files are left out."""
    prefix = f"{folder}/" if folder else ""
    for file in storage.list_files(folder):
        yield prefix + file
    for child in storage.list_dirs(folder):
        yield from walk_files(storage, prefix + child)


def what_lies_near(storage: Storage, name: str) -> str:
    """What is in the nearest folder that exists on the way to ``name``, for messages."""
    folder = name.rpartition("/")[0]
    while True:
        try:
            entries = [f"{child}/" for child in storage.list_dirs(folder)] + storage.list_files(folder)
        except DataError:
            if folder:
                folder = folder.rpartition("/")[0]
                continue
            entries = []
        place = f"{folder}/" if folder else "the root"
        if not entries:
            return f"nothing in {place}"
        return f"in {place}: {', '.join(entries[:5])}{', ...' if len(entries) > 5 else ''}"


def open_storage(root: Path | str) -> Storage:
    """Open the dataset at ``root``: a folder of files, or what ``tracking/make_lmdb.py`` made of one.

    Raises:
        DataError: if ``root`` is not a folder, or its packing was not finished.
    """
    from lib.utils.storage_lmdb import LmdbStorage  # it builds on this module

    return LmdbStorage(root) if LmdbStorage.is_at(root) else DirectoryStorage(root)


def find_storage(root: Path | str, *, packed: bool = False) -> Storage:
    """Open a dataset that is at ``root``, or packed beside it at ``<root>_lmdb``.

    Args:
        root: folder of the dataset.
        packed: insist on the packed form; otherwise what is at ``root`` comes first.

    Raises:
        DataError: if there is nothing at either place.
    """
    from lib.utils.storage_lmdb import PART_SUFFIX, LmdbStorage

    root = Path(root)
    beside = root.parent / f"{root.name}{PART_SUFFIX}"
    if packed:
        return LmdbStorage(beside if LmdbStorage.is_at(beside) else root)
    try:
        if os.listdir(root):
            return open_storage(root)
        reason = "the data folder is empty"
    except FileNotFoundError:
        reason = f"no such data folder, and no packed one at {beside}"
    except (OSError, ValueError) as error:
        reason = f"cannot open the data folder: {getattr(error, 'strerror', None) or error}"
    if LmdbStorage.is_at(beside):
        return open_storage(beside)
    raise DataError(f"{root}: {reason}")
