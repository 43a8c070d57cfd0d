"""Packing benchmarks into LMDB: what their readers look at, no more and no less."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lib.test.evaluation.data import Sequence, SequenceList
from lib.test.evaluation.datasets import BENCHMARKS
from lib.utils.errors import DataError
from lib.utils.registry import lookup
from lib.utils.storage import Storage, open_storage
from lib.utils.storage_lmdb import PART_SUFFIX, PackingReport, pack

PACKABLE_BENCHMARKS = {
    "lasot_extension_subset": "lasot_extension_subset",
    "got10k_val": "got10k_val",
    "got10k_test": "got10k_test",
    "trackingnet_test": "trackingnet",
    "tnl2k": "tnl2k",
    "otb": "otb",
    "nfs": "nfs",
    "uav": "uav",
    "tc128": "tc128",
}
"""Names by which benchmarks are packed, and the benchmarks. LaSOT is packed as a whole, for training and testing."""
OWN_DATABASE = {"trackingnet_test": "TEST"}
"""Top folders that get a database of their own beside those of the training parts."""


class _Recorder:
    """A storage that remembers which files were read."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.names: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def read_bytes(self, name: str) -> bytes:
        self.names.add(name)
        return self._storage.read_bytes(name)

    def read_text(self, name: str) -> str:
        self.names.add(name)
        return self._storage.read_text(name)


def pack_benchmark(
    name: str,
    source: Storage,
    target: Path,
    *,
    progress: Callable[[str, int], contextlib.AbstractContextManager[Any]],
) -> PackingReport:
    """Pack a benchmark and check that it reads the same.

    Frames that belong to no sequence and other files, such as archives or the 240 frames/s of NfS, are left out.

    Args:
        name: a key of ``PACKABLE_BENCHMARKS``.
        source: the dataset as files.
        target: folder of the database; what it holds already is kept, so that splits of a dataset can share it.
        progress: makes a progress bar from a title and a number of files; its method ``update`` gets counts.

    Raises:
        ConfigError: if ``name`` is unknown.
        DataError: if the dataset is incomplete or malformed, cannot be written, or reads differently when packed.
    """
    benchmark = BENCHMARKS[lookup(PACKABLE_BENCHMARKS, name, "benchmark to pack")]
    recorder = _Recorder(source)
    before = SequenceList.from_entries(benchmark.entries(recorder))
    files = sorted(recorder.names.union(*(sequence.frames for sequence in before)))
    part = OWN_DATABASE.get(name)
    strip = f"{part}/" if part and files[0].startswith(f"{part}/") else ""
    folder = target / (part + PART_SUFFIX) if strip else target
    with progress(folder.name, len(files)) as bar:
        report = pack(source, files, folder, strip=strip, progress=bar.update)
    after = SequenceList.from_entries(benchmark.entries(open_storage(target)))
    if len(after) != len(before) or not all(map(same_sequence, before, after)):
        raise DataError(f"{target}: the packed sequences differ from those in {source.root}")
    return report


def same_sequence(one: Sequence, other: Sequence) -> bool:
    """Whether two sequences have the same name, files and annotations, wherever their bytes are."""
    plain = ("name", "frames", "dataset", "object_class", "attributes", "resolution")
    arrays = ("target_visible", "target_present")
    return (
        all(getattr(one, field) == getattr(other, field) for field in plain)
        and np.array_equal(one.ground_truth_rect, other.ground_truth_rect, equal_nan=True)
        and all(np.array_equal(getattr(one, field), getattr(other, field)) for field in arrays)
    )
