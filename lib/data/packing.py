"""Packing datasets into LMDB, in the layouts that the family of STARK reads.

The key of a file is its path relative to the root of the dataset and the value is the file as it is. TrackingNet is
packed part by part: ``TRAIN_3/anno/a.txt`` has the key ``anno/a.txt`` in the database ``TRAIN_3_lmdb``. Training
datasets are packed as their files are; of benchmarks, what their readers look at: frames that belong to no
sequence and other files, such as archives or the 240 frames/s of NfS, are left out.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lmdb

from lib.data.base import DiskDataset
from lib.data.coco import ANNOTATIONS as COCO_ANNOTATIONS
from lib.data.coco import IMAGES as COCO_IMAGES
from lib.data.coco import Coco
from lib.data.folder import FolderDataset
from lib.data.got10k import Got10k
from lib.data.imagenet_vid import CACHE, ImagenetVid, read_tracks
from lib.data.lasot import Lasot
from lib.data.registry import BENCHMARKS
from lib.data.sequence import SequenceList
from lib.data.trackingnet import NUM_PARTS, TrackingNet
from lib.utils.errors import DataError, lookup
from lib.utils.files import file_hash, folder_lock, write_text_atomic
from lib.utils.lmdb_file import CONTENT, DATABASE_FILE, UNFINISHED, check_length
from lib.utils.storage import Storage, open_storage, packed_path, walk_files

ProgressBar = Callable[[str, int], contextlib.AbstractContextManager[Any]]
"""Gets a title and a number of files; the context has a method ``update(count)``."""
BATCH_BYTES = 32 << 20
BATCH_FILES = 2000
FIRST_MAP_SIZE = 1 << 30


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
    """Write files into a database; what is there already is kept, unless the file has changed since.

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
                check_length(target)
            (target / UNFINISHED).touch()
            (target / CONTENT).unlink(missing_ok=True)
            packed_at = existing.stat().st_mtime_ns if existing.exists() else 0
            map_size = max(FIRST_MAP_SIZE, 2 * existing.stat().st_size if existing.exists() else 0)
            with lmdb.open(str(target), map_size=map_size, readahead=False, meminit=False) as database:
                for batch in _batches(source, files, strip, database, packed_at, progress):
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
    packed_at: int,
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
            if content is None:
                done = value is not None and _is_same(source, name, value, packed_at)
            else:
                done = value == content
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


def _is_same(source: Storage, name: str, value: memoryview, packed_at: int) -> bool:
    """Whether a file is as it was packed: the bytes are compared if it is as long and has changed since."""
    if len(value) != source.size(name):
        return False
    try:
        return os.stat(source.root / name).st_ctime_ns < packed_at or value == source.read_bytes(name)
    except OSError:
        return value == source.read_bytes(name)


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


class _Recorder:
    """A storage that remembers which files were read."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def read_bytes(self, name: str) -> bytes:
        self.names.add(name)
        return self._storage.read_bytes(name)

    def read_text(self, name: str) -> str:
        self.names.add(name)
        return self._storage.read_text(name)


@dataclass(frozen=True)
class Database:
    """What goes into one database.

    Attributes:
        names: files, relative to the root of the dataset.
        part: top folder that has this database of its own; its keys leave out the folder.
        extra: contents of further files by name.
    """

    names: Sequence[str]
    part: str = ""
    extra: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Packable:
    """How a dataset is packed.

    Attributes:
        setting: its name among the path settings; empty if it has none.
        open: opens whatever part of it is there, which checks its annotations.
        databases: what goes where.
        side_files: texts beside the databases, by name.
        kind: whose path file says where it is, ``train`` or ``test``.
    """

    setting: str
    open: Callable[[Storage], DiskDataset | SequenceList]
    databases: Callable[[Storage], Iterator[Database]]
    side_files: Callable[[Any], Mapping[str, str]] = lambda opened: {}
    kind: str = "train"


def _whole_tree(storage: Storage) -> Iterator[Database]:
    yield Database(list(walk_files(storage)))


def _got10k_splits(storage: Storage) -> list[str]:
    parts = {"train": "train_full", "val": "official_val"}
    return [split for part, split in parts.items() if storage.exists(f"{part}/list.txt")]


def _open_got10k(storage: Storage) -> DiskDataset:
    """The training split, or the validation split where it is all that is there."""
    return Got10k(storage, next(iter(_got10k_splits(storage)), "train_full"))


def _got10k(storage: Storage) -> Iterator[Database]:
    if not _got10k_splits(storage):
        raise DataError(f"{storage.root}: expected the folder that holds train/list.txt, for keys as others read them")
    yield from _whole_tree(storage)


def _coco(storage: Storage) -> Iterator[Database]:
    yield Database([COCO_ANNOTATIONS, *walk_files(storage, COCO_IMAGES)])


def _vid(storage: Storage) -> Iterator[Database]:
    tracks = json.dumps([track.as_cache_entry() for track in read_tracks(storage)]).encode()
    yield Database(list(walk_files(storage, "Data/VID/train")), extra={CACHE: tracks})


def _trackingnet_parts(storage: Storage) -> list[int]:
    return sorted(int(name[6:]) for name in storage.list_dirs() if name.startswith("TRAIN_") and name[6:].isdecimal())


def _trackingnet(storage: Storage) -> Iterator[Database]:
    for part in (f"TRAIN_{number}" for number in _trackingnet_parts(storage)):
        yield Database(list(walk_files(storage, part)), part)


def _open_trackingnet(storage: Storage) -> DiskDataset:
    return TrackingNet(storage, _trackingnet_parts(storage) or range(NUM_PARTS))


def _trackingnet_list(dataset: DiskDataset) -> dict[str, str]:
    videos = (dataset.index.name(i).split("/") for i in range(len(dataset)))
    return {"seq_list.json": json.dumps([[int(part.removeprefix("TRAIN_")), video] for part, video in videos])}


def _benchmark(name: str, part: str = "") -> Packable:
    benchmark = BENCHMARKS[name]

    def read(storage: Storage) -> SequenceList:
        return SequenceList.load(benchmark.entries(storage)).require_all()

    def databases(storage: Storage) -> Iterator[Database]:
        recorder = _Recorder(storage)
        sequences = read(recorder)
        files = sorted(recorder.names.union(*(sequence.frames for sequence in sequences)))
        yield Database(files, part if files[0].startswith(f"{part}/") else "")

    return Packable(benchmark.setting, read, databases, kind="test")


TRAINING_PACKABLE = {
    "lasot": Packable("lasot", lambda storage: Lasot(storage, "all"), _whole_tree),
    "got10k": Packable("got10k", _open_got10k, _got10k),
    "trackingnet": Packable("trackingnet", _open_trackingnet, _trackingnet, _trackingnet_list),
    "coco": Packable("coco", Coco, _coco),
    "vid": Packable("imagenet_vid", ImagenetVid, _vid),
    "folder": Packable("", FolderDataset, _whole_tree),
}
"""Datasets that are packed as a whole, for training and, where they hold it, for evaluation."""
PACKABLE: dict[str, Packable] = TRAINING_PACKABLE | {
    **{name: _benchmark(name) for name in ("lasot_extension_subset", "got10k_val", "got10k_test")},
    "trackingnet_test": _benchmark("trackingnet", "TEST"),
    **{name: _benchmark(name) for name in ("tnl2k", "otb", "nfs", "uav", "tc128")},
    **{name: _benchmark(name) for name in ("vasttrack", "avist", "dtb70", "didi", "oxuva_dev", "oxuva_test")},
}
"""Every dataset that can be packed, by the name for ``tracking/make_lmdb.py``."""


def _no_bar(title: str, total: int) -> contextlib.AbstractContextManager[Any]:
    return contextlib.nullcontext(SimpleNamespace(update=lambda count: None))


def pack_dataset(name: str, source: Storage, target: Path, *, progress: ProgressBar = _no_bar) -> PackingReport:
    """Pack a dataset and check that it reads the same.

    Args:
        name: a key of ``PACKABLE``.
        source: the dataset as files.
        target: folder of the database, or of the databases; what it holds already is kept, so that splits of a dataset
            can share it.
        progress: makes a progress bar for each database.

    Raises:
        ConfigError: if ``name`` is unknown.
        DataError: if the dataset is missing or malformed, cannot be written, or reads differently when packed.
    """
    packable = lookup(PACKABLE, name, "dataset to pack")
    before = packable.open(source)
    written = kept = 0
    for database in packable.databases(source):
        folder = packed_path(target / database.part) if database.part else target
        strip = f"{database.part}/" if database.part else ""
        with progress(folder.name, len(database.names) + len(database.extra)) as bar:
            report = pack(source, database.names, folder, strip=strip, extra=database.extra, progress=bar.update)
        written, kept = written + report.written, kept + report.kept
    for file, text in packable.side_files(before).items():
        write_text_atomic(target / file, text)
    if not packable.open(open_storage(target)).same_as(before):
        raise DataError(f"{target}: the packed annotations differ from those in {source.root}")
    return PackingReport(written, kept)
