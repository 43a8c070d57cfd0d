"""A database that was copied in part is refused before a page behind its end is read."""

import lmdb
import pytest

from lib.utils.errors import DataError
from lib.utils.lock import FolderInUseError, folder_lock
from lib.utils.storage import DirectoryStorage
from lib.utils.storage_lmdb import LmdbStorage, pack


@pytest.fixture
def packed(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"{number}.txt").write_bytes(bytes([number]) * 5000)
    pack(DirectoryStorage(source), [f"{number}.txt" for number in range(20)], tmp_path / "packed")
    return tmp_path / "packed"


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_database_is_refused(packed, share):
    file = packed / "data.mdb"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"data\.mdb: cut short.*make_lmdb"):
        LmdbStorage(packed).read_bytes("3.txt")


def test_a_whole_database_is_read(packed):
    assert LmdbStorage(packed).read_bytes("3.txt") == b"\x03" * 5000


def test_a_second_packer_is_told_that_one_is_at_work(packed):
    with folder_lock(packed, "packing"), pytest.raises(FolderInUseError, match="packing is going on there already"):
        pack(DirectoryStorage(packed.parent / "source"), ["0.txt"], packed)


@pytest.mark.parametrize(
    "options", [{"map_size": 1 << 24}, {"map_size": 1 << 40}, {"map_size": 1 << 25, "writemap": True}]
)
@pytest.mark.parametrize("copy", [None, False, True])
def test_valid_databases_are_never_refused(tmp_path, options, copy):
    with lmdb.open(str(tmp_path / "made"), **options) as database:
        for last in (300, 10):  # the second round leaves free pages at the end
            with database.begin(write=True) as transaction:
                for number in range(300):
                    if number < last:
                        transaction.put(b"%d" % number, bytes([number % 256]) * 9000)
                    else:
                        transaction.delete(b"%d" % number)
        if copy is not None:
            (tmp_path / "copy").mkdir()
            database.copy(str(tmp_path / "copy"), compact=copy)
    storage = LmdbStorage(tmp_path / ("made" if copy is None else "copy"))
    assert storage.read_bytes("3") == b"\x03" * 9000
    assert not storage.exists("299")


def test_an_empty_database_is_not_refused(tmp_path):
    lmdb.open(str(tmp_path), map_size=1 << 20).close()
    assert not LmdbStorage(tmp_path).exists("a")
