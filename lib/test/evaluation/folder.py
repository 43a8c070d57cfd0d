"""Your own videos as a benchmark: a folder as ``lib.utils.video_folder`` describes, or a YAML file that points to one.

A YAML file may hold::

    root: videos            # folder of the sequences, relative to the file; the only line that is needed
    name: my_videos         # how results are filed (default: name of the YAML file)
    boxes: xywh             # or xyxy, two corners
    first_box_only: false   # groundtruth.txt may hold just the box of the first frame
    sequences: [a, b]       # only these, in this order (default: all, by name)
"""

import logging
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lib.test.evaluation.boxes import corners_to_xywh, has_area
from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.utils.box_text import parse_integers
from lib.utils.errors import ConfigError, DataError
from lib.utils.files import expand_home, read_text
from lib.utils.registry import did_you_mean
from lib.utils.storage import Storage
from lib.utils.video_folder import TRUTH, VideoFolder, find_videos, video_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FolderSpec:
    """A dataset of one's own.

    Attributes:
        root: folder of the sequences.
        name: tag of the dataset.
        boxes: ``xywh`` or ``xyxy``.
        first_box_only: whether only the first box of a sequence needs to be known.
        sequences: names of the sequences, None for all.
    """

    root: Path
    name: str
    boxes: str = "xywh"
    first_box_only: bool = False
    sequences: tuple[str, ...] | None = None


def read_folder_spec(path: Path) -> FolderSpec:
    """Read the description of a dataset.

    Raises:
        ConfigError: if the file is missing or is not such a description; the message names the line's key.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except DataError as error:
        raise ConfigError(f"{error} (expected the description of a dataset)") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict) or "root" not in content:
        raise ConfigError(f"{path}: expected the description of a dataset with at least 'root: <folder>'")
    known = [field.name for field in fields(FolderSpec)]
    for key in content:
        if key not in known:
            raise ConfigError(f"{path}: {key}: no such option{did_you_mean(key, known)}; known: {', '.join(known)}")
    values: dict[str, Any] = {"name": path.stem, **content}
    for key, kind in (("root", str), ("name", str), ("first_box_only", bool), ("sequences", list)):
        if key in values and not isinstance(values[key], kind):
            raise ConfigError(f"{path}: {key}: expected a {kind.__name__}, got {values[key]!r}")
    if values.get("boxes", "xywh") not in ("xywh", "xyxy"):
        raise ConfigError(f"{path}: boxes: expected xywh or xyxy, got {values['boxes']!r}")
    if "sequences" in values:
        if not values["sequences"]:
            raise ConfigError(f"{path}: sequences: the list is empty; leave it out for all sequences")
        values["sequences"] = tuple(str(name) for name in values["sequences"])
    values["root"] = path.parent / expand_home(values["root"])
    return FolderSpec(**values)


def folder_entries(storage: Storage, spec: FolderSpec) -> list[Entry]:
    """Sequences of a dataset of one's own, by the names that ``video_names`` gives them.

    Raises:
        DataError: if there is none.
    """
    videos = video_names(storage, find_videos(storage))
    if not videos:
        raise DataError(f"{storage.root}: expected folders with {TRUTH} and images, found no {TRUTH}")
    names = list(videos) if spec.sequences is None else spec.sequences

    def load(name: str) -> Sequence:
        if name not in videos:
            raise DataError(f"{storage.root}: no sequence {name!r}{did_you_mean(name, videos)}")
        return _load(storage, spec, name, videos[name])

    def entry(name: str) -> Entry:
        return Entry(name, lambda: load(name))

    return [entry(name) for name in names]


def _load(storage: Storage, spec: FolderSpec, name: str, video: VideoFolder) -> Sequence:
    frames = video.frames(storage)
    ground_truth = read_ground_truth(
        storage, video.ground_truth, len(frames), hidden=spec.first_box_only, allow_nan=True
    )
    if spec.boxes == "xyxy":
        ground_truth = corners_to_xywh(ground_truth)
    absent = np.isnan(ground_truth).any(axis=1)
    ground_truth = np.where(absent[:, None], 0.0, ground_truth)
    if storage.exists(video.absence):
        flags = parse_integers(storage.read_text(video.absence), str(storage.root / video.absence))
        if len(flags) not in (len(ground_truth), len(frames)):
            raise DataError(f"{storage.root / video.absence}: {len(flags)} labels for {len(ground_truth)} boxes")
        absent = absent | (flags[: len(ground_truth)] != 0)
    present = ~absent
    start = _first_shown(storage, video, ground_truth, present)
    if start:
        logger.warning("sequence %s: starts at frame %d, the first one with a target", name, start)
    ground_truth, present = ground_truth[start:], present[start:]
    return Sequence(
        name, frames[start:], spec.name, ground_truth, target_visible=present, storage=storage, target_present=present
    )


def _first_shown(storage: Storage, video: VideoFolder, ground_truth: np.ndarray, present: np.ndarray) -> int:
    """Number of the first frame that shows the target, from which it can be tracked."""
    shown = np.flatnonzero(present & has_area(ground_truth))
    if len(shown) == 0:
        raise DataError(f"{storage.root / video.ground_truth}: no box with an area in a frame that shows the target")
    return int(shown[0])
