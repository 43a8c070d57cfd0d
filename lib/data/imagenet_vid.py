"""ImageNet-VID (ILSVRC 2015), training part: one sequence per annotated track.

Layout: ``Annotations/VID/train/ILSVRC2015_VID_train_%04d/ILSVRC2015_train_%08d/%06d.xml`` from 0, and the frames below
``Data`` as above (``.JPEG``). A ``cache.json`` in the root, as other code of the family writes it, stands in for
missing XML files. Source: Russakovsky et al., IJCV 2015.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from lib.data.annotations import has_area
from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import require_files
from lib.utils.errors import DataError
from lib.utils.storage import Storage

ANNOTATIONS = "Annotations/VID/train"
CACHE = "cache.json"


class ImagenetVid(DiskDataset):
    """ImageNet-VID.

    A track is followed from its first frame on as long as it is annotated without a gap. It is left out if its first
    box covers the whole image. A frame is visible if its box has an area and the object is not flagged as occluded.

    Args:
        storage: the folder that holds ``Annotations`` and ``Data``.

    Raises:
        DataError: if files are missing or malformed.
    """

    def __init__(self, storage: Storage, *, cache_dir: Path | None = None, name: str = "VID") -> None:
        videos = _list_videos(storage)
        super().__init__(
            storage,
            name=name,
            options="VID train",
            # One XML file per frame: a million of them. Their folders tell when one is added, removed or replaced.
            sources=[f"{ANNOTATIONS}/{video}" for video in videos] or [CACHE],
            parse=lambda: _records(storage, _parse_videos(storage, videos) if videos else _read_cache(storage)),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return _frame_path(self.index.name(sequence), self.index.first_frame(sequence) + frame)


@dataclass(frozen=True)
class Track:
    """One annotated object in one video.

    Attributes:
        video: ``<set>/<video>``, the two folders.
        category: WordNet id.
        first_frame: number of its first frame.
        boxes_xywh: (F, 4) whole pixels, width = xmax - xmin.
        visible: (F,) bool, not flagged as occluded.
        image_size: (width, height) of the first frame of the video.
    """

    video: str
    category: str
    first_frame: int
    boxes_xywh: list[list[int]]
    visible: list[bool]
    image_size: tuple[int, int]

    def fills_image(self) -> bool:
        """Whether the first box has at least the area of the image (or makes no sense: a negative area)."""
        _, _, width, height = self.boxes_xywh[0]
        return not 0 <= width * height < self.image_size[0] * self.image_size[1]

    def as_cache_entry(self) -> dict[str, Any]:
        """The track as one entry of ``cache.json``."""
        set_id, video_id = (int(part.rpartition("_")[2]) for part in self.video.split("/"))
        return {
            "set_id": set_id,
            "vid_id": video_id,
            "class_name": self.category,
            "start_frame": self.first_frame,
            "anno": self.boxes_xywh,
            "target_visible": self.visible,
            "image_size": list(self.image_size),
        }


def read_tracks(storage: Storage) -> Iterator[Track]:
    """All tracks, also those that are not used, by video and first appearance.

    Raises:
        DataError: if files are missing or malformed.
    """
    videos = _list_videos(storage)
    return _parse_videos(storage, videos) if videos else _read_cache(storage)


def _frame_path(video: str, number: int) -> str:
    return f"Data/VID/train/{video}/{number:06d}.JPEG"


def _list_videos(storage: Storage) -> list[str]:
    """Annotated videos as ``<set>/<video>``; none if there is only a ``cache.json``."""
    try:
        sets = storage.list_dirs(ANNOTATIONS)
    except DataError:
        require_files(storage, [CACHE], f"sources of annotations ({ANNOTATIONS}/ or {CACHE})")
        return []
    return [f"{part}/{video}" for part in sets for video in storage.list_dirs(f"{ANNOTATIONS}/{part}")]


def _records(storage: Storage, tracks: Iterable[Track]) -> Iterator[SequenceRecord]:
    kept = [track for track in tracks if not track.fills_image()]  # Faithful: by the first box alone
    frames = [_frame_path(track.video, track.first_frame) for track in kept]
    require_files(storage, frames, "first frames of tracks")
    for track in kept:
        boxes = np.array(track.boxes_xywh, dtype=np.float32)
        valid = has_area(boxes)
        visible = valid & np.array(track.visible, dtype=bool)
        yield SequenceRecord(track.video, boxes, valid, visible, first_frame=track.first_frame)


def _parse_videos(storage: Storage, videos: Iterable[str]) -> Iterator[Track]:
    for video in videos:
        folder = f"{ANNOTATIONS}/{video}"
        files = storage.list_files(folder, {".xml"})
        if not files:
            raise DataError(f"{storage.root / folder}: the sequence is empty, expected one XML file per frame")
        yield from _parse_video(storage, video, [f"{folder}/{file}" for file in files])


def _parse_video(storage: Storage, video: str, files: list[str]) -> Iterator[Track]:
    tracks: dict[str, Track] = {}
    for number, file in enumerate(files):
        place = storage.root / file
        try:
            root = ElementTree.fromstring(storage.read_bytes(file))
            if number == 0:
                image_size = int(root.findtext("size/width")), int(root.findtext("size/height"))
            seen: set[str] = set()
            for target in root.iterfind("object"):
                track_id = target.findtext("trackid")
                if track_id in seen:
                    continue
                seen.add(track_id)
                track = tracks.setdefault(track_id, Track(video, target.findtext("name"), number, [], [], image_size))
                if track.first_frame + len(track.visible) == number:  # Faithful: ends at the first gap
                    x1, y1, x2, y2 = (int(target.findtext(f"bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax"))
                    track.boxes_xywh.append([x1, y1, x2 - x1, y2 - y1])
                    track.visible.append(target.findtext("occluded") == "0")
        except ElementTree.ParseError as error:
            raise DataError(f"{place}: line {error.position[0]}: no valid XML: {error}") from error
        except (TypeError, ValueError) as error:
            raise DataError(f"{place}: a size or box is missing or no integer: {error}") from error
    yield from tracks.values()


def _read_cache(storage: Storage) -> Iterator[Track]:
    place = storage.root / CACHE
    try:
        for number, entry in enumerate(json.loads(storage.read_bytes(CACHE))):
            video = f"ILSVRC2015_VID_train_{entry['set_id']:04d}/ILSVRC2015_train_{entry['vid_id']:08d}"
            boxes, visible = entry["anno"], entry["target_visible"]
            if not boxes or len(boxes) != len(visible):
                raise DataError(f"{place}: entry {number}: {len(boxes)} boxes and {len(visible)} flags")
            size = tuple(entry["image_size"])
            yield Track(video, entry["class_name"], entry["start_frame"], boxes, visible, size)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{place}: not a list of tracks: {type(error).__name__}: {error}") from error


TRAINING = {"VID": DiskOpener("imagenet_vid", lambda storage, _, **common: ImagenetVid(storage, **common))}
