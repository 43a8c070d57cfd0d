"""GOT-10k, training part and official validation part.

Layout: ``train/list.txt`` names the sequences, ``train/<sequence>/`` holds ``groundtruth.txt``, ``absence.label``,
``cover.label`` and ``%08d.jpg`` from 1; ``val`` as above. ``meta_info.ini`` is not needed.
Source: Huang et al., PAMI 2019.
"""

import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from lib.train.dataset.disk import DiskDataset, has_area, read_boxes, read_labels, read_split, require_files
from lib.train.dataset.index import SequenceRecord
from lib.utils.errors import ConfigError, DataError
from lib.utils.files import read_names
from lib.utils.storage import Storage

FIRST_FRAME = 1
SPLITS = ("train_full", "train", "val", "vottrain", "votval", "official_val")


class Got10k(DiskDataset):
    """GOT-10k.

    A frame is visible if its box has an area, the target is not absent and its cover label is above 0.

    Args:
        storage: the folder that holds ``train`` (and ``val``), or the folder ``train`` itself.
        split: ``train_full`` (all that ``train/list.txt`` names), ``train`` and ``val`` (7934 and 1401 of them),
            ``vottrain`` and ``votval`` (7086 and 1249, see ``split_rows``), ``official_val`` (the part ``val``), or the
            path of a text file with one sequence name, or one row of the list counted from 0, per line.
        cache_dir: where the annotation index is kept; None keeps it in memory.
        name: as in the configuration.

    Raises:
        DataError: if files are missing or malformed, or a split names a sequence that is not there.
    """

    def __init__(
        self, storage: Storage, split: str | Path, *, cache_dir: Path | None = None, name: str = "GOT10K"
    ) -> None:
        self._prefix = _find_part(storage, "val" if split == "official_val" else "train")
        names = _split_names(storage, self._prefix, split)
        files = [
            f"{self._prefix}{sequence}/{file}"
            for sequence in names
            for file in ("groundtruth.txt", "absence.label", "cover.label")
        ]
        super().__init__(
            storage,
            name=name,
            options=f"GOT-10k {split}",
            sources=[f"{self._prefix}list.txt", *files],
            parse=lambda: _parse(storage, self._prefix, names),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the dataset."""
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
    spec = json.loads(resources.files("lib.train.data_specs").joinpath("got10k.json").read_text(encoding="utf-8"))
    rows = set(range(spec["train_size"]))
    if split in ("val", "votval"):
        rows = set(spec["val"])
    elif split in ("train", "vottrain"):
        rows -= set(spec["val"])
    if split.startswith("vot"):
        # Faithful: the forbidden list holds numbers of sequences, which count from 1; the published splits take them as
        # rows, which count from 0. Each exclusion hits the next sequence; 765 forbidden ones stay in vottrain.
        rows -= set(spec["vot_exclude"])
    return sorted(rows)


def _find_part(storage: Storage, part: str) -> str:
    """Start of the paths of a part: the root may be the folder of the part itself."""
    if storage.exists(f"{part}/list.txt") or not storage.exists("list.txt"):
        require_files(storage, [f"{part}/list.txt"], "lists of sequences")
        return f"{part}/"
    return ""


def _frame_path(prefix: str, sequence: str, frame: int) -> str:
    return f"{prefix}{sequence}/{frame + FIRST_FRAME:08d}.jpg"


def _split_names(storage: Storage, prefix: str, split: str | Path) -> list[str]:
    place = storage.root / f"{prefix}list.txt"
    listed = [name for _, name in read_names(storage.read_text(f"{prefix}list.txt"), str(place))]
    if not listed:
        raise DataError(f"{place}: the list is empty")
    if split in ("train_full", "official_val"):
        return listed
    if split in SPLITS:
        official = len(split_rows("train_full"))
        if len(listed) != official:
            raise DataError(
                f"{place}: split {split} holds rows of the official list of {official} sequences, found {len(listed)} "
                "(train_full takes any list)"
            )
        return [listed[row] for row in split_rows(str(split))]
    known = set(listed)
    names = []
    for line, entry in read_split(Path(split)):
        is_row = entry.isdecimal() and len(entry) < 10 and int(entry) < len(listed)
        name = listed[int(entry)] if is_row else entry
        if name not in known:
            raise DataError(f"{split}: line {line}: {entry!r} is neither a sequence nor a row of {place}")
        names.append(name)
    return names


def _parse(storage: Storage, prefix: str, names: Sequence[str]) -> Iterator[SequenceRecord]:
    require_files(storage, [f"{prefix}{sequence}/groundtruth.txt" for sequence in names], "annotation files")
    require_files(storage, [_frame_path(prefix, sequence, 0) for sequence in names], "first frames of sequences")
    for sequence in names:
        folder = f"{prefix}{sequence}"
        boxes = read_boxes(storage, f"{folder}/groundtruth.txt")
        valid = has_area(boxes)
        present = read_labels(storage, f"{folder}/absence.label", len(boxes)) == 0
        covered = read_labels(storage, f"{folder}/cover.label", len(boxes)) > 0
        yield SequenceRecord(sequence, boxes, valid, valid & present & covered)
