"""One LMDB file of a packed dataset: is it whole, is it what was packed, and opening it once in each process."""

import json
import os
import struct
import threading
from pathlib import Path
from weakref import WeakValueDictionary

import lmdb

from lib.utils.errors import DataError
from lib.utils.files import file_hash

DATABASE_FILE = "data.mdb"
UNFINISHED = ".packing"
"""Empty file that is in a database while it is being written."""
CONTENT = "content.json"
"""Length and SHA-256 of the database when it was packed, beside it; databases of other packers have none."""
ALWAYS_VERIFIED = 64 << 20
"""Databases up to this size in bytes are compared with their hash whenever they are opened, which takes 0.1 s."""
_META = struct.Struct("=16x2I16xI92x2Q")
"""Start of a meta page: magic number, version, size of a page, number of the last page, number of the transaction."""
_MAGIC = 0xBEEFC0DE


def check_length(path: Path) -> None:
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
    check_length(path)
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


def open_database(path: Path) -> lmdb.Environment:
    """Open a database for reading, or give the one that this process has open.

    Raises:
        DataError: if it cannot be opened, or is not what was packed.
    """
    global _open_databases
    if _open_databases.pid != os.getpid():  # forked: what we inherited counts as open until it is closed here
        for database in list(_open_databases.by_path.values()):
            database.close()
        _open_databases = _OpenDatabases()
    return _open_databases.open(path)
