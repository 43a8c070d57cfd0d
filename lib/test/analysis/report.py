"""The analysis of one benchmark: which results are scored, and the tables of their scores."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from lib.config.paths import Paths
from lib.data.attributes import unexpected_counts
from lib.data.registry import BENCHMARKS, find_benchmark
from lib.data.sequence import SequenceList
from lib.test.analysis.presence import presence_table
from lib.test.analysis.protocols import PARTLY_LABELLED, PROTOCOLS
from lib.test.analysis.scoring import (
    BENCHMARK_TAGS,
    ScoreCache,
    ScoredTracker,
    Scoring,
    score_results,
    score_static_box,
)
from lib.test.analysis.selection import Selection, choose_sources, warn_once, without_missing
from lib.test.analysis.tables import Table, group_table, score_table, sequence_table
from lib.test.evaluation.results import ASK_PRESENCE
from lib.utils.errors import DataError
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
    missing: Mapping[str, int]

    @property
    def title(self) -> str:
        """Dataset, size and protocol in one line."""
        count = f"{len(self.sequences)} of {self.total}" if len(self.sequences) < self.total else str(self.total)
        size = f"{count} sequence{'s' * (self.total != 1)}, {self.sequences.num_frames} frames"
        lacking = "".join(f"; {label} lacks {number}" for label, number in self.missing.items())
        return f"{self.benchmark} ({size}{lacking}), {self.scoring.describe()}"

    def tables(
        self, per_sequence: bool = False, per_attribute: bool = False, per_class: bool = False
    ) -> dict[str, Table]:
        """The table of the overall scores and those asked for, by the stems of their files.

        Raises:
            DataError: if the dataset does not say the attributes or the classes.
        """
        facts = {
            "dataset": self.benchmark,
            "sequences": str(len(self.sequences)),
            "sequences_of": str(self.total),
            "protocol": self.scoring.protocol,
            "invalid_frames_excluded": "yes" if self.scoring.exclude_invalid_frames else "no",
        }
        tables = {"scores": score_table(self.trackers, self.title, facts)}
        if all(sequence.dataset in ASK_PRESENCE for sequence in self.sequences):
            tables["presence"] = presence_table(self.trackers, self.sequences, self.title, facts)
        if per_sequence:
            tables["per_sequence"] = sequence_table(self.trackers, self.title, facts)
        if per_attribute:
            groups = self.attributes()
            benchmark = BENCHMARKS.get(split_packed(self.benchmark)[0])
            if benchmark is not None and benchmark.sequences == len(self.sequences):
                for line in unexpected_counts(benchmark.tag, {name: len(indices) for name, indices in groups.items()}):
                    logger.warning("%s: %s", self.benchmark, line)
            tables["per_attribute"] = group_table(self.trackers, groups, "attribute", self.title, facts)
        if per_class:
            tables["per_class"] = group_table(self.trackers, self.classes(), "class", self.title, facts)
        return tables

    def attributes(self) -> dict[str, list[int]]:
        """Positions of the sequences by attribute.

        Raises:
            DataError: if the dataset names none, or leaves some sequences out: their scores would be missing silently.
        """
        require_of_all(self.benchmark, self.sequences, "attributes", "attribute file")
        nothing = "the dataset ships no attributes of its sequences (see docs/benchmarks.md)"
        return self._positions([sequence.attributes or () for sequence in self.sequences], nothing)

    def classes(self) -> dict[str, list[int]]:
        """Positions of the sequences by class of target. Raises DataError if the dataset names none, or not all."""
        require_of_all(self.benchmark, self.sequences, "object_class", "class of target")
        classes = [(sequence.object_class,) if sequence.object_class else () for sequence in self.sequences]
        return self._positions(classes, "the dataset does not say what its targets are")

    def _positions(self, names: list[tuple[str, ...]], nothing: str) -> dict[str, list[int]]:
        groups: dict[str, list[int]] = {}
        for index, own in enumerate(names):
            for name in own:
                groups.setdefault(name, []).append(index)
        if not groups:
            raise DataError(f"{self.benchmark}: {nothing}")
        return dict(sorted(groups.items()))


def require_of_all(benchmark: str, sequences: SequenceList, field: str, what: str) -> None:
    """Raise DataError if some sequences have a field and others do not: their scores would not belong together."""
    lacking = [sequence.name for sequence in sequences if getattr(sequence, field) is None]
    if lacking and len(lacking) < len(sequences):
        raise DataError(
            f"{benchmark}: {len(lacking)} of {len(sequences)} sequences have no {what}, the first is {lacking[0]}"
        )


def analyze(
    benchmark: str, paths: Paths, scoring: Scoring, selection: Selection, cache: ScoreCache | None = None
) -> Report:
    """Score results on a benchmark.

    Raises:
        ConfigError: if the benchmark is unknown.
        DataError: if the ground truth is hidden, missing or malformed, or a result is missing or incomplete.
        InputError: if there is nothing to score.
    """
    found = find_benchmark(benchmark, paths)
    if found.tag in PARTLY_LABELLED:
        scoring = replace(scoring, exclude_invalid_frames=True)
    sequences = found.load(paths, strict=not selection.allow_missing)
    warn_once(logger, [f"left out, it cannot be read: {error}" for error in sequences.failures.values()])
    hidden = [sequence for sequence in sequences if not sequence.has_ground_truth]
    if hidden:
        where = (
            f"submit the results to its server, {found.server}" if found.server else "submit the results to its server"
        )
        raise DataError(
            f"{benchmark} cannot be scored here: only the first box of {len(hidden)} of {len(sequences)} sequences is "
            f"public; {where}"
        )
    if PROTOCOLS[scoring.protocol].counts_frames and found.tag in BENCHMARK_TAGS:
        require_of_all(benchmark, sequences, "target_present", "labels of the frames that count (cover.label)")
        require_of_all(benchmark, sequences, "resolution", "resolution (meta_info.ini), where boxes are cut")
    total, missing = len(sequences) + len(sequences.failures), {}
    sources = choose_sources(benchmark, sequences, paths, selection)
    if selection.allow_missing and sources:
        sequences, missing = without_missing(sequences, sources)
    trackers = [score_results(runs, sequences, scoring, label=label, cache=cache) for label, runs in sources.items()]
    if selection.static_box:
        trackers.append(score_static_box(sequences, scoring))
    return Report(benchmark, sequences, scoring, trackers, total, missing)
