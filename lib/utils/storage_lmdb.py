"""Datasets packed into LMDB: one file to copy and to keep in the page cache instead of millions.

The key of a file is its path relative to the root of the dataset and the value is the file as it is, as the family of
STARK packs them. TrackingNet is packed part by part: ``TRAIN_3/anno/a.txt`` has the key ``anno/a.txt`` in the database
``TRAIN_3_lmdb``.
"""

import json
import os
import struct
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb

from lib.utils.errors import DataError
from lib.utils.files import file_hash, write_text_atomic
from lib.utils.lock import folder_lock
from lib.utils.storage import (
    PACKED_SUFFIX,
    FileReading,
    Storage,
    has_suffix,
    is_clutter,
    stat_fingerprint,
)

DATABASE_FILE = "data.mdb"
UNFINISHED = ".packing"
"""Empty file that is in a database while it is being written."""
CONTENT = "content.json"
"""Length and SHA-256 of the database when it was packed, beside it; databases of other packers have none."""
ALWAYS_VERIFIED = 64 << 20
"""Databases up to this size in bytes are compared with their hash whenever they are opened, which takes 0.1 s."""
BATCH_BYTES = 32 << 20
BATCH_FILES = 2000
FIRST_MAP_SIZE = 1 << 30


_META = struct.Struct("=16x2I16xI92x2Q")
"""Start of a meta page: magic number, version, size of a page, number of the last page, number of the transaction."""
_MAGIC = 0xBEEFC0DE


def _check_length(path: Path) -> None:
    """Refuse a database that is shorter than its last page: reading a mapped page behind the end kills the process."""
    file = path / DATABASE_FILE
    again = "pack it again with tracking/make_lmdb.py, or copy it again"
    try:
        with file.open("rb") as handle:
            length = os.fstat(handle.fileno()).st_size
            first = _META.unpack(handle.read(_META.size))
            handle.seek(first[2])
            metas = [first, _META.unpack(handle.read(_META.size))]
    except OSError as error:
        raise DataError(f"{file}: cannot open the LMDB: {error.strerror}") from error
    except struct.error as error:
        raise DataError(f"{file}: cut short or not an LMDB; {again}") from error
    if any(meta[0] != _MAGIC or meta[2] != first[2] for meta in metas):
        raise DataError(f"{file}: damaged or not an LMDB; {again}")
    _, _, page_size, last_page, _ = max(metas, key=lambda meta: meta[4])
    if length < (last_page + 1) * page_size:
        raise DataError(f"{file}: cut short ({length} bytes of {(last_page + 1) * page_size}); {again}")


def verify_content(path: Path, limit: int | None = None) -> None:
    """Refuse a database cut short, or other than what was packed, where that was recorded.

    A page that is missing or damaged can kill the process that maps it.

    Args:
        path: folder of the database.
        limit: in bytes; of a larger database only the length is compared. None: all of it is read.

    Raises:
        DataError: if it differs; the message says what to do.
    """
    _check_length(path)
    record, file = path / CONTENT, path / DATABASE_FILE
    if not record.exists():
        return
    try:
        expected = json.loads(record.read_text(encoding="utf-8"))
        length = file.stat().st_size
        same = length == expected["bytes"] and (
            (limit is not None and length > limit) or file_hash(file) == expected["sha256"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{record}: cannot be read: {type(error).__name__}; pack the dataset again") from error
    if not same:
        raise DataError(f"{file}: not what was packed; pack it again with tracking/make_lmdb.py, or copy it again")


class _OpenDatabases:
    """The databases that are open in one process.

    LMDB forbids to open a database twice in a process, and two splits of a dataset are in one database.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.by_path: WeakValueDictionary[str, lmdb.Environment] = WeakValueDictionary()

    def open(self, path: Path) -> lmdb.Environment:
        """Open a database or give the open one."""
        key = str(path.resolve())
        with self.lock:
            database = self.by_path.get(key)
            if database is None:
                verify_content(path, ALWAYS_VERIFIED)
                try:
                    # No lock file: data often is on read-only or network disks, and nothing writes while we read.
                    database = lmdb.open(key, readonly=True, lock=False, readahead=False, meminit=False)
                except (lmdb.Error, OSError) as error:
                    raise DataError(f"{path}: cannot open the LMDB: {error}") from error
                self.by_path[key] = database
            return database


_open_databases = _OpenDatabases()


def _databases_of_this_process() -> _OpenDatabases:
    global _open_databases
    if _open_databases.pid != os.getpid():  # forked: what we inherited counts as open until it is closed here
        for database in list(_open_databases.by_path.values()):
            database.close()
        _open_databases = _OpenDatabases()
    return _open_databases


class LmdbStorage(FileReading):
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
            self._databases[part] = _databases_of_this_process().open(self._parts[part])
        try:
            with self._databases[part].begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise DataError(f"{self._parts[part]}: cannot read the LMDB: {error}") from error

    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""
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
        """Contents of a file. Raises DataError naming it."""
        return self._value(name, bytes)

    def size(self, name: str) -> int:
        """Length of a file in bytes. Raises DataError naming it."""
        return self._value(name, len)

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted."""
        return [child[:-1] for child in self._children(name) if child.endswith("/") and not is_clutter(child[:-1])]

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted; ``suffixes`` in lower case with the dot."""
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
        """A text that changes with the databases (all files share theirs) or with ``names``."""
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


@dataclass(frozen=True)
class PackingReport:
    """What ``pack`` did: files written now, and files that an earlier run had written."""

    written: int
    kept: int


def pack(
    source: Storage,
    names: Sequence[str],
    target: Path,
    *,
    strip: str = "",
    extra: Mapping[str, bytes] | None = None,
    progress: Callable[[int], object] = lambda count: None,
) -> PackingReport:
    """Write files into a database; what is there already, with the right length, is kept.

    Each batch is read back and compared before the next one is written. A run that is cut off leaves a valid database
    that is marked as unfinished; running again goes on.

    Args:
        source: where the files are.
        names: files, relative to the root of ``source``.
        target: folder of the database.
        strip: start of the names that the keys leave out, such as ``TRAIN_3/``.
        extra: contents of files that ``source`` does not have, by name.
        progress: called with the number of files done since the last call.

    Raises:
        DataError: if a file cannot be read, the disk is full, what was read back differs, or the database is damaged.
        FolderInUseError: if another process packs into ``target``.
    """
    files = {name: None for name in names} | dict(extra or {})
    written = 0
    existing = target / DATABASE_FILE
    try:
        with folder_lock(target, "packing"):
            if existing.exists():
                _check_length(target)
            (target / UNFINISHED).touch()
            (target / CONTENT).unlink(missing_ok=True)
            map_size = max(FIRST_MAP_SIZE, 2 * existing.stat().st_size if existing.exists() else 0)
            with lmdb.open(str(target), map_size=map_size, readahead=False, meminit=False) as database:
                for batch in _batches(source, files, strip, database, progress):
                    _write(database, batch)
                    _compare(database, batch, target)
                    written += len(batch)
                    progress(len(batch))
                database.sync(True)
            content = {"bytes": existing.stat().st_size, "sha256": file_hash(existing)}
            write_text_atomic(target / CONTENT, json.dumps(content) + "\n")
            (target / UNFINISHED).unlink()
    except (lmdb.Error, OSError) as error:
        raise DataError(f"{target}: cannot write the LMDB: {error}") from error
    return PackingReport(written, kept=len(files) - written)


def _batches(
    source: Storage,
    files: Mapping[str, bytes | None],
    strip: str,
    database: lmdb.Environment,
    progress: Callable[[int], object],
) -> Iterator[list[tuple[bytes, bytes]]]:
    batch: list[tuple[bytes, bytes]] = []
    size = 0
    for name, content in files.items():
        key = name.removeprefix(strip).encode()
        if len(key) > database.max_key_size():
            raise DataError(f"{source.root / name}: the path is too long for an LMDB key")
        with database.begin(buffers=True) as transaction:
            value = transaction.get(key)
            done = value is not None and len(value) == (source.size(name) if content is None else len(content))
        if done:
            progress(1)
            continue
        batch.append((key, source.read_bytes(name) if content is None else content))
        size += len(batch[-1][1])
        if size >= BATCH_BYTES or len(batch) >= BATCH_FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _write(database: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
    while True:
        try:
            with database.begin(write=True) as transaction:
                for key, value in batch:
                    transaction.put(key, value)
            return
        except lmdb.MapFullError:
            database.set_mapsize(2 * database.info()["map_size"])


def _compare(database: lmdb.Environment, batch: list[tuple[bytes, bytes]], target: Path) -> None:
    with database.begin(buffers=True) as transaction:
        for key, value in batch:
            if transaction.get(key) != value:
                raise DataError(f"{target}: {key.decode()}: what was read back differs from what was written")
