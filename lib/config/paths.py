"""Where data is read and results are written.

Every path has a name. Its value comes from the first of: a flag, the environment variable ``SEQTRACK_<NAME>``, the path
file that ``tracking/create_default_local_file.py`` writes, the default. Reading never writes anything.
"""

import json
import logging
import os
import runpy
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.utils.errors import CheckpointError, ConfigError
from lib.utils.registry import did_you_mean

logger = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS_DIR = PROJECT_ROOT / "experiments" / "seqtrack"
LOCAL_FILES = {
    "train": PROJECT_ROOT / "lib" / "train" / "admin" / "local.py",
    "test": PROJECT_ROOT / "lib" / "test" / "evaluation" / "local.py",
}
"""Path files by kind: what training reads, and what testing reads."""

BASE_DIRS = {"workspace_dir": ".", "data_dir": "./data", "save_dir": "."}
"""The three base folders and their defaults, relative to the current folder."""

DATASET_DIRS = {
    "lasot": "lasot",
    "lasot_extension_subset": "lasot_extension_subset",
    "got10k": "got10k",
    "coco": "coco",
    "trackingnet": "trackingnet",
    "imagenet_vid": "vid",
    "tnl2k": "tnl2k",
    "otb": "otb",
    "nfs": "nfs",
    "uav": "uav",
    "tc128": "tc128",
}
"""Data sets and their default folders below ``data_dir``; each has a setting ``<name>_dir``."""

SETTINGS = (*BASE_DIRS, *(f"{name}_dir" for name in DATASET_DIRS))
"""Every path that a flag, an environment variable or a path file may set."""


class Paths:
    """Resolved path settings; see ``load_paths``."""

    def __init__(self, values: Mapping[str, Path], origins: Mapping[str, str]) -> None:
        self._values = dict(values)
        self._origins = dict(origins)

    @property
    def workspace_dir(self) -> Path:
        """The project's folder."""
        return self._values["workspace_dir"]

    @property
    def data_dir(self) -> Path:
        """Folder that holds the data sets."""
        return self._values["data_dir"]

    @property
    def save_dir(self) -> Path:
        """Folder below which checkpoints, logs and results are written."""
        return self._values["save_dir"]

    def dataset_dir(self, name: str) -> Path:
        """Folder of a data set, such as ``got10k`` (a key of ``DATASET_DIRS``)."""
        return self._values.get(f"{name}_dir", self.data_dir / DATASET_DIRS[name])

    def origin(self, name: str) -> str:
        """Say which setting points to a data set or base folder, for error messages."""
        setting = name if name in BASE_DIRS else f"{name}_dir"
        if setting in self._origins:
            return f"set by {self._origins[setting]}"
        return f"below data_dir, which is set by {self._origins['data_dir']}; or set {setting} itself"


def load_paths(kind: str = "test", **flags: str | Path | None) -> Paths:
    """Resolve the path settings.

    Args:
        kind: ``train`` or ``test``, which path file is read.
        flags: values given on the command line by setting (a member of ``SETTINGS``); ``None`` means not given.

    Raises:
        ConfigError: if a path file is not valid Python or holds a setting that does not exist.
    """
    local_file = LOCAL_FILES[kind]
    local = _read_local_file(local_file)
    values: dict[str, Path] = {}
    origins: dict[str, str] = {}
    unknown = set(flags) - set(SETTINGS)
    if unknown:
        raise TypeError(f"unknown path settings: {sorted(unknown)}")
    for setting in SETTINGS:
        variable = f"SEQTRACK_{setting.upper()}"
        sources = (
            (flags.get(setting), f"the flag --{setting}"),
            (os.environ.get(variable), f"the environment variable {variable}"),
            (local.get(setting), f"{setting} in {local_file}"),
            (BASE_DIRS.get(setting), f"the default of {setting}"),
        )
        for value, origin in sources:
            if value not in (None, ""):
                values[setting], origins[setting] = Path(value).expanduser(), origin
                break
    return Paths(values, origins)


def _read_local_file(path: Path) -> dict[str, Any]:
    """Settings assigned in a path file, empty if there is none."""
    if not path.is_file():
        return {}
    try:
        content = runpy.run_path(str(path))
    except Exception as error:  # any error of the user's own file is reported with its place
        raise ConfigError(f"{path}: cannot read the path settings: {type(error).__name__}: {error}") from error
    settings = {name: value for name, value in content.items() if not name.startswith("_")}
    for name, value in settings.items():
        if name not in SETTINGS:
            raise ConfigError(f"{path}: {name}: no such path setting{did_you_mean(name, SETTINGS)}")
        if not isinstance(value, (str, Path)):
            raise ConfigError(f"{path}: {name}: expected a path in quotes, got {value!r}")
    return settings


def local_file_text(kind: str, workspace_dir: Path, data_dir: Path, save_dir: Path) -> str:
    """Text of a path file with every setting spelled out, absolute, ready to be edited."""
    bases = {"workspace_dir": workspace_dir, "data_dir": data_dir, "save_dir": save_dir}
    lines = [f'"""Path settings for {kind}ing; edit freely. Flags and SEQTRACK_* environment variables win."""', ""]
    lines += [f"{name} = {_quoted(path)}" for name, path in bases.items()]
    lines += ["", "# One line for each data set."]
    lines += [f"{name}_dir = {_quoted(data_dir / folder)}" for name, folder in DATASET_DIRS.items()]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    return json.dumps(str(path.resolve()), ensure_ascii=False)


# What a run writes below save_dir -------------------------------------------------------------------------------


def checkpoint_dir(save_dir: Path, config: str) -> Path:
    """Folder of the checkpoints of an experiment."""
    return save_dir / "checkpoints" / "train" / "seqtrack" / config


def checkpoint_path(save_dir: Path, config: str, epoch: int) -> Path:
    """File of the checkpoint written after ``epoch`` (counted from 1)."""
    return checkpoint_dir(save_dir, config) / f"SEQTRACK_ep{epoch:04d}.pth.tar"


def bundled_checkpoint(config: str) -> Path:
    """File of the weights that come with this project, whether there are such weights or not."""
    return PROJECT_ROOT / "data" / "demo" / f"{config}.pth.tar"


def find_checkpoint(save_dir: Path, config: str, epoch: int) -> Path:
    """Checkpoint to test: that of ``epoch``, or ``SEQTRACK.pth.tar`` as the model zoo names its files.

    Where there is neither, the weights that come with this project, which are those of ``seqtrack_demo``.

    Raises:
        CheckpointError: if there is none; the message names the places.
    """
    candidates = (checkpoint_path(save_dir, config, epoch), checkpoint_dir(save_dir, config) / "SEQTRACK.pth.tar")
    for path in candidates:
        if path.is_file():
            return path
    bundled = bundled_checkpoint(config)
    if bundled.is_file():
        logger.info("nothing was trained in %s: using the weights that come with the project, %s", save_dir, bundled)
        return bundled
    raise CheckpointError(
        f"no checkpoint for {config}: neither {candidates[0]} nor {candidates[1].name} beside it exists"
    )


def tensorboard_dir(save_dir: Path, config: str) -> Path:
    """Folder of the TensorBoard events of an experiment."""
    return save_dir / "tensorboard" / "train" / "seqtrack" / config


def log_path(save_dir: Path, config: str) -> Path:
    """Log file of the training of an experiment."""
    return save_dir / "logs" / f"seqtrack-{config}.log"


def manifest_path(save_dir: Path, config: str, started: datetime) -> Path:
    """File that says what a training was started with; each start writes its own."""
    return save_dir / "logs" / f"seqtrack-{config}-{started:%Y%m%d-%H%M%S-%f}.json"


def annotation_cache_dir(save_dir: Path) -> Path:
    """Folder of the parsed annotations of training data sets; may be deleted at any time."""
    return save_dir / "cache" / "annotations"
