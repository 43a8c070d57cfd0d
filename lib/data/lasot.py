"""LaSOT (1120 training and 280 test videos), and its extension (150 test videos of 15 new classes).

Official layout: ``<class>/<class>-<n>/`` with ``groundtruth.txt``, ``full_occlusion.txt``, ``out_of_view.txt`` and
``img/00000001.jpg``, ... For evaluation also: without the folders of the classes, and one folder deeper, as the
archives unpack. The 14 attributes come from ``att/<sequence>.txt`` of the evaluation toolkit, if that is there; without
it, full occlusion and out of view are known, from the flags of the frames.
Sources: Fan et al., CVPR 2019; Fan et al., IJCV 2021.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lib.data.annotations import has_area, read_ground_truth, read_labels, read_split
from lib.data.attributes import AttributeFiles
from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import GROUND_TRUTH, choose_layout, numbered_frames, read_table, require_file, require_files
from lib.data.sequence import Benchmark, Entry, Sequence
from lib.utils.errors import DataError
from lib.utils.files import read_names
from lib.utils.storage import Storage

FLAGS = {"full_occlusion.txt": "Full Occlusion", "out_of_view.txt": "Out-of-View"}
"""Files of flags, and the attribute of a sequence that has one set."""
FIRST_FRAME, DIGITS = 1, 8
ARCHIVES = {"lasot": ("LaSOTBenchmark", "LaSOTTest"), "lasot_extension_subset": ("LaSOT_extension_subset",)}
TEST_LIST, TRAIN_LIST = "testing_set.txt", "training_set.txt"
ATTRIBUTE_FOLDERS = ("att", "annos/att", "LaSOT_Evaluation_Toolkit/annos/att")


class Lasot(DiskDataset):
    """LaSOT for training.

    A frame is visible if its box has an area and it is flagged neither as fully occluded nor as out of view.

    Args:
        storage: the folder that holds the classes.
        split: ``train`` (the published 1120 sequences), ``all`` (whatever is there), or the path of a text file with
            one sequence name per line.

    Raises:
        DataError: if files are missing or malformed, or a split file names a sequence that is not there.
    """

    def __init__(
        self, storage: Storage, split: str | Path = "train", *, cache_dir: Path | None = None, name: str = "LASOT"
    ) -> None:
        names = _split_names(storage, split)
        super().__init__(
            storage,
            name=name,
            options=f"LaSOT {split}",
            sources=[f"{_folder(sequence)}/{file}" for sequence in names for file in (GROUND_TRUTH, *FLAGS)],
            parse=lambda: _parse(storage, names),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return _frame_path(_folder(self.index.name(sequence)), frame)


def _class(sequence: str) -> str:
    return sequence.rpartition("-")[0]


def _folder(sequence: str) -> str:
    return f"{_class(sequence)}/{sequence}"


def _frame_path(folder: str, frame: int) -> str:
    return f"{folder}/img/{frame + FIRST_FRAME:0{DIGITS}d}.jpg"


def _read_flags(storage: Storage, paths: Iterable[str], count: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Frames that any of the files in the order of ``FLAGS`` marks, (count,) bool, and the attributes they show."""
    flags = np.array([read_labels(storage, path, count) != 0 for path in paths])
    return flags.any(axis=0), tuple(name for name, row in zip(FLAGS.values(), flags, strict=True) if row.any())


def published_names(table: str) -> list[str]:
    """Sequence names of a published split: ``lasot_train``, ``lasot`` (test) or ``lasot_extension_subset``."""
    return [f"{row['class']}-{n}" for row in read_table(table) for n in row["numbers"].split()]


def _split_names(storage: Storage, split: str | Path) -> list[str]:
    if split == "train":
        return published_names("lasot_train")
    if split == "all":
        return [
            sequence
            for category in storage.list_dirs()
            for sequence in storage.list_dirs(category)
            if storage.exists(f"{category}/{sequence}/{GROUND_TRUTH}")
        ]
    names = []
    for line, sequence in read_split(Path(split)):
        if not storage.exists(f"{_folder(sequence)}/{GROUND_TRUTH}"):
            raise DataError(f"{split}: line {line}: {sequence!r} is no sequence of {storage.root}")
        names.append(sequence)
    return names


def _parse(storage: Storage, names: list[str]) -> Iterator[SequenceRecord]:
    folders = [_folder(name) for name in names]
    require_files(storage, [f"{folder}/{GROUND_TRUTH}" for folder in folders], "annotation files")
    require_files(storage, [_frame_path(folder, 0) for folder in folders], "first frames of sequences")
    for name, folder in zip(names, folders, strict=True):
        boxes = read_ground_truth(storage, f"{folder}/{GROUND_TRUTH}", allow_nan=True)
        valid = has_area(boxes)
        absent, _ = _read_flags(storage, [f"{folder}/{file}" for file in FLAGS], len(boxes))
        yield SequenceRecord(name, boxes, valid, valid & ~absent)


def has_test(storage: Storage) -> bool:
    """Whether the test split is there, and not just the training split that the renderer wrote and listed."""
    return not storage.exists(TRAIN_LIST) or storage.exists(TEST_LIST)


def lasot_entries(storage: Storage, tag: str = "lasot") -> list[Entry]:
    """Test sequences in the published order, or those of ``testing_set.txt`` if it lists none of them.

    Args:
        storage: the dataset.
        tag: ``lasot`` or ``lasot_extension_subset``.

    Raises:
        DataError: if the layout is not known.
    """
    names = published_names(tag)
    if tag == "lasot" and storage.exists(TEST_LIST):
        listed = [name for _, name in read_names(storage.read_text(TEST_LIST), str(storage.root / TEST_LIST))]
        if listed and not set(names).intersection(listed):
            names = listed
    prefixes = ("", *(f"{folder}/" for folder in ARCHIVES[tag]))
    layouts = [prefix + folder for prefix in prefixes for folder in ("{kind}/{name}", "{name}")]

    def folder(layout: str, name: str) -> str:
        return layout.format(kind=_class(name) or name, name=name)

    layout = choose_layout(storage, layouts, lambda layout: (_frame_path(folder(layout, name), 0) for name in names))
    folders = [prefix + place for prefix in prefixes for place in ATTRIBUTE_FOLDERS]
    attributes = AttributeFiles(storage, folders, "lasot")  # those of the extension are the same
    return [Entry(name, partial(_load, storage, folder(layout, name), tag, name, attributes)) for name in names]


def _load(storage: Storage, folder: str, tag: str, name: str, attributes: AttributeFiles) -> Sequence:
    boxes = read_ground_truth(storage, require_file(storage, folder, GROUND_TRUTH))
    frames = numbered_frames(storage, f"{folder}/img", FIRST_FRAME, len(boxes), DIGITS, ends=True)
    absent, flagged = _read_flags(storage, (require_file(storage, folder, file) for file in FLAGS), len(boxes))
    shown, kind = attributes.read(name) if attributes else flagged, _class(name) or name
    return Sequence(
        name, frames, tag, boxes, target_visible=~absent, object_class=kind, storage=storage, attributes=shown
    )


def _benchmark(tag: str, sequences: int) -> Benchmark:
    return Benchmark(tag, tag, partial(lasot_entries, tag=tag), tag, sequences=sequences, has=has_test)


BENCHMARKS = (_benchmark("lasot", 280), _benchmark("lasot_extension_subset", 150))
TRAINING = {
    "LASOT": DiskOpener(
        "lasot", lambda storage, split, **common: Lasot(storage, split or "train", **common), "a split file", True
    )
}
