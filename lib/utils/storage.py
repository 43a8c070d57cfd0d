"""Where the bytes of a dataset are. Datasets name files by their path relative to the root and know nothing else."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lmdb
import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import decode_text, require_folder
from lib.utils.image_io import decode_image
from lib.utils.lmdb_file import DATABASE_FILE, UNFINISHED, open_database, verify_content

PACKED_SUFFIX = "_lmdb"


def split_packed(name: str) -> tuple[str, bool]:
    """Name of a dataset without ``_lmdb`` behind it, and whether that was there: the packed form is insisted on."""
    plain = name.removesuffix(PACKED_SUFFIX)
    return plain, plain != name


def packed_path(root: Path) -> Path:
    """Folder of the packed form of a dataset, or of a part of one: beside the original."""
    return root.parent / f"{root.name}{PACKED_SUFFIX}"


class Storage(ABC):
    """Read access to the files of one dataset; every ``name`` is a ``/``-separated path relative to the root."""

    root: Path

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""

    @abstractmethod
    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Length of a file in bytes. Raises DataError naming it."""

    @abstractmethod
    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted; what a system or a tool left there (``is_clutter``) is not."""

    @abstractmethod
    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted and without clutter; ``suffixes`` in lower case with the dot."""

    @abstractmethod
    def fingerprint(self, names: Iterable[str]) -> str:
        """A text that changes with these files or folders, without reading them: from their sizes and times.

        Names of files that do not exist are allowed and count as such.
        """

    def read_text(self, name: str) -> str:
        """Contents of a UTF-8 text file. Raises DataError naming it."""
        return decode_text(self.read_bytes(name), str(self.root / name))

    def read_image(self, name: str, first: str | None = None) -> np.ndarray:
        """Decode a frame of the sequence that starts at ``first``, (H, W, 3) uint8 RGB. Raises DataError naming it."""
        start = None if first is None else (str(self.root / first), partial(self.read_bytes, first))
        return decode_image(self.read_bytes(name), str(self.root / name), first=start)


class DirectoryStorage(Storage):
    """A dataset as plain files below a folder.

    Raises:
        DataError: if ``root`` is not a folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        require_folder(self.root)

    def exists(self, name: str) -> bool:
        return os.path.isfile(self.root / name)  # unlike Path.is_file, whatever the system says

    def read_bytes(self, name: str) -> bytes:
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
        folder = self.root / name
        parents = [folder, *folder.parents][: len(Path(name).parts) + 1]  # up to the root
        return os.path.realpath(entry.path) in map(os.path.realpath, parents)

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        return [entry.name for entry in self._list(name) if has_suffix(entry.name, suffixes) and _is(entry.is_file)]

    def size(self, name: str) -> int:
        try:
            return (self.root / name).stat().st_size
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot read the file: {error.strerror}") from error

    def fingerprint(self, names: Iterable[str]) -> str:
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


class LmdbStorage(Storage):
    """A dataset packed into one database, or into one for each of its top folders.

    Databases are opened on first use and again in each process, so that the object can be pickled and forked.

    Args:
        root: folder that holds ``data.mdb``, or the folders ``<part>_lmdb`` with one each.

    Raises:
        DataError: if there is no database, or one whose packing was not finished.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        self._parts = _find_parts(self.root)
        self._pid = os.getpid()
        self._databases: dict[str, lmdb.Environment] = {}
        if not self._parts:
            raise DataError(f"{self.root}: no LMDB here (no {DATABASE_FILE})")
        for path in self._parts.values():
            if (path / UNFINISHED).exists():
                raise DataError(f"{path}: packing was not finished; run tracking/make_lmdb.py again, it goes on")

    def verify(self, limit: int | None = None) -> None:
        """Compare each database with what was packed; see ``verify_content``."""
        for path in self._parts.values():
            verify_content(path, limit)

    @staticmethod
    def is_at(root: Path | str) -> bool:
        """Whether a packed dataset is at ``root``."""
        return bool(_find_parts(Path(root)))

    def __getstate__(self) -> dict:
        """What other processes receive: no open databases."""
        return self.__dict__ | {"_databases": {}, "_pid": 0}

    def _locate(self, name: str) -> tuple[str, bytes] | None:
        """Part and key of a file, or None if no part holds it."""
        if "" in self._parts:
            return "", name.encode()
        part, _, rest = name.partition("/")
        return (part, rest.encode()) if part in self._parts else None

    @contextmanager
    def _reading(self, part: str) -> Iterator[lmdb.Transaction]:
        if self._pid != os.getpid():  # we are in a forked worker, whose inherited handles must not be used
            self._pid, self._databases = os.getpid(), {}
        if part not in self._databases:
            self._databases[part] = open_database(self._parts[part])
        try:
            with self._databases[part].begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise DataError(f"{self._parts[part]}: cannot read the LMDB: {error}") from error

    def exists(self, name: str) -> bool:
        place = self._locate(name)
        if place is None or not place[1]:
            return False
        with self._reading(place[0]) as transaction:
            return transaction.get(place[1]) is not None

    def _value(self, name: str, convert: Callable[[memoryview], bytes | int]) -> bytes | int:
        place = self._locate(name)
        if place is not None and place[1]:
            with self._reading(place[0]) as transaction:
                value = transaction.get(place[1])
                if value is not None:
                    return convert(value)
        raise DataError(f"{self.root / name}: no such file in the LMDB")

    def read_bytes(self, name: str) -> bytes:
        return self._value(name, bytes)

    def size(self, name: str) -> int:
        return self._value(name, len)

    def list_dirs(self, name: str = "") -> list[str]:
        return [child[:-1] for child in self._children(name) if child.endswith("/") and not is_clutter(child[:-1])]

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        files = [child for child in self._children(name) if not child.endswith("/") and not is_clutter(child)]
        return [file for file in files if has_suffix(file, suffixes)]

    def _children(self, name: str) -> list[str]:
        """What is in a folder, folders with a trailing slash; folders are jumped over, not walked through."""
        if not name and "" not in self._parts:
            return [f"{part}/" for part in sorted(self._parts)]
        place = self._locate(name)
        children: list[str] = []
        if place is not None:
            prefix = place[1] + b"/" if place[1] else b""
            with self._reading(place[0]) as transaction, transaction.cursor() as cursor:
                found = cursor.set_range(prefix) if prefix else cursor.first()
                while found and (key := bytes(cursor.key())).startswith(prefix):
                    child, slash, _ = key[len(prefix) :].partition(b"/")
                    children.append((child + slash).decode())
                    after = prefix + child + b"0"  # "0" follows "/" in ASCII: the first key behind the folder
                    found = cursor.set_range(after) if slash else cursor.next()
        if name and not children:
            raise DataError(f"{self.root / name}: no such folder in the LMDB")
        return sorted(children, key=lambda child: child.removesuffix("/"))

    def fingerprint(self, names: Iterable[str]) -> str:
        # All files share the size and time of their database.
        files = [(part, str(path / DATABASE_FILE)) for part, path in sorted(self._parts.items())]
        return stat_fingerprint([*files, *((name, "") for name in names)])


def _find_parts(root: Path) -> dict[str, Path]:
    """Databases of a packed dataset by the top folder they hold; one for everything has the name ``""``."""
    if os.path.isfile(root / DATABASE_FILE):
        return {"": root}
    if not os.path.isdir(root):
        return {}
    parts = {
        path.parent.name.removesuffix(PACKED_SUFFIX): path.parent for path in root.glob(f"*{PACKED_SUFFIX}/data.mdb")
    }
    return dict(sorted(parts.items()))


def open_storage(root: Path | str) -> Storage:
    """Open the dataset at ``root``: a folder of files, or what ``tracking/make_lmdb.py`` made of one.

    Raises:
        DataError: if ``root`` is not a folder, or its packing was not finished.
    """
    return LmdbStorage(root) if LmdbStorage.is_at(root) else DirectoryStorage(root)


def find_storage(root: Path | str, *, packed: bool = False) -> Storage:
    """Open a dataset that is at ``root``, or packed beside it at ``<root>_lmdb``.

    Args:
        root: folder of the dataset.
        packed: insist on the packed form; otherwise what is at ``root`` comes first.

    Raises:
        DataError: if there is nothing at either place.
    """
    root = Path(root)
    beside = packed_path(root)
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
