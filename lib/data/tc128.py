"""TColor-128, and ``tc128ce``, its 78 sequences that OTB does not have.

Official layout: ``<video>/<video>_gt.txt``, ``<video>/<video>_frames.txt`` with the numbers of the first and the last
frame, ``<video>/img/0001.jpg``, ... Source: Liang et al., TIP 2015.
"""

from functools import partial

from lib.data.benchmark import Benchmark
from lib.data.sequence import Entry, Sequence
from lib.data.text import read_ground_truth, read_labels
from lib.data.layout import numbered_frames
from lib.utils.errors import DataError
from lib.utils.storage import Storage

TAG = "tc128"
TRUTH_SUFFIX, RANGE_SUFFIX = "_gt.txt", "_frames.txt"


def has_extra(storage: Storage) -> bool:
    """Whether there is any of the sequences that OTB does not have."""
    return any("_ce" in name for name in storage.list_dirs())


def tc128_entries(storage: Storage, *, extra_only: bool = False) -> list[Entry]:
    """Sequences by name.

    Args:
        storage: the dataset.
        extra_only: only those whose name holds ``_ce``.

    Raises:
        DataError: if there are none.
    """
    names = [name for name in storage.list_dirs() if "_ce" in name or not extra_only]
    if not names:
        raise DataError(f"{storage.root}: expected folders <video> with <video>{TRUTH_SUFFIX}, found none")
    return [Entry(name, partial(_load, storage, name)) for name in names]


def _only_file(storage: Storage, name: str, suffix: str) -> str:
    files = [file for file in storage.list_files(name, {".txt"}) if file.endswith(suffix)]
    if len(files) != 1:
        raise DataError(f"{storage.root / name}: expected one file {name}{suffix}, found {', '.join(files) or 'none'}")
    return f"{name}/{files[0]}"


def _load(storage: Storage, name: str) -> Sequence:
    path = _only_file(storage, name, RANGE_SUFFIX)
    numbers = read_labels(storage, path).tolist()
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise DataError(f"{storage.root / path}: expected the numbers of the first and the last frame, got {numbers}")
    first, last = numbers
    ground_truth = read_ground_truth(storage, _only_file(storage, name, TRUTH_SUFFIX), last - first + 1)
    return Sequence(name, numbered_frames(storage, f"{name}/img", first, last, 4), TAG, ground_truth, storage=storage)


BENCHMARKS = (
    Benchmark("tc128", "tc128", tc128_entries, "tc128"),
    Benchmark(
        "tc128ce",
        "tc128",
        partial(tc128_entries, extra_only=True),
        "tc128",
        sequences=78,
        discover=False,
        has=has_extra,
    ),
)
