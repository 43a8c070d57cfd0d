"""Which results are analyzed: those found below the save_dir, those asked for, and those that others published."""

import argparse
import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lib.config.paths import PROJECT_ROOT, Paths
from lib.data.registry import BENCHMARKS, find_benchmark
from lib.data.sequence import Benchmark, SequenceList
from lib.test.evaluation.manifest import IDENTITY, read_manifest
from lib.test.evaluation.results import ResultFolder, find_results, results_root, split_run
from lib.utils.cli import user_path
from lib.utils.errors import DataError, InputError, printable

HASH_DIGITS = 12
"""Digits of a checkpoint's SHA-256 that a caption shows."""
UNKNOWN_WEIGHTS = "weights unknown"
STATIC_BOX = "static box"
"""Label of the baseline whose box never moves."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which results to analyze; without trackers, configs and raw results, all that are found.

    Attributes:
        trackers: names of trackers.
        configs: names of configurations.
        raw: results of others, as ``label=folder`` or ``folder``.
        static_box: whether to add the baseline whose box never moves.
        floats: whether to score the boxes with their fractions instead of the integers.
        merge_runs: whether ``<config>_000``, ``<config>_001``, ... are runs of one tracker.
        allow_missing: whether sequences that a tracker lacks are left out (for all trackers).
    """

    trackers: ListOf[str] = ()
    configs: ListOf[str] = ()
    raw: ListOf[str] = ()
    static_box: bool = False
    floats: bool = False
    merge_runs: bool = False
    allow_missing: bool = False


@dataclass(frozen=True)
class Source:
    """Box files of one tracker (one run of it) on one benchmark.

    Attributes:
        name: what messages call it.
        file: gives the box file of a sequence by the sequence's name, whether it exists or not.
        how_to_make: what to do about a missing file.
        weights: which checkpoint made the results, as far as that is known.
        presence: gives the file of what it says of the presence of the target, if there may be one.
        manifest: what else is known of the run that made them (lib/test/evaluation/manifest.py).
    """

    name: str
    file: Callable[[str], Path]
    how_to_make: str
    weights: str = UNKNOWN_WEIGHTS
    presence: Callable[[str], Path] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def read(self, sequence: str) -> bytes | None:
        """Contents of the box file of a sequence; None if there is none.

        Raises:
            DataError: if it is there and cannot be read; that is never taken for a missing result.
        """
        path = self.file(sequence)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise DataError(f"{path}: cannot read the result: {error.strerror}") from error

    def missing(self, sequences: SequenceList) -> list[str]:
        """Names of the sequences whose box file is missing or has fewer lines than the sequence has frames.

        Raises:
            DataError: if a box file is there and cannot be read.
        """
        return [s.name for s in sequences if count_rows(self.read(s.name) or b"") < len(s.frames)]


def count_rows(content: bytes) -> int:
    """Lines of a box file without empty ones at its end."""
    return len(content.rstrip().splitlines())


def own_results(folder: ResultFolder) -> Source:
    """Results that tracking/test.py wrote, or that were put where it writes."""
    flag = " --float" if folder.floats else ""
    command = f"track them with tracking/test.py {folder.tracker} {folder.config}{flag}"
    manifest = read_manifest(folder)
    presence = folder.presence_path if folder.asks_presence else None
    name, weights = f"{folder.tracker} {folder.config}", _weights(manifest)
    return Source(name, folder.read_path, command, weights, presence=presence, manifest=manifest)


def _weights(manifest: Mapping[str, Any]) -> str:
    """File name and hash of the checkpoint, from the manifest beside the results."""
    checkpoint, digest = manifest.get("checkpoint"), manifest.get("sha256")
    if not isinstance(checkpoint, str) or not re.fullmatch(r"[0-9a-f]{64}", str(digest)):
        return UNKNOWN_WEIGHTS
    bundled = "bundled weights " * (PROJECT_ROOT / "data" / "demo" in Path(checkpoint).parents)
    return f"{bundled}{printable(Path(checkpoint).name, 60)} (SHA-256 {str(digest)[:HASH_DIGITS]})"


def raw_results(text: str, datasets: Iterable[str] = ()) -> Source:
    """Published box files in a folder of their own.

    Known layouts, of which one may hold the file: ``<dataset>/<sequence>.txt`` (as in the model zoo),
    ``<sequence>.txt``, and ``<sequence>/<sequence>_001.txt`` (the GOT-10k toolkit).

    Args:
        text: ``label=folder`` or ``folder``, which may itself have a ``=`` in its name.
        datasets: names that the folder of the dataset may have.

    Raises:
        DataError: if there is no such folder.
        InputError: if the text cannot be a path.
    """
    label, separator, folder = text.partition("=")
    if not separator or _folder(text).is_dir():
        label, folder = "", text
    root = _folder(folder)
    if not folder or not root.is_dir():
        raise DataError(f"{printable(repr(text))}: no such folder of results")

    def file(name: str) -> Path:
        folders = [root / dataset for dataset in dict.fromkeys(datasets) if (root / dataset).is_dir()] + [root]
        places = [place / file for place in folders for file in (f"{name}.txt", f"{name}/{name}_001.txt")]
        found = [path for path in places if path.is_file()]
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1]}: two results of {name}, which of them counts? Move one away")
        return found[0] if found else places[0]

    return Source(label or root.resolve().name, file, f"put them below {root}")


def _folder(text: str) -> Path:
    try:
        return user_path(text or ".")
    except argparse.ArgumentTypeError as error:
        raise InputError(str(error)) from error


def found_benchmarks(paths: Paths) -> list[str]:
    """Names of the benchmarks for which there are both results and public ground truth; a warning names the others.

    Raises:
        InputError: if there is none; the message says what to do.
    """
    tags = {folder.dataset for folder in find_results(paths.save_dir)}
    if not tags:
        raise InputError(
            f"no results below {results_root(paths.save_dir)}; make some with tracking/test.py, or say where they are "
            "with --save_dir"
        )
    names = []
    for name, benchmark in BENCHMARKS.items():
        if benchmark.tag in tags and benchmark.discover and benchmark.server is None and benchmark.is_present(paths):
            names.append(name)
    if not names:
        raise InputError(
            f"there are results of {', '.join(sorted(tags))}, but no dataset with public ground truth for them in "
            f"{paths.data_dir}; name one with --dataset, and its place with --data_dir (own videos: --dataset "
            "folder:<path>)"
        )
    others = sorted(tags - {BENCHMARKS[name].tag for name in names})
    if others:
        logger.warning(
            "left out, since their data or public ground truth is not in %s: results on %s; name the data with "
            "--dataset (own videos: folder:<path>)",
            paths.data_dir,
            ", ".join(map(printable, others)),
        )
    return names


def choose_sources(
    benchmark: str, sequences: SequenceList, paths: Paths, selection: Selection
) -> dict[str, list[Source]]:
    """The trackers to analyze: by label, the box files of each of its runs.

    Raises:
        DataError: if there are no results of something that was asked for; the message lists what has results.
        InputError: if there is nothing to score.
    """
    found = find_benchmark(benchmark, paths)
    folders = _choose_folders(benchmark, found, sequences, paths, selection)
    several = len({folder.tracker for folder in folders}) > 1
    groups: dict[str, list[Source]] = {}
    for folder in folders:
        own = own_results(folder)
        config = _experiment(folder, own.manifest) if selection.merge_runs else folder.config
        label = f"{folder.tracker}/{config}" if several else config
        groups.setdefault(label, []).append(own)
    for label, runs in groups.items():
        if len({json.dumps([run.manifest.get(key) for key in IDENTITY]) for run in runs if run.manifest}) > 1:
            names = ", ".join(run.name for run in runs)
            warn_once(logger, [f"runs of {label} were made with different dtypes, backends or settings: {names}"])
    for text in selection.raw:
        raw = raw_results(text, [found.tag, benchmark])
        label, number = raw.name, 1
        while label in groups:  # results of one name are not runs of one tracker
            label, number = f"{raw.name} (raw{f' {number}' if number > 1 else ''})", number + 1
        groups[label] = [raw]
    if not groups and not selection.static_box:
        raise InputError(
            f"no results on {benchmark} below {results_root(paths.save_dir)}; make some with tracking/test.py, or name "
            f"them with --tracker and --config, or ask for the baseline {STATIC_BOX!r} with --static_box"
        )
    return groups


def _choose_folders(
    name: str, benchmark: Benchmark, sequences: SequenceList, paths: Paths, selection: Selection
) -> list[ResultFolder]:
    if selection.raw and not selection.trackers and not selection.configs:
        return []
    names = set(sequences.names)
    found = [
        replace(folder, floats=selection.floats, split=benchmark.split)  # a split has its own manifest
        for folder in find_results(paths.save_dir)
        if folder.dataset == benchmark.tag and not names.isdisjoint(folder.sequences())
    ]
    if not selection.configs and not selection.trackers:
        return found
    chosen = []
    for tracker in selection.trackers or ["seqtrack"]:
        for config in selection.configs or [""]:
            fitting = [
                folder
                for folder in found
                if folder.tracker == tracker
                and (
                    config in ("", folder.config)
                    or (selection.merge_runs and config == _experiment(folder, read_manifest(folder)))
                )
            ]
            if not fitting:
                known = ", ".join(f"{other.tracker} {other.config}" for other in found) or "none"
                place = ResultFolder(paths.save_dir, tracker, config or "*", benchmark.tag).path
                raise DataError(
                    f"no results of {tracker}{f' {config}' * bool(config)} on {name} in {place}; "
                    f"with results on it: {known}"
                )
            chosen += fitting
    return list(dict.fromkeys(chosen))  # what is asked for twice is no second run


def _experiment(folder: ResultFolder, manifest: Mapping[str, Any]) -> str:
    return split_run(folder.config, manifest.get("config"))[0]


def without_missing(sequences: SequenceList, trackers: dict[str, list[Source]]) -> tuple[SequenceList, dict[str, int]]:
    """The sequences that all trackers have a complete result of, and how many each lacks of all.

    Raises:
        DataError: if there is no such sequence.
    """
    absent = {
        label: {name for source in sources for name in source.missing(sequences)} for label, sources in trackers.items()
    }
    paths = {source.file(name) for label, names in absent.items() for source in trackers[label] for name in names}
    near = sorted(near_names(paths).items())
    warn_once(logger, [f"{path}: left out, there is no such result{hint}" for path, hint in near])
    anywhere = set().union(*absent.values())
    kept = SequenceList(sequence for sequence in sequences if sequence.name not in anywhere)
    if not kept:
        raise DataError(f"none of {len(sequences)} sequences has a result of each of: {', '.join(absent)}")
    return kept, {label: len(names) for label, names in absent.items() if names}


def near_names(paths: Iterable[Path]) -> dict[Path, str]:
    """Hints at files beside missing ones whose names differ from theirs in case, ``-`` and ``_`` only."""
    missing = [path for path in paths if not path.exists()]
    there: dict[tuple[Path, str], str] = {}
    for folder in {path.parent for path in missing}:
        with contextlib.suppress(OSError):
            there |= {(folder, _plain(file.stem)): file.name for file in sorted(folder.iterdir())}
    found = {path: there.get((path.parent, _plain(path.stem))) for path in missing}
    return {path: f" ({name} is there: if it is the same sequence, rename it)" for path, name in found.items() if name}


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def warn_once(logger: logging.Logger, messages: list[str]) -> None:
    """Log the first of messages of one kind, and how many more there are."""
    if messages:
        more = f" ({len(messages) - 1} more like this)" if len(messages) > 1 else ""
        logger.warning("%s%s", messages[0], more)
