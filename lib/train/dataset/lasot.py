"""LaSOT, training part.

Layout: ``<class>/<class>-<n>/{groundtruth.txt, full_occlusion.txt, out_of_view.txt, img/%08d.jpg}``, frames from 1.
Source: Fan et al., CVPR 2019.
"""

import csv
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from lib.train.dataset.disk import DiskDataset, has_area, read_boxes, read_labels, read_split, require_files
from lib.train.dataset.index import SequenceRecord
from lib.utils.errors import DataError
from lib.utils.storage import Storage

FIRST_FRAME = 1
FLAG_FILES = ("full_occlusion.txt", "out_of_view.txt")


class Lasot(DiskDataset):
    """LaSOT.

    A frame is visible if its box has an area and it is flagged neither as fully occluded nor as out of view.

    Args:
        storage: the folder that holds the classes.
        split: ``train`` (the published 1120 sequences), ``all`` (whatever is there), or the path of a text file with
            one sequence name per line.
        cache_dir: where the annotation index is kept; None keeps it in memory.
        name: as in the configuration.

    Raises:
        DataError: if files are missing or malformed, or a split file names a sequence that is not there.
    """

    def __init__(
        self, storage: Storage, split: str | Path = "train", *, cache_dir: Path | None = None, name: str = "LASOT"
    ) -> None:
        names = _split_names(storage, split)
        folders = [_folder(sequence) for sequence in names]
        super().__init__(
            storage,
            name=name,
            options=f"LaSOT {split}",
            sources=[f"{folder}/{file}" for folder in folders for file in ("groundtruth.txt", *FLAG_FILES)],
            parse=lambda: _parse(storage, names),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the dataset."""
        return _frame_path(self.index.name(sequence), frame)


def _folder(sequence: str) -> str:
    return f"{sequence.rpartition('-')[0]}/{sequence}"


def _frame_path(sequence: str, frame: int) -> str:
    return f"{_folder(sequence)}/img/{frame + FIRST_FRAME:08d}.jpg"


def train_sequences() -> list[str]:
    """Names of the 1120 training sequences of the published split."""
    table = resources.files("lib.train.data_specs").joinpath("lasot_train.csv").read_text(encoding="utf-8")
    return [f"{row['class']}-{n}" for row in csv.DictReader(table.splitlines()) for n in row["numbers"].split()]


def _split_names(storage: Storage, split: str | Path) -> list[str]:
    if split == "train":
        return train_sequences()
    if split == "all":
        return [
            sequence
            for category in storage.list_dirs()
            for sequence in storage.list_dirs(category)
            if storage.exists(f"{category}/{sequence}/groundtruth.txt")
        ]
    names = []
    for line, sequence in read_split(Path(split)):
        if not storage.exists(f"{_folder(sequence)}/groundtruth.txt"):
            raise DataError(f"{split}: line {line}: {sequence!r} is no sequence of {storage.root}")
        names.append(sequence)
    return names


def _parse(storage: Storage, names: Sequence[str]) -> Iterator[SequenceRecord]:
    require_files(storage, [f"{_folder(sequence)}/groundtruth.txt" for sequence in names], "annotation files")
    require_files(storage, [_frame_path(sequence, 0) for sequence in names], "first frames of sequences")
    for sequence in names:
        boxes = read_boxes(storage, f"{_folder(sequence)}/groundtruth.txt")
        valid = has_area(boxes)
        visible = valid.copy()
        for file in FLAG_FILES:
            visible &= read_labels(storage, f"{_folder(sequence)}/{file}", len(boxes)) == 0
        yield SequenceRecord(sequence, boxes, valid, visible)
