"""Your own videos, for training and evaluation.

Every folder with a ``groundtruth.txt`` is a sequence: one box ``x, y, w, h`` per frame. The frames are in its one
folder of a usual name (``IMAGE_FOLDERS``, in any case), beside it, or in its only folder that holds images, in the
order of the numbers in their names. An optional ``absence.label`` holds one 0 or 1 per frame (1: hidden).

A YAML file may point to it, for evaluation by its path and for training as ``FOLDER:<path>``::

    root: videos            # folder of the sequences, relative to the file; the only line that is needed
    name: my_videos         # how results are filed (default: name of the YAML file)
    boxes: xywh             # or xyxy, two corners
    first_box_only: false   # groundtruth.txt may hold just the box of the first frame
    sequences: [a, b]       # only these, in this order (default: all, by name)
"""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from easydict import EasyDict

from lib.config.paths import Paths
from lib.data.annotations import corners_to_xywh, has_area, looks_like_corners, read_ground_truth, read_labels
from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import GROUND_TRUTH, find_file, list_frames
from lib.data.sequence import Entry, Sequence
from lib.utils.errors import ConfigError, DataError, did_you_mean
from lib.utils.files import expand_home, read_text
from lib.utils.image_io import IMAGE_SUFFIXES, image_size
from lib.utils.storage import Storage

logger = logging.getLogger(__name__)


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
                yield VideoFolder(folder, ground_truth, find_images(storage, folder, children))
            else:
                waiting += [f"{folder}{child}/" for child in reversed(children)]
        except DataError as error:
            if not folder:
                raise
            yield VideoFolder(folder, ground_truth, plain, str(error))


def find_images(storage: Storage, folder: str, children: list[str]) -> str:
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


class FolderDataset(DiskDataset):
    """Videos in folders for training; a frame is visible if its box has an area and it is not labelled as absent.

    Args:
        storage: a folder of sequences (nested as you like), or a single sequence.
        spec: which of its sequences are taken, and how their boxes are written; by default all of them, xywh.

    Raises:
        DataError: if there is no sequence, one is malformed, or one that ``spec`` names is not there.
    """

    def __init__(
        self, storage: Storage, *, spec: "FolderSpec | None" = None, cache_dir: Path | None = None, name: str = "FOLDER"
    ) -> None:
        videos = _find(storage)
        if spec is not None and spec.sequences is not None:
            named = video_names(storage, videos)
            videos = [_lookup(storage, named, wanted) for wanted in spec.sequences]
        corners = spec is not None and spec.boxes == "xyxy"
        super().__init__(
            storage,
            name=name,
            options="Folder of corners" if corners else "Folder",
            sources=[source for video in videos for source in (video.ground_truth, video.absence, video.images)],
            parse=lambda: (_parse(storage, video, corners) for video in videos),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return self.index.frame_name(sequence, frame)


def _find(storage: Storage) -> list[VideoFolder]:
    videos = list(find_videos(storage))
    if not videos:
        raise DataError(f"{storage.root}: expected folders with {GROUND_TRUTH} and images, found no {GROUND_TRUTH}")
    return videos


def _absent(storage: Storage, video: VideoFolder, *counts: int) -> np.ndarray:
    """Frames that are labelled as absent, (counts[0],) bool; there may be as many labels as any of ``counts`` says."""
    if not storage.exists(video.absence):
        return np.zeros(counts[0], dtype=bool)
    return read_labels(storage, video.absence, *counts)[: counts[0]] != 0


def _as_xywh(storage: Storage, video: VideoFolder, boxes: np.ndarray, corners: bool, frame: str) -> np.ndarray:
    """Boxes (F, 4) of a file as x, y, w, h in pixels, NaN where there is none.

    Args:
        corners: whether the file holds x1, y1, x2, y2.
        frame: file of the first frame, for its size.

    Raises:
        DataError: if the boxes only make sense in the other form.
    """
    path, rows = storage.root / video.ground_truth, boxes[has_area(boxes)]
    if corners:
        if len(rows) and 2 * int((rows[:, 2:] <= rows[:, :2]).any(axis=1).sum()) > len(rows):
            raise DataError(f"{path}: the boxes look like x, y, width, height, not x1, y1, x2, y2 (boxes: xyxy)")
        return corners_to_xywh(boxes)
    size = None
    if (rows[:, 2:] > rows[:, :2]).all():  # else they are no corners, and the frame need not be read
        with contextlib.suppress(DataError):  # of a frame that cannot be read, whoever tracks it will hear
            size = image_size(storage.read_bytes(frame))
    if size is not None and looks_like_corners(boxes, *size):
        raise DataError(
            f"{path}: the boxes look like x1, y1, x2, y2; say so by boxes: xyxy in a YAML file of the videos"
        )
    return boxes


def _parse(storage: Storage, video: VideoFolder, corners: bool) -> SequenceRecord:
    frames = video.frames(storage)
    boxes = read_ground_truth(storage, video.ground_truth, len(frames), allow_nan=True)
    boxes = _as_xywh(storage, video, boxes, corners, frames[0])
    valid = has_area(boxes)
    visible = valid & ~_absent(storage, video, len(boxes))
    return SequenceRecord(video.name(storage), boxes, valid, visible, frame_names=frames)


@dataclass(frozen=True)
class FolderSpec:
    """A dataset of one's own.

    Attributes:
        root: folder of the sequences.
        name: tag of the dataset.
        boxes: ``xywh`` or ``xyxy``.
        first_box_only: whether only the first box of a sequence needs to be known.
        sequences: names of the sequences, None for all.
    """

    root: Path
    name: str
    boxes: str = "xywh"
    first_box_only: bool = False
    sequences: tuple[str, ...] | None = None


def read_folder_spec(path: Path) -> FolderSpec:
    """Read the description of a dataset.

    Raises:
        ConfigError: if the file is missing or is not such a description; the message names the line's key.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except DataError as error:
        raise ConfigError(f"{error} (expected the description of a dataset)") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "root" not in content:
        raise ConfigError(f"{path}: expected the description of a dataset with at least 'root: <folder>'")
    known = [field.name for field in fields(FolderSpec)]
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: {key}: no such option{did_you_mean(key, known)}; known: {', '.join(known)}")
    values: dict[str, Any] = {"name": path.stem, **content}
    for key, kind in (("root", str), ("name", str), ("first_box_only", bool), ("sequences", list)):
        if key in values and not isinstance(values[key], kind):
            raise ConfigError(f"{path}: {key}: expected a {kind.__name__}, got {values[key]!r}")
    if values.get("boxes", "xywh") not in ("xywh", "xyxy"):
        raise ConfigError(f"{path}: boxes: expected xywh or xyxy, got {values['boxes']!r}")
    if "sequences" in values:
        if not values["sequences"]:
            raise ConfigError(f"{path}: sequences: the list is empty; leave it out for all sequences")
        values["sequences"] = tuple(str(name) for name in values["sequences"])
    values["root"] = path.parent / expand_home(values["root"])
    return FolderSpec(**values)


def folder_entries(storage: Storage, spec: FolderSpec) -> list[Entry]:
    """Sequences of a dataset of one's own, by the names that ``video_names`` gives them.

    Raises:
        DataError: if there is none.
    """
    videos = video_names(storage, _find(storage))
    names = list(videos) if spec.sequences is None else spec.sequences

    def load(name: str) -> Sequence:
        return _load(storage, spec, name, _lookup(storage, videos, name))

    return [Entry(name, partial(load, name)) for name in names]


def _lookup(storage: Storage, videos: dict[str, VideoFolder], name: str) -> VideoFolder:
    if name not in videos:
        raise DataError(f"{storage.root}: no sequence {name!r}{did_you_mean(name, videos)}")
    return videos[name]


def _load(storage: Storage, spec: FolderSpec, name: str, video: VideoFolder) -> Sequence:
    frames = video.frames(storage)
    boxes = read_ground_truth(storage, video.ground_truth, len(frames), hidden=spec.first_box_only, allow_nan=True)
    boxes = _as_xywh(storage, video, boxes, spec.boxes == "xyxy", frames[0])
    absent = np.isnan(boxes).any(axis=1)
    boxes = np.where(absent[:, None], 0.0, boxes)
    present = ~(absent | _absent(storage, video, len(boxes), len(frames)))
    start = _first_shown(storage, video, boxes, present)
    if start:
        logger.warning("sequence %s: starts at frame %d, the first one with a target", name, start)
    boxes, present = boxes[start:], present[start:]
    return Sequence(
        name, frames[start:], spec.name, boxes, target_visible=present, storage=storage, target_present=present
    )


def _first_shown(storage: Storage, video: VideoFolder, boxes: np.ndarray, present: np.ndarray) -> int:
    """Number of the first frame that shows the target, from which it can be tracked."""
    shown = np.flatnonzero(present & has_area(boxes))
    if len(shown) == 0:
        raise DataError(f"{storage.root / video.ground_truth}: no box with an area in a frame that shows the target")
    return int(shown[0])


@dataclass(frozen=True)
class FolderOpener(DiskOpener):
    """Opens a folder, or what a YAML file describes."""

    def __call__(self, name: str, cfg: EasyDict, paths: Paths) -> DiskDataset:
        """As of the base class; ConfigError also if the file is no such description, or describes no training data."""
        base, _, given = name.partition(":")
        if not given.lower().endswith((".yaml", ".yml")):
            return super().__call__(name, cfg, paths)
        spec = read_folder_spec(paths.data_dir / expand_home(given))
        if spec.first_box_only:
            raise ConfigError(f"{name}: first_box_only: training needs the box of each frame")

        def open_as(storage: Storage, _: str, **common: Any) -> FolderDataset:
            return FolderDataset(storage, spec=spec, **common | {"name": name})

        return DiskOpener("", open_as, self.argument, True)(f"{base}:{spec.root.resolve()}", cfg, paths)
