"""The packed storage answers every question as the folder it was made from."""

import pickle
import random
import shutil
from pathlib import Path

import lmdb
import pytest

from lib.data import packing
from lib.data.packing import pack
from lib.utils import lmdb_file
from lib.utils.cli import run_script
from lib.utils.errors import DataError
from lib.utils.lock import FolderInUseError, folder_lock
from lib.utils.storage import DirectoryStorage, LmdbStorage, Storage, find_storage, open_storage, walk_files
from tests.data.fabricate import FABRICATE
from tracking import check_data, make_lmdb, test

FILES = {
    "a.txt": b"hello",
    "b/1.jpg": b"x",
    "b/10.jpg": b"",
    "b/2.JPG": b"y" * 70000,
    "b-c/d.txt": b"z",
    "b/deep/er/e": b"q",
    "b0/f.txt": "ünï".encode(),
    "c.txt": b"\xff",
}


@pytest.fixture()
def folder(tmp_path: Path) -> DirectoryStorage:
    for name, content in FILES.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(content)
    return DirectoryStorage(tmp_path / "data")


def pack_all(folder: Storage, target: Path) -> None:
    pack(folder, list(walk_files(folder)), target)


@pytest.fixture(params=["one database", "parts"])
def packed(request: pytest.FixtureRequest, folder: DirectoryStorage, tmp_path: Path) -> Storage:
    if request.param == "one database":
        pack_all(folder, tmp_path / "packed")
    else:
        for part in ("b", "b0", "b-c"):
            pack(folder, list(walk_files(folder, part)), tmp_path / "packed" / f"{part}_lmdb", strip=f"{part}/")
    return open_storage(tmp_path / "packed")


def test_answers_like_the_folder(folder: DirectoryStorage, packed: Storage) -> None:
    names = [name for name in FILES if packed.exists(name)]
    assert len(names) >= 6
    for name in names:
        assert packed.read_bytes(name) == FILES[name]
        assert packed.size(name) == folder.size(name) == len(FILES[name])
    assert packed.read_text("b0/f.txt") == "ünï"
    for place in ("", "b", "b/deep", "b-c"):
        assert packed.list_dirs(place) == folder.list_dirs(place)
    for place in ("b", "b/deep", "b0"):
        assert packed.list_files(place) == folder.list_files(place)
    assert packed.list_files("b", {".jpg"}) == folder.list_files("b", {".jpg"}) == ["1.jpg", "10.jpg", "2.JPG"]
    for missing in ("b/3.jpg", "b", "nope/x", ""):
        assert not packed.exists(missing) and not folder.exists(missing)
    assert pickle.loads(pickle.dumps(packed)).read_bytes("b/1.jpg") == b"x"


def test_missing_files_and_folders_are_named(packed: Storage, folder: DirectoryStorage) -> None:
    for storage in (packed, folder):
        for call in (storage.read_bytes, storage.read_text, storage.read_image, storage.size):
            with pytest.raises(DataError, match=r"b/nope\.jpg: (no such file|cannot read)"):
                call("b/nope.jpg")
        with pytest.raises(DataError, match=r"nope: (no such folder|cannot list)"):
            storage.list_files("nope")
    with pytest.raises(DataError, match=r"b/10\.jpg: the image file is empty"):
        packed.read_image("b/10.jpg")


def test_text_must_be_text(folder: DirectoryStorage, tmp_path: Path) -> None:
    pack_all(folder, tmp_path / "packed")
    for storage in (folder, open_storage(tmp_path / "packed")):
        with pytest.raises(DataError, match=r"c\.txt: not a UTF-8 text file"):
            storage.read_text("c.txt")


def test_fingerprints_follow_the_files(folder: DirectoryStorage, tmp_path: Path) -> None:
    pack_all(folder, tmp_path / "packed")
    for storage in (folder, open_storage(tmp_path / "packed")):
        first = storage.fingerprint(["a.txt", "nope"])
        assert first == storage.fingerprint(["a.txt", "nope"]) != storage.fingerprint(["a.txt"])
    before = folder.fingerprint(["a.txt", "nope"])
    (folder.root / "nope").write_text("")
    assert folder.fingerprint(["a.txt", "nope"]) != before


def test_a_cut_off_packing_is_refused_and_goes_on(
    folder: DirectoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(walk_files(folder))
    monkeypatch.setattr(packing, "BATCH_FILES", 2)

    class CutOffError(Exception):
        pass

    def stop_after_four(count: int) -> None:
        done.append(count)
        if sum(done) >= 4:
            raise CutOffError

    done: list[int] = []
    with pytest.raises(CutOffError):
        pack(folder, names, tmp_path / "packed", progress=stop_after_four)
    with pytest.raises(DataError, match=r"packing was not finished; run tracking/make_lmdb\.py again"):
        open_storage(tmp_path / "packed")
    counts: list[int] = []
    report = pack(folder, names, tmp_path / "packed", progress=counts.append)
    assert (report.written, report.kept) == (4, 4) and sum(counts) == 8
    assert {name: open_storage(tmp_path / "packed").read_bytes(name) for name in names} == FILES
    (folder.root / "a.txt").write_bytes(b"longer than before")
    report = pack(folder, names, tmp_path / "packed")
    assert (report.written, report.kept) == (1, 7)


def test_the_map_grows(folder: DirectoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "FIRST_MAP_SIZE", 32768)
    pack_all(folder, tmp_path / "packed")
    assert open_storage(tmp_path / "packed").read_bytes("b/2.JPG") == FILES["b/2.JPG"]


def test_what_is_read_back_is_compared(
    folder: DirectoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_wrongly(database: lmdb.Environment, batch: list[tuple[bytes, bytes]]) -> None:
        with database.begin(write=True) as transaction:
            for key, value in batch:
                transaction.put(key, value[:-1] + b"?")

    monkeypatch.setattr(packing, "_write", write_wrongly)
    with pytest.raises(DataError, match="what was read back differs from what was written"):
        pack_all(folder, tmp_path / "packed")


def test_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"no database")
    with pytest.raises(DataError, match="cut short or not an LMDB"):
        open_storage(tmp_path).exists("a")


def test_where_a_data_set_is_looked_for(folder: DirectoryStorage, tmp_path: Path) -> None:
    assert isinstance(find_storage(tmp_path / "data"), DirectoryStorage)
    with pytest.raises(DataError, match="no LMDB here"):
        find_storage(tmp_path / "data", packed=True)
    pack_all(folder, tmp_path / "data_lmdb")
    assert isinstance(find_storage(tmp_path / "data"), DirectoryStorage)
    assert isinstance(find_storage(tmp_path / "data", packed=True), LmdbStorage)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert isinstance(find_storage(tmp_path / "data"), LmdbStorage)
    (tmp_path / "data").mkdir()  # an empty folder does not hide it
    assert isinstance(find_storage(tmp_path / "data"), LmdbStorage)
    with pytest.raises(DataError, match="no such data folder, and no packed one at"):
        find_storage(tmp_path / "nowhere")


@pytest.fixture
def database_folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for number in range(20):
        (source / f"{number}.txt").write_bytes(bytes([number]) * 5000)
    pack(DirectoryStorage(source), [f"{number}.txt" for number in range(20)], tmp_path / "packed")
    return tmp_path / "packed"


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_database_is_refused(database_folder, share):
    file = database_folder / "data.mdb"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"data\.mdb: cut short.*make_lmdb"):
        LmdbStorage(database_folder).read_bytes("3.txt")


def test_a_whole_database_is_read(database_folder):
    assert LmdbStorage(database_folder).read_bytes("3.txt") == b"\x03" * 5000


def test_a_changed_byte_anywhere_is_found_before_the_database_is_mapped(database_folder, capsys):
    content = (database_folder / "data.mdb").read_bytes()
    draw, count = random.Random(0), 60
    for _ in range(count):
        changed = bytearray(content)
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
        (database_folder / "data.mdb").write_bytes(changed)
        with pytest.raises(DataError, match=r"data\.mdb: .*make_lmdb"):
            LmdbStorage(database_folder).read_bytes("3.txt")
    with capsys.disabled():
        print(f"\nfuzz LMDB files: {count} flipped bits, {count} refused")
    (database_folder / "data.mdb").write_bytes(content)
    assert LmdbStorage(database_folder).read_bytes("3.txt") == b"\x03" * 5000


def test_a_large_database_is_compared_on_request(database_folder, monkeypatch):
    monkeypatch.setattr(lmdb_file, "ALWAYS_VERIFIED", 0)
    content = bytearray((database_folder / "data.mdb").read_bytes())
    content[-3000] ^= 1  # of a value: nothing else notices
    (database_folder / "data.mdb").write_bytes(content)
    storage = LmdbStorage(database_folder)
    storage.verify(limit=0)
    with pytest.raises(DataError, match=r"data\.mdb: not what was packed; pack it again with tracking/make_lmdb"):
        storage.verify()


def test_a_second_packer_is_told_that_one_is_at_work(database_folder):
    with (
        folder_lock(database_folder, "packing"),
        pytest.raises(FolderInUseError, match="packing is going on there already"),
    ):
        pack(DirectoryStorage(database_folder.parent / "source"), ["0.txt"], database_folder)


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
