"""What is wrong with a dataset, found before a sweep of twelve hours finds it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from lib.data.annotations import has_area, looks_like_corners, outside
from lib.data.attributes import unexpected_counts
from lib.data.sequence import MAX_COORDINATE, Benchmark, Entry, Sequence
from lib.utils.errors import DataError
from lib.utils.files import require_plain_name
from lib.utils.image_io import image_size
from lib.utils.storage import Storage

CHUNK = 64
"""Frames that are decoded in one go by the threads."""


@dataclass
class Diagnosis:
    """What was found in a dataset.

    Attributes:
        sequences: how many sequences could be read.
        frames: how many frames these have.
        problems: what makes a sequence fail, or scores wrong or incomplete; one line each.
        remarks: what is odd and need not be wrong.
        attributes: how many sequences show each attribute; None counts those whose attributes are not known.
    """

    sequences: int = 0
    frames: int = 0
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    attributes: Counter[str | None] = field(default_factory=Counter)


def check_names(benchmark: Benchmark, entries: list[Entry]) -> list[str]:
    """Compare the sequences that a dataset lists with those it should have; one line for each difference."""
    problems = []
    found = [entry.name for entry in entries]
    if benchmark.sequences is not None and len(found) != benchmark.sequences:
        problems.append(f"{len(found)} sequences, there should be {benchmark.sequences}")
    if benchmark.names is not None:
        official = list(benchmark.names())
        for what, names in (("missing", official), ("not part of the benchmark", found)):
            others = set(found if names is official else official)
            odd = [name for name in names if name not in others]
            if odd:
                problems.append(f"{len(odd)} sequences are {what}: {_some(odd)}")
    twice = sorted({name for name in found if found.count(name) > 1}) if len(set(found)) < len(found) else []
    if twice:
        problems.append(f"sequences that are listed twice: {_some(twice)}")
    return problems


def check_attributes(benchmark: Benchmark, found: Diagnosis) -> list[str]:
    """Compare the attributes of a whole benchmark with what is published; one line for each difference."""
    remarks = []
    if 0 < found.attributes[None] < found.sequences:
        remarks.append(f"{found.attributes[None]} of {found.sequences} sequences have no attribute file")
    elif found.sequences == benchmark.sequences:
        remarks += unexpected_counts(benchmark.tag, found.attributes)
    return remarks


def check_sequences(
    entries: Iterable[Entry],
    *,
    decode: bool = False,
    threads: int = 4,
    on_sequence: Callable[[], None] = lambda: None,
    on_frames: Callable[[int], None] = lambda count: None,
) -> Diagnosis:
    """Read every sequence of a dataset and look at its ground truth and its frames.

    Args:
        entries: the sequences.
        decode: decode every frame, which takes as long as reading the whole dataset does.
        threads: how many frames are decoded at a time.
        on_sequence: called after each sequence.
        on_frames: called with the number of frames decoded since the last call.
    """
    diagnosis, listings = Diagnosis(), _Listings()
    with ThreadPoolExecutor(threads) as pool:
        for entry in entries:
            try:
                require_plain_name(entry.name, "sequence")
                sequence = entry.load()
            except DataError as error:
                diagnosis.problems.append(f"{entry.name}: {error}")
                on_sequence()
                continue
            diagnosis.sequences += 1
            diagnosis.frames += len(sequence.frames)
            diagnosis.attributes.update((None,) if sequence.attributes is None else sequence.attributes)
            sizes, problems = _image_sizes(sequence, listings)
            if decode:
                sizes, undecodable = _decode(sequence, pool, on_frames)
                problems += undecodable
            box_problems, remarks = check_boxes(sequence, sizes)
            diagnosis.problems += [f"{entry.name}: {text}" for text in problems + box_problems]
            diagnosis.remarks += [f"{entry.name}: {text}" for text in remarks]
            on_sequence()
    return diagnosis


def check_boxes(sequence: Sequence, sizes: np.ndarray | None) -> tuple[list[str], list[str]]:
    """Look at the ground truth of a sequence.

    Args:
        sequence: F frames.
        sizes: (F, 2) or (1, 2) width and height of the images, NaN where unknown; None if none is known.

    Returns:
        Problems and remarks.
    """
    ground_truth = sequence.ground_truth_rect
    problems, remarks = [], []
    area = has_area(ground_truth)
    if not area[0]:
        problems.append(f"the first box, which starts the tracker, has no area: {ground_truth[0].tolist()}")
    elif not np.abs(ground_truth[0]).max() < MAX_COORDINATE:
        problems.append(
            f"the first box, which starts the tracker, is larger than any image: {ground_truth[0].tolist()}"
        )
        return problems, remarks
    elif not area.all():
        first = int((~area).argmax())
        remarks.append(
            f"{int((~area).sum())} of {len(ground_truth)} boxes have no area (no target); the first is frame {first}"
        )
    if sizes is None or np.isnan(sizes).all():
        return problems, remarks
    width, height = np.broadcast_to(sizes, (max(len(sizes), len(ground_truth)), 2))[: len(ground_truth)].T
    if looks_like_corners(ground_truth, np.nanmax(width), np.nanmax(height)):
        problems.append("the boxes look like x1, y1, x2, y2, not x, y, width, height")
        return problems, remarks
    beyond = outside(ground_truth, width, height)
    if beyond[0]:
        problems.append(
            f"the first box is outside the image ({width[0]:.0f} x {height[0]:.0f}): {ground_truth[0].tolist()}"
        )
    elif beyond.any():
        # Some benchmarks go on annotating a target that has left the image; half of the boxes is no such case.
        count = f"{int(beyond.sum())} of {len(ground_truth)}"
        text = f"{count} boxes are outside the image; the first is frame {beyond.argmax()}"
        (problems if beyond.mean() >= 0.5 else remarks).append(text)
    return problems, remarks


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


class _Listings:
    """Names of the files of the last folder that was asked for; sequences of a video follow each other."""

    def __init__(self) -> None:
        self._key: tuple[int, str] | None = None
        self._files: frozenset[str] = frozenset()

    def files(self, storage: Storage, folder: str) -> frozenset[str]:
        if self._key != (id(storage), folder):
            try:
                self._files = frozenset(storage.list_files(folder))
            except DataError:
                self._files = frozenset()
            self._key = (id(storage), folder)
        return self._files


def _image_sizes(sequence: Sequence, listings: _Listings) -> tuple[np.ndarray | None, list[str]]:
    """Size of the images as the headers of three say, and frames that are missing or empty."""
    storage, problems = sequence.storage, []
    missing, empty, unreadable = [], [], []
    for frame in sequence.frames:
        folder, _, file = frame.rpartition("/")
        try:
            if file not in listings.files(storage, folder):
                missing.append(frame)
            elif storage.size(frame) == 0:
                empty.append(frame)
        except DataError as error:
            unreadable.append(str(error))
    for what, frames in (("missing", missing), ("empty files", empty)):
        if frames:
            problems.append(f"{len(frames)} of {len(sequence.frames)} frames are {what}, the first is {frames[0]}")
    bad = {*missing, *empty}
    count = len(sequence.frames)
    sample = [sequence.frames[index] for index in dict.fromkeys((0, count // 2, count - 1))]
    sizes = {}
    for frame in sample:
        try:
            if frame not in bad:
                sizes[frame] = image_size(storage.read_bytes(frame))
        except DataError as error:
            unreadable.append(str(error))
    problems += unreadable[:1]
    for frame, size in sizes.items():
        # Other kinds of images are left to --decode; these two are what the benchmarks consist of.
        if size is None and frame.lower().endswith((".jpg", ".jpeg", ".png")):
            problems.append(f"{frame} is not a JPEG or PNG image")
    known = {size for size in sizes.values() if size is not None}
    if len(known) > 1:  # GOT-10k has videos that change their size
        return np.array([np.max(list(known), axis=0)], dtype=np.float64), problems
    return (np.array([known.pop()], dtype=np.float64) if known else None), problems


def _decode(
    sequence: Sequence, pool: ThreadPoolExecutor, on_frames: Callable[[int], None]
) -> tuple[np.ndarray, list[str]]:
    """Size of every image, (F, 2), and frames that cannot be read or have no partner of their size."""

    def size(index: int) -> tuple[float, float] | str:
        try:
            height, width = sequence.read_frame(index).shape[:2]
        except DataError as error:
            return str(error)
        return width, height

    sizes, errors = np.full((len(sequence.frames), 2), np.nan), []
    for indices in _chunks(len(sequence.frames)):
        for index, answer in zip(indices, pool.map(size, indices), strict=True):
            if isinstance(answer, str):
                errors.append(answer)
            else:
                sizes[index] = answer
        on_frames(len(indices))
    problems = [f"{len(errors)} frames cannot be decoded, the first: {errors[0]}"] if errors else []
    return sizes, problems


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))
