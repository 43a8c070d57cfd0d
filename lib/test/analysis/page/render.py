"""Puts the page together: template, style and scripts of this folder, and the data as one block of JSON."""

import html
import json
import logging
import re
from collections.abc import Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.sequence import Sequence, choose_names
from lib.test.analysis.page.content import benchmark_content
from lib.test.analysis.page.frames import FINEST_STEPS, thumbnails
from lib.test.analysis.plots import BASELINE_STYLE
from lib.test.analysis.report import Report
from lib.test.analysis.scoring import ScoredTracker
from lib.test.analysis.style import SCREEN, line_styles
from lib.test.analysis.tables import by_score
from lib.utils.errors import DataError, printable
from lib.utils.files import write_text_atomic

FOLDER = Path(__file__).parent
SCRIPTS = ("data.js", "charts.js", "tables.js", "list.js", "viewer.js", "timeline.js", "main.js")
MEGABYTE = 1_000_000
MARGIN = 2_000
"""Bytes of JSON around the images of a sequence."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PageOptions:
    """What goes into a page.

    Attributes:
        thumbnails: of how many sequences frames are embedded, the worst ones of the best tracker, in each benchmark.
        frames_of: names of further sequences of which frames are embedded.
        budget: size of the file up to which frames are embedded, in megabytes (10^6 bytes).
        colors: ``#rrggbb`` of some trackers by name, as the user chose them.
    """

    thumbnails: int = 8
    frames_of: ListOf[str] = ()
    budget: float = 15.0
    colors: Mapping[str, str] = field(default_factory=dict)


def write_page(path: Path, reports: ListOf[Report], options: PageOptions, problems: ListOf[str] = ()) -> None:
    """Write the page of one or more benchmarks, whole or not at all.

    Args:
        path: the file.
        reports: at least one.
        options: what goes into it.
        problems: what could not be shown; stands on top.

    Raises:
        DataError: if a result has changed since it was scored, or a sequence of ``frames_of`` does not exist.
    """
    styles = _styles([tracker for report in reports for tracker in report.trackers], options.colors)
    for steps in (FINEST_STEPS, 1):  # of a pixel: whole ones where fractions would not fit
        benchmarks = [benchmark_content(report, styles, steps) for report in reports]
        content = {"benchmarks": benchmarks, "problems": [printable(text, 1000) for text in problems]}
        left = options.budget * MEGABYTE - len(render(content))
        if left >= 0 or not any(entry["scale"] > 1 for own in benchmarks for entry in own["sequences"]):
            break
    if left < 0:
        size = options.budget - left / MEGABYTE
        logger.warning("%s: %.1f MB without any frames, the budget is %g MB", path, size, options.budget)
    for report, benchmark in zip(reports, benchmarks, strict=True):
        chosen = worst_sequences(report, options)
        benchmark["thumbnails"] = embed_frames(chosen, left / len(reports))
    write_text_atomic(path, render(content))


def worst_sequences(report: Report, options: PageOptions) -> dict[int, Sequence]:
    """The sequences of which frames are embedded, by position: those asked for, then the worst ones of
    the best tracker.

    Raises:
        DataError: if there is no sequence of a name.
    """
    best = by_score([tracker for tracker in report.trackers if not tracker.is_baseline] or report.trackers)[0]
    overlaps = [score.average_overlap for score in best.scores]
    names = report.sequences.names
    asked = [names.index(name) for name in choose_names(names, options.frames_of)]
    worst = np.argsort(overlaps, kind="stable")[: options.thumbnails].tolist()
    return {index: report.sequences[index] for index in dict.fromkeys([*asked, *worst])}


def embed_frames(sequences: Mapping[int, Sequence], budget: float) -> dict[int, dict[str, list]]:
    """Thumbnails by position of the sequence, in at most so many bytes; a sequence that cannot be read has none."""
    embedded = {}
    for rank, (index, sequence) in enumerate(sequences.items()):
        try:
            found = thumbnails(sequence, budget / (len(sequences) - rank) - MARGIN)
        except DataError as error:
            logger.warning("sequence %s: no frames embedded: %s", sequence.name, error)
            continue
        if found["frames"]:
            embedded[index] = found
            budget -= sum(map(len, found["images"])) + MARGIN
    return embedded


def _styles(trackers: ListOf[ScoredTracker], colors: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Color and dashes by label, as in the plots."""
    baselines = {tracker.label: tracker.is_baseline for tracker in trackers}
    own = line_styles((name for name in baselines if not baselines[name]), SCREEN._replace(colors=colors))
    gray = (BASELINE_STYLE["color"], BASELINE_STYLE["linestyle"][1])
    return {label: dict(zip(("color", "dashes"), own.get(label, gray), strict=True)) for label in baselines}


def render(content: Mapping[str, Any]) -> str:
    """The page with its data."""
    title = "Tracking report: " + ", ".join(dict.fromkeys(benchmark["name"] for benchmark in content["benchmarks"]))
    parts = {
        "title": html.escape(title),
        "style": (FOLDER / "style.css").read_text(encoding="utf-8"),
        "data": script_json(content),
        "script": "\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
    }
    # In one pass, so that what is put in is never searched for further placeholders.
    template = (FOLDER / "template.html").read_text(encoding="utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], template)


def script_json(content: Any) -> str:
    """JSON in ASCII that no browser takes for the end or the beginning of a script, a comment, or a new line."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
