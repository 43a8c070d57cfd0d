"""GOT-10k: the splits of its training part, val and test.

Official layout: ``<part>/list.txt`` names the sequences; ``<part>/<sequence>/`` holds ``groundtruth.txt`` (one row in
the test part, whose ground truth is hidden), ``absence.label``, ``cover.label``, ``meta_info.ini`` (not needed) and the
frames ``00000001.jpg``, ... Also found: in a folder ``full_data``. Source: Huang et al., PAMI 2019.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lib.data.annotations import has_area, read_ground_truth, read_labels, read_list, read_split
from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import GROUND_TRUTH, list_frames, read_facts, require_file, require_files
from lib.data.sequence import Benchmark, Entry, Sequence
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import Storage

TAG = "got10k"
FIRST_FRAME = 1
ABSENCE, COVER, META = "absence.label", "cover.label", "meta_info.ini"
SPLITS = ("train_full", "train", "val", "vottrain", "votval", "official_val")


class Got10k(DiskDataset):
    """GOT-10k for training.

    A frame is visible if its box has an area, the target is not absent and its cover label is above 0.

    Args:
        storage: the folder that holds ``train`` (and ``val``), or the folder ``train`` itself.
        split: ``train_full`` (all that ``train/list.txt`` names), ``train`` and ``val`` (7934 and 1401 of them),
            ``vottrain`` and ``votval`` (7086 and 1249, see ``split_rows``), ``official_val`` (the part ``val``), or the
            path of a text file with one sequence name, or one row of the list counted from 0, per line.

    Raises:
        DataError: if files are missing or malformed, or a split names a sequence that is not there.
    """

    def __init__(
        self, storage: Storage, split: str | Path, *, cache_dir: Path | None = None, name: str = "GOT10K"
    ) -> None:
        self._prefix = _require_part(storage, "val" if split == "official_val" else "train")
        names = _split_names(storage, self._prefix, split)
        files = [f"{self._prefix}{name}/{file}" for name in names for file in (GROUND_TRUTH, ABSENCE, COVER)]
        super().__init__(
            storage,
            name=name,
            options=f"GOT-10k {split}",
            sources=[f"{self._prefix}list.txt", *files],
            parse=lambda: _parse(storage, self._prefix, names),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return _frame_path(self._prefix, self.index.name(sequence), frame)


def split_rows(split: str) -> list[int]:
    """Rows of ``train/list.txt``, counted from 0, that belong to a split.

    ``val`` is a fixed choice of 1401 rows and ``train`` the other 7934. ``vottrain`` and ``votval`` leave out the 1000
    sequences that the VOT challenge forbids.

    Raises:
        ConfigError: if ``split`` is not ``train_full``, ``train``, ``val``, ``vottrain`` or ``votval``.
    """
    if split not in SPLITS[:5]:
        raise ConfigError(f"unknown split {split!r} of GOT-10k; known: {', '.join(SPLITS[:5])}")
    facts = read_facts("got10k")
    rows = set(range(facts["train_size"]))
    if split in ("val", "votval"):
        rows = set(facts["val"])
    elif split in ("train", "vottrain"):
        rows -= set(facts["val"])
    if split.startswith("vot"):
        # Faithful: the forbidden list holds numbers of sequences, which count from 1; the published splits take them as
        # rows, which count from 0. Each exclusion hits the next sequence; 765 forbidden ones stay in vottrain.
        rows -= set(facts["vot_exclude"])
    return sorted(rows)


def _find_part(storage: Storage, part: str) -> str | None:
    """Start of the paths of a part, if there is one with a list."""
    return next((place for place in (f"{part}/", f"full_data/{part}/") if storage.exists(f"{place}list.txt")), None)


def _require_part(storage: Storage, part: str) -> str:
    """Start of the paths of a part for training: the root may be the folder of the part itself."""
    prefix = _find_part(storage, part)
    if prefix is None and storage.exists("list.txt"):
        return ""
    if prefix is None:
        require_files(storage, [f"{part}/list.txt"], "lists of sequences")
    return prefix


def _frame_path(prefix: str, sequence: str, frame: int) -> str:
    return f"{prefix}{sequence}/{frame + FIRST_FRAME:08d}.jpg"


def _official_names(storage: Storage, prefix: str, split: str, shown: str) -> list[str]:
    """Sequences of a split that is defined by rows of the official list."""
    listed, official = read_list(storage, f"{prefix}list.txt"), read_facts("got10k")["train_size"]
    if len(listed) != official:
        raise DataError(
            f"{storage.root / prefix / 'list.txt'}: {shown} consists of rows of the official list of {official} "
            f"sequences, this one has {len(listed)}"
        )
    return [listed[row] for row in split_rows(split)]


def _split_names(storage: Storage, prefix: str, split: str | Path) -> list[str]:
    if split in SPLITS[1:5]:
        return _official_names(storage, prefix, str(split), f"split {split} (unlike train_full)")
    listed = read_list(storage, f"{prefix}list.txt")
    if split in SPLITS:
        return listed
    known = set(listed)
    names = []
    for line, entry in read_split(Path(split)):
        is_row = entry.isdecimal() and len(entry) < 10 and int(entry) < len(listed)
        name = listed[int(entry)] if is_row else entry
        if name not in known:
            place = storage.root / f"{prefix}list.txt"
            raise DataError(f"{split}: line {line}: {entry!r} is neither a sequence nor a row of {place}")
        names.append(name)
    return names


def _parse(storage: Storage, prefix: str, names: list[str]) -> Iterator[SequenceRecord]:
    require_files(storage, [f"{prefix}{sequence}/{GROUND_TRUTH}" for sequence in names], "annotation files")
    require_files(storage, [_frame_path(prefix, sequence, 0) for sequence in names], "first frames of sequences")
    for sequence in names:
        folder = f"{prefix}{sequence}"
        boxes = read_ground_truth(storage, f"{folder}/{GROUND_TRUTH}", allow_nan=True)
        valid = has_area(boxes)
        present = read_labels(storage, f"{folder}/{ABSENCE}", len(boxes)) == 0
        covered = read_labels(storage, f"{folder}/{COVER}", len(boxes)) > 0
        yield SequenceRecord(sequence, boxes, valid, valid & present & covered)


def got10k_names(split: str) -> list[str]:
    """Names of the official sequences of ``val`` or ``test``."""
    return [f"GOT-10k_{split.capitalize()}_{number:06d}" for number in range(1, 181)]


def has_got10k(storage: Storage, split: str) -> bool:
    """Whether ``val`` or ``test`` is there, or the whole official training part for ``ltrval``."""
    prefix = _find_part(storage, "train" if split == "ltrval" else split)
    if prefix is None or split != "ltrval":
        return prefix is not None
    return len(storage.read_text(f"{prefix}list.txt").split()) == read_facts("got10k")["train_size"]


def got10k_entries(storage: Storage, split: str) -> list[Entry]:
    """Sequences of a split in the order of its list.

    Args:
        storage: the folder that holds ``train``, ``val`` and ``test``, possibly in ``full_data``.
        split: ``val``, ``test``, or ``ltrval``: the split ``val`` of the training part, on which the family of
            PyTracking validates.

    Raises:
        DataError: if the list is missing or not the one that is needed.
    """
    part = "train" if split == "ltrval" else split
    prefix = _find_part(storage, part) or f"{part}/"
    if split == "ltrval":
        names = _official_names(storage, prefix, "val", "got10k_ltrval")
    else:
        names = read_list(storage, f"{prefix}list.txt")
    return [Entry(name, partial(_load, storage, f"{prefix}{name}", name, split == "test")) for name in names]


def _load(storage: Storage, folder: str, name: str, hidden: bool) -> Sequence:
    frames = list_frames(storage, folder, {".jpg"}, numbered=True, first=FIRST_FRAME if hidden else None)
    boxes = read_ground_truth(storage, require_file(storage, folder, GROUND_TRUTH), len(frames), hidden=hidden)
    labels = {} if hidden else _labels(storage, folder)
    return Sequence(name, frames, TAG, boxes, storage=storage, **labels)


def _labels(storage: Storage, folder: str) -> dict[str, Any]:
    """What the protocol ``got10k`` needs beside the boxes, as far as it is there: cover, resolution; and the class."""
    labels: dict[str, Any] = {}
    if storage.exists(f"{folder}/{COVER}"):
        labels["target_present"] = read_labels(storage, f"{folder}/{COVER}") > 0
    if storage.exists(f"{folder}/{META}"):
        meta = storage.read_text(f"{folder}/{META}")
        if size := re.search(r"^resolution:\s*\(\s*([1-9]\d{0,5})\s*,\s*([1-9]\d{0,5})\s*\)", meta, re.MULTILINE):
            labels["resolution"] = (int(size[1]), int(size[2]))
        if kind := re.search(r"^object_class:\s*(\S.*)$", meta, re.MULTILINE):
            labels["object_class"] = kind[1].strip()
    return labels


def _benchmark(split: str, sequences: int, **facts: Any) -> Benchmark:
    entries, has = partial(got10k_entries, split=split), partial(has_got10k, split=split)
    return Benchmark(f"got10k_{split}", TAG, entries, "got10k", sequences=sequences, has=has, **facts)


BENCHMARKS = (
    _benchmark("val", 180, names=partial(got10k_names, "val")),
    _benchmark("test", 180, names=partial(got10k_names, "test"), server="http://got-10k.aitestunion.com"),
    _benchmark("ltrval", 1401, discover=False),
)


def _opener(split: str, **argument: Any) -> DiskOpener:
    return DiskOpener("got10k", lambda storage, given, **common: Got10k(storage, given or split, **common), **argument)


TRAINING = {f"GOT10K_{split}": _opener(split) for split in SPLITS}
TRAINING["GOT10K"] = _opener("train_full", argument="a split file", is_path=True)
