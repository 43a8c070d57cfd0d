"""Which files a run writes, and that none of them is the user's own."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.test.video.encoders import CONTAINERS
from lib.test.video.sources import FrameSource
from lib.utils.errors import InputError
from lib.utils.files import folder_lock

FORMAT_NAME = "seqtrack-video-1"
SUFFIXES = {
    "video": ".mp4",
    "txt": ".txt",
    "json": ".json",
    "jsonl": ".jsonl",
    "mot": ".mot.txt",
    "coco": ".coco.json",
}
"""Ends of the names of the files, by format; docs/video.md describes them."""
DEFAULT_FORMATS = ("video", "txt", "json")
_ENDINGS = [(suffix, format) for format, suffix in reversed(SUFFIXES.items())]  # .mot.txt before .txt
_ENDINGS += [(suffix, "video") for suffix in CONTAINERS if suffix != SUFFIXES["video"]]


def named_format(path: Path) -> str | None:
    """Format of the file that a path names by its ending; None if it can only be a folder.

    Raises:
        InputError: if there is no format with this ending.
    """
    if path.is_dir():
        return None
    name = path.name.lower()
    for ending, format in _ENDINGS:
        if name == ending:
            raise InputError(f"--output {path}: the file has no name before its ending")
        if name.endswith(ending):
            return format
    if re.fullmatch(r"\.[a-z][a-z0-9]{1,4}", path.suffix.lower()):
        known = " ".join(sorted(ending for ending, _ in _ENDINGS))
        raise InputError(f"--output {path}: no format has this ending, known: {known}; for a folder end it with /")
    return None


@dataclass(frozen=True)
class OutputPaths:
    """The files of a run.

    Attributes:
        folder: where they are.
        name: what they are called after: the source, or the file that the user has named.
        files: those that are written, by format (keys of ``SUFFIXES``).
        stale: what an earlier run has written; what this one does not replace is removed.
    """

    folder: Path
    name: str
    files: Mapping[str, Path]
    stale: tuple[Path, ...] = ()

    @property
    def partial(self) -> Path:
        """The video while it is written; the next run of these files removes what a killed one has left."""
        suffix = self.files["video"].suffix.lower() if "video" in self.files else SUFFIXES["video"]
        return self.folder / f".{self.name}.partial{suffix}"

    def lock(self) -> AbstractContextManager[None]:
        """The lock of the one run that may write these files; entering it makes the folder.

        Raises:
            FolderInUseError: if another process writes them.
            OSError: if the folder cannot be made or written to.
        """
        return folder_lock(self.folder, f"tracking {self.name}")


def output_paths(folder: Path, source: FrameSource, formats: Sequence[str] = DEFAULT_FORMATS) -> OutputPaths:
    """Name the files after the source and make sure that nothing of the user's is overwritten.

    The facts of the run are always written: without ``json`` and ``jsonl`` there is one of them.

    Raises:
        InputError: if a file is in the way that is the source itself, or that no earlier run of the source has written.
    """
    formats = (*formats, *(() if {"json", "jsonl"} & set(formats) else (_record_format(source),)))
    every = {format: folder / f"{source.name}{suffix}" for format, suffix in SUFFIXES.items()}
    record = next((path for path in (every["json"], every["jsonl"]) if _read_record(path)), every["json"])
    earlier = _read_record(record)
    if source.path is not None and _is_another(earlier.get("source"), source.path):
        raise InputError(f"{record} is of {earlier['source']}, not of {source}; choose another --output")
    paths = OutputPaths(folder, source.name, {format: every[format] for format in formats})
    return _without_harm(paths, source, _written(earlier, every))


def output_file(path: Path, format: str, source: FrameSource) -> OutputPaths:
    """The one file that the user has named, and unless it has them itself, the facts of the run beside it.

    Raises:
        InputError: as ``output_paths``.
    """
    beside = {record: path.with_name(path.name + SUFFIXES[record]) for record in ("json", "jsonl")}
    every = beside | {format: path}
    formats = (format,) if format in beside else (format, _record_format(source))
    earlier = next(filter(None, (_read_record(every[record]) for record in beside)), {})
    paths = OutputPaths(path.parent, path.name, {name: every[name] for name in formats})
    return _without_harm(paths, source, _written(earlier, every))


def _record_format(source: FrameSource) -> str:
    """Format of the facts of a run: that of a live source is written line by line, since it may be long."""
    return "json" if source.dropped is None else "jsonl"


def _written(earlier: Mapping[str, Any], every: Mapping[str, Path]) -> tuple[Path, ...]:
    """The files of an earlier run, by the facts that it has left."""
    if not earlier:
        return ()
    formats = [*earlier.get("formats", ["txt", "json"]), *(["video"] if earlier.get("codec") else [])]
    return tuple(every[format] for format in formats if format in every)


def _without_harm(paths: OutputPaths, source: FrameSource, ours: tuple[Path, ...]) -> OutputPaths:
    """Add what is stale. Raises InputError if something would be overwritten that is not ``ours``."""
    taken = [path for path in paths.files.values() if path.exists()]
    partial = [paths.partial] if paths.partial.exists() else []
    if source.path is not None and any(path.samefile(source.path) for path in (*taken, *partial)):
        raise InputError(f"{source}: the results would overwrite it; choose another --output")
    foreign = [path for path in taken if path not in ours]
    if foreign:
        raise InputError(f"{foreign[0]} exists and was not written by an earlier run; choose another --output")
    return replace(paths, stale=ours)


def _is_another(earlier: object, path: Path) -> bool:
    """Whether an earlier run was of another file than ``path``, one that still exists."""
    try:
        return isinstance(earlier, str) and Path(earlier).exists() and not path.samefile(earlier)
    except (OSError, ValueError):
        return False


def _read_record(path: Path) -> dict[str, Any]:
    """The head of the JSON, or the first line of the JSON lines, of an earlier run; empty if ``path`` is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.loads(file.readline() if path.suffix.lower() == ".jsonl" else file.read())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) and content.get("format") == FORMAT_NAME else {}
