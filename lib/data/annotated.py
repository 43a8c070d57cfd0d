"""MOT Challenge and COCO-video as they are, for training and evaluation: each target of a video is a sequence.

``FOLDER:<path>`` and ``folder:<path>`` take a MOT sequence, a folder of such, its ``gt/gt.txt``, or a JSON file of
COCO's family, beside what ``lib.data.folder`` reads. A sequence goes from the first to the last box of its target and
is called ``<video>-<id>``, or ``<video>`` where it has one target.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from easydict import EasyDict

from lib.config.paths import Paths, annotation_cache_dir
from lib.data.annotations import has_area
from lib.data.base import DiskDataset
from lib.data.exchange.coco import read_coco
from lib.data.exchange.text import read_mot
from lib.data.exchange.tracks import Source, Video
from lib.data.folder import FolderDataset, FolderOpener, find_images, find_videos
from lib.data.index import SequenceRecord
from lib.data.layout import choose_layout, frames_by_number, list_frames, require_files
from lib.data.sequence import Entry, Sequence
from lib.utils.errors import DataError
from lib.utils.files import expand_home
from lib.utils.storage import DirectoryStorage, Storage

MOT_FILE = "gt/gt.txt"


@dataclass(frozen=True)
class Annotated:
    """Annotations of another format.

    Attributes:
        root: folder to which all paths are relative.
        name: of the dataset.
        coco: its JSON file below ``root``; empty for MOT.
    """

    root: Path
    name: str
    coco: str = ""

    def sources(self) -> list[str]:
        """Files on which the sequences depend."""
        if self.coco:
            return [self.coco]
        return [str(file.relative_to(self.root)) for file in _mot_files(self.root)]


def _mot_files(folder: Path) -> list[Path]:
    file = folder / MOT_FILE
    return [file] if os.path.isfile(file) else sorted(folder.glob(f"*/{MOT_FILE}"))


def find_annotated(path: Path) -> Annotated | None:
    """What a path leads to, None if it is for ``lib.data.folder``: a folder of sequences with ``groundtruth.txt``.

    Raises:
        DataError: if it is a file of another kind, or a folder with both kinds.
    """
    if os.path.isfile(path):
        if path.suffix.lower() == ".json":
            inner = path.parent.name.lower() == "annotations"
            root = path.parent.parent if inner else path.parent
            return Annotated(root, path.stem, str(path.relative_to(root)))
        if path.parts[-2:] == ("gt", "gt.txt"):
            return Annotated(path.parent.parent, path.resolve().parent.parent.name)
        raise DataError(f"{path}: expected a folder, a YAML file, a COCO file (.json), or {MOT_FILE} of a MOT sequence")
    files = _mot_files(path) if os.path.isdir(path) else []
    if not files:
        return None
    own = {path / video.folder for video in find_videos(DirectoryStorage(path))}
    others = [file for file in files if file.parent.parent not in own]
    if own and others:
        raise DataError(
            f"{path}: a groundtruth.txt in {min(own).name}, but MOT in {others[0]}: give one kind at a time"
        )
    return None if own else Annotated(path, path.resolve().name)


def read_annotated(storage: Storage, found: Annotated) -> list[SequenceRecord]:
    """Sequences with the paths of their frames, at least one; zeros where the target is absent.

    Raises:
        DataError: if annotations are malformed, or frames of theirs are missing; the message names file and place.
    """
    records = list(_read(storage, found))
    if not records:
        raise DataError(f"{found.root / found.coco}: no box of any target")
    return records


def _read(storage: Storage, found: Annotated) -> Iterator[SequenceRecord]:
    if found.coco:
        videos = list(read_coco(found.root / found.coco, Source()))
        prefix = _image_folder(storage, found, videos)
        for video in videos:
            yield from _sequences(
                storage, video, {n: prefix + file for n, file in video.frame_files.items()}, found.coco
            )
        return
    for video in read_mot(found.root, Source()):
        folder = "" if (found.root / MOT_FILE).is_file() else f"{video.name}/"
        images = list_frames(storage, find_images(storage, folder, storage.list_dirs(folder.rstrip("/"))))
        yield from _sequences(storage, video, frames_by_number(images), folder + MOT_FILE)


def _image_folder(storage: Storage, found: Annotated, videos: list[Video]) -> str:
    """Folder, with a slash, to which COCO's ``file_name`` is relative: the first of the usual ones that fits."""
    files = [file for video in videos for file in list(video.frame_files.values())[:1]]
    for file in files:
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise DataError(f"{storage.root / found.coco}: file_name {file!r} leads out of the folder")
    if not files:
        raise DataError(f"{storage.root / found.coco}: no images in it")
    inside = storage.list_dirs("images") if "images" in storage.list_dirs() else []
    folders = [*storage.list_dirs(), *(f"images/{name}" for name in inside)]
    split = [f"{folder}/" for folder in folders if folder.rpartition("/")[2].lower() in found.name.lower()]
    return choose_layout(storage, ("", "images/", *split), lambda prefix: (prefix + file for file in files))


def _sequences(storage: Storage, video: Video, frames: dict[int, str], source: str) -> Iterator[SequenceRecord]:
    tracks = {id: track for id, track in video.tracks.items() if track.boxes}
    for id, track in tracks.items():
        name = video.name if len(tracks) == 1 else f"{video.name}-{id}"
        lacking = sorted(track.boxes.keys() - frames.keys())
        if lacking:
            place = f"{storage.root / source}: {video.name}: target {id} in frame {lacking[0]} (from 0 on)"
            raise DataError(f"{place}, of which there is no image ({len(frames)} images)")
        first, last = min(track.boxes), max(track.boxes)
        numbers = [number for number in sorted(frames) if first <= number <= last]
        require_files(storage, [frames[first], frames[last]], f"frames of {name} at the ends")
        boxes = np.array([track.boxes.get(number, (0, 0, 0, 0)) for number in numbers], dtype=np.float64)
        shown = has_area(boxes)
        yield SequenceRecord(name, boxes, shown, shown, frame_names=[frames[number] for number in numbers])


class AnnotatedDataset(DiskDataset):
    """Annotations of another format for training.

    Raises:
        DataError: as ``read_annotated``.
    """

    def __init__(self, found: Annotated, *, cache_dir: Path | None, name: str) -> None:
        storage = DirectoryStorage(found.root)
        super().__init__(
            storage,
            name=name,
            options=f"Annotated {found.coco or 'MOT'}",
            sources=found.sources(),
            parse=lambda: read_annotated(storage, found),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return self.index.frame_name(sequence, frame)


def annotated_entries(storage: Storage, found: Annotated, tag: str) -> list[Entry]:
    """Annotations of another format for evaluation. Raises DataError as ``read_annotated``."""

    def load(record: SequenceRecord) -> Sequence:
        frames, shown = list(record.frame_names), record.visible
        return Sequence(
            record.name, frames, tag, record.boxes_xywh, target_visible=shown, storage=storage, target_present=shown
        )

    return [Entry(record.name, partial(load, record)) for record in read_annotated(storage, found)]


class AnnotatedOpener(FolderOpener):
    """Opens a folder, what a YAML file describes, or annotations of another format."""

    def __call__(self, name: str, cfg: EasyDict, paths: Paths) -> DiskDataset:
        """As of the base class; DataError also if annotations are malformed."""
        base, _, given = name.partition(":")
        if base.endswith("_lmdb") or not given or given.lower().endswith((".yaml", ".yml")):
            return super().__call__(name, cfg, paths)
        try:
            found = find_annotated(paths.data_dir / expand_home(given))
            if found is not None:
                return AnnotatedDataset(found, cache_dir=annotation_cache_dir(paths.save_dir), name=name)
        except DataError as error:
            raise DataError(f"{name}: {error}") from error
        return super().__call__(name, cfg, paths)


TRAINING = {
    "FOLDER": AnnotatedOpener(
        "",
        lambda storage, _, **common: FolderDataset(storage, **common),
        "a folder of your sequences, or a YAML file that describes one,",
        is_path=True,
    )
}
