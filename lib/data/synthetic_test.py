"""A benchmark that is rendered while it is tracked: no download, no disk, the same pixels on any machine."""

import threading
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np

from lib.synthetic import SyntheticSequence
from lib.data.sequence import Entry, Sequence
from lib.utils.errors import DataError
from lib.utils.image_io import encode_image
from lib.utils.storage import Storage, has_suffix

TAG = "synthetic"
SEQUENCES, FRAMES, SIZE, DIFFICULTY = 20, 60, (320, 240), "mixed"
"""Number of sequences, frames of each, (width, height) in pixels and preset: scores depend on all four."""
SPLIT = "test"
"""Worlds of this split never occur in training, which renders ``train`` and ``val``."""
BMP_HEADER = 54


def sequence_name(number: int) -> str:
    """Name of sequence ``number``, counted from 1."""
    return f"synthetic_{number:03d}"


class RenderedStorage:
    """Frames ``<sequence>/<number>.bmp`` that do not exist until they are read; safe to use from several threads."""

    def __init__(self) -> None:
        self.root = Path(TAG)
        self._worlds: dict[str, SyntheticSequence] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        """What other processes receive: nothing that is rendered."""
        return {}

    def __setstate__(self, state: dict) -> None:
        self.__init__()

    def world(self, name: str) -> SyntheticSequence:
        """A sequence by name. Raises DataError if there is none."""
        with self._lock:
            if name not in self._worlds:
                if name not in self.list_dirs():
                    raise DataError(f"{self.root / name}: no such rendered sequence")
                seed = int(name.rpartition("_")[2])
                self._worlds[name] = SyntheticSequence(
                    seed, num_frames=FRAMES, size=SIZE, difficulty=DIFFICULTY, split=SPLIT
                )
            return self._worlds[name]

    def read_image(self, name: str, first: str | None = None) -> np.ndarray:
        """Render a frame, (H, W, 3) uint8 RGB. Raises DataError naming it."""
        folder, _, file = name.rpartition("/")
        if not self.exists(name):
            raise DataError(f"{self.root / name}: no such rendered frame")
        return self.world(folder).frame(int(file.removesuffix(".bmp")) - 1)

    def exists(self, name: str) -> bool:
        """Whether there is such a frame."""
        folder, _, file = name.rpartition("/")
        return folder in self.list_dirs() and file in self.list_files(folder)

    def read_bytes(self, name: str) -> bytes:
        """A rendered frame as BMP."""
        return encode_image(self.read_image(name), ".bmp")

    def read_text(self, name: str) -> str:
        """There are no texts. Raises DataError."""
        raise DataError(f"{self.root / name}: no such file")

    def list_dirs(self, name: str = "") -> list[str]:
        """Names of the sequences."""
        return [] if name else [sequence_name(number) for number in range(1, SEQUENCES + 1)]

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        """Names of the frames of a sequence."""
        files = [f"{number:08d}.bmp" for number in range(1, FRAMES + 1)] if name else []
        return [file for file in files if has_suffix(file, suffixes)]

    def size(self, name: str) -> int:
        """Length of a frame as BMP, whose rows are filled up to four bytes."""
        if not self.exists(name):
            raise DataError(f"{self.root / name}: no such rendered frame")
        return BMP_HEADER + (SIZE[0] * 3 + 3) // 4 * 4 * SIZE[1]

    def fingerprint(self, names: Iterable[str]) -> str:
        """Rendered frames never change."""
        return f"{TAG} {SEQUENCES} {FRAMES} {SIZE} {DIFFICULTY}"


def synthetic_entries(storage: Storage) -> list[Entry]:
    """The rendered sequences; the target is visible where any part of it can be seen."""

    def entry(name: str) -> Entry:
        return Entry(name, lambda: _load(storage, name))

    return [entry(name) for name in storage.list_dirs()]


def _load(storage: RenderedStorage, name: str) -> Sequence:
    world = storage.world(name)
    frames = [f"{name}/{file}" for file in storage.list_files(name)]
    visible = np.asarray(world.visible_fraction) > 0
    return Sequence(name, frames, TAG, np.asarray(world.boxes_xywh), target_visible=visible, storage=storage)
