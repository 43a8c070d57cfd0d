"""TColor-128, and ``tc128ce``, its 78 sequences that OTB does not have.

Official layout: ``<video>/<video>_gt.txt``, ``<video>/<video>_frames.txt`` with the numbers of the first and the last
frame, ``<video>/img/0001.jpg``, ... Source: Liang et al., TIP 2015.
"""

from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import numbered_frames
from lib.utils.box_text import parse_integers
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

    def entry(name: str) -> Entry:
        return Entry(name, lambda: _load(storage, name))

    return [entry(name) for name in names]


def _only_file(storage: Storage, name: str, suffix: str) -> str:
    files = [file for file in storage.list_files(name, {".txt"}) if file.endswith(suffix)]
    if len(files) != 1:
        raise DataError(f"{storage.root / name}: expected one file {name}{suffix}, found {', '.join(files) or 'none'}")
    return f"{name}/{files[0]}"


def _load(storage: Storage, name: str) -> Sequence:
    path = _only_file(storage, name, RANGE_SUFFIX)
    numbers = parse_integers(storage.read_text(path), str(storage.root / path)).tolist()
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise DataError(f"{storage.root / path}: expected the numbers of the first and the last frame, got {numbers}")
    first, last = numbers
    ground_truth = read_ground_truth(storage, _only_file(storage, name, TRUTH_SUFFIX), last - first + 1)
    return Sequence(name, numbered_frames(storage, f"{name}/img", first, last, 4), TAG, ground_truth, storage=storage)
