"""TNL2K, test split (700 videos).

Official layout: every folder is a sequence, with ``groundtruth.txt``, ``language.txt`` (not used) and ``imgs/*``, JPEG
or PNG, with names of many kinds. Also found: one folder deeper, as the archive unpacks. Source: Wang et al., CVPR 2021.
"""

from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import require_file
from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage
from lib.utils.video_folder import natural_key

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

    def entry(name: str) -> Entry:
        return Entry(name, lambda: _load(storage, f"{prefix}{name}", name))

    return [entry(name) for name in names]


def _load(storage: Storage, folder: str, name: str) -> Sequence:
    # By number, not by letter as published: in a folder whose numbers are not filled with zeros, 10 came before 2.
    files = sorted(storage.list_files(f"{folder}/imgs", IMAGE_SUFFIXES), key=natural_key)
    ground_truth = read_ground_truth(storage, require_file(storage, folder, "groundtruth.txt"), len(files))
    return Sequence(name, [f"{folder}/imgs/{file}" for file in files], TAG, ground_truth, storage=storage)
