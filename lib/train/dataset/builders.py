"""How the datasets on disk are opened from the name they have in the configuration."""

from collections.abc import Callable
from pathlib import Path

from easydict import EasyDict

from lib.config.paths import Paths, annotation_cache_dir
from lib.train.dataset.base import TrainingDataset
from lib.train.dataset.coco import Coco
from lib.train.dataset.folder import FolderDataset
from lib.train.dataset.got10k import Got10k
from lib.train.dataset.imagenet_vid import ImagenetVid
from lib.train.dataset.lasot import Lasot
from lib.train.dataset.trackingnet import TrackingNet, parse_parts
from lib.utils.errors import ConfigError, DataError
from lib.utils.files import expand_home
from lib.utils.storage import Storage, find_storage

PACKED_SUFFIX = "_lmdb"
Builder = Callable[[str, EasyDict, Paths], TrainingDataset]
Opener = Callable[[Storage, str, Path, str], TrainingDataset]
"""Gets the storage, what follows the colon of the name, the folder of the index, and the name."""


def _builder(setting: str, open_dataset: Opener, *, argument: str = "", is_path: bool = False) -> Builder:
    """Make the builder of a dataset that a path setting points to.

    Args:
        setting: name of the dataset among the path settings.
        open_dataset: makes the dataset.
        argument: what may follow a colon in the name, for messages; empty if nothing may.
        is_path: the argument is a path, relative to ``data_dir``.
    """

    def build(name: str, cfg: EasyDict, paths: Paths) -> TrainingDataset:
        base, colon, given = name.partition(":")
        if colon and not argument:
            raise ConfigError(f"training dataset {name!r}: {base} takes nothing after a colon")
        if colon and not given:
            raise ConfigError(f"training dataset {name!r}: expected {argument} after the colon")
        if given and is_path:
            given = str(paths.data_dir / expand_home(given))
        root = paths.dataset_dir(setting)
        try:
            storage = find_storage(root, packed=base.endswith(PACKED_SUFFIX))
            return open_dataset(storage, given, annotation_cache_dir(paths.save_dir), name)
        except DataError as error:
            raise DataError(f"{name}: {error} ({root} is {paths.origin(setting)})") from error

    return build


def _got10k(split: str) -> Builder:
    return _builder("got10k", lambda storage, _, cache, name: Got10k(storage, split, cache_dir=cache, name=name))


def _folder(name: str, cfg: EasyDict, paths: Paths) -> TrainingDataset:
    base, _, given = name.partition(":")
    if not given:
        raise ConfigError(f"training dataset {name!r}: write {base}:<folder of your sequences>")
    root = paths.data_dir / expand_home(given)
    try:
        storage = find_storage(root, packed=base.endswith(PACKED_SUFFIX))
        return FolderDataset(storage, cache_dir=annotation_cache_dir(paths.save_dir), name=name)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error


DISK_DATASETS: dict[str, Builder] = {
    "LASOT": _builder(
        "lasot",
        lambda storage, split, cache, name: Lasot(storage, split or "train", cache_dir=cache, name=name),
        argument="a split file",
        is_path=True,
    ),
    "GOT10K_train_full": _got10k("train_full"),
    "GOT10K_train": _got10k("train"),
    "GOT10K_val": _got10k("val"),
    "GOT10K_vottrain": _got10k("vottrain"),
    "GOT10K_votval": _got10k("votval"),
    "GOT10K_official_val": _got10k("official_val"),
    "GOT10K": _builder(
        "got10k",
        lambda storage, split, cache, name: Got10k(storage, split or "train_full", cache_dir=cache, name=name),
        argument="a split file",
        is_path=True,
    ),
    "TRACKINGNET": _builder(
        "trackingnet",
        lambda storage, parts, cache, name: TrackingNet(storage, parse_parts(parts), cache_dir=cache, name=name),
        argument="numbers of parts such as 0-3,7",
    ),
    "COCO17": _builder("coco", lambda storage, _, cache, name: Coco(storage, cache_dir=cache, name=name)),
    "VID": _builder("imagenet_vid", lambda storage, _, cache, name: ImagenetVid(storage, cache_dir=cache, name=name)),
    "FOLDER": _folder,
}
"""Datasets on disk by name; with ``_lmdb`` behind a name, the packed form is insisted on."""
