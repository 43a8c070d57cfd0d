"""Rendered videos, for training and as a benchmark: no download, no disk, the same pixels on any machine."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

import numpy as np
from easydict import EasyDict

from lib.config.paths import Paths
from lib.data.annotations import has_area
from lib.data.base import SequenceInfo, TrainingDataset
from lib.data.sequence import Benchmark, Entry, Sequence
from lib.synthetic import SyntheticSequence
from lib.utils.errors import DataError
from lib.utils.image_io import encode_image
from lib.utils.storage import Storage, has_suffix

MIN_VISIBLE_FRACTION = 0.25
"""Part of the target that has to be in sight for its frame to be drawn."""
TAG = "synthetic"
SEQUENCES, FRAMES, SIZE, DIFFICULTY = 20, 60, (320, 240), "mixed"
"""Number of sequences, frames of each, (width, height) in pixels and preset: scores depend on all four."""
SPLIT = "test"
"""Worlds of this split never occur in training, which renders ``train`` and ``val``."""
BMP_HEADER = 54


class Synthetic(TrainingDataset):
    """Rendered sequences ``0 .. num_sequences - 1`` of a split.

    Args:
        num_sequences: how many worlds there are.
        num_frames: frames per sequence.
        size: (width, height) of a frame in pixels.
        difficulty: preset of the renderer.
        split: worlds of different splits never coincide.
        backgrounds: folder of photos, or ``None`` for procedural textures.
        cutouts: folder of RGBA cut-outs, or ``None`` for procedural shapes.
        cache_sequences: worlds (not frames) kept ready in memory per process; one takes about 1.4 MB at 320 x 240 and
            saves most of the cost of a sample.
        name: as in the configuration.
    """

    def __init__(
        self,
        *,
        num_sequences: int,
        num_frames: int,
        size: tuple[int, int],
        difficulty: str = "mixed",
        split: str = "train",
        backgrounds: Path | None = None,
        cutouts: Path | None = None,
        cache_sequences: int = 256,
        name: str = "SYNTHETIC",
    ) -> None:
        self.name = name
        self.num_sequences = num_sequences
        self.cache_sequences = cache_sequences
        self._arguments = {
            "num_frames": num_frames,
            "size": size,
            "difficulty": difficulty,
            "split": split,
            "backgrounds": backgrounds,
            "cutouts": cutouts,
        }
        self._cache: OrderedDict[int, tuple[SyntheticSequence, SequenceInfo]] = OrderedDict()

    def __len__(self) -> int:
        return self.num_sequences

    def __getstate__(self) -> dict:
        """What workers receive: everything but the worlds built so far."""
        return self.__dict__ | {"_cache": OrderedDict()}

    def _world(self, sequence: int) -> tuple[SyntheticSequence, SequenceInfo]:
        if sequence not in self._cache:
            world = SyntheticSequence(sequence, **self._arguments)
            boxes = np.asarray(world.boxes_xywh, dtype=np.float32)
            valid = has_area(boxes)
            visible = valid & (np.asarray(world.visible_fraction) >= MIN_VISIBLE_FRACTION)
            self._cache[sequence] = world, SequenceInfo(boxes, valid, visible)
            while len(self._cache) > max(self.cache_sequences, 1):
                self._cache.popitem(last=False)
        self._cache.move_to_end(sequence)
        return self._cache[sequence]

    def sequence_info(self, sequence: int) -> SequenceInfo:
        return self._world(sequence)[1]

    def frames(self, sequence: int, frame_ids: list[int]) -> list[np.ndarray]:
        world = self._world(sequence)[0]
        rendered = {frame: world.frame(frame) for frame in dict.fromkeys(frame_ids)}
        return [rendered[frame] for frame in frame_ids]


def _folder(text: str, key: str) -> Path | None:
    if not text:
        return None
    if not Path(text).is_dir():
        raise DataError(f"{text}: no such folder (set by DATA.SYNTHETIC.{key})")
    return Path(text)


def _open(name: str, cfg: EasyDict, paths: Paths) -> Synthetic:
    options = cfg.DATA.SYNTHETIC
    painted = name.endswith("_painted")
    return Synthetic(
        num_sequences=options.SEQUENCES,
        num_frames=options.FRAMES,
        size=(options.WIDTH, options.HEIGHT),
        difficulty=options.DIFFICULTY,
        split="val" if name.endswith("_val") else "train",
        backgrounds=None if painted else _folder(options.BACKGROUNDS, "BACKGROUNDS"),
        cutouts=None if painted else _folder(options.CUTOUTS, "CUTOUTS"),
        cache_sequences=options.CACHE,
        name=name,
    )


def _sequence_name(number: int) -> str:
    """Name of sequence ``number``, counted from 1."""
    return f"synthetic_{number:03d}"


class RenderedStorage(Storage):
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
        folder, _, file = name.rpartition("/")
        if not self.exists(name):
            raise DataError(f"{self.root / name}: no such rendered frame")
        return self.world(folder).frame(int(file.removesuffix(".bmp")) - 1)

    def exists(self, name: str) -> bool:
        folder, _, file = name.rpartition("/")
        return folder in self.list_dirs() and file in self.list_files(folder)

    def read_bytes(self, name: str) -> bytes:
        return encode_image(self.read_image(name), ".bmp")

    def read_text(self, name: str) -> str:
        raise DataError(f"{self.root / name}: no such file")

    def list_dirs(self, name: str = "") -> list[str]:
        return [] if name else [_sequence_name(number) for number in range(1, SEQUENCES + 1)]

    def list_files(self, name: str = "", suffixes: Collection[str] | None = None) -> list[str]:
        files = [f"{number:08d}.bmp" for number in range(1, FRAMES + 1)] if name else []
        return [file for file in files if has_suffix(file, suffixes)]

    def size(self, name: str) -> int:
        if not self.exists(name):
            raise DataError(f"{self.root / name}: no such rendered frame")
        # Rows of a BMP are filled up to four bytes.
        return BMP_HEADER + (SIZE[0] * 3 + 3) // 4 * 4 * SIZE[1]

    def fingerprint(self, names: Iterable[str]) -> str:
        return f"{TAG} {SEQUENCES} {FRAMES} {SIZE} {DIFFICULTY}"


def synthetic_entries(storage: Storage) -> list[Entry]:
    """The rendered sequences; the target is visible where any part of it can be seen."""
    return [Entry(name, partial(_load, storage, name)) for name in storage.list_dirs()]


def _load(storage: RenderedStorage, name: str) -> Sequence:
    world = storage.world(name)
    frames = [f"{name}/{file}" for file in storage.list_files(name)]
    visible = np.asarray(world.visible_fraction) > 0
    return Sequence(name, frames, TAG, np.asarray(world.boxes_xywh), target_visible=visible, storage=storage)


BENCHMARKS = (Benchmark(TAG, TAG, synthetic_entries, sequences=SEQUENCES, render=RenderedStorage),)
TRAINING = {
    "SYNTHETIC": _open,
    "SYNTHETIC_painted": _open,  # no photos and cut-outs even where folders of them are given
    "SYNTHETIC_val": _open,
}
