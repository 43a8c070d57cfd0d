"""Where the bytes of a data set lie. Data sets name files by their path relative to the root and know nothing else."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.utils.errors import DataError
from lib.utils.image_io import decode_image


class Storage(Protocol):
    """Read access to the files of one data set; every ``name`` is a ``/``-separated path relative to the root."""

    root: Path

    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""

    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""

    def read_text(self, name: str) -> str:
        """Contents of a UTF-8 text file. Raises DataError naming it."""

    def read_image(self, name: str) -> np.ndarray:
        """Decode an image, (H, W, 3) uint8 RGB. Raises DataError naming it."""

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted."""

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted; ``suffixes`` in lower case with the dot."""


class DirectoryStorage:
    """A data set as plain files below a folder.

    Raises:
        DataError: if ``root`` is not a folder.
    """

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DataError(f"{self.root}: no such data folder")

    def exists(self, name: str) -> bool:
        """Whether the file ``name`` is there."""
        return (self.root / name).is_file()

    def read_bytes(self, name: str) -> bytes:
        """Contents of a file. Raises DataError naming it."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot read the file: {error.strerror}") from error

    def read_text(self, name: str) -> str:
        """Contents of a UTF-8 text file. Raises DataError naming it."""
        try:
            return self.read_bytes(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{self.root / name}: not a UTF-8 text file") from error

    def read_image(self, name: str) -> np.ndarray:
        """Decode an image, (H, W, 3) uint8 RGB. Raises DataError naming it."""
        return decode_image(self.read_bytes(name), str(self.root / name))

    def _list(self, name: str) -> list[Path]:
        try:
            return sorted((self.root / name).iterdir())
        except OSError as error:
            raise DataError(f"{self.root / name}: cannot list the folder: {error.strerror}") from error

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the folders in ``name``, sorted."""
        return [path.name for path in self._list(name) if path.is_dir()]

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the files in ``name``, sorted; ``suffixes`` in lower case with the dot."""
        files = [path for path in self._list(name) if path.is_file() and not path.name.startswith(".")]
        return [path.name for path in files if suffixes is None or path.suffix.lower() in suffixes]


def open_storage(root: Path | str) -> Storage:
    """Open the data set at ``root``.

    Raises:
        DataError: if ``root`` is not a folder.
    """
    return DirectoryStorage(root)
