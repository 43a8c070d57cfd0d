"""TrackingNet, training part.

Layout: ``TRAIN_<k>/{anno/<video>.txt, frames/<video>/<frame>.jpg}`` for k = 0 .. 11, frames from 0 without padding. The
map of videos to classes is not needed. Source: Mueller et al., ECCV 2018.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lib.train.dataset.disk import DiskDataset, has_area, read_boxes, require_files
from lib.train.dataset.index import SequenceRecord
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import Storage

NUM_PARTS = 12


class TrackingNet(DiskDataset):
    """TrackingNet; a frame is visible if its box has an area.

    Args:
        storage: the folder that holds ``TRAIN_0`` to ``TRAIN_11``.
        parts: which of the twelve are used; all that are named have to be there.
        cache_dir: where the annotation index is kept; None keeps it in memory.
        name: as in the configuration.

    Raises:
        DataError: if files are missing or malformed.
    """

    def __init__(
        self,
        storage: Storage,
        parts: Sequence[int] = tuple(range(NUM_PARTS)),
        *,
        cache_dir: Path | None = None,
        name: str = "TRACKINGNET",
    ) -> None:
        videos = _list_videos(storage, parts)
        super().__init__(
            storage,
            name=name,
            options=f"TrackingNet {','.join(map(str, parts))}",
            sources=[_annotation(video) for video in videos],
            parse=lambda: _parse(storage, videos),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the dataset."""
        return _frame_path(self.index.name(sequence), frame)


def parse_parts(text: str) -> tuple[int, ...]:
    """Numbers of parts written as ``0-3,7``; an empty text means all.

    Raises:
        ConfigError: if it is not written so, or a number is above 11.
    """
    if not text:
        return tuple(range(NUM_PARTS))
    parts: set[int] = set()
    for field in text.split(","):
        first, _, last = field.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            raise ConfigError(f"parts of TrackingNet: expected numbers such as 0-3,7, got {text!r}")
        parts.update(range(int(first), int(last or first) + 1))
    if not parts or max(parts) >= NUM_PARTS:
        raise ConfigError(f"parts of TrackingNet: expected numbers from 0 to {NUM_PARTS - 1}, got {text!r}")
    return tuple(sorted(parts))


def _annotation(video: str) -> str:
    part, _, name = video.partition("/")
    return f"{part}/anno/{name}.txt"


def _frame_path(video: str, frame: int) -> str:
    part, _, name = video.partition("/")
    return f"{part}/frames/{name}/{frame}.jpg"


def _list_videos(storage: Storage, parts: Sequence[int]) -> list[str]:
    """Videos as ``TRAIN_<k>/<name>``, by part and name."""
    present = set(storage.list_dirs())
    missing = [f"TRAIN_{part}" for part in parts if f"TRAIN_{part}" not in present]
    if missing:
        raise DataError(
            f"{storage.root}: expected the parts {', '.join(f'TRAIN_{part}' for part in parts)}, missing: "
            f"{', '.join(missing)}; found: {', '.join(sorted(present)[:15]) or 'nothing'} "
            f"(TRACKINGNET:0-3 uses a subset)"
        )
    videos = []
    for part in parts:
        files = storage.list_files(f"TRAIN_{part}/anno", {".txt"})
        if not files:
            raise DataError(f"{storage.root / f'TRAIN_{part}' / 'anno'}: expected <video>.txt files, found none")
        videos += [f"TRAIN_{part}/{file.removesuffix('.txt')}" for file in files]
    return videos


def _parse(storage: Storage, videos: Sequence[str]) -> Iterator[SequenceRecord]:
    require_files(storage, [_frame_path(video, 0) for video in videos], "first frames of videos")
    for video in videos:
        boxes = read_boxes(storage, _annotation(video))
        valid = has_area(boxes)
        yield SequenceRecord(video, boxes, valid, valid)
