"""Where data is read and results are written.

Every path has a name. Its value comes from the first of: a flag, the environment variable ``SEQTRACK_<NAME>``, the path
file that ``tracking/create_default_local_file.py`` writes, the default. Reading never writes anything.

The source decides first, then what is more specific: a dataset's folder comes from the first source that names either
the folder itself (``got10k_dir``) or ``data_dir``, and where a source names both, from the folder itself. So a flag
``--data_dir`` wins over ``SEQTRACK_GOT10K_DIR``, which wins over ``SEQTRACK_DATA_DIR``, which wins over the path file.
"""

import ast
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lib.utils.errors import CheckpointError, ConfigError, did_you_mean, printable
from lib.utils.launch import is_main_process

logger = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).resolve().parents[2]
_SHIPPED = PROJECT_ROOT / "lib" / "shipped"  # only in an installed package: setup.py copies the files there
_FILES_ROOT = _SHIPPED if _SHIPPED.is_dir() else PROJECT_ROOT
EXPERIMENTS_DIR = _FILES_ROOT / "experiments" / "seqtrack"
BUNDLED_DIR = _FILES_ROOT / "data" / "demo"
LONGEST_PATH = 4096
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
    "vasttrack": "vasttrack",
    "avist": "avist",
    "dtb70": "dtb70",
    "didi": "didi",
    "oxuva": "oxuva",
}
"""Datasets and their default folders below ``data_dir``; each has a setting ``<name>_dir``."""

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
        """Folder that holds the datasets."""
        return self._values["data_dir"]

    @property
    def save_dir(self) -> Path:
        """Folder below which checkpoints, logs and results are written."""
        return self._values["save_dir"]

    def dataset_dir(self, name: str) -> Path:
        """Folder of a dataset, such as ``got10k`` (a key of ``DATASET_DIRS``)."""
        return self._values[f"{name}_dir"]

    def origin(self, name: str) -> str:
        """Say which setting points to a dataset or base folder, for error messages."""
        return self._origins[name if name in BASE_DIRS else f"{name}_dir"]


def load_paths(kind: str = "test", **flags: str | Path | None) -> Paths:
    """Resolve the path settings, see the head of this file.

    Args:
        kind: ``train`` or ``test``, which path file is read.
        flags: values given on the command line by setting (a member of ``SETTINGS``); ``None`` means not given.

    Raises:
        ConfigError: if a path file cannot be read or holds a setting that does not exist, or a value is no path.
    """
    unknown = set(flags) - set(SETTINGS)
    if unknown:
        raise TypeError(f"unknown path settings: {sorted(unknown)}")
    empty = [setting for setting, value in flags.items() if value == ""]
    if empty:
        raise ConfigError(f"--{empty[0]}: expected a path, got ''")
    local_file = LOCAL_FILES[kind]
    environment = {setting: os.environ.get(f"SEQTRACK_{setting.upper()}") for setting in SETTINGS}
    sources: tuple[tuple[Mapping[str, Any], Callable[[str], str]], ...] = (
        (flags, lambda setting: f"the flag --{setting}"),
        (environment, lambda setting: f"the environment variable SEQTRACK_{setting.upper()}"),
        (_read_local_file(local_file), lambda setting: f"{setting} in {local_file}"),
        (BASE_DIRS, lambda setting: f"the default of {setting}"),
    )
    values: dict[str, Path] = {}
    origins: dict[str, str] = {}
    for setting in SETTINGS:
        folder = DATASET_DIRS.get(setting.removesuffix("_dir"))
        wanted = (setting,) if folder is None else (setting, "data_dir")
        name, given, origin = next(
            (name, given[name], origin(name)) for given, origin in sources for name in wanted if given.get(name)
        )
        path = _expanded(given, origin)
        if name == setting:
            values[setting], origins[setting] = path, f"set by {origin}"
        else:
            values[setting] = path / folder
            origins[setting] = f"below data_dir, which is set by {origin}; or set {setting} itself"
    return Paths(values, origins)


def _expanded(value: str | Path, origin: str) -> Path:
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # no such home folder
        raise ConfigError(f"{origin}: {printable(value)}: {error}") from error


class _NotUnderstoodError(Exception):
    pass


def _read_local_file(path: Path) -> dict[str, str]:
    """Settings assigned in a path file, empty if there is none. The file is Python's syntax, and is never run."""
    try:
        if not path.is_file():
            return {}
        statements = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: cannot read the path settings: {type(error).__name__}: {error}") from error
    known: dict[str, str] = {}
    for statement in statements:
        place = f"{path}: line {statement.lineno}"
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            continue  # the text at the top
        if not (isinstance(statement, ast.Assign) and all(isinstance(name, ast.Name) for name in statement.targets)):
            raise ConfigError(f'{place}: expected lines such as data_dir = "/data"')
        for name in (target.id for target in statement.targets):
            if name not in SETTINGS and not name.startswith("_"):
                raise ConfigError(f"{place}: {name}: no such path setting{did_you_mean(name, SETTINGS)}")
            try:
                known[name] = _local_value(statement.value, known)
            except (_NotUnderstoodError, RecursionError) as error:
                raise ConfigError(
                    f"{place}: {name}: expected a path in quotes, got {printable(error)}; "
                    'also understood: f"{data_dir}/got10k" and data_dir + "/got10k"'
                ) from None
    return {name: value for name, value in known.items() if name in SETTINGS}


def _local_value(node: ast.expr, known: Mapping[str, str]) -> str:
    """Text of an expression in a path file."""
    value = None
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        value = node.value
    elif isinstance(node, ast.Name):
        value = known.get(node.id)
    elif isinstance(node, ast.JoinedStr):
        value = "".join(_local_value(part, known) for part in node.values)
    elif isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
        value = _local_value(node.value, known)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        value = _local_value(node.left, known) + _local_value(node.right, known)
    if value is None or len(value) > LONGEST_PATH or "\0" in value:
        raise _NotUnderstoodError(ast.unparse(node))
    return value


def local_file_text(kind: str, workspace_dir: Path, data_dir: Path, save_dir: Path) -> str:
    """Text of a path file with the base folders, absolute, ready to be edited.

    Raises:
        ConfigError: if a path exists and is no folder, or cannot be followed.
    """
    bases = {"workspace_dir": workspace_dir, "data_dir": data_dir, "save_dir": save_dir}
    lines = [f'"""Path settings for {kind}ing; edit freely. Flags and SEQTRACK_* environment variables win."""', ""]
    lines += [f"{name} = {_quoted(path, name)}" for name, path in bases.items()]
    lines += ["", "# Datasets are in data_dir; for one that is elsewhere, change its line and remove the #."]
    lines += [f"# {name}_dir = {_quoted(data_dir / folder, f'{name}_dir')}" for name, folder in DATASET_DIRS.items()]
    return "\n".join(lines) + "\n"


def _quoted(path: Path, setting: str) -> str:
    try:
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{setting}: {path}: not a folder")
        return json.dumps(str(path.resolve()), ensure_ascii=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConfigError(f"{setting}: {path}: {error}") from error


# What a run writes below save_dir -------------------------------------------------------------------------------


def checkpoint_dir(save_dir: Path, config: str) -> Path:
    """Folder of the checkpoints of an experiment."""
    return save_dir / "checkpoints" / "train" / "seqtrack" / config


def checkpoint_path(save_dir: Path, config: str, epoch: int) -> Path:
    """File of the checkpoint written after ``epoch`` (counted from 1)."""
    return checkpoint_dir(save_dir, config) / f"SEQTRACK_ep{epoch:04d}.pth.tar"


BEST_NAME = "SEQTRACK_best.pth.tar"
"""File of the best checkpoint of an experiment, beside those of its epochs."""


def bundled_checkpoint(config: str) -> Path:
    """File of the weights that come with this project, whether there are such weights or not."""
    return BUNDLED_DIR / f"{config}.pth.tar"


def find_checkpoint(save_dir: Path, config: str, epoch: int | str) -> Path:
    """Checkpoint to test: that of ``epoch``, or ``SEQTRACK.pth.tar`` as the model zoo names its files.

    ``epoch`` may also be ``best`` (by TRAIN.BEST_METRIC of the training) or ``last`` (the newest whole epoch).

    Where the folder of the experiment holds no checkpoint at all, those weights that come with this project (there are
    some for ``seqtrack_demo``), with a warning.

    Raises:
        CheckpointError: if there is none; the message names the places, and what is there instead.
    """
    folder = checkpoint_dir(save_dir, config)
    zoo = folder / "SEQTRACK.pth.tar"
    try:
        if epoch == "best":
            wanted = folder / BEST_NAME
        elif epoch == "last":
            wanted = next(reversed(_whole_epochs(folder).values()), checkpoint_path(save_dir, config, 1))
        else:
            wanted = checkpoint_path(save_dir, config, int(epoch))
        for path in (wanted, zoo) if isinstance(epoch, int) else (wanted,):
            if path.is_file():
                return path
        others = sorted(path for path in wanted.parent.rglob("*") if _is_checkpoint_name(path.name))
        if others:
            what = f"of epoch {epoch}" if isinstance(epoch, int) else f"called {epoch}"
            raise CheckpointError(f"no checkpoint {what} of {config}: {_what_else(folder, others)}")
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be searched for checkpoints: {error.strerror}") from error
    bundled = bundled_checkpoint(config)
    if bundled.is_file():
        if is_main_process():
            logger.warning("%s holds no checkpoint: using %s, which comes with the project", wanted.parent, bundled)
        return bundled
    raise CheckpointError(
        f"no checkpoint for {config}: neither {wanted} nor {zoo.name} beside it exists; "
        "MODEL_ZOO.md says where to get one, and --checkpoint takes any other file"
    )


def _whole_epochs(folder: Path) -> dict[int, Path]:
    """Checkpoints of whole epochs, oldest first."""
    files = folder.iterdir() if folder.is_dir() else ()
    matches = {path: re.fullmatch(r"SEQTRACK_ep(\d+)\.pth\.tar", path.name) for path in files}
    return dict(sorted((int(match[1]), path) for path, match in matches.items() if match))


def _is_checkpoint_name(name: str) -> bool:
    return name.endswith((".tar", ".pth", ".pt", ".safetensors")) and not name.startswith(".")


def _what_else(folder: Path, files: list[Path]) -> str:
    """Say which checkpoints there are, and how to take the last one."""
    epochs = _whole_epochs(folder)
    numbers = list(epochs)
    if len(numbers) > 20:
        found = f"{len(numbers)} epochs from {numbers[0]} to {numbers[-1]}"
    elif numbers:
        found = f"epochs {', '.join(map(str, numbers))}"
    else:
        found = printable(files[-1].relative_to(folder))
    last = epochs[numbers[-1]] if numbers else files[-1]
    return f"{folder} holds {found}; set TEST.EPOCH in the config, or give --checkpoint {last}"


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
    """Folder of the parsed annotations of training datasets; may be deleted at any time."""
    return save_dir / "cache" / "annotations"
