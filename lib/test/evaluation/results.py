"""Result files: the only place that knows where they are and how they are written.

``<save_dir>/test/tracking_results/<tracker>/<config>/<dataset>/<sequence>.txt`` holds one line per frame, x, y, w, h as
integers separated by tabs; ``<sequence>_time.txt`` beside it holds the seconds spent on each frame. On request the same
boxes with their fractions are in ``float/<sequence>.txt`` below; for benchmarks that ask whether the target is there at
all, ``presence/<sequence>.txt`` holds how likely that is in each frame.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from lib.config.seqtrack.config import experiment_name
from lib.data.annotations import read_boxes
from lib.utils.errors import DataError, InputError
from lib.utils.files import other_owners, write_text_atomic

TIME_SUFFIX = "_time.txt"
FLOAT_DIR = "float"
PRESENCE_DIR = "presence"
ASK_PRESENCE = frozenset({"oxuva"})
"""Tags of benchmarks that score what a tracker says of the presence of its target."""
LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.(txt|json)")
"""Names of temporary files (``lib.utils.files.atomic_path``)."""


def results_root(save_dir: Path) -> Path:
    """Folder of the results of all trackers."""
    return Path(save_dir) / "test" / "tracking_results"


def plots_dir(save_dir: Path, benchmark: str) -> Path:
    """Folder of the tables and plots of a benchmark."""
    return Path(save_dir) / "test" / "result_plots" / benchmark


def run_log_path(save_dir: Path, tracker: str, config: str, benchmark: str) -> Path:
    """Log file of testing a tracker on a benchmark."""
    return Path(save_dir) / "logs" / f"test-{tracker}-{config}-{benchmark}.log"


def run_config(config: str, run: int | None = None) -> str:
    """Name of the result folder of an experiment (name or YAML file), ``<config>_003`` for run number 3."""
    name = experiment_name(config)
    return name if run is None else f"{name}_{run:03d}"


def split_run(config: str, experiment: object = None) -> tuple[str, int | None]:
    """Undo ``run_config``: the experiment and the number of the run, None if the name has none.

    Args:
        config: name of a result folder.
        experiment: the experiment (name or YAML file) that its manifest names, if it has one: without it,
            ``seqtrack_256`` is run 256 of ``seqtrack``, and may be an experiment.
    """
    stem, _, number = config.rpartition("_")
    is_run = stem and number.isdecimal() and number == f"{int(number):03d}"
    if not is_run or (isinstance(experiment, str) and experiment_name(experiment) == config):
        return config, None
    return stem, int(number)


def to_integers(boxes_xywh: np.ndarray) -> np.ndarray:
    """Boxes (F, 4) as they are stored: int64, cut towards zero."""
    # Faithful: truncated, not rounded; the published numbers were computed from such files.
    return np.trunc(np.asarray(boxes_xywh, dtype=np.float64)).astype(np.int64)


def start_gaps(first_xywh: ArrayLike, ground_truth_xywh: ArrayLike) -> np.ndarray:
    """How far the first boxes of results (S, 4) or (4,) are from those of the ground truth, which trackers are given.

    Returns:
        As many numbers, float64 with signs, pixels; whether boxes were cut to integers makes no difference.
    """
    exact = np.subtract(first_xywh, ground_truth_xywh)
    cut = np.subtract(first_xywh, np.trunc(ground_truth_xywh))
    return np.where(np.abs(cut) < np.abs(exact), cut, exact)


@dataclass(frozen=True)
class ResultFolder:
    """Results of one tracker with one configuration on one dataset.

    Attributes:
        save_dir: root of everything a run writes.
        tracker: name of the tracker, ``seqtrack``.
        config: name of its configuration, ``seqtrack_b256``.
        dataset: tag of the dataset (``Sequence.dataset``).
        floats: whether boxes are also written, and are read, with their fractions.
        split: part of the dataset, where several parts with sequences of their own share the folder (``val``).
        claim: what the manifest must hold while results are written (``manifest.identity``); empty: anything.
    """

    save_dir: Path
    tracker: str
    config: str
    dataset: str
    floats: bool = False
    split: str = ""
    claim: str = field(default="", compare=False)

    @property
    def path(self) -> Path:
        """The folder."""
        return results_root(self.save_dir) / self.tracker / self.config / self.dataset

    @property
    def manifest_path(self) -> Path:
        """File that says what made the results; each split has its own."""
        return self.path / (f"manifest-{self.split}.json" if self.split else "manifest.json")

    def boxes_path(self, sequence: str) -> Path:
        """Box file of a sequence."""
        return self.path / f"{sequence}.txt"

    def float_path(self, sequence: str) -> Path:
        """Box file of a sequence with fractions."""
        return self.path / FLOAT_DIR / f"{sequence}.txt"

    @property
    def asks_presence(self) -> bool:
        """Whether results hold how likely it is that the target is there."""
        return self.dataset in ASK_PRESENCE

    def presence_path(self, sequence: str) -> Path:
        """File of the probabilities of a sequence that its target is there."""
        return self.path / PRESENCE_DIR / f"{sequence}.txt"

    def times_path(self, sequence: str) -> Path:
        """Time file of a sequence."""
        return self.path / f"{sequence}{TIME_SUFFIX}"

    def write(
        self, sequence: str, boxes_xywh: np.ndarray, seconds: np.ndarray, presence: Sequence[float] | None = None
    ) -> None:
        """Write the files of a sequence, each whole or not at all.

        Args:
            sequence: its name.
            boxes_xywh: (F, 4) boxes in pixels.
            seconds: (F,) time spent on each frame.
            presence: (F,) probability that the target is there, kept where the benchmark asks for it; None for 1.

        Raises:
            InputError: if a box is not four finite numbers, there is not one time per box, or a run with other settings
                has claimed the folder in the meantime.
        """
        if self.claim and not self._is_claimed():
            raise InputError(f"{self.manifest_path}: a run with other weights or settings has taken this folder")
        boxes = np.asarray(boxes_xywh, dtype=np.float64)
        times = np.asarray(seconds, dtype=np.float64).reshape(-1)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or len(boxes) != len(times):
            raise InputError(f"{sequence}: expected boxes (F, 4) and times (F,), got {boxes.shape} and {times.shape}")
        if not np.isfinite(boxes).all():
            bad = int((~np.isfinite(boxes)).any(axis=1).argmax())
            raise InputError(f"{sequence}: the tracker gave the box {boxes[bad].tolist()} for frame {bad}")
        lines = "".join("\t".join(map(str, row)) + "\n" for row in to_integers(boxes).tolist())
        # The box file comes last: where it is, the result is complete.
        write_text_atomic(self.times_path(sequence), "".join(f"{value:f}\n" for value in times.tolist()))
        if self.floats:
            rows = "".join("\t".join(f"{value:.4f}" for value in row) + "\n" for row in boxes.tolist())
            write_text_atomic(self.float_path(sequence), rows)
        if self.asks_presence:
            values = [1.0] * len(boxes) if presence is None else presence
            write_text_atomic(self.presence_path(sequence), "".join(f"{value:.4f}\n" for value in values))
        write_text_atomic(self.boxes_path(sequence), lines)

    def _is_claimed(self) -> bool:
        try:
            return self.claim in self.manifest_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False

    def read_path(self, sequence: str) -> Path:
        """The file that ``read`` reads."""
        return self.float_path(sequence) if self.floats else self.boxes_path(sequence)

    def read(self, sequence: str) -> np.ndarray:
        """Boxes of a sequence, (F, 4) float64 xywh. Raises DataError naming the file."""
        return read_boxes(self.read_path(sequence))

    def is_complete(self, sequence: str, frames: int) -> bool:
        """Whether all files of a sequence are there with one line per frame, and boxes that the analysis accepts."""
        try:
            times = self.times_path(sequence).read_bytes().count(b"\n")
            if self.asks_presence and self.presence_path(sequence).read_bytes().count(b"\n") != frames:
                return False
            boxes = [self.boxes_path(sequence)] + [self.float_path(sequence)] * self.floats
            return times == frames and all(len(read_boxes(path, allow_nan=False)) == frames for path in boxes)
        except (OSError, DataError):
            return False

    def remove(self, sequence: str) -> None:
        """Remove the files of a sequence, as a user who says --overwrite wants."""
        self.boxes_path(sequence).unlink(missing_ok=True)
        self.times_path(sequence).unlink(missing_ok=True)
        self.float_path(sequence).unlink(missing_ok=True)
        self.presence_path(sequence).unlink(missing_ok=True)

    def remove_leftovers(self) -> None:
        """Remove the temporary files of processes that were killed, unless another run is going on in the folder."""
        if not self.path.is_dir() or other_owners(self.path):
            return
        for path in (file for part in ("", FLOAT_DIR, PRESENCE_DIR) for file in (self.path / part).glob(".*")):
            if LEFTOVER.fullmatch(path.name):
                path.unlink(missing_ok=True)

    def sequences(self) -> list[str]:
        """Names of the sequences that have a box file, sorted."""
        if not self.path.is_dir():
            return []
        files = sorted(file.name for file in self.path.glob("*.txt") if not file.name.startswith("."))
        # A sequence may itself be called "..._time": its own box file stands beside "..._time_time.txt".
        return [
            name.removesuffix(".txt")
            for name in files
            if not (name.endswith(TIME_SUFFIX) and name.removesuffix(TIME_SUFFIX) + ".txt" in files)
        ]


def find_results(save_dir: Path) -> list[ResultFolder]:
    """Every result folder below ``save_dir`` that holds a box file, sorted by tracker, configuration and dataset."""
    folders = sorted(path for path in results_root(save_dir).glob("[!.]*/[!.]*/[!.]*") if path.is_dir())
    found = [ResultFolder(Path(save_dir), path.parts[-3], path.parts[-2], path.parts[-1]) for path in folders]
    return [folder for folder in found if folder.sequences()]
