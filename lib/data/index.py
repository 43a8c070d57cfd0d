"""Annotations of a dataset as a few flat arrays, parsed once and mapped into memory from then on.

A dataset of 30 000 sequences is 14 million boxes. As objects they would be copied into every worker, and parsing them
takes a minute at each start. Here they are one file: opening it takes milliseconds, only the pages that are drawn from
are read, and all processes of a machine share them.
"""

import hashlib
import json
import logging
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.utils.errors import DataError
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)

FORMAT = 2
"""Part of every key: to be raised when the arrays, or what is parsed into them, change their meaning."""
MAGIC = b"SEQTRACK-INDEX\0\0"
ALIGNMENT = 64
_START = struct.Struct("<QQ")
"""Behind the magic bytes: length and CRC-32 of the header."""
VALID, VISIBLE = 1, 2


@dataclass(frozen=True)
class SequenceInfo:
    """Annotations of one sequence of F frames.

    Attributes:
        boxes_xywh: (F, 4) float32, pixels.
        valid: (F,) bool, the box has a positive width and height.
        visible: (F,) bool, valid and the target can be seen; training frames are drawn among these.
    """

    boxes_xywh: np.ndarray
    valid: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.visible)


@dataclass(frozen=True)
class SequenceRecord:
    """One parsed sequence of F frames.

    Attributes:
        name: of the sequence; the dataset derives the paths of its frames from it.
        boxes_xywh: (F, 4), pixels.
        valid: (F,) bool.
        visible: (F,) bool.
        first_frame: number in the file name of frame 0, where frames are numbered.
        frame_names: paths of the frames, where they are not numbered.
    """

    name: str
    boxes_xywh: np.ndarray
    valid: np.ndarray
    visible: np.ndarray
    first_frame: int = 0
    frame_names: Sequence[str] = ()


@dataclass(frozen=True)
class IndexKey:
    """What an index was made from.

    Attributes:
        dataset: class and options of the dataset.
        root: where it is.
        fingerprint: of its annotation files.
    """

    dataset: str
    root: str
    fingerprint: str

    @property
    def file_name(self) -> str:
        """Name of the index; one for each dataset, place and options, replaced when the annotations change."""
        digest = hashlib.blake2b(
            f"{self.dataset}\0{self.root}".encode(errors="surrogateescape"), digest_size=8
        ).hexdigest()
        return f"{self.dataset.split()[0].lower()}-{digest}.index"

    @property
    def text(self) -> str:
        """The key as it stands in the file."""
        return "\n".join((str(FORMAT), self.dataset, self.root, self.fingerprint))


class SequenceIndex:
    """Sequences as flat arrays; see ``SequenceRecord`` for what they hold.

    Args:
        arrays: ``boxes`` (N, 4) float32 of all frames, ``flags`` (N,) uint8, ``ends`` (S,) int64 (the frame behind each
            sequence), ``first`` (S,) int32, ``names`` and ``frame_names`` (bytes) with ``name_ends`` and
            ``frame_name_ends``.
        source: file they are mapped from, if any; then only its name goes to other processes.
        key: the key that file has.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], source: Path | None = None, key: IndexKey | None = None
    ) -> None:
        self._source = source
        self._key = key
        self._attach(arrays)

    def _attach(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._arrays = dict(arrays)
        self._boxes, self._flags, self._ends = arrays["boxes"], arrays["flags"], arrays["ends"]

    def __getstate__(self) -> dict:
        """What workers receive: the name of the file instead of its contents."""
        hidden = {"_boxes", "_flags", "_ends"} | ({"_arrays"} if self._source else set())
        return {name: value for name, value in self.__dict__.items() if name not in hidden}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._source is not None:
            arrays = _read_arrays(self._source, self._key)
            if arrays is None:
                raise DataError(f"{self._source}: the annotation index was changed while it is in use")
            self._attach(arrays)
        else:
            self._attach(self._arrays)

    def __len__(self) -> int:
        """Number of sequences."""
        return len(self._ends)

    @property
    def num_frames(self) -> int:
        """Frames of all sequences."""
        return len(self._boxes)

    def _span(self, sequence: int) -> slice:
        return slice(int(self._ends[sequence - 1]) if sequence else 0, int(self._ends[sequence]))

    def info(self, sequence: int) -> SequenceInfo:
        """Annotations of one sequence; the boxes are a read-only view."""
        span = self._span(sequence)
        flags = self._flags[span]
        return SequenceInfo(self._boxes[span], (flags & VALID) > 0, (flags & VISIBLE) > 0)

    def name(self, sequence: int) -> str:
        """Name of a sequence."""
        return self._text("names", "name_ends", sequence)

    def first_frame(self, sequence: int) -> int:
        """Number in the file name of frame 0."""
        return int(self._arrays["first"][sequence])

    def frame_name(self, sequence: int, frame: int) -> str:
        """Path of a frame, where frames are not numbered."""
        return self._text("frame_names", "frame_name_ends", self._span(sequence).start + frame)

    def _text(self, texts: str, ends: str, i: int) -> str:
        start = int(self._arrays[ends][i - 1]) if i else 0
        return self._arrays[texts][start : int(self._arrays[ends][i])].tobytes().decode(errors="surrogateescape")

    def same_as(self, other: "SequenceIndex") -> bool:
        """Whether another index holds the same sequences, bit for bit."""
        pairs = ((array, other._arrays[name]) for name, array in self._arrays.items())
        return all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)

    def unseen(self) -> np.ndarray:
        """Numbers of the sequences whose target is visible in no frame."""
        counts = np.add.reduceat(self._flags & VISIBLE, self._starts(), dtype=np.int64) if len(self) else np.zeros(0)
        return np.flatnonzero(counts == 0)

    def _starts(self) -> np.ndarray:
        return np.concatenate([[0], self._ends[:-1]])

    @classmethod
    def from_records(cls, records: Iterable[SequenceRecord]) -> "SequenceIndex":
        """Collect parsed sequences in memory."""
        boxes, flags, counts, firsts, names, frame_names = [], [], [], [], [], []
        for record in records:
            boxes.append(record.boxes_xywh.astype(np.float32))
            flags.append(record.valid * np.uint8(VALID) | record.visible * np.uint8(VISIBLE))
            counts.append(len(record.boxes_xywh))
            firsts.append(record.first_frame)
            names.append(record.name.encode(errors="surrogateescape"))
            frame_names += [name.encode(errors="surrogateescape") for name in record.frame_names]
        return cls(
            {
                "boxes": np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
                "flags": np.concatenate([np.zeros(0, np.uint8), *flags]),
                "ends": np.cumsum(counts, dtype=np.int64),
                "first": np.array(firsts, dtype=np.int32),
                "names": np.frombuffer(b"".join(names), dtype=np.uint8),
                "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
                "frame_names": np.frombuffer(b"".join(frame_names), dtype=np.uint8),
                "frame_name_ends": np.cumsum([len(name) for name in frame_names], dtype=np.int64),
            }
        )

    def save(self, path: Path, key: IndexKey) -> None:
        """Write the index, whole or not at all."""
        table, offset, checksum = {}, 0, 0
        for name, array in self._arrays.items():
            table[name] = {"dtype": array.dtype.str, "shape": array.shape, "offset": offset}
            padding = -array.nbytes % ALIGNMENT
            offset += array.nbytes + padding
            checksum = zlib.crc32(bytes(padding), zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data, checksum))
        header = json.dumps({"key": key.text, "arrays": table, "bytes": offset, "checksum": checksum}).encode()
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(MAGIC + _START.pack(len(header), zlib.crc32(header)) + header)
            file.write(b"\0" * (-file.tell() % ALIGNMENT))
            for array in self._arrays.values():
                file.write(np.ascontiguousarray(array).data)
                file.write(b"\0" * (-file.tell() % ALIGNMENT))

    @classmethod
    def load(cls, path: Path, key: IndexKey) -> "SequenceIndex | None":
        """Map an index into memory; None if there is none, it is damaged, or it was made from something else."""
        arrays = _read_arrays(path, key, verify=True)
        return None if arrays is None else cls(arrays, path, key)


def _read_arrays(path: Path, key: IndexKey | None, *, verify: bool = False) -> dict[str, np.ndarray] | None:
    """The arrays in a file; ``verify`` reads all of it (0.1 s for the 240 MB of 14 million boxes in the page cache)."""
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                return None
            length, checksum = _START.unpack(file.read(_START.size))
            if length > path.stat().st_size:
                return None
            content = file.read(length)
            if zlib.crc32(content) != checksum:
                return None
            header = json.loads(content)
            start = -(-file.tell() // ALIGNMENT) * ALIGNMENT
        if (key is not None and header["key"] != key.text) or path.stat().st_size != start + header["bytes"]:
            return None
        content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)[start:]
        if verify and zlib.crc32(content) != header["checksum"]:
            return None
        arrays = {}
        for name, entry in header["arrays"].items():
            dtype, shape = np.dtype(entry["dtype"]), tuple(entry["shape"])
            size = int(np.prod(shape)) * dtype.itemsize
            arrays[name] = content[entry["offset"] : entry["offset"] + size].view(dtype).reshape(shape)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, struct.error):
        return None  # whatever is damaged is made again
    return arrays


def open_index(cache_dir: Path | None, key: IndexKey, parse: Callable[[], Iterable[SequenceRecord]]) -> SequenceIndex:
    """Load the index with ``key``, or parse the annotations and keep them.

    Several processes may do so at once: each writes a whole file, and the last one stays.

    Args:
        cache_dir: where indexes are kept; None keeps the arrays in memory.
        key: what the index is made from.
        parse: gives the sequences.

    Raises:
        DataError: if the annotations are malformed, or the index cannot be written.
    """
    if cache_dir is None:
        return SequenceIndex.from_records(parse())
    path = cache_dir / key.file_name
    index = SequenceIndex.load(path, key)
    if index is not None:
        return index
    logger.info("%s: reading the annotations in %s (kept in %s for the next start)", key.dataset, key.root, path)
    started = time.monotonic()
    index = SequenceIndex.from_records(parse())
    try:
        index.save(path, key)
    except OSError as error:
        raise DataError(f"{path}: cannot write the annotation index: {error.strerror}") from error
    logger.info("%s: %d sequences in %.1f s", key.dataset, len(index), time.monotonic() - started)
    return SequenceIndex.load(path, key) or index
