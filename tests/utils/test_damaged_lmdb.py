"""A database that was copied in part is refused before a page behind its end is read."""

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
