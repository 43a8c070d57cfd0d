"""Which results are analysed: those found below the save_dir, those asked for, and those that others published."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lib.config.paths import Paths
from lib.data.registry import BENCHMARKS, find_benchmark
from lib.data.sequence import SequenceList
from lib.test.analysis.collect import STATIC_BOX
from lib.test.analysis.sources import OwnResults, Source, missing_sequences, near_names, parse_raw_results, warn_once
from lib.test.evaluation.results import ResultFolder, find_results, results_root, split_run
from lib.utils.errors import DataError, InputError, printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Selection:
    """Which results to analyse; without trackers, configs and raw results, all that are found.

    Attributes:
        trackers: names of trackers.
        configs: names of configurations.
        raw: results of others, as ``label=folder`` or ``folder``.
        static_box: whether to add the baseline whose box never moves.
        floats: whether to score the boxes with their fractions instead of the integers.
        merge_runs: whether ``<config>_000``, ``<config>_001``, ... are runs of one tracker.
        allow_missing: whether sequences that a tracker lacks are left out (for all trackers).
    """

    trackers: Sequence[str] = ()
    configs: Sequence[str] = ()
    raw: Sequence[str] = ()
    static_box: bool = False
    floats: bool = False
    merge_runs: bool = False
    allow_missing: bool = False


@dataclass(frozen=True)
class Candidate:
    """A tracker to be scored: its label, and the box files of each of its runs."""

    label: str
    sources: list[Source]


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


def choose_folders(benchmark: str, sequences: SequenceList, paths: Paths, selection: Selection) -> list[ResultFolder]:
    """Our result folders to analyse.

    Raises:
        DataError: if a configuration that was asked for has no results; the message lists those that have.
    """
    if selection.raw and not selection.trackers and not selection.configs:
        return []
    tag = find_benchmark(benchmark, paths).tag
    names = set(sequences.names)
    found = [
        folder
        for folder in find_results(paths.save_dir)
        if folder.dataset == tag and not names.isdisjoint(folder.sequences())
    ]
    if not selection.configs:
        return [folder for folder in found if not selection.trackers or folder.tracker in selection.trackers]
    chosen = []
    for tracker in selection.trackers or ["seqtrack"]:
        for config in selection.configs:
            fitting = [folder for folder in found if folder.tracker == tracker and _fits(folder, config, selection)]
            if not fitting:
                known = ", ".join(f"{other.tracker} {other.config}" for other in found) or "none"
                raise DataError(
                    f"no results of {tracker} {config} on {benchmark} in "
                    f"{ResultFolder(paths.save_dir, tracker, config, tag).path}; with results on it: {known}"
                )
            chosen += fitting
    return chosen


def _fits(folder: ResultFolder, config: str, selection: Selection) -> bool:
    return config == folder.config or (selection.merge_runs and config == split_run(folder.config)[0])


def choose_candidates(benchmark: str, sequences: SequenceList, paths: Paths, selection: Selection) -> list[Candidate]:
    """The trackers to analyse.

    Raises:
        DataError: if there are no results of something that was asked for.
        InputError: if there is nothing to score.
    """
    folders = choose_folders(benchmark, sequences, paths, selection)
    several = len({folder.tracker for folder in folders}) > 1
    groups: dict[str, list[Source]] = {}
    split = find_benchmark(benchmark, paths).split  # which has a manifest of its own
    for folder in folders:
        config = split_run(folder.config)[0] if selection.merge_runs else folder.config
        label = f"{folder.tracker}/{config}" if several else config
        groups.setdefault(label, []).append(OwnResults(replace(folder, floats=selection.floats, split=split)))
    names = [find_benchmark(benchmark, paths).tag, benchmark]
    for raw in parse_raw_results(selection.raw, names):
        label, number = raw.label, 1
        while label in groups:  # results of one name are not runs of one tracker
            label, number = f"{raw.label} (raw{f' {number}' if number > 1 else ''})", number + 1
        groups[label] = [raw]
    if not groups and not selection.static_box:
        raise InputError(
            f"no results on {benchmark} below {results_root(paths.save_dir)}; make some with tracking/test.py, or name "
            f"them with --tracker and --config, or ask for the baseline {STATIC_BOX!r} with --static_box"
        )
    return [Candidate(label, sources) for label, sources in groups.items()]


def without_missing(sequences: SequenceList, candidates: list[Candidate]) -> tuple[SequenceList, dict[str, int]]:
    """The sequences that all candidates have a complete result of, and how many each lacks of all.

    Raises:
        DataError: if there is no such sequence.
    """
    absent = {
        candidate.label: {name for source in candidate.sources for name in missing_sequences(source, sequences)}
        for candidate in candidates
    }
    anywhere = set().union(*absent.values())
    paths = {source.file(s) for c in candidates for source in c.sources for s in sequences if s.name in absent[c.label]}
    near = sorted(near_names(paths).items())
    warn_once(logger, [f"{path}: left out, there is no such result{words}" for path, words in near])
    kept = SequenceList(sequence for sequence in sequences if sequence.name not in anywhere)
    if not kept:
        raise DataError(f"none of {len(sequences)} sequences has a result of each of: {', '.join(absent)}")
    return kept, {label: len(names) for label, names in absent.items() if names}
