"""GOT-10k: val, test, and ``ltrval``, the part of its train split that the family of PyTracking validates on.

Official layout: ``<split>/list.txt`` names the sequences; ``<split>/<sequence>/`` holds ``groundtruth.txt`` (one row in
the test split, whose ground truth is hidden) and the frames ``00000001.jpg``, ... Source: Huang et al., PAMI 2019.
"""

import re
from typing import Any

from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import frames_by_number, read_facts, require_file
from lib.utils.box_text import parse_integers
from lib.utils.errors import DataError
from lib.utils.files import read_names
from lib.utils.storage import Storage

TAG = "got10k"
PARTS = {"ltrval": "train"}
"""Folder of a split, where it is not called like the split."""


def got10k_names(split: str) -> list[str]:
    """Names of the official sequences of ``val`` or ``test``."""
    return [f"GOT-10k_{split.capitalize()}_{number:06d}" for number in range(1, 181)]


def _find_part(storage: Storage, split: str) -> str | None:
    """Folder of a split, if there is one with a list."""
    part = PARTS.get(split, split)
    return next((place for place in (part, f"full_data/{part}") if storage.exists(f"{place}/list.txt")), None)


def has_got10k(storage: Storage, split: str) -> bool:
    """Whether a split is there; ``ltrval`` is if the whole official train split is."""
    folder = _find_part(storage, split)
    if folder is None or split not in PARTS:
        return folder is not None
    return len(storage.read_text(f"{folder}/list.txt").split()) == read_facts("got10k_ltrval")["train_size"]


def got10k_entries(storage: Storage, split: str) -> list[Entry]:
    """Sequences of a split in the order of its list.

    Args:
        storage: the folder that holds ``train``, ``val`` and ``test``, possibly in ``full_data``.
        split: ``val``, ``test`` or ``ltrval``.

    Raises:
        DataError: if the list is missing or not the one that is needed.
    """
    folder = _find_part(storage, split) or PARTS.get(split, split)
    path = f"{folder}/list.txt"
    names = [name for _, name in read_names(storage.read_text(path), str(storage.root / path))]
    if not names:
        raise DataError(f"{storage.root / path}: the list is empty")
    if split == "ltrval":
        facts = read_facts("got10k_ltrval")
        if len(names) != facts["train_size"]:
            raise DataError(
                f"{storage.root / path}: got10k_ltrval consists of rows of the official list of "
                f"{facts['train_size']} sequences, this one has {len(names)}"
            )
        names = [names[row] for row in facts["rows"]]
    return [_entry(storage, f"{folder}/{name}", name, hidden=split == "test") for name in names]


def _entry(storage: Storage, folder: str, name: str, hidden: bool) -> Entry:
    def load() -> Sequence:
        frames = frames_by_number(storage, folder)
        ground_truth = read_ground_truth(
            storage, require_file(storage, folder, "groundtruth.txt"), len(frames), hidden=hidden
        )
        labels = {} if hidden else _labels(storage, folder)
        return Sequence(name, frames, TAG, ground_truth, storage=storage, **labels)

    return Entry(name, load)


def _labels(storage: Storage, folder: str) -> dict[str, Any]:
    """What the protocol ``got10k`` needs beside the ground truth, where it exists: cover, resolution; and the class."""
    labels: dict[str, Any] = {}
    if storage.exists(f"{folder}/cover.label"):
        path = f"{folder}/cover.label"
        labels["target_present"] = parse_integers(storage.read_text(path), str(storage.root / path)) > 0
    if storage.exists(f"{folder}/meta_info.ini"):
        meta = storage.read_text(f"{folder}/meta_info.ini")
        if size := re.search(r"^resolution:\s*\(\s*([1-9]\d{0,5})\s*,\s*([1-9]\d{0,5})\s*\)", meta, re.MULTILINE):
            labels["resolution"] = (int(size[1]), int(size[2]))
        if kind := re.search(r"^object_class:\s*(\S.*)$", meta, re.MULTILINE):
            labels["object_class"] = kind[1].strip()
    return labels
