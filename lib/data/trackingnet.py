"""TrackingNet: twelve parts for training, and the test part (511 videos, hidden ground truth).

Official layout: ``<part>/anno/<video>.txt``, ``<part>/frames/<video>/<frame>.jpg`` for the parts ``TRAIN_0`` to
``TRAIN_11`` and ``TEST``, whose annotation is the first box; frames from 0 without padding. For evaluation also: the
test part without its folder. The map of videos to classes is not needed. Source: Mueller et al., ECCV 2018.
"""

from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from lib.data.annotations import has_area, read_ground_truth
from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import list_frames, require_files
from lib.data.sequence import Benchmark, Entry, Sequence
from lib.utils.errors import ConfigError, DataError
from lib.utils.storage import Storage, what_lies_near

TAG = "trackingnet"
NUM_PARTS = 12


class TrackingNet(DiskDataset):
    """TrackingNet for training; a frame is visible if its box has an area.

    Args:
        storage: the folder that holds ``TRAIN_0`` to ``TRAIN_11``.
        parts: which of the twelve are used; all that are named have to be there.

    Raises:
        DataError: if files are missing or malformed.
    """

    def __init__(
        self,
        storage: Storage,
        parts: Collection[int] = tuple(range(NUM_PARTS)),
        *,
        cache_dir: Path | None = None,
        name: str = "TRACKINGNET",
    ) -> None:
        videos = _list_videos(storage, parts)
        super().__init__(
            storage,
            name=name,
            options=f"TrackingNet {','.join(map(str, parts))}",
            sources=[_annotation(*video.split("/")) for video in videos],
            parse=lambda: _parse(storage, videos),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return f"{_frames(*self.index.name(sequence).split('/'))}/{frame}.jpg"


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


def _annotation(part: str, video: str) -> str:
    return f"{part}/anno/{video}.txt".lstrip("/")


def _frames(part: str, video: str) -> str:
    return f"{part}/frames/{video}".lstrip("/")


def _list_videos(storage: Storage, parts: Collection[int]) -> list[str]:
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
        own = [file.removesuffix(".txt") for file in files]
        if not set(shown := storage.list_dirs(f"TRAIN_{part}/frames")).issubset(own):
            require_files(storage, [_annotation(f"TRAIN_{part}", video) for video in shown], "annotation files")
        videos += [f"TRAIN_{part}/{video}" for video in own]
    return videos


def _parse(storage: Storage, videos: list[str]) -> Iterator[SequenceRecord]:
    first_frames = [f"{_frames(*video.split('/'))}/0.jpg" for video in videos]
    require_files(storage, first_frames, "first frames of videos")
    for video in videos:
        boxes = read_ground_truth(storage, _annotation(*video.split("/")), allow_nan=True)
        valid = has_area(boxes)
        yield SequenceRecord(video, boxes, valid, valid)


def has_trackingnet(storage: Storage) -> bool:
    """Whether the test part is there, and not just parts of the training split."""
    top = storage.list_dirs()
    return bool({"TEST", "test", "anno"}.intersection(top)) or not any(name.startswith("TRAIN_") for name in top)


def trackingnet_entries(storage: Storage) -> list[Entry]:
    """Test videos by name: all that have an annotation or a folder of frames.

    Raises:
        DataError: if there is no folder ``anno``, or nothing in it.
    """
    top = storage.list_dirs()
    part = next((name for name in ("TEST", "test") if name in top), "")
    if not part and "anno" not in top:
        raise DataError(f"{storage.root}: expected TEST/anno/, found {what_lies_near(storage, 'TEST')}")
    annotated = [file.removesuffix(".txt") for file in storage.list_files(f"{part}/anno".lstrip("/"), {".txt"})]
    names = sorted({*annotated, *storage.list_dirs(f"{part}/frames".lstrip("/"))})
    if not names:
        raise DataError(f"{storage.root / part / 'anno'}: no annotations")
    return [Entry(name, partial(_load, storage, part, name)) for name in names]


def _load(storage: Storage, part: str, name: str) -> Sequence:
    frames = list_frames(storage, _frames(part, name), {".jpg"}, numbered=True, first=0)
    boxes = read_ground_truth(storage, _annotation(part, name), len(frames), hidden=True)
    return Sequence(name, frames, TAG, boxes, storage=storage)


BENCHMARKS = (
    Benchmark(
        TAG,
        TAG,
        trackingnet_entries,
        "trackingnet",
        server="https://eval.ai/web/challenges/challenge-page/1805",
        sequences=511,
        has=has_trackingnet,
    ),
)
TRAINING = {
    "TRACKINGNET": DiskOpener(
        "trackingnet",
        lambda storage, parts, **common: TrackingNet(storage, parse_parts(parts), **common),
        "numbers of parts such as 0-3,7",
    )
}
