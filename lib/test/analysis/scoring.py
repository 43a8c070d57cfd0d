"""From result files to scores: read, checked and scored, or taken from the scores that were computed before."""

import contextlib
import hashlib
import logging
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lib.data import annotations
from lib.data.annotations import MARGIN, parse_boxes
from lib.data.registry import BENCHMARKS
from lib.data.sequence import Sequence, SequenceList
from lib.test.analysis import metrics, protocols
from lib.test.analysis.metrics import SequenceScores, merge_runs, score_sequence, summarise
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.selection import STATIC_BOX, Source, count_rows, near_names, warn_once
from lib.test.evaluation.results import start_gaps, to_integers
from lib.utils.errors import DataError
from lib.utils.files import atomic_path, decode_text

BENCHMARK_TAGS = frozenset(benchmark.tag for benchmark in BENCHMARKS.values())
LARGEST_NUMBER = 1e9
"""Pixels; beyond it areas lose their digits and nothing is a box any more."""
KEPT_FILES = 200
"""Files in the cache; the ones unused for longest go first."""
CURVES = ("success", "precision", "norm_precision")
DAMAGE = (OSError, ValueError, LookupError, TypeError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged file of the cache may raise, apart from ``zlib.error``."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoredTracker:
    """Scores of one tracker on one benchmark.

    Attributes:
        label: how tables and plots call it.
        sequences: names of the sequences.
        scores: one per sequence; averaged over the runs, if there are several.
        is_baseline: whether this is no tracker but something to compare with.
        weights: which checkpoint made the results, for captions; empty for a baseline.
        runs: scores by run and sequence, if there are several runs.
        sources: where the boxes are, one for each run; none for a baseline.
    """

    label: str
    sequences: list[str]
    scores: list[SequenceScores]
    is_baseline: bool = False
    weights: str = ""
    runs: tuple[list[SequenceScores], ...] = field(default=(), repr=False)
    sources: tuple[Source, ...] = field(default=(), repr=False)

    @property
    def summary(self) -> dict[str, float]:
        """Overall scores in percent; see ``metrics.summarise``. Of several runs, their mean."""
        return self.summary_of(range(len(self.scores)))

    @property
    def spread(self) -> dict[str, float] | None:
        """Standard deviation (of a sample) of the overall scores over the runs; None for a single run."""
        if len(self.runs) < 2:
            return None
        summaries = [summarise(run) for run in self.runs]
        return {key: float(np.std([summary[key] for summary in summaries], ddof=1)) for key in summaries[0]}

    def summary_of(self, indices: Iterable[int]) -> dict[str, float]:
        """Scores over some of the sequences, by their positions."""
        chosen = list(indices)
        summaries = [summarise([run[index] for index in chosen]) for run in self.runs or (self.scores,)]
        return {key: float(np.mean([summary[key] for summary in summaries])) for key in summaries[0]}


@dataclass(frozen=True)
class Scoring:
    """How boxes become numbers.

    Attributes:
        protocol: name of the conventions (``protocols.PROTOCOLS``).
        exclude_invalid_frames: leave frames without a visible target out of the count.
    """

    protocol: str = "seqtrack"
    exclude_invalid_frames: bool = False

    def describe(self) -> str:
        """The conventions in words, for the head of a table."""
        return f"protocol {self.protocol}" + (", invalid frames excluded" if self.exclude_invalid_frames else "")

    def _visible(self, sequence: Sequence) -> np.ndarray | None:
        """Flags of the frames that count, which got10k takes from another file of a benchmark than the others do."""
        published = PROTOCOLS[self.protocol].counts_frames and sequence.dataset in BENCHMARK_TAGS
        return sequence.target_present if published else sequence.target_visible

    def content(self, sequence: Sequence) -> Iterator[bytes]:
        """Everything but the boxes that the scores of a sequence depend on."""
        facts = f"{self} {sequence.name} {sequence.dataset} {sequence.resolution} {len(sequence.frames)}"
        yield facts.encode(errors="surrogatepass")  # names are bytes to the system, not always UTF-8
        yield np.ascontiguousarray(sequence.ground_truth_rect).tobytes()
        visible = self._visible(sequence)
        yield b"none" if visible is None else np.asarray(visible).astype(bool).tobytes()

    def score(self, sequence: Sequence, boxes_xywh: np.ndarray) -> SequenceScores:
        """Score the boxes of a sequence. Raises DataError naming it."""
        try:
            return score_sequence(
                boxes_xywh,
                sequence.ground_truth_rect,
                protocol=self.protocol,
                dataset=sequence.dataset,
                target_visible=self._visible(sequence),
                image_size=sequence.resolution,
                exclude_invalid_frames=self.exclude_invalid_frames,
            )
        except DataError as error:
            raise DataError(f"sequence {sequence.name}: {error}") from error


class ScoreCache:
    """Scores computed before, by the content of what they depend on: boxes, ground truth, conventions, code.

    Args:
        folder: where they are, a folder that may be deleted at any time; None for no cache.
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
                scores = _unpack({name: content[name] for name in content.files})
            path.touch()
            return scores
        except FileNotFoundError:
            return None
        except (*DAMAGE, zlib.error) as error:
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


def content_key(parts: Iterable[bytes]) -> str:
    """Hash of what scores depend on, and of the code that computes them."""
    digest = hashlib.blake2b(digest_size=20)
    code = (Path(module.__file__).read_bytes() for module in (metrics, protocols, annotations) if module.__file__)
    for group in (code, parts):
        for part in group:
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def _pack(scores: list[SequenceScores]) -> dict[str, np.ndarray]:
    of_sequences = (*CURVES, "average_overlap", "protocol")
    stacked = {name: np.array([getattr(score, name) for score in scores]) for name in of_sequences}
    frames = {name: np.concatenate([getattr(score, name) for score in scores]) for name in ("overlap", "valid")}
    return {**stacked, **frames, "lengths": np.array([len(score.overlap) for score in scores])}


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


def score_results(
    sources: list[Source], sequences: SequenceList, scoring: Scoring, *, label: str, cache: ScoreCache | None = None
) -> ScoredTracker:
    """Read and score the results of a tracker.

    Args:
        sources: one for each run.
        sequences: a benchmark.
        scoring: the conventions.
        label: how to call the tracker.
        cache: scores that need not be computed again.

    Raises:
        DataError: if a result is missing, incomplete or malformed; the message names it.
    """
    cache = cache or ScoreCache(None)
    runs = [_score_run(source, sequences, scoring, cache) for source in sources]
    weights = ", ".join(dict.fromkeys(source.weights for source in sources))
    if len(runs) == 1:
        return ScoredTracker(label, sequences.names, runs[0], weights=weights, sources=tuple(sources))
    label, all_runs = f"{label} ({len(runs)} runs)", tuple(runs)
    scores = merge_runs(runs)
    return ScoredTracker(label, sequences.names, scores, weights=weights, runs=all_runs, sources=tuple(sources))


def _score_run(source: Source, sequences: SequenceList, scoring: Scoring, cache: ScoreCache) -> list[SequenceScores]:
    contents = [source.read(sequence.name) for sequence in sequences]
    missing = [sequence.name for sequence, content in zip(sequences, contents, strict=True) if content is None]
    if missing:
        path = source.file(missing[0])
        near = near_names([path]).get(path, "")
        raise DataError(
            f"{source.name}: {len(missing)} of {len(sequences)} results are missing, the first one is {path}{near}; "
            f"{source.how_to_make}, or leave the sequences out with --allow-missing"
        )
    results = [(sequence, text) for sequence, text in zip(sequences, contents, strict=True) if text is not None]
    # Some published results of LaSOT have a few rows too many. Reported whether scores are cached or not.
    surplus = [
        f"{source.file(sequence.name)}: {rows} boxes for {len(sequence.frames)} frames; the surplus is ignored"
        for sequence, text in results
        if (rows := count_rows(text)) > len(sequence.frames)
    ]
    warn_once(logger, surplus)
    ground_truth = (part for sequence in sequences for part in scoring.content(sequence))
    key = content_key((*ground_truth, *(text for _, text in results)))
    scores = cache.get(key)
    if scores is None:
        scores = [scoring.score(sequence, _boxes(source, sequence, text)) for sequence, text in results]
        cache.put(key, scores)
    _check_starts(source, results)
    return scores


def _check_starts(source: Source, results: list[tuple[Sequence, bytes]]) -> None:
    """Compare the first boxes, which scoring replaces, with the ground truth: they tell how the others are written.

    Warns where one is more than ``MARGIN`` pixels off, or most are off by about a pixel in the same way.

    Raises:
        DataError: if most are two corners.
    """
    rows = []
    for sequence, text in results:
        name = str(source.file(sequence.name))
        with contextlib.suppress(DataError, IndexError):  # what is malformed is named when all is read
            rows.append((sequence, name, parse_boxes(decode_text(text, name).splitlines()[0], name)[0]))
    if not rows:
        return
    given, first = np.array([s.ground_truth_rect[0] for s, _, _ in rows]), np.array([box for _, _, box in rows])
    gaps = start_gaps(first, given)
    far = (np.abs(gaps) > MARGIN).any(axis=1)
    as_corners = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:]], axis=1)
    corners = far & (np.abs(start_gaps(first, as_corners)) <= MARGIN).all(axis=1)
    count = f"{int(far.sum())} of {len(rows)} results do so"
    shift = np.median(gaps, axis=0)
    if far.any():
        sequence, name, box = rows[int((corners if corners.any() else far).argmax())]
        text = f"{name}: starts with {box.tolist()}, its sequence with {sequence.ground_truth_rect[0].tolist()}"
        if 2 * corners.sum() > len(rows):
            raise DataError(f"{text}: boxes must be x, y, width, height, not x1, y1, x2, y2 ({count})")
        warn_once(logger, [f"{text}; a result of other data, or boxes or frames counted in another way? ({count})"])
    elif np.abs(shift).max() > 0.75:
        text = f"boxes of {source.name} are {shift.tolist()} off the ground truth in the first frame of most sequences"
        warn_once(logger, [f"{text}; pixels counted from another number? (such as {rows[0][1]})"])


def _boxes(source: Source, sequence: Sequence, content: bytes) -> np.ndarray:
    """Boxes of a sequence from its file, at least one for each frame."""
    path, frames = source.file(sequence.name), len(sequence.frames)
    boxes = parse_boxes(decode_text(content, str(path)), str(path), allow_nan=False)
    if len(boxes) < frames:
        raise DataError(f"{path}: {len(boxes)} boxes for {frames} frames; the result is incomplete")
    unusable = (np.abs(boxes) > LARGEST_NUMBER).any(axis=1) | (boxes[:, 2:] < 0).any(axis=1)
    if unusable.any():
        row = int(unusable.argmax())
        raise DataError(
            f"{path}: line {row + 1}: expected a size of at least 0 and numbers up to {LARGEST_NUMBER:g}, "
            f"got {boxes[row].tolist()}"
        )
    return boxes


def read_boxes_of(source: Source, sequence: Sequence) -> np.ndarray:
    """Boxes of a sequence, (F, 4) float64 xywh. Raises DataError if the file is missing or too short."""
    content = source.read(sequence.name)
    if content is None:
        path = source.file(sequence.name)
        raise DataError(f"{path}: no such result{near_names([path]).get(path, '')}; {source.how_to_make}")
    return _boxes(source, sequence, content)[: len(sequence.frames)]


def score_static_box(sequences: SequenceList, scoring: Scoring) -> ScoredTracker:
    """Score a box that stays where it was in the first frame, in integers as a result file would hold it."""
    boxes = [np.repeat(to_integers(s.ground_truth_rect[:1]), len(s.frames), axis=0) for s in sequences]
    scores = [scoring.score(sequence, rows) for sequence, rows in zip(sequences, boxes, strict=True)]
    return ScoredTracker(STATIC_BOX, sequences.names, scores, is_baseline=True)
