"""A note beside the results that says which weights made them, so that results of other weights are never reused."""

import hashlib
import json
from pathlib import Path

from lib.test.evaluation.data import SequenceList
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError
from lib.utils.files import write_text_atomic


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(folder: ResultFolder) -> dict[str, str]:
    """The note of a result folder, empty if there is none or it is unreadable."""
    try:
        content = json.loads(folder.manifest_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


class FolderClaim:
    """The right to put results of ``checkpoint`` into a folder; nothing is touched before ``take``.

    Args:
        folder: where the results go.
        sequences: what is about to be tracked.
        checkpoint: the weights; None if the tracker has none.
        overwrite: the results of ``sequences`` are made anew.

    Raises:
        InputError: if results of other weights are there and would stay.
    """

    def __init__(
        self, folder: ResultFolder, sequences: SequenceList, checkpoint: Path | None, overwrite: bool = False
    ) -> None:
        self._folder = folder
        self._replaced = set(sequences.names) if overwrite else set()
        self._identity = {"checkpoint": str(checkpoint), "sha256": file_hash(checkpoint) if checkpoint else ""}
        earlier = read_manifest(folder)
        staying = [name for name in folder.sequences() if name not in self._replaced]
        if staying and earlier.get("sha256") != self._identity["sha256"]:
            raise InputError(
                f"{folder.path}: {len(staying)} results there (such as {staying[0]}) were made with other weights "
                f"({earlier.get('checkpoint', 'unknown')}); use --overwrite to replace them, or another --save_dir"
            )

    def take(self) -> None:
        """Remove what is to be replaced and write the note; called once the tracker is known to work."""
        for name in self._replaced:
            self._folder.remove(name)
        write_text_atomic(self._folder.manifest_path, json.dumps(self._identity, indent=2) + "\n")
