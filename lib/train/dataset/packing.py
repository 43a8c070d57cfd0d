"""Packing training datasets, in the layouts that the family of STARK reads."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib.train.dataset.coco import ANNOTATIONS as COCO_ANNOTATIONS
from lib.train.dataset.coco import IMAGES as COCO_IMAGES
from lib.train.dataset.coco import Coco
from lib.train.dataset.disk import DiskDataset
from lib.train.dataset.folder import FolderDataset
from lib.train.dataset.got10k import Got10k
from lib.train.dataset.imagenet_vid import CACHE, ImagenetVid, read_tracks
from lib.train.dataset.lasot import Lasot
from lib.train.dataset.trackingnet import TrackingNet
from lib.utils.errors import DataError
from lib.utils.files import write_text_atomic
from lib.utils.registry import lookup
from lib.utils.storage import Storage, open_storage, walk_files
from lib.utils.storage_lmdb import PART_SUFFIX, PackingReport, pack

ProgressBar = Callable[[str, int], contextlib.AbstractContextManager[Any]]
"""Gets a title and a number of files; the context has a method ``update(count)``."""


@dataclass(frozen=True)
class Database:
    """What goes into one database.

    Attributes:
        folder: of the database below the target; empty for the target itself.
        names: files, relative to the root of the dataset.
        strip: start of the names that the keys leave out.
        extra: contents of further files by name.
    """

    folder: str
    names: Sequence[str]
    strip: str = ""
    extra: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Packable:
    """How a dataset is packed.

    Attributes:
        setting: its name among the path settings.
        open: opens whatever part of it is there, which checks its annotations.
        databases: what goes where.
        side_files: texts that are beside the databases, by name.
    """

    setting: str
    open: Callable[[Storage], DiskDataset]
    databases: Callable[[Storage], Iterator[Database]]
    side_files: Callable[[DiskDataset], Mapping[str, str]] = lambda dataset: {}


def _whole_tree(storage: Storage) -> Iterator[Database]:
    yield Database("", list(walk_files(storage)))


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
    yield Database("", [COCO_ANNOTATIONS, *walk_files(storage, COCO_IMAGES)])


def _vid(storage: Storage) -> Iterator[Database]:
    tracks = json.dumps([track.as_cache_entry() for track in read_tracks(storage)]).encode()
    yield Database("", list(walk_files(storage, "Data/VID/train")), extra={CACHE: tracks})


def _trackingnet_parts(storage: Storage) -> list[int]:
    return sorted(int(name[6:]) for name in storage.list_dirs() if name.startswith("TRAIN_") and name[6:].isdecimal())


def _trackingnet(storage: Storage) -> Iterator[Database]:
    for part in (f"TRAIN_{number}" for number in _trackingnet_parts(storage)):
        yield Database(part + PART_SUFFIX, list(walk_files(storage, part)), strip=f"{part}/")


def _open_trackingnet(storage: Storage) -> DiskDataset:
    return TrackingNet(storage, _trackingnet_parts(storage) or range(12))


def _trackingnet_list(dataset: DiskDataset) -> dict[str, str]:
    videos = (dataset.index.name(i).split("/") for i in range(len(dataset)))
    return {"seq_list.json": json.dumps([[int(part.removeprefix("TRAIN_")), video] for part, video in videos])}


PACKABLE: dict[str, Packable] = {
    "lasot": Packable("lasot", lambda storage: Lasot(storage, "all"), _whole_tree),
    "got10k": Packable("got10k", _open_got10k, _got10k),
    "trackingnet": Packable("trackingnet", _open_trackingnet, _trackingnet, _trackingnet_list),
    "coco": Packable("coco", Coco, _coco),
    "vid": Packable("imagenet_vid", ImagenetVid, _vid),
    "folder": Packable("", FolderDataset, _whole_tree),
}
"""Datasets that can be packed, by name."""


@contextlib.contextmanager
def _no_bar(title: str, total: int) -> Iterator[Any]:
    class Silent:
        def update(self, count: int) -> None:
            pass

    yield Silent()


def pack_dataset(kind: str, source: Storage, target: Path, *, progress: ProgressBar = _no_bar) -> PackingReport:
    """Pack a dataset and check that it reads the same.

    Args:
        kind: a key of ``PACKABLE``.
        source: the dataset as files.
        target: folder of the database, or of the databases.
        progress: makes a progress bar for each database.

    Raises:
        ConfigError: if ``kind`` is unknown.
        DataError: if the dataset is missing or malformed, cannot be written, or reads differently when packed.
    """
    packable = lookup(PACKABLE, kind, "dataset to pack")
    dataset = packable.open(source)
    written = kept = 0
    for database in packable.databases(source):
        folder = target / database.folder if database.folder else target
        with progress(folder.name, len(database.names) + len(database.extra)) as bar:
            report = pack(
                source, database.names, folder, strip=database.strip, extra=database.extra, progress=bar.update
            )
        written, kept = written + report.written, kept + report.kept
    for name, text in packable.side_files(dataset).items():
        write_text_atomic(target / name, text)
    if not packable.open(open_storage(target)).index.same_as(dataset.index):
        raise DataError(f"{target}: the packed annotations differ from those in {source.root}")
    return PackingReport(written, kept)
