"""The analysis of one benchmark: which results, their scores, and the files that show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lib.config.paths import Paths
from lib.test.analysis.collect import (
    STATIC_BOX,
    ScoredTracker,
    Scoring,
    require_public_truth,
    score_results,
    score_static_box,
)
from lib.test.analysis.tables import FORMATS, Table, score_table, sequence_table
from lib.test.evaluation.data import SequenceList
from lib.test.evaluation.datasets import BENCHMARKS, find_benchmark, get_dataset
from lib.test.evaluation.results import ResultFolder, find_results, results_root
from lib.utils.errors import DataError, InputError
from lib.utils.files import write_text_atomic


@dataclass(frozen=True)
class Selection:
    """Which results to analyse; empty means all that are found.

    Attributes:
        trackers: names of trackers.
        configs: names of configurations.
        static_box: whether to add the baseline whose box never moves.
    """

    trackers: Sequence[str] = ()
    configs: Sequence[str] = ()
    static_box: bool = False


@dataclass(frozen=True)
class Report:
    """The scores on one benchmark."""

    benchmark: str
    sequences: SequenceList
    scoring: Scoring
    trackers: list[ScoredTracker]

    @property
    def title(self) -> str:
        """Data set, size and protocol in one line."""
        size = f"{len(self.sequences)} sequence{'s' * (len(self.sequences) != 1)}, {self.sequences.num_frames} frames"
        return f"{self.benchmark} ({size}), {self.scoring.describe()}"

    def _facts(self) -> dict[str, str]:
        excluded = "yes" if self.scoring.exclude_invalid_frames else "no"
        return {
            "dataset": self.benchmark,
            "sequences": str(len(self.sequences)),
            "protocol": self.scoring.protocol,
            "invalid_frames_excluded": excluded,
        }

    def scores(self) -> Table:
        """Overall scores of all trackers."""
        return score_table(self.trackers, self.title, self._facts())

    def per_sequence(self) -> Table:
        """Average overlap of every sequence."""
        return sequence_table(self.trackers, self.title, self._facts())


def found_benchmarks(paths: Paths) -> list[str]:
    """Names of the benchmarks for which there are both results and public truth.

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
            f"there are results of {', '.join(sorted(tags))}, but no data set with public truth for them in "
            f"{paths.data_dir}; name one with --dataset, and its place with --data_dir"
        )
    return names


def choose_folders(benchmark: str, sequences: SequenceList, paths: Paths, selection: Selection) -> list[ResultFolder]:
    """Result folders to analyse.

    Raises:
        DataError: if a configuration that was asked for has no results; the message lists those that have.
    """
    tag = find_benchmark(benchmark, paths).tag
    names = set(sequences.names)
    found = [
        folder
        for folder in find_results(paths.save_dir)
        if folder.dataset == tag and not names.isdisjoint(folder.sequences())
    ]
    if not selection.configs:
        return [folder for folder in found if not selection.trackers or folder.tracker in selection.trackers]
    trackers = selection.trackers or ["seqtrack"]
    chosen = [ResultFolder(paths.save_dir, t, c, tag) for t in trackers for c in selection.configs]
    for folder in chosen:
        if folder not in found:
            known = ", ".join(f"{other.tracker} {other.config}" for other in found) or "none"
            raise DataError(
                f"no results of {folder.tracker} {folder.config} on {benchmark} in {folder.path}; "
                f"with results on it: {known}"
            )
    return chosen


def analyse(benchmark: str, paths: Paths, scoring: Scoring, selection: Selection) -> Report:
    """Score results on a benchmark.

    Raises:
        ConfigError: if the benchmark is unknown.
        DataError: if the truth is hidden, missing or malformed, or a result is missing or incomplete.
        InputError: if there is nothing to score.
    """
    server = find_benchmark(benchmark, paths).server
    sequences = get_dataset(benchmark, paths=paths)
    require_public_truth(benchmark, sequences, server)
    folders = choose_folders(benchmark, sequences, paths, selection)
    several = len({folder.tracker for folder in folders}) > 1
    trackers = [
        score_results(
            folder, sequences, scoring, label=f"{folder.tracker}/{folder.config}" if several else folder.config
        )
        for folder in folders
    ]
    if selection.static_box:
        trackers.append(score_static_box(sequences, scoring))
    if not trackers:
        raise InputError(
            f"no results on {benchmark} below {results_root(paths.save_dir)}; make some with tracking/test.py, or name "
            f"them with --tracker and --config, or ask for the baseline {STATIC_BOX!r} with --static_box"
        )
    return Report(benchmark, sequences, scoring, trackers)


def write_table(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write a table in every format; return the files."""
    written = []
    for form in FORMATS.values():
        path = folder / f"{stem}{form.suffix}"
        write_text_atomic(path, form.write(table))
        written.append(path)
    return written
