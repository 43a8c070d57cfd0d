"""The one form that every annotation format is read into and written from.

Frames count from 0, boxes are x, y, w, h in pixels from the left upper corner of the image, a frame without the target
has no box. What a format says otherwise is converted where the format is read or written.
"""

import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lib.data.layout import natural_key
from lib.utils.errors import DataError, printable

logger = logging.getLogger(__name__)

LARGEST_FILE = 2 * 2**30
"""Most bytes of a file of annotations."""
LAST_FRAME = 10**7
"""Largest number of a frame; more is taken for a mistake."""
LARGEST_NUMBER = 1e7
"""Largest coordinate in pixels."""

Box = tuple[float, float, float, float]


@dataclass
class Track:
    """One target of a video.

    Attributes:
        id: its identity in the video.
        label: its class, empty if unknown.
        boxes: x, y, w, h by frame; a frame that is not there does not show the target.
    """

    id: str
    label: str = ""
    boxes: dict[int, Box] = field(default_factory=dict)

    def add(self, frame: int, box: Sequence[float], where: str) -> None:
        """Add a box.

        Raises:
            DataError: if the frame has one already or is no frame, or the box has no area or no finite numbers; the
                message begins with ``where``.
        """
        if frame in self.boxes:
            raise DataError(f"{where}: a second box of target {printable(self.id, 40)} in frame {frame} (from 0 on)")
        self.boxes[frame] = checked_box(frame, box, where)


@dataclass
class Video:
    """A video and its targets.

    Attributes:
        name: of the video.
        tracks: its targets by identity.
        num_frames: how many frames it has, None if the format does not say.
        size: (width, height) of a frame in pixels, None if the format does not say.
        frame_names: file names of its frames, where the format says.
        frame_files: paths of its frames by number, as the format writes them (COCO).
    """

    name: str
    tracks: dict[str, Track] = field(default_factory=dict)
    num_frames: int | None = None
    size: tuple[int, int] | None = None
    frame_names: list[str] | None = None
    frame_files: dict[int, str] = field(default_factory=dict)

    def track(self, id: object, label: str = "") -> Track:
        """The track of an identity, which is new if there was none."""
        return self.tracks.setdefault(str(id), Track(str(id), label))

    @property
    def length(self) -> int:
        """Number of frames, or at least one more than the last one with a box."""
        last = max((max(track.boxes, default=-1) for track in self.tracks.values()), default=-1)
        return max(last + 1, self.num_frames or 0)

    def whole_ids(self) -> dict[str, int]:
        """Numbers for identities; those of a video whose identities are all such numbers stay."""
        if all(re.fullmatch(r"0|[1-9][0-9]{0,8}", id) for id in self.tracks):
            return {id: int(id) for id in self.tracks}
        return {id: number for number, id in enumerate(self.tracks, 1)}

    def require_size(self, format: str) -> tuple[int, int]:
        """Size of a frame. Raises DataError if it is not known, or none."""
        if self.size is not None and min(self.size) < 1:
            raise DataError(f"{self.name}: its annotations say that frames have {self.size[0]}x{self.size[1]} pixels")
        if self.size is None:
            raise DataError(f"{self.name}: {format} needs the size of the frames; give --images or --size")
        return self.size


def checked_box(frame: int, box: Sequence[float], where: str) -> Box:
    """A box as four plain numbers, to a millionth of a pixel: beyond is what sums of corners and sizes leave.

    Raises:
        DataError: as ``Track.add``.
    """
    try:
        x, y, w, h = (round(float(number), 6) for number in box)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected a box of four numbers, got {printable(repr(box), 60)}") from error
    if not 0 <= frame <= LAST_FRAME:
        raise DataError(f"{where}: frame {frame} is none")
    if not all(math.isfinite(number) and abs(number) <= LARGEST_NUMBER for number in (x, y, w, h)):
        raise DataError(f"{where}: a box of numbers that are not finite or too large")
    if w <= 0 or h <= 0:
        raise DataError(f"{where}: a box without an area ({w:g} x {h:g})")
    return x, y, w, h


class Key(NamedTuple):
    """A box between which and the next one a format interpolates.

    Attributes:
        frame: from 0 on.
        box: x, y, w, h.
        visible: whether the target is there from this frame on.
    """

    frame: int
    box: Box
    visible: bool = True


def interpolate(keys: Sequence[Key], num_frames: int | None, where: str) -> dict[int, Box]:
    """Boxes of all frames between keys: linear, and the last one is held to the end of the video if it is visible.

    Args:
        keys: by rising frames.
        num_frames: of the video; None holds no box.
        where: what messages begin with.

    Raises:
        DataError: if frames do not rise, or there are more than a video can have.
    """
    boxes: dict[int, Box] = {}
    most = max(num_frames or 0, *(key.frame for key in keys), 0)
    if most > LAST_FRAME:
        raise DataError(f"{where}: {most} frames are more than a video has")
    for key, following in zip(keys, [*keys[1:], None][: len(keys)], strict=True):
        if following is not None and following.frame <= key.frame:
            raise DataError(f"{where}: frame {following.frame} comes after frame {key.frame}")
        if not key.visible:
            continue
        if following is None:
            boxes |= {frame: key.box for frame in range(key.frame, max(num_frames or 0, key.frame + 1))}
            continue
        steps = following.frame - key.frame
        ends = np.array([key.box, following.box])
        for step in range(steps):
            share = step / steps
            boxes[key.frame + step] = tuple(map(float, (1 - share) * ends[0] + share * ends[1]))
    return boxes


def keys_of(boxes: Mapping[int, Box], num_frames: int) -> list[Key]:
    """The opposite of ``interpolate``: each box is a key, so nothing depends on how a program interpolates.

    An end is a key that is not visible, on the frame after it, unless the video ends there.
    """
    keys: list[Key] = []
    for frame in sorted(boxes):
        keys.append(Key(frame, boxes[frame]))
        if frame + 1 not in boxes and frame + 1 < num_frames:
            keys.append(Key(frame + 1, boxes[frame], visible=False))
    return keys


def hull(points: Sequence[float]) -> Box:
    """x, y, w, h of the upright box around the points x1, y1, x2, y2, ..."""
    corners = np.array(points, dtype=np.float64).reshape(-1, 2)  # NaN stays NaN, unlike with min() of Python
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return left, top, right - left, bottom - top


def warn_left_out(path: Path, kinds: Sequence[str]) -> None:
    """Say which shapes of a file or folder were left out, since they are not boxes."""
    if kinds:
        counts = ", ".join(f"{number} {printable(kind, 40)}" for kind, number in Counter(kinds).items())
        logger.warning("%s: left out what is not a box: %s", path, counts)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Files of frames in the order of the numbers in their names: ``2`` before ``10``."""
    return sorted(files, key=lambda file: natural_key(file.name))


def folders_with(path: Path, pattern: str) -> list[Path]:
    """The folder itself if it holds files of a pattern, else those of its folders that do.

    Raises:
        DataError: if there are none.
    """
    if not path.is_dir():
        raise DataError(f"{path}: not a folder")
    folders = [folder for folder in (path, *sorted(path.iterdir())) if folder.is_dir() and any(folder.glob(pattern))]
    if not folders:
        raise DataError(f"{path}: no files {pattern} in it, nor in a folder of it")
    return folders[:1] if folders[0] == path else folders


def check_file_size(path: Path) -> None:
    """Raise DataError if a file is missing, no file, or larger than an annotation can be."""
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path}: larger than {LARGEST_FILE >> 30} GiB, so not a file of annotations")


Reader = Callable[[Path, "Source"], Iterable[Video]]
Writer = Callable[[Iterator[Video], Path], list[Path]]


@dataclass(frozen=True)
class Source:
    """What the user says about annotations that their files do not.

    Attributes:
        size: (width, height) of all frames, None if not given.
        num_frames: of each video, None if not given.
        size_of: (width, height) of the frames of a video by its name, where not all have one size.
    """

    size: tuple[int, int] | None = None
    num_frames: int | None = None
    size_of: Callable[[str], tuple[int, int] | None] | None = None

    def require_size(self, video: str, what: str) -> tuple[int, int]:
        """Size of the frames of a video. Raises DataError, which begins with ``what``, if it is not known."""
        size = self.size if self.size_of is None else self.size_of(video)
        if size is None:
            raise DataError(f"{what} needs the size of the frames; give --images or --size")
        return size
