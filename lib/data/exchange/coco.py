"""Annotations of COCO's family for videos: CocoVID (MMTracking), TAO, YouTube-VIS, and plain COCO with tracks."""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.data.exchange.tracks import Source, Video, check_file_size
from lib.data.layout import natural_key
from lib.utils.errors import DataError, printable
from lib.utils.files import read_text, write_text_atomic

LARGEST_JSON = 512 * 2**20
"""Most bytes of a JSON file, which is read as a whole."""
IDENTITIES = ("instance_id", "track_id")
_REFERENCES = ("id", "video_id", "image_id", "category_id")


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        DataError: if it is missing, too large or not JSON; the message names file and line.
    """
    check_file_size(path)
    if path.stat().st_size > LARGEST_JSON:
        raise DataError(f"{path}: larger than {LARGEST_JSON >> 20} MiB; split it, a JSON file is read as a whole")
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path}: not JSON: {printable(str(error), 100)}") from error


def field_of(item: Any, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """A field of a JSON object. Raises DataError if it is missing or of another kind."""
    value = item.get(name) if isinstance(item, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: expected a field {name!r}, got {printable(repr(value), 60)}")
    return value


def read_coco(path: Path, source: Source) -> Iterator[Video]:
    """Read a file; boxes that are crowds are left out.

    Identity is ``instance_id`` or ``track_id`` (also among ``attributes``, as CVAT writes it); frame numbers count from
    0 or 1, as the smallest one says. Without ``videos`` all images are one video, in the order of their names.
    """
    content = read_json(path)
    field_of(content, "annotations", list, str(path))
    labels = {item.get("id"): str(item.get("name", "")) for item in _items(content, "categories", path)}
    if any(isinstance(item, Mapping) and "bboxes" in item for item in content["annotations"]):
        yield from _read_vis(content, labels, path)
        return
    images = list(_items(content, "images", path))
    names = {item.get("id"): str(item.get("name", item.get("id"))) for item in _items(content, "videos", path)}
    by_video: dict[Any, list[Mapping[str, Any]]] = {key: [] for key in names} if names else {None: []}
    for image in images:
        key = image.get("video_id") if names else None
        if key not in by_video:
            raise DataError(f"{path}: image {image.get('id')!r} is of no video of the file (video_id {key!r})")
        by_video[key].append(image)
    annotations: dict[Any, list[tuple[int, Mapping[str, Any]]]] = {}
    for index, item in enumerate(_items(content, "annotations", path)):
        annotations.setdefault(item.get("image_id"), []).append((index, item))
    known = {image.get("id") for image in images}
    for image_id, found in annotations.items():
        if image_id not in known:
            raise DataError(f"{path}: annotations[{found[0][0]}]: no image {printable(repr(image_id), 40)}")
    for key, members in by_video.items():
        video = Video(Path(names.get(key, path.stem)).name, frame_names=[], size=source.size)
        for frame, image in images_in_order(members, path):
            video.num_frames = frame + 1
            video.frame_files[frame] = str(image.get("file_name", ""))
            video.frame_names.append(Path(video.frame_files[frame]).name)
            if len(video.frame_names) == 1 and all(isinstance(image.get(key), int) for key in ("width", "height")):
                video.size = image["width"], image["height"]  # the first one's, if they differ
            for index, item in annotations.get(image.get("id"), ()):
                _add(video, frame, item, labels, f"{path}: annotations[{index}]")
        if video.num_frames != len(video.frame_names):
            video.frame_names = None
        yield video


def _items(content: Mapping[str, Any], key: str, path: Path) -> Iterator[Mapping[str, Any]]:
    items, own = content.get(key) or [], set()
    if not isinstance(items, list):
        raise DataError(f"{path}: {key}: expected a list, got {printable(repr(items), 60)}")
    for index, item in enumerate(items):
        if not isinstance(item, Mapping) or any(isinstance(item.get(name), list | dict) for name in _REFERENCES):
            raise DataError(f"{path}: {key}[{index}]: expected an object, got {printable(repr(item), 60)}")
        if item.get("id") in own:
            raise DataError(f"{path}: {key}[{index}]: a second one with the id {printable(repr(item['id']), 40)}")
        own |= {item["id"]} if "id" in item else set()
        yield item


def images_in_order(images: list[Mapping[str, Any]], path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    """Images of a video with the numbers of their frames, from 0 on; without those by name, and by place in the file.

    Raises:
        DataError: if two have one number.
    """
    key = next((key for key in ("frame_id", "frame_index") if all(isinstance(i.get(key), int) for i in images)), None)
    if key is None or not images:
        return list(enumerate(sorted(images, key=lambda image: natural_key(str(image.get("file_name", ""))))))
    first = 1 if min(image[key] for image in images) == 1 else 0
    numbered = sorted(((image[key] - first, image) for image in images), key=lambda pair: pair[0])
    for (frame, _), (following, _) in itertools.pairwise(numbered):
        if frame == following:
            raise DataError(f"{path}: two images of a video have {key} {frame + first}")
    return numbered


def _add(video: Video, frame: int, item: Mapping[str, Any], labels: Mapping[Any, str], where: str) -> None:
    if item.get("iscrowd"):
        return
    box = field_of(item, "bbox", list, where)
    if len(box) != 4 or not all(isinstance(number, int | float) for number in box):
        raise DataError(f"{where}: bbox: expected four numbers, got {printable(repr(box), 60)}")
    attributes = item.get("attributes") if isinstance(item.get("attributes"), Mapping) else {}
    found = [holder[key] for holder in (item, attributes) for key in IDENTITIES if holder.get(key) is not None]
    label = labels.get(item.get("category_id"), "")
    video.track(found[0] if found else label or "1", label).add(frame, box, where)


def _read_vis(content: Mapping[str, Any], labels: Mapping[Any, str], path: Path) -> Iterator[Video]:
    """YouTube-VIS: an annotation is a track, with one box or null for each frame."""
    videos: dict[Any, Video] = {}
    for index, item in enumerate(_items(content, "videos", path)):
        files = field_of(item, "file_names", list, f"{path}: videos[{index}]")
        names = [Path(str(name)).name for name in files]
        folder = Path(str(files[0])).parent.name if files else ""
        video = Video(str(item.get("name") or folder or item.get("id")), num_frames=len(files), frame_names=names)
        video.frame_files = dict(enumerate(map(str, files)))
        if isinstance(item.get("width"), int) and isinstance(item.get("height"), int):
            video.size = item["width"], item["height"]
        videos[item.get("id")] = video
    for index, item in enumerate(_items(content, "annotations", path)):
        where = f"{path}: annotations[{index}]"
        video = videos.get(item.get("video_id"))
        if video is None:
            raise DataError(f"{where}: no video {item.get('video_id')!r}")
        boxes = field_of(item, "bboxes", list, where)
        if len(boxes) != video.num_frames:
            raise DataError(f"{where}: {len(boxes)} boxes for {video.num_frames} frames")
        track = video.track(item.get("id", index), labels.get(item.get("category_id"), ""))
        for frame, box in enumerate(boxes):
            if box is not None:
                if not isinstance(box, list) or len(box) != 4:
                    raise DataError(f"{where}: bboxes[{frame}]: expected four numbers or null")
                track.add(frame, box, f"{where}: bboxes[{frame}]")
    yield from videos.values()


def write_coco(videos: Iterable[Video], path: Path) -> list[Path]:
    """Write CocoVID, with ``instance_id`` and ``track_id``; frames count from 0."""
    content: dict[str, list[dict[str, Any]]] = {key: [] for key in ("videos", "images", "annotations", "categories")}
    categories: dict[str, int] = {}
    for number, video in enumerate(videos, 1):
        size = {} if video.size is None else {"width": video.size[0], "height": video.size[1]}
        content["videos"].append({"id": number, "name": video.name, **size})
        first = len(content["images"]) + 1
        for frame in range(video.length):
            name = video.frame_names[frame] if video.frame_names else f"{frame:08d}.jpg"
            image = {"id": first + frame, "video_id": number, "frame_id": frame, "file_name": f"{video.name}/{name}"}
            content["images"].append(image | size)
        identities = video.whole_ids()
        for id, track in video.tracks.items():
            category = categories.setdefault(track.label or "object", len(categories) + 1)
            identity = identities[id]
            for frame, box in sorted(track.boxes.items()):
                item = {"id": len(content["annotations"]) + 1, "image_id": first + frame, "video_id": number}
                item |= {"category_id": category, "instance_id": identity, "track_id": identity, "bbox": list(box)}
                content["annotations"].append(item | {"area": box[2] * box[3], "iscrowd": 0})
    content["categories"] = [{"id": number, "name": name} for name, number in categories.items()]
    write_text_atomic(path, json.dumps(content) + "\n")
    return [path]
