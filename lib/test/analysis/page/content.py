"""What a page says of one analyzed benchmark, as plain data for JSON. The numbers are those of the tables."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.registry import FOLDER_PREFIX
from lib.data.sequence import Sequence as VideoSequence
from lib.test.analysis.failures import find_failures
from lib.test.analysis.metrics import mean_curves
from lib.test.analysis.page.frames import (
    compress,
    describe_files,
    pack_boxes,
    pack_levels,
    read_scores,
    read_seconds,
    scale_of,
)
from lib.test.analysis.plots import PLOTS
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.report import Report
from lib.test.analysis.scoring import ScoredTracker, read_boxes_of
from lib.test.analysis.significance import bootstrap
from lib.test.analysis.tables import Table, by_score, group_table, score_table, sequence_table
from lib.test.evaluation.results import to_integers
from lib.utils.errors import DataError, printable

MARKS = ("1{}", "2{}", "0{}")
"""Formats of a table's cells (``Table.cells``) whose first character is the rank: best, second, other."""
FACTS = ("checkpoint", "sha256", "dtype", "backend", "device", "batch_size", "settings_sha256", "versions")
"""Of a manifest; the rest says nothing that a reader of the scores needs, or where files are on some machine."""


def benchmark_content(report: Report, styles: Mapping[str, dict[str, Any]], steps: int) -> dict[str, Any]:
    """Everything about one benchmark but the thumbnails.

    Args:
        report: its scores.
        styles: ``color`` and ``dashes`` by label of the tracker.
        steps: of a pixel that boxes with fractions are rounded to.

    Raises:
        DataError: if a box file has changed or gone since it was scored.
    """
    report = replace(report, trackers=by_score(report.trackers))
    trackers, protocol = report.trackers, PROTOCOLS[report.scoring.protocol]
    scores, by_sequence = score_table(trackers, "", {}), sequence_table(trackers, "", {})
    order = [by_sequence.columns.index(tracker.label) for tracker in trackers]
    frames = [_Frames(tracker) for tracker in trackers]
    sequences = [
        {**_sequence(sequence, index, frames, steps), "scores": [cells[i][1:] for i in order]}
        for index, (sequence, cells) in enumerate(zip(report.sequences, by_sequence.cells(MARKS), strict=True))
    ]
    certainty = bootstrap(trackers)
    name = printable(Path(report.benchmark.removeprefix(FOLDER_PREFIX)).name)  # not where it is on some machine
    return {
        "name": name,
        "title": name + printable(report.title.removeprefix(report.benchmark), 1000),
        "protocol": report.scoring.protocol,
        "headline": protocol.headline,
        "columns": scores.columns,
        "trackers": [
            {**_tracker(tracker, scores), **styles[tracker.label], "speed": own.speed()}
            for tracker, own in zip(trackers, frames, strict=True)
        ],
        "intervals": None if certainty is None else certainty.intervals.round(3).tolist(),
        "differences": None if certainty is None else certainty.differences,
        "plots": [plot._asdict() for plot in (PLOTS[:1] if protocol.counts_frames else PLOTS)],
        "groups": {"attribute": _group(report, report.attributes), "class": _group(report, report.classes)},
        "sequences": sequences,
    }


class _Frames:
    """Boxes and scores of a tracker, by frames; those of its first run, if there are several."""

    def __init__(self, tracker: ScoredTracker) -> None:
        self.source = tracker.sources[0] if tracker.sources else None
        self.scores = tracker.runs[0] if tracker.runs else tracker.scores
        self._seconds, self._frames = 0.0, 0

    def boxes(self, sequence: VideoSequence) -> np.ndarray:
        """Boxes (F, 4); a baseline's stay where the first one is."""
        if self.source is None:
            return np.repeat(to_integers(sequence.ground_truth_rect[:1]), len(sequence.frames), axis=0)
        if (seconds := read_seconds(self.source, sequence)) is not None:
            self._seconds, self._frames = self._seconds + float(seconds.sum()), self._frames + len(seconds)
        return read_boxes_of(self.source, sequence)

    def speed(self) -> float | None:
        """Frames/s of the sequences read so far, without their first frames; None if no time file was there."""
        return self._frames / self._seconds if self._seconds > 0 else None


def _tracker(tracker: ScoredTracker, scores: Table) -> dict[str, Any]:
    row = [name for name, _ in scores.rows].index(tracker.label)
    cells = scores.cells(MARKS)[row]
    return {
        "label": printable(tracker.label),
        "baseline": tracker.is_baseline,
        "weights": tracker.weights,
        "facts": _facts(tracker.sources[0].manifest) if tracker.sources else {},
        "values": scores.rows[row][1],
        "cells": [cell[1:] for cell in cells],
        "ranks": [int(cell[0]) for cell in cells],
        "curves": {name: curve.round(3).tolist() for name, curve in mean_curves(tracker.scores).items()},
    }


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    facts = {key: manifest[key] for key in FACTS if key in manifest}
    if "checkpoint" in facts:
        facts["checkpoint"] = Path(str(facts["checkpoint"])).name
    versions = facts.pop("versions", {})
    if isinstance(versions, Mapping):
        facts |= {f"{name} version": version for name, version in versions.items()}
    return {printable(key, 60): printable(value, 200) for key, value in facts.items() if value not in ("", None)}


def _group(report: Report, find: Callable[[], dict[str, list[int]]]) -> list[dict[str, Any]]:
    """A table by attribute or by class, in the order of the trackers; without rows if the dataset names none."""
    try:
        positions = find()
    except DataError:
        return []
    table = group_table(report.trackers, positions, "", "", {})
    order = [table.columns.index(tracker.label) for tracker in report.trackers]
    return [
        {
            "name": printable(name),
            "sequences": positions[name],
            "values": [values[i] for i in order],
            "cells": [cells[i][1:] for i in order],
            "ranks": [int(cells[i][0]) for i in order],
        }
        for name, (_, values), cells in zip(positions, table.rows, table.cells(MARKS), strict=True)
    ]


def _sequence(sequence: VideoSequence, index: int, frames: list[_Frames], steps: int) -> dict[str, Any]:
    scored, boxes = [own.scores[index] for own in frames], [own.boxes(sequence) for own in frames]
    ground_truth = sequence.ground_truth_rect
    confidence = [None if own.source is None else read_scores(own.source, sequence) for own in frames]
    scale, files = scale_of((ground_truth, *boxes), steps), describe_files(sequence.frames)
    levels = [np.where(score.valid, score.overlap, np.nan) for score in scored]
    levels += [values for values in confidence if values is not None]
    names = "\n".join(files).encode("utf-8", "replace") if isinstance(files, list) else b""
    return {
        "name": sequence.name,
        "length": len(sequence.frames),
        "class": printable(sequence.object_class or ""),
        "attributes": [printable(name) for name in sequence.attributes or ()],
        "size": _frame_size(sequence),
        "failures": [
            find_failures(score.overlap, score.valid, rows, ground_truth)
            for score, rows in zip(scored, boxes, strict=True)
        ],
        "files": files if isinstance(files, dict) else None,
        "scale": scale,
        "has_score": [values is not None for values in confidence],
        "data": compress(pack_boxes((ground_truth, *boxes), scale), *map(pack_levels, levels), names),
    }


def _frame_size(sequence: VideoSequence) -> list[int]:
    """Width and height of the frames; where they are not on this disk, of what holds all boxes."""
    try:
        height, width = sequence.read_frame(0).shape[:2]
        return [width, height]
    except DataError:
        ends = sequence.ground_truth_rect[:, :2] + sequence.ground_truth_rect[:, 2:]
        return np.ceil(np.nanmax(ends, axis=0)).clip(1).astype(int).tolist()
