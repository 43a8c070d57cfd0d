"""TNL2K, test split (700 videos).

Official layout: every folder is a sequence, with ``groundtruth.txt``, ``language.txt`` (not used) and ``imgs/*``, JPEG
or PNG, with names of many kinds. Also found: one folder deeper, as the archive unpacks. Source: Wang et al., CVPR 2021.
"""

from functools import partial

from lib.data.benchmark import Benchmark
from lib.data.sequence import Entry, Sequence
from lib.data.text import read_ground_truth
from lib.data.layout import list_frames, require_file
from lib.utils.errors import DataError
from lib.utils.storage import Storage

TAG = "tnl2k"
ARCHIVES = ("TNL2K_test_subset", "TNL2K_test", "test")


def tnl2k_entries(storage: Storage) -> list[Entry]:
    """Sequences by name.

    Raises:
        DataError: if there is no folder.
    """
    names = storage.list_dirs()
    prefix = next((f"{folder}/" for folder in ARCHIVES if names == [folder]), "")
    names = storage.list_dirs(prefix.rstrip("/"))
    if not names:
        raise DataError(f"{storage.root}: expected folders <sequence>/imgs, found no folder")
    return [Entry(name, partial(_load, storage, f"{prefix}{name}", name)) for name in names]


def _load(storage: Storage, folder: str, name: str) -> Sequence:
    # By number, not by letter as published: in a folder whose numbers are not filled with zeros, 10 came before 2.
    frames = list_frames(storage, f"{folder}/imgs")
    ground_truth = read_ground_truth(storage, require_file(storage, folder, "groundtruth.txt"), len(frames))
    return Sequence(name, frames, TAG, ground_truth, storage=storage)


BENCHMARKS = (Benchmark("tnl2k", "tnl2k", tnl2k_entries, "tnl2k", sequences=700),)
