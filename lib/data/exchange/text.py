"""Annotations as lines of numbers: MOT Challenge, VOT, YOLO, and folders of one's own."""

import configparser
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lib.data.annotations import has_area, read_ground_truth
from lib.data.exchange.tracks import Box, Source, Video, check_file_size, folders_with, hull, in_order
from lib.data.folder import find_videos, video_names
from lib.utils.errors import DataError, printable
from lib.utils.files import read_text, write_text_atomic
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import find_storage, is_clutter

MOT_CLASSES = (
    "pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non-motor vehicle", "static person",
    "distractor", "occluder", "occluder on ground", "occluder full", "reflection", "crowd",
)  # fmt: skip


def _numbers(line: str, separator: str | None, where: str, allow_nan: bool = False) -> list[float]:
    try:
        numbers = [float(field) for field in line.split(separator)]
        if "_" in line or not line.isascii() or not (allow_nan or all(map(math.isfinite, numbers))):
            raise ValueError
        return numbers
    except ValueError as error:
        raise DataError(f"{where}: expected numbers, got {printable(repr(line.strip()), 80)}") from error


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Place and text of each line of a file that is not empty, one at a time."""
    check_file_size(path)
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}: line {number}", line.strip().removesuffix(",")


# MOT ------------------------------------------------------------------------------------------------------------


def read_mot(path: Path, source: Source) -> Iterator[Video]:
    """Read MOT Challenge: a file of rows, a sequence with ``gt/gt.txt``, or a folder of such sequences.

    Frames count from 1. Rows that are to be ignored (column 7 is 0) are left out.
    """
    if path.is_dir():
        files = [path / "gt" / "gt.txt"] if (path / "gt" / "gt.txt").is_file() else sorted(path.glob("*/gt/gt.txt"))
        if not files:
            raise DataError(f"{path}: no gt/gt.txt here, nor in a folder below")
    else:
        files = [path]
    for file in files:
        folder = file.parent.parent if file.parent.name == "gt" else None
        yield _read_mot(file, folder, source)


def _read_mot(path: Path, folder: Path | None, source: Source) -> Video:
    stem = path.resolve().parent.name if path.name == "gt.txt" else path.name.removesuffix(".txt").removesuffix(".mot")
    video = Video(folder.resolve().name if folder else stem)
    video.num_frames, video.size = source.num_frames, source.size
    if folder is not None and (folder / "seqinfo.ini").is_file():
        _read_seqinfo(folder / "seqinfo.ini", video)
    for where, line in _lines(path):
        row = _numbers(line, "," if "," in line else None, where)
        if len(row) < 6:
            raise DataError(f"{where}: expected frame, id, left, top, width, height, got {len(row)} numbers")
        frame, id = row[0], row[1]
        if frame != int(frame) or frame < 1 or id != int(id):
            raise DataError(f"{where}: frame {frame:g}, id {id:g}: expected whole numbers, frames from 1 on")
        if len(row) > 6 and row[6] == 0 and len(row) in (7, 8, 9):
            continue
        known = len(row) in (8, 9) and row[7] == int(row[7]) and 1 <= row[7] <= len(MOT_CLASSES)
        track = video.track(int(id), MOT_CLASSES[int(row[7]) - 1] if known else "")
        track.add(int(frame) - 1, row[2:6], where)
    return video


def _read_seqinfo(path: Path, video: Video) -> None:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(read_text(path))
        section = parser["Sequence"]
        video.num_frames = int(section["seqLength"])
        video.size = int(section["imWidth"]), int(section["imHeight"])
    except (configparser.Error, KeyError, ValueError) as error:
        raise DataError(f"{path}: not a seqinfo.ini: {printable(str(error), 100)}") from error


def write_mot(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write one ``<video>/gt/gt.txt`` each, with a ``seqinfo.ini`` where the size is known."""
    written = []
    for video in videos:
        numbers = video.whole_ids()
        rows = []
        for id, track in video.tracks.items():
            label = MOT_CLASSES.index(track.label) + 1 if track.label in MOT_CLASSES else 1
            rows += [(frame, numbers[id], box, label) for frame, box in track.boxes.items()]
        text = "".join(
            f"{frame + 1},{id},{','.join(map(shortest, box))},1,{label},1\n" for frame, id, box, label in sorted(rows)
        )
        written.append(folder / video.name / "gt" / "gt.txt")
        write_text_atomic(written[-1], text)
        if video.size is not None:
            width, height = video.size
            info = {"name": video.name, "imDir": "img1", "frameRate": 25, "seqLength": video.length}
            info |= {"imWidth": width, "imHeight": height, "imExt": ".jpg"}
            lines = "".join(f"{key}={value}\n" for key, value in info.items())
            write_text_atomic(folder / video.name / "seqinfo.ini", f"[Sequence]\n{lines}")
    return written


def shortest(value: float) -> str:
    """The shortest text that reads back as the same float64."""
    return str(int(value)) if value == int(value) else repr(float(value))


# VOT ------------------------------------------------------------------------------------------------------------


def read_vot(path: Path, source: Source) -> Iterator[Video]:
    """Read VOT: a sequence with ``groundtruth.txt`` or ``groundtruth_<id>.txt``, a folder of them, or one such file.

    Rectangles; polygons, of which the upright hull is taken; masks, of which the tight box is. Special codes and NaN
    are frames without a target.
    """
    if path.is_file():
        files = {path.parent.name or path.stem: [path]}
    else:
        pattern = "groundtruth*.txt"
        files = {folder.resolve().name: sorted(folder.glob(pattern)) for folder in folders_with(path, pattern)}
    for name, found in files.items():
        video = Video(name, num_frames=source.num_frames, size=source.size)
        for file in found:
            track = video.track(file.stem.removeprefix("groundtruth").lstrip("_") or "1")
            frames = 0
            check_file_size(file)
            for frames, line in enumerate(read_text(file).splitlines(), 1):
                box = vot_region(line.strip(), f"{file}: line {frames}")
                if box is not None:
                    track.add(frames - 1, box, f"{file}: line {frames}")
            video.num_frames = max(frames, video.num_frames or 0)
        yield video


def vot_region(line: str, where: str) -> Box | None:
    """Box of a region as VOT writes it, None for a special code or NaN. Raises DataError if it is malformed."""
    if line.startswith("m"):
        return _mask_box([int(number) for number in _numbers(line[1:], ",", where)], where)
    values = _numbers(line.replace(",", " ").replace("\t", " "), None, where, allow_nan=True)
    if len(values) <= 1 or np.isnan(values).any():
        return None
    if len(values) == 4:
        return values[0], values[1], values[2], values[3]
    if len(values) < 6 or len(values) % 2:
        raise DataError(f"{where}: {len(values)} numbers are neither a rectangle nor a polygon")
    return hull(values)


def _mask_box(numbers: Sequence[int], where: str) -> Box | None:
    """Tight box of a mask: x0, y0, w, h, then lengths of runs, row by row, zeros first."""
    if len(numbers) < 4 or min(numbers[2:], default=0) < 0:
        raise DataError(f"{where}: not a mask")
    left, top, width, height, *runs = numbers
    if sum(runs) > width * height or width * height > 10**8:
        raise DataError(f"{where}: runs of {sum(runs)} pixels in a mask of {width} x {height}")
    values = np.zeros(width * height, dtype=bool)
    ends = np.cumsum([0, *runs])
    for begin, end in zip(ends[1::2], ends[2::2], strict=False):
        values[begin:end] = True
    return mask_box(values.reshape(height, width), left, top)


def mask_box(mask: np.ndarray, left: int = 0, top: int = 0) -> Box | None:
    """x, y, w, h of the pixels of an (H, W) bool mask whose first one is at (left, top); None if there is none."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return float(left + x), float(top + y), float(columns[-1] - x + 1), float(rows[-1] - y + 1)


def write_vot(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write ``<video>/groundtruth_<id>.txt`` of rectangles (``groundtruth.txt`` for one target); NaN where absent."""
    written = []
    for video in videos:
        for id, track in video.tracks.items():
            name = "groundtruth.txt" if len(video.tracks) == 1 else f"groundtruth_{id}.txt"
            written.append(folder / video.name / name)
            write_text_atomic(written[-1], box_lines(track.boxes, video.length))
    return written


def box_lines(boxes: dict[int, Box], num_frames: int) -> str:
    """One line for each frame: x,y,w,h, or four NaN."""
    nothing = "NaN,NaN,NaN,NaN"
    return "".join(f"{','.join(map(shortest, boxes[f])) if f in boxes else nothing}\n" for f in range(num_frames))


# YOLO -----------------------------------------------------------------------------------------------------------


def read_yolo(path: Path, source: Source) -> Iterator[Video]:
    """Read YOLO: a folder with one ``.txt`` for each image: class, center x and y, width, height, all 0 to 1.

    A sixth number is taken for the identity of a track. Without it, each class is one target, which must not come twice
    in an image. Frames are the files in the order of the numbers in their names.
    """
    for folder in folders_with(path, "*.txt"):
        yield _read_yolo(folder, source.require_size(folder.resolve().name, f"{folder}: YOLO"))


def _read_yolo(path: Path, size: tuple[int, int]) -> Video:
    files = in_order(file for file in path.glob("*.txt") if file.name != "classes.txt")
    names = read_text(path / "classes.txt").splitlines() if (path / "classes.txt").is_file() else []
    video = Video(path.resolve().name, num_frames=len(files), size=size, frame_names=[f"{f.stem}.jpg" for f in files])
    width, height = size
    for frame, file in enumerate(files):
        for where, line in _lines(file):
            row = _numbers(line, None, where)
            if len(row) not in (5, 6) or row[0] != int(row[0]) or row[0] < 0:
                raise DataError(f"{where}: expected class, center x, center y, width, height, and perhaps an id")
            if not all(-1 <= number <= 2 for number in row[1:5]):
                raise DataError(f"{where}: coordinates of YOLO are shares of the image, 0 to 1")
            if len(row) == 6 and row[5] != int(row[5]):
                raise DataError(f"{where}: a sixth number is the id of a track, not a confidence, got {row[5]:g}")
            _, x, y, w, h = row[:5]
            label = names[int(row[0])] if int(row[0]) < len(names) else str(int(row[0]))
            track = video.track(int(row[5]) if len(row) == 6 else label, label)
            track.add(frame, ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height), where)
    return video


def write_yolo(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write one ``.txt`` for each frame, with the number of the track behind the box, and ``classes.txt``."""
    written = []
    for video in videos:
        width, height = video.require_size("YOLO")
        numbers, place = video.whole_ids(), folder / video.name
        labels = sorted({track.label for track in video.tracks.values()})
        for frame in range(video.length):
            rows = []
            for id, track in video.tracks.items():
                if frame in track.boxes:
                    x, y, w, h = track.boxes[frame]
                    shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
                    rows.append(f"{labels.index(track.label)} {' '.join(map(repr, shares))} {numbers[id]}\n")
            stem = Path(video.frame_names[frame]).stem if video.frame_names else f"{frame:08d}"
            write_text_atomic(place / f"{stem}.txt", "".join(rows))
        write_text_atomic(place / "classes.txt", "".join(f"{label}\n" for label in labels))
        written.append(place)
    return written


# Folders of one's own -------------------------------------------------------------------------------------------


def read_folder(path: Path, source: Source) -> Iterator[Video]:
    """Read folders of one's own, each sequence being a video with one target."""
    storage = find_storage(path)
    for name, found in video_names(storage, find_videos(storage)).items():
        frames = found.frames(storage)
        boxes = read_ground_truth(storage, found.ground_truth, len(frames), allow_nan=True)
        video = Video(name, num_frames=len(frames), size=source.size, frame_names=[Path(f).name for f in frames])
        track = video.track("1")
        shown = has_area(boxes) & ~np.isnan(boxes).any(axis=1)
        for frame in np.flatnonzero(shown):
            track.add(int(frame), boxes[frame].tolist(), f"{path / found.ground_truth}: line {frame + 1}")
        yield video


def write_folder(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write ``<video>-<id>/groundtruth.txt`` for each target (``<video>`` where there is one), without frames."""
    written = []
    for video in videos:
        for id, track in video.tracks.items():
            name = video.name if len(video.tracks) == 1 else f"{video.name}-{id}"
            written.append(folder / name / "groundtruth.txt")
            write_text_atomic(written[-1], box_lines(track.boxes, video.length))
    return written


def images_in(folder: Path) -> list[Path]:
    """Images of a folder in the order of the numbers in their names."""
    files = (file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and not is_clutter(file.name))
    return in_order(files)
