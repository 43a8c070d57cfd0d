"""A database that was copied in part is refused before a page behind its end is read."""

import random
import shutil

import lmdb
import pytest

from lib.data.packing import pack
from lib.utils import lmdb_file
from lib.utils.cli import run_script
from lib.utils.errors import DataError
from lib.utils.lock import FolderInUseError, folder_lock
from lib.utils.storage import DirectoryStorage, LmdbStorage
from tests.data.fabricate import FABRICATE
from tracking import check_data, make_lmdb, test


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


def test_a_changed_byte_anywhere_is_found_before_the_database_is_mapped(packed, capsys):
    content = (packed / "data.mdb").read_bytes()
    draw, count = random.Random(0), 60
    for _ in range(count):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        (packed / "data.mdb").write_bytes(changed)
        with pytest.raises(DataError, match=r"data\.mdb: .*make_lmdb"):
            LmdbStorage(packed).read_bytes("3.txt")
    with capsys.disabled():
        print(f"\nfuzz LMDB files: {count} flipped bits, {count} refused")
    (packed / "data.mdb").write_bytes(content)
    assert LmdbStorage(packed).read_bytes("3.txt") == b"\x03" * 5000


def test_a_large_database_is_compared_on_request(packed, monkeypatch):
    monkeypatch.setattr(lmdb_file, "ALWAYS_VERIFIED", 0)
    content = bytearray((packed / "data.mdb").read_bytes())
    content[-3000] ^= 1  # of a value: nothing else notices
    (packed / "data.mdb").write_bytes(content)
    storage = LmdbStorage(packed)
    storage.verify(limit=0)
    with pytest.raises(DataError, match=r"data\.mdb: not what was packed; pack it again with tracking/make_lmdb"):
        storage.verify()


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


def run(main, *arguments: object) -> int:
    return run_script(lambda: main([str(argument) for argument in arguments]))


@pytest.mark.slow
def test_scripts_refuse_a_truncated_database_with_one_line(tmp_path, capsys):
    FABRICATE["lasot"](tmp_path / "lasot")
    assert run(make_lmdb.main, "lasot", "--data_dir", tmp_path) == 0
    shutil.rmtree(tmp_path / "lasot")
    file = tmp_path / "lasot_lmdb" / "data.mdb"
    file.write_bytes(file.read_bytes()[:20_000])
    capsys.readouterr()
    places = ["--data_dir", tmp_path, "--save_dir", tmp_path / "save"]
    assert run(test.main, "seqtrack", "seqtrack_demo", "--dataset", "lasot", *places) == 2
    assert capsys.readouterr().err.count("data.mdb: cut short") == 1
    assert run(check_data.main, "lasot", "--data_dir", tmp_path) != 0
    captured = capsys.readouterr()
    assert "data.mdb: cut short" in captured.out + captured.err
    assert "Traceback" not in captured.out + captured.err


def test_make_lmdb_beside_another_one_ends_with_one_line(tmp_path, capsys):
    FABRICATE["lasot"](tmp_path / "lasot")
    with folder_lock(tmp_path / "lasot_lmdb", "packing"):
        assert run(make_lmdb.main, "lasot", "--data_dir", tmp_path) == 2
    assert "packing is going on there already" in capsys.readouterr().err
    assert run(make_lmdb.main, "lasot", "--data_dir", tmp_path) == 0
