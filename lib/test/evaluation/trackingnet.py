"""TrackingNet, test split (511 videos, hidden ground truth).

Official layout: ``TEST/anno/<video>.txt`` with the first box, ``TEST/frames/<video>/0.jpg``, ``1.jpg``, ...
Also found: the same without ``TEST``. Source: Mueller et al., ECCV 2018.
"""

from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import frames_by_number
from lib.utils.errors import DataError
from lib.utils.storage import Storage, what_lies_near

TAG = "trackingnet"


def has_trackingnet(storage: Storage) -> bool:
    """Whether the test split is there, and not just parts of the training split."""
    top = storage.list_dirs()
    return bool({"TEST", "test", "anno"}.intersection(top)) or not any(name.startswith("TRAIN_") for name in top)


def trackingnet_entries(storage: Storage) -> list[Entry]:
    """Videos by name: all that have an annotation or a folder of frames.

    Raises:
        DataError: if there is no folder ``anno``, or nothing in it.
    """
    top = storage.list_dirs()
    folder = next((f"{name}/" for name in ("TEST", "test") if name in top), "")
    if not folder and "anno" not in top:
        raise DataError(f"{storage.root}: expected TEST/anno/, found {what_lies_near(storage, 'TEST')}")
    annotated = [file.removesuffix(".txt") for file in storage.list_files(f"{folder}anno", {".txt"})]
    names = sorted({*annotated, *storage.list_dirs(f"{folder}frames")})
    if not names:
        raise DataError(f"{storage.root / folder / 'anno'}: no annotations")

    def entry(name: str) -> Entry:
        return Entry(name, lambda: _load(storage, folder, name))

    return [entry(name) for name in names]


def _load(storage: Storage, folder: str, name: str) -> Sequence:
    frames = frames_by_number(storage, f"{folder}frames/{name}")
    ground_truth = read_ground_truth(storage, f"{folder}anno/{name}.txt", len(frames), hidden=True)
    return Sequence(name, frames, TAG, ground_truth, storage=storage)
