"""The analysis of one benchmark: its scores, and the files that show them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lib.config.paths import Paths
from lib.data.attributes import unexpected_counts
from lib.data.registry import BENCHMARKS, find_benchmark
from lib.data.sequence import SequenceList
from lib.test.analysis.cache import ScoreCache
from lib.test.analysis.collect import (
    ScoredTracker,
    Scoring,
    require_public_ground_truth,
    score_results,
    score_static_box,
)
from lib.test.analysis.selection import Selection, choose_candidates, without_missing
from lib.test.analysis.sources import warn_once
from lib.test.analysis.tables import FORMATS, Table, group_table, score_table, sequence_table
from lib.utils.errors import DataError
from lib.utils.files import write_text_atomic
from lib.utils.storage import split_packed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Report:
    """The scores on one benchmark.

    Attributes:
        benchmark: its name.
        sequences: those that were scored.
        scoring: the conventions.
        trackers: their scores.
        total: how many sequences the benchmark has.
        missing: how many of them each tracker lacks, if any.
    """

    benchmark: str
    sequences: SequenceList
    scoring: Scoring
    trackers: list[ScoredTracker]
    total: int
    missing: Mapping[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Dataset, size and protocol in one line."""
        count = f"{len(self.sequences)} of {self.total}" if len(self.sequences) < self.total else str(self.total)
        size = f"{count} sequence{'s' * (self.total != 1)}, {self.sequences.num_frames} frames"
        lacking = "".join(f"; {label} lacks {number}" for label, number in self.missing.items())
        return f"{self.benchmark} ({size}{lacking}), {self.scoring.describe()}"

    def _facts(self) -> dict[str, str]:
        excluded = "yes" if self.scoring.exclude_invalid_frames else "no"
        return {
            "dataset": self.benchmark,
            "sequences": str(len(self.sequences)),
            "sequences_of": str(self.total),
            "protocol": self.scoring.protocol,
            "invalid_frames_excluded": excluded,
        }

    def scores(self) -> Table:
        """Overall scores of all trackers."""
        return score_table(self.trackers, self.title, self._facts())

    def per_sequence(self) -> Table:
        """Average overlap of every sequence."""
        return sequence_table(self.trackers, self.title, self._facts())

    def attributes(self) -> dict[str, list[int]]:
        """Positions of the sequences by attribute.

        Raises:
            DataError: if the dataset names none, or leaves some sequences out: their scores would be missing silently.
        """
        unknown = [sequence.name for sequence in self.sequences if sequence.attributes is None]
        if unknown and len(unknown) < len(self.sequences):
            raise DataError(
                f"{self.benchmark}: {len(unknown)} of {len(self.sequences)} sequences have no attribute file, "
                f"the first is {unknown[0]}"
            )
        groups: dict[str, list[int]] = {}
        for index, sequence in enumerate(self.sequences):
            for name in sequence.attributes or ():
                groups.setdefault(name, []).append(index)
        if not groups:
            raise DataError(
                f"{self.benchmark}: the dataset ships no attributes of its sequences (see docs/benchmarks.md)"
            )
        return dict(sorted(groups.items()))

    def per_attribute(self) -> Table:
        """The headline score by attribute."""
        groups = self.attributes()
        benchmark = BENCHMARKS.get(split_packed(self.benchmark)[0])
        if benchmark is not None and benchmark.sequences == len(self.sequences):
            for line in unexpected_counts(benchmark.tag, {name: len(indices) for name, indices in groups.items()}):
                logger.warning("%s: %s", self.benchmark, line)
        return group_table(self.trackers, groups, "attribute", self.title, self._facts())

    def per_class(self) -> Table:
        """The headline score by class of target. Raises DataError if the dataset names none."""
        groups: dict[str, list[int]] = {}
        for index, sequence in enumerate(self.sequences):
            if sequence.object_class:
                groups.setdefault(sequence.object_class, []).append(index)
        if not groups:
            raise DataError(f"{self.benchmark}: the dataset does not say what its targets are")
        return group_table(self.trackers, dict(sorted(groups.items())), "class", self.title, self._facts())


def analyse(
    benchmark: str, paths: Paths, scoring: Scoring, selection: Selection, cache: ScoreCache | None = None
) -> Report:
    """Score results on a benchmark.

    Raises:
        ConfigError: if the benchmark is unknown.
        DataError: if the ground truth is hidden, missing or malformed, or a result is missing or incomplete.
        InputError: if there is nothing to score.
    """
    found = find_benchmark(benchmark, paths)
    sequences = found.load(paths, strict=not selection.allow_missing)
    warn_once(logger, [f"left out, it cannot be read: {error}" for error in sequences.failures.values()])
    require_public_ground_truth(benchmark, sequences, found.server)
    total = len(sequences) + len(sequences.failures)
    candidates, missing = choose_candidates(benchmark, sequences, paths, selection), {}
    if selection.allow_missing and candidates:
        sequences, missing = without_missing(sequences, candidates)
    trackers = [
        score_results(candidate.sources, sequences, scoring, label=candidate.label, cache=cache)
        for candidate in candidates
    ]
    if selection.static_box:
        trackers.append(score_static_box(sequences, scoring))
    return Report(benchmark, sequences, scoring, trackers, total, missing)


def write_table(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write a table in every format; return the files."""
    written = []
    for form in FORMATS.values():
        path = folder / f"{stem}{form.suffix}"
        write_text_atomic(path, form.write(table))
        written.append(path)
    return written
