"""The simplest layout of videos with ground truth, which both training and testing read.

Every folder with a ``groundtruth.txt`` is a sequence: one box ``x, y, w, h`` per frame. The frames are in its one
folder of a usual name (``IMAGE_FOLDERS``, in any case), beside it, or in its only folder that holds images, in the
order of the numbers in their names. An optional ``absence.label`` holds one 0 or 1 per frame (1: hidden).
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage

TRUTH = "groundtruth.txt"
ABSENCE = "absence.label"
IMAGE_FOLDERS = frozenset({"img", "imgs", "img1", "image", "images", "frames", "color", "rgb", "jpegimages"})


@dataclass(frozen=True)
class VideoFolder:
    """A sequence; paths are relative to the root of the storage.

    Attributes:
        folder: its folder, with a trailing slash; ``""`` for the root itself.
        ground truth: its file of boxes.
        images: folder of its frames, without a trailing slash.
        error: why its frames or its boxes cannot be told, if so.
    """

    folder: str
    ground_truth: str
    images: str
    error: str = ""

    @property
    def absence(self) -> str:
        """File of absence labels, which need not exist."""
        return f"{self.folder}{ABSENCE}"

    def name(self, storage: Storage) -> str:
        """Path of the sequence, or the name of the root if it is the sequence."""
        return self.folder.rstrip("/") or storage.root.name

    def frames(self, storage: Storage) -> list[str]:
        """Paths of the frames in order, at least one. Raises DataError if there is none, or it is unclear which."""
        if self.error:
            raise DataError(self.error)
        prefix = f"{self.images}/" if self.images else ""
        files = sorted(storage.list_files(self.images, IMAGE_SUFFIXES), key=natural_key)
        if not files:
            raise DataError(f"{storage.root / (self.images or self.folder)}: no images")
        return [prefix + file for file in files]


def find_videos(storage: Storage, folder: str = "") -> Iterator[VideoFolder]:
    """Sequences in a folder (with a trailing slash, ``""`` for the root) and below it, by name.

    One whose frames cannot be told, or a folder that cannot be listed, says so when its frames are asked for.

    Raises:
        DataError: if the root cannot be listed.
    """
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        plain, ground_truth = folder.rstrip("/"), ""
        try:
            children = storage.list_dirs(plain)
            ground_truth = find_file(storage, plain, TRUTH) or ""
            if ground_truth:
                yield VideoFolder(folder, ground_truth, _find_images(storage, folder, children))
            else:
                waiting += [f"{folder}{child}/" for child in reversed(children)]
        except DataError as error:
            if not folder:
                raise
            yield VideoFolder(folder, ground_truth, plain, str(error))


def _find_images(storage: Storage, folder: str, children: list[str]) -> str:
    """Folder of the frames of a sequence: its child of a usual name, itself, or its only child that holds images."""
    usual = [child for child in children if child.lower() in IMAGE_FOLDERS]
    if len(usual) == 1:
        return f"{folder}{usual[0]}"
    if not usual and storage.list_files(folder.rstrip("/"), IMAGE_SUFFIXES):
        return folder.rstrip("/")
    found = [child for child in usual or children if storage.list_files(f"{folder}{child}", IMAGE_SUFFIXES)]
    if len(found) > 1:
        raise DataError(f"{storage.root / folder}: frames in {' or in '.join(found)}? Expected one such folder")
    return f"{folder}{found[0]}" if found else folder.rstrip("/")


def video_names(storage: Storage, videos: Iterable[VideoFolder]) -> dict[str, VideoFolder]:
    """Sequences by a name of their own: their path with ``-`` for ``/``, or with ``+`` where two paths give one name.

    Raises:
        DataError: if two have one name even so.
    """
    videos = list(videos)
    joined = Counter(video.name(storage).replace("/", "-") for video in videos)
    named: dict[str, VideoFolder] = {}
    for video in videos:
        name = video.name(storage).replace("/", "-")
        if joined[name] > 1:
            name = video.name(storage).replace("/", "+")
        if name in named:
            raise DataError(f"{storage.root}: two sequences would be called {name}: rename {video.folder}")
        named[name] = video
    return named


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


def natural_key(name: str) -> tuple[list, str]:
    """Sorting key by which ``2.jpg`` comes before ``10.jpg``, ``1.25.jpg`` before ``1.3.jpg``, and ``a`` beside ``A``.

    A number is a run of digits, with its decimals where one dot and digits follow (a time stamp) and no second dot (a
    version, an address, a date). A ``-`` is a mark between words, never a sign. Equal numbers (``01``, ``1``) keep
    their order by letter.
    """
    parts: list = _NUMBER.split(name.casefold())  # texts and numbers in turn
    parts[1::2] = map(Decimal, parts[1::2])
    return parts, name


_NUMBER = re.compile(r"((?<!\d)(?<!\d\.)\d+\.\d+(?!\.?\d)|\d+)")
