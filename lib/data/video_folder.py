"""The simplest layout of videos with ground truth, which both training and testing read.

Every folder with a ``groundtruth.txt`` is a sequence: one box ``x, y, w, h`` per frame. The frames are in its one
folder of a usual name (``IMAGE_FOLDERS``, in any case), beside it, or in its only folder that holds images, in the
order of the numbers in their names. An optional ``absence.label`` holds one 0 or 1 per frame (1: hidden).
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lib.data.layout import GROUND_TRUTH, find_file, list_frames
from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage

ABSENCE = "absence.label"
IMAGE_FOLDERS = frozenset({"img", "imgs", "img1", "image", "images", "frames", "color", "rgb", "jpegimages"})


@dataclass(frozen=True)
class VideoFolder:
    """A sequence; paths are relative to the root of the storage.

    Attributes:
        folder: its folder, with a trailing slash; ``""`` for the root itself.
        ground_truth: its file of boxes.
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
        return list_frames(storage, self.images)


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
            ground_truth = find_file(storage, plain, GROUND_TRUTH) or ""
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
