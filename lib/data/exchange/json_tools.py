"""Annotations of tools that write JSON: Label Studio (video rectangles) and LabelMe."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.data.exchange.coco import field_of, read_json
from lib.data.exchange.tracks import Box, Key, Source, Video, folders_with, hull, in_order, interpolate, warn_left_out
from lib.utils.errors import DataError, printable
from lib.utils.files import write_text_atomic

NUMBER = (int, float)

# Label Studio ---------------------------------------------------------------------------------------------------


def read_label_studio(path: Path, source: Source) -> Iterator[Video]:
    """Read an export of Label Studio: a list of tasks, each a video with its regions.

    Frames count from 1, boxes are percent of the frame, whose size it does not say. Boxes between keys are filled in;
    ``enabled: false`` ends a stretch after its frame. Annotations win over predictions; of several the last is taken.
    """
    content = read_json(path)
    tasks = content if isinstance(content, list) else [content]
    for index, task in enumerate(tasks):
        where = f"{path}: task {index + 1}"
        data = field_of(task, "data", Mapping, where)
        texts = [data.get("video"), *data.values(), f"task{index + 1}"]
        given = next(value for value in texts if isinstance(value, str))
        video = Video(Path(given.split("?")[0]).stem, num_frames=source.num_frames)
        video.size = source.require_size(video.name, f"{where}: Label Studio")
        annotations, predictions = (
            field_of({key: task.get(key) or []}, key, list, where) for key in ("annotations", "predictions")
        )
        answers = [answer for answer in annotations if not _is_skipped(answer)] or predictions or [{"result": []}]
        for region in field_of(answers[-1], "result", list, where):
            if isinstance(region, Mapping) and region.get("type") == "videorectangle":
                add_region(video, region, f"{where}: region {printable(str(region.get('id')), 40)}")
        yield video


def _is_skipped(annotation: Any) -> bool:
    return isinstance(annotation, Mapping) and bool(annotation.get("was_cancelled"))


def add_region(video: Video, region: Mapping[str, Any], where: str) -> None:
    """Add a region of Label Studio to a video whose size is known; raises DataError if it is malformed."""
    value = field_of(region, "value", Mapping, where)
    if isinstance(value.get("framesCount"), int):
        video.num_frames = max(video.num_frames or 0, value["framesCount"])
    keys: list[Key] = []
    for number, item in enumerate(field_of(value, "sequence", list, where)):
        place = f"{where}: sequence[{number}]"
        frame = field_of(item, "frame", int, place) - 1
        if item.get("rotation"):
            raise DataError(
                f"{place}: a box that is turned by {item['rotation']} degrees; only upright ones can be converted"
            )
        keys.append(Key(frame, _from_percent(item, video, place), item.get("enabled", True) is not False))
    keys.sort(key=lambda key: key.frame)
    labels = field_of(value, "labels", list, where) if value.get("labels") else []
    track = video.track(region.get("id", len(video.tracks) + 1), str(labels[0]) if labels else "")
    boxes = interpolate(keys, video.num_frames, where)
    boxes |= {key.frame: key.box for key in keys if not key.visible}  # the key that ends a stretch is still a box
    for frame, box in sorted(boxes.items()):
        track.add(frame, box, f"{where}: frame {frame + 1}")


def _from_percent(item: Any, video: Video, where: str) -> Box:
    width, height = video.require_size("Label Studio")
    x, y, w, h = (field_of(item, name, NUMBER, where) for name in ("x", "y", "width", "height"))
    return x / 100 * width, y / 100 * height, w / 100 * width, h / 100 * height


def write_label_studio(videos: Iterable[Video], path: Path) -> list[Path]:
    """Write a list of tasks with annotations, as Label Studio imports it."""
    tasks = [
        {"data": {"video": f"{video.name}.mp4"}, "annotations": [{"result": list(regions_of(video))}]}
        for video in videos
    ]
    write_text_atomic(path, json.dumps(tasks) + "\n")
    return [path]


def regions_of(video: Video, fps: float = 25.0) -> Iterator[dict[str, Any]]:
    """A region of Label Studio for each target of a video whose size is known."""
    size = video.require_size("Label Studio")
    for id, track in video.tracks.items():
        sequence = sequence_of(track.boxes, video.length, size, fps)
        value = {"framesCount": video.length, "duration": video.length / fps, "sequence": sequence}
        value["labels"] = [track.label or "object"]
        names = {"id": id, "type": "videorectangle", "from_name": "box", "to_name": "video", "origin": "manual"}
        yield names | {"value": value}


def sequence_of(
    boxes: Mapping[int, Box], num_frames: int, size: tuple[int, int], fps: float = 25.0
) -> list[dict[str, Any]]:
    """The keys of a region of Label Studio: one for every box, all of them upright.

    Args:
        boxes: x, y, w, h in pixels by frame, from 0 on.
        num_frames: of the video; a target without a box in the frame after one, if there is a frame, ends there.
        size: (width, height) of a frame.
        fps: from which the times of the keys are made.
    """
    sequence = []
    for frame, (x, y, w, h) in sorted(boxes.items()):
        entry = {"frame": frame + 1, "time": (frame + 1) / fps, "rotation": 0}
        entry |= {"x": 100 * x / size[0], "y": 100 * y / size[1]}
        entry |= {"width": 100 * w / size[0], "height": 100 * h / size[1]}
        sequence.append(entry | {"enabled": frame + 1 in boxes or frame + 1 >= num_frames})
    return sequence


# LabelMe --------------------------------------------------------------------------------------------------------


def read_labelme(path: Path, source: Source) -> Iterator[Video]:
    """Read a folder with one LabelMe JSON for each frame, in the order of their names.

    Identity is ``group_id``; without it each label is one target, once in a frame. Rectangles, and hulls of polygons.
    """
    for folder in folders_with(path, "*.json"):
        yield _read_labelme(folder)


def _read_labelme(folder: Path) -> Video:
    files = in_order(folder.glob("*.json"))
    video, others = Video(folder.resolve().name, num_frames=len(files), frame_names=[]), []
    for frame, file in enumerate(files):
        content = read_json(file)
        size = (field_of(content, "imageWidth", int, str(file)), field_of(content, "imageHeight", int, str(file)))
        video.size = video.size or size  # the first one's, if they differ
        name = content.get("imagePath") or f"{file.stem}.jpg"
        video.frame_names.append(Path(str(name).replace("\\", "/")).name)
        for index, shape in enumerate(field_of(content, "shapes", list, str(file))):
            where = f"{file}: shapes[{index}]"
            kind, points = field_of(shape, "shape_type", str, where), field_of(shape, "points", list, where)
            if kind not in ("rectangle", "polygon"):
                others.append(kind)
                continue
            if len(points) < 2 or not all(
                isinstance(point, list) and len(point) == 2 and all(isinstance(v, NUMBER) for v in point)
                for point in points
            ):
                raise DataError(f"{where}: a {kind} of {len(points)} points")
            label = str(shape.get("label", ""))
            id = shape.get("group_id")
            track = video.track(label or "1" if id is None else id, label)
            track.add(frame, hull([number for point in points for number in point]), where)
    warn_left_out(folder, others)
    return video


def write_labelme(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write ``<video>/<frame>.json``; a target's number is its ``group_id``."""
    written = []
    for video in videos:
        width, height = video.require_size("LabelMe")
        ids = video.whole_ids()
        for frame in range(video.length):
            name = video.frame_names[frame] if video.frame_names else f"{frame:08d}.jpg"
            shapes = []
            for id, track in video.tracks.items():
                if frame in track.boxes:
                    x, y, w, h = track.boxes[frame]
                    shape = {"label": track.label or "object", "points": [[x, y], [x + w, y + h]], "group_id": ids[id]}
                    shapes.append(shape | {"shape_type": "rectangle", "flags": {}, "description": ""})
            content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": name, "imageData": None}
            content |= {"imageHeight": height, "imageWidth": width}
            text = json.dumps(content, ensure_ascii=False) + "\n"
            write_text_atomic(folder / video.name / f"{Path(name).stem}.json", text)
        written.append(folder / video.name)
    return written
