"""GOT-10k, val and test split.

Official layout: ``<split>/list.txt`` names the sequences; ``<split>/<sequence>/`` holds ``groundtruth.txt`` (one row in
the test split, whose truth is hidden) and the frames ``00000001.jpg``, ... Source: Huang et al., PAMI 2019.
"""

from lib.test.evaluation.data import Sequence, SequenceList, read_truth
from lib.utils.errors import DataError
from lib.utils.storage import Storage

TAG = "got10k"


def load_got10k(storage: Storage, split: str) -> SequenceList:
    """Sequences of a split in the order of its list.

    Args:
        storage: the folder that holds ``val`` and ``test``.
        split: ``val`` or ``test``.

    Raises:
        DataError: if a file is missing or malformed; the message names it.
    """
    names = storage.read_text(f"{split}/list.txt").split()
    if not names:
        raise DataError(f"{storage.root / split / 'list.txt'}: the list is empty")
    return SequenceList(_load_sequence(storage, split, name) for name in names)


def _load_sequence(storage: Storage, split: str, name: str) -> Sequence:
    folder = f"{split}/{name}"
    try:
        frames = sorted(storage.list_files(folder, {".jpg"}), key=lambda file: int(file.removesuffix(".jpg")))
    except ValueError as error:
        raise DataError(f"{storage.root / folder}: frames must be named by number: {error}") from error
    if not frames:
        raise DataError(f"{storage.root / folder}: no .jpg frames")
    truth = read_truth(storage, f"{folder}/groundtruth.txt", len(frames), hidden=split == "test")
    return Sequence(name, [f"{folder}/{file}" for file in frames], TAG, truth, storage=storage)
