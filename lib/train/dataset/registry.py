"""The names that DATA.TRAIN.DATASETS_NAME and DATA.VAL.DATASETS_NAME may hold."""

from pathlib import Path

from easydict import EasyDict

from lib.config.paths import Paths
from lib.train.dataset.base import TrainingDataset
from lib.train.dataset.builders import DISK_DATASETS, PACKED_SUFFIX, Builder
from lib.train.dataset.synthetic import Synthetic
from lib.utils.errors import DataError
from lib.utils.registry import lookup


def _folder(text: str, key: str) -> Path | None:
    if not text:
        return None
    if not Path(text).is_dir():
        raise DataError(f"{text}: no such folder (set by DATA.SYNTHETIC.{key})")
    return Path(text)


def _synthetic(name: str, cfg: EasyDict, paths: Paths) -> TrainingDataset:
    options = cfg.DATA.SYNTHETIC
    painted = name.endswith("_painted")
    return Synthetic(
        num_sequences=options.SEQUENCES,
        num_frames=options.FRAMES,
        size=(options.WIDTH, options.HEIGHT),
        difficulty=options.DIFFICULTY,
        split="val" if name.endswith("_val") else "train",
        backgrounds=None if painted else _folder(options.BACKGROUNDS, "BACKGROUNDS"),
        cutouts=None if painted else _folder(options.CUTOUTS, "CUTOUTS"),
        cache_sequences=options.CACHE,
        name=name,
    )


DATASETS: dict[str, Builder] = {
    "SYNTHETIC": _synthetic,
    "SYNTHETIC_painted": _synthetic,  # no photos and cut-outs even where folders of them are given
    "SYNTHETIC_val": _synthetic,
    **DISK_DATASETS,
}


def build_dataset(name: str, cfg: EasyDict, paths: Paths) -> TrainingDataset:
    """Open a training dataset.

    Args:
        name: a key of ``DATASETS``; for datasets on disk with ``_lmdb`` behind it to insist on the packed form, and,
            where the dataset takes one, an argument behind a colon, as ``FOLDER:my_videos`` or ``TRACKINGNET:0-3``.
        cfg: the configuration.
        paths: where datasets are.

    Raises:
        ConfigError: if the name is unknown; the message lists the known ones.
        DataError: if its files are missing or malformed.
    """
    key = name.partition(":")[0]
    plain = key.removesuffix(PACKED_SUFFIX)
    return lookup(DATASETS, plain if plain in DISK_DATASETS else key, "training dataset")(name, cfg, paths)
