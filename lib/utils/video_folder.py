"""The simplest layout of videos with truth, which both training and testing read.

Every folder with a ``groundtruth.txt`` is a sequence: one box ``x, y, w, h`` per frame. The frames lie beside it or in
its one folder ``img``, ``imgs``, ``images`` or ``frames``, in the order of the numbers in their names. An optional
``absence.label`` holds one 0 or 1 per frame (1: hidden).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage

TRUTH = "groundtruth.txt"
ABSENCE = "absence.label"
IMAGE_FOLDERS = ("img", "imgs", "images", "frames")


@dataclass(frozen=True)
class VideoFolder:
    """A sequence; paths are relative to the root of the storage.

    Attributes:
        folder: its folder, with a trailing slash; ``""`` for the root itself.
        truth: its file of boxes.
        images: folder of its frames, without a trailing slash.
    """

    folder: str
    truth: str
    images: str

    @property
    def absence(self) -> str:
        """File of absence labels, which need not exist."""
        return f"{self.folder}{ABSENCE}"

    def name(self, storage: Storage) -> str:
        """Path of the sequence, or the name of the root if it is the sequence."""
        return self.folder.rstrip("/") or storage.root.name

    def frames(self, storage: Storage) -> list[str]:
        """Paths of the frames in order. Raises DataError if the folder cannot be listed."""
        prefix = f"{self.images}/" if self.images else ""
        return [prefix + file for file in sorted(storage.list_files(self.images, IMAGE_SUFFIXES), key=natural_key)]


def find_videos(storage: Storage, folder: str = "") -> Iterator[VideoFolder]:
    """Sequences in a folder (with a trailing slash, ``""`` for the root) and below it, by name.

    Raises:
        DataError: if a sequence has several folders that may hold its frames.
    """
    plain = folder.rstrip("/")
    children = storage.list_dirs(plain)
    truth = find_file(storage, plain, TRUTH)
    if truth is None:
        for child in children:
            yield from find_videos(storage, f"{folder}{child}/")
        return
    images = [child for child in children if child in IMAGE_FOLDERS]
    if len(images) > 1:
        raise DataError(f"{storage.root / folder}: frames in {' or in '.join(images)}? Expected one such folder")
    yield VideoFolder(folder, truth, f"{folder}{images[0]}" if images else plain)


def find_file(storage: Storage, folder: str, name: str) -> str | None:
    """Path of a file whose name may be written in other case (``Groundtruth.txt``), or None.

    Args:
        storage: where to look.
        folder: an existing or missing folder, ``""`` for the root.
        name: the usual name of the file; a file with exactly this name is preferred.
    """
    prefix = f"{folder}/" if folder else ""
    if storage.exists(prefix + name):
        return prefix + name
    try:
        files = storage.list_files(folder, {name[name.rfind(".") :].lower()})
    except DataError:
        return None
    return next((prefix + file for file in files if file.lower() == name.lower()), None)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorting key by which ``2.jpg`` comes before ``10.jpg``."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
