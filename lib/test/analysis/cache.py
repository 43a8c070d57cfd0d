"""Scores computed before, kept by the content of what they depend on: boxes, ground truth, conventions, code."""

import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from lib.test.analysis import metrics, protocols
from lib.test.analysis.metrics import SequenceScores
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)

KEPT_FILES = 200
"""Files in the cache; the ones unused for longest go first."""
CURVES = ("success", "precision", "norm_precision")


def analysis_cache_dir(save_dir: Path) -> Path:
    """Folder of the cached scores; may be deleted at any time."""
    return Path(save_dir) / "cache" / "analysis"


def content_key(parts: Iterable[bytes]) -> str:
    """Hash of what scores depend on, and of the code that computes them."""
    digest = hashlib.blake2b(digest_size=20)
    code = (Path(module.__file__).read_bytes() for module in (metrics, protocols) if module.__file__)
    for group in (code, parts):
        for part in group:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


class ScoreCache:
    """Scores of trackers on disk.

    Args:
        folder: where they are; None for no cache.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def get(self, key: str) -> list[SequenceScores] | None:
        """Scores of all sequences in their order, None if they are not there or unreadable."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}.npz"
        try:
            with np.load(path) as content:
                found = {name: content[name] for name in content.files}
            path.touch()
            return _unpack(found)
        except FileNotFoundError:
            return None
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            MemoryError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            logger.warning("%s: the cached scores cannot be used (%s) and are computed again", path, error)
            return None

    def put(self, key: str, scores: list[SequenceScores]) -> None:
        """Keep scores; a disk that cannot be written to is no reason to fail."""
        if self._folder is None:
            return
        try:
            with atomic_path(self._folder / f"{key}.npz") as temporary, temporary.open("wb") as file:
                np.savez(file, **_pack(scores))
            newest_last = sorted(self._folder.glob("[!.]*.npz"), key=lambda path: path.stat().st_mtime)
            for path in newest_last[:-KEPT_FILES]:
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("%s: scores cannot be cached: %s", self._folder, error)


def _pack(scores: list[SequenceScores]) -> dict[str, np.ndarray]:
    stacked = {name: np.stack([getattr(score, name) for score in scores]) for name in CURVES}
    return stacked | {
        "overlap": np.concatenate([score.overlap for score in scores]),
        "valid": np.concatenate([score.valid for score in scores]),
        "average_overlap": np.array([score.average_overlap for score in scores]),
        "lengths": np.array([len(score.overlap) for score in scores]),
        "protocol": np.array([score.protocol for score in scores]),
    }


def _unpack(content: dict[str, np.ndarray]) -> list[SequenceScores]:
    ends = np.cumsum(content["lengths"])[:-1]
    overlaps, valid = np.split(content["overlap"], ends), np.split(content["valid"], ends)
    return [
        SequenceScores(
            overlap=overlaps[index],
            valid=valid[index],
            average_overlap=float(content["average_overlap"][index]),
            protocol=str(content["protocol"][index]),
            **{name: content[name][index] for name in CURVES},
        )
        for index in range(len(overlaps))
    ]
