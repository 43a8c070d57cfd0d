"""Your own videos: every folder with a ``groundtruth.txt`` is a sequence.

Layout: ``<anything>/groundtruth.txt`` with one box ``x, y, w, h`` per frame (commas, tabs or spaces; NaN or an empty
box where the target is absent), the frames beside it or in its one folder ``img``, ``imgs``, ``images`` or ``frames``,
in the order of the numbers in their names, and, if you like, ``absence.label`` with one 0 or 1 per frame (1: hidden).
"""

import re
from collections.abc import Iterator
from pathlib import Path

from lib.train.dataset.disk import DiskDataset, has_area, read_boxes, read_labels
from lib.train.dataset.index import SequenceRecord
from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage

TRUTH = "groundtruth.txt"
ABSENCE = "absence.label"
IMAGE_FOLDERS = ("img", "imgs", "images", "frames")


class FolderDataset(DiskDataset):
    """Videos in folders; a frame is visible if its box has an area and it is not labelled as absent.

    Args:
        storage: a folder of sequences (nested as you like), or a single sequence.
        cache_dir: where the annotation index is kept; None keeps it in memory.
        name: as in the configuration.

    Raises:
        DataError: if there is no sequence, or one is malformed.
    """

    def __init__(self, storage: Storage, *, cache_dir: Path | None = None, name: str = "FOLDER") -> None:
        sequences = dict(_find_sequences(storage, ""))
        if not sequences:
            raise DataError(f"{storage.root}: expected folders with {TRUTH} and images, found no {TRUTH}")
        super().__init__(
            storage,
            name=name,
            options="Folder",
            sources=[
                source
                for folder, images in sequences.items()
                for source in (f"{folder}{TRUTH}", f"{folder}{ABSENCE}", images)
            ],
            parse=lambda: (_parse(storage, folder, images) for folder, images in sequences.items()),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the data set."""
        return self.index.frame_name(sequence, frame)


def _find_sequences(storage: Storage, folder: str) -> Iterator[tuple[str, str]]:
    """Folders of the sequences (with a trailing slash, ``""`` for the root) and of their images."""
    children = storage.list_dirs(folder.rstrip("/"))
    if storage.exists(f"{folder}{TRUTH}"):
        images = [child for child in children if child in IMAGE_FOLDERS]
        if len(images) > 1:
            raise DataError(f"{storage.root / folder}: frames in {' or in '.join(images)}? Expected one such folder")
        yield folder, f"{folder}{images[0]}" if images else folder.rstrip("/")
        return
    for child in children:
        yield from _find_sequences(storage, f"{folder}{child}/")


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorting key by which ``2.jpg`` comes before ``10.jpg``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _parse(storage: Storage, folder: str, images: str) -> SequenceRecord:
    boxes = read_boxes(storage, f"{folder}{TRUTH}")
    frames = sorted(storage.list_files(images, IMAGE_SUFFIXES), key=_natural)
    if len(frames) != len(boxes):
        raise DataError(
            f"{storage.root / folder / TRUTH}: {len(boxes)} boxes, but {len(frames)} images in {images or '.'}"
        )
    valid = has_area(boxes)
    visible = valid.copy()
    if storage.exists(f"{folder}{ABSENCE}"):
        visible &= read_labels(storage, f"{folder}{ABSENCE}", len(boxes)) == 0
    prefix = f"{images}/" if images else ""
    name = folder.rstrip("/") or storage.root.name
    return SequenceRecord(name, boxes, valid, visible, frame_names=[prefix + frame for frame in frames])
