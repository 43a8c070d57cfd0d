"""Tables of scores as text, CSV, Markdown and LaTeX. Every table says by which protocol its numbers were made."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from lib.test.analysis.scoring import ScoredTracker
from lib.utils.errors import printable
from lib.utils.files import write_text_atomic

TEXT_WIDTH = 120
"""Columns of a text table where there is no terminal to ask."""
LONGEST_HEAD = 20
"""Longest name of a tracker in the head of a column of a text table, unless it takes more to tell them apart."""


@dataclass(frozen=True)
class Table:
    """Numbers with named rows and columns; either the rows are trackers or the columns.

    Attributes:
        title: what the numbers are, with the protocol.
        head: head of the column of row names, ``tracker`` if the rows are trackers.
        columns: names of the columns.
        rows: name and values of each row, in percent.
        facts: what holds for every row (dataset, protocol, ...), repeated in each line of a CSV file.
        weights: by tracker, which checkpoint made its results; part of the caption.
        spreads: standard deviations beside the values, by row name, where there are several runs.
    """

    title: str
    head: str
    columns: list[str]
    rows: list[tuple[str, list[float]]]
    facts: Mapping[str, str]
    weights: Mapping[str, str]
    spreads: Mapping[str, list[float]] = field(default_factory=dict)

    def cells(self, marks: Sequence[str] = ("{}", "{}", "{}"), sign: str = "±") -> list[list[str]]:
        """The values as text, with their deviation if there is one.

        Args:
            marks: formats of the best tracker's value, of the second of at least three, and of the others.
            sign: stands before a deviation.
        """
        values = [row for _, row in self.rows]
        compared = [list(column) for column in zip(*values, strict=True)] if self.head == "tracker" else values
        lines = []
        for index, (name, row) in enumerate(self.rows):
            spreads, line = self.spreads.get(name), []
            for column, value in enumerate(row):
                others = compared[column if self.head == "tracker" else index]
                better = sum(other > value for other in others)
                mark = marks[better] if better < min(2, len(others) - 1) else marks[2]
                line.append(mark.format(f"{value:.2f}" + (f" {sign} {spreads[column]:.2f}" if spreads else "")))
            lines.append(line)
        return lines

    def notes(self) -> list[str]:
        """The caption behind the title: which checkpoint made the results of which tracker, a line for each."""
        trackers: dict[str, list[str]] = {}
        for name, text in self.weights.items():
            trackers.setdefault(text, []).append(name)
        everywhere = len(trackers) == 1 and len(self.weights) > 1
        return [text if everywhere else f"{', '.join(names)}: {text}" for text, names in trackers.items()]


def score_table(trackers: Sequence[ScoredTracker], title: str, facts: Mapping[str, str]) -> Table:
    """Overall scores, one row per tracker, the best one first."""
    ranked = by_score(trackers)
    rows = [(tracker.label, list(tracker.summary.values())) for tracker in ranked]
    spreads = {tracker.label: list(tracker.spread.values()) for tracker in trackers if tracker.spread}
    return Table(title, "tracker", list(ranked[0].summary), rows, facts, _weights(ranked), spreads)


def sequence_table(trackers: Sequence[ScoredTracker], title: str, facts: Mapping[str, str]) -> Table:
    """Average overlap, one row per sequence and one column per tracker, the best one first."""
    ranked = by_score(trackers)
    rows = [
        (name, [100.0 * tracker.scores[index].average_overlap for tracker in ranked])
        for index, name in enumerate(ranked[0].sequences)
    ]
    labels = [tracker.label for tracker in ranked]
    return Table(f"Average overlap, {title}", "sequence", labels, rows, facts, _weights(ranked))


def group_table(
    trackers: Sequence[ScoredTracker], groups: Mapping[str, list[int]], head: str, title: str, facts: Mapping[str, str]
) -> Table:
    """The headline score over groups of sequences, one row per group and one column per tracker, the best one first.

    Args:
        trackers: at least one.
        groups: positions of sequences by name, such as those that show an attribute.
        head: what the groups are, ``attribute`` or ``class``.
        title: the dataset and the protocol.
        facts: as for ``Table``.
    """
    ranked = by_score(trackers)
    score = next(iter(ranked[0].summary))
    rows = [
        (f"{name} ({len(indices)})", [tracker.summary_of(indices)[score] for tracker in ranked])
        for name, indices in groups.items()
    ]
    labels = [tracker.label for tracker in ranked]
    return Table(f"{score} by {head}, {title}", head, labels, rows, facts, _weights(ranked))


def by_score(trackers: Sequence[ScoredTracker]) -> list[ScoredTracker]:
    """Trackers by their headline score, the best one first."""
    return sorted(trackers, key=lambda tracker: -next(iter(tracker.summary.values())))


def _weights(trackers: Sequence[ScoredTracker]) -> dict[str, str]:
    return {tracker.label: tracker.weights for tracker in trackers if tracker.weights}


def shortened(names: Sequence[str], limit: int) -> list[str]:
    """Names on one line without their middle where they are too long; different names stay different."""
    texts = [printable(name, 1000) for name in names]
    ends = (limit // 2 - 1, limit - limit // 2 - 1)
    short = [text if len(text) <= limit else f"{text[: ends[0]]}..{text[-ends[1] :]}" for text in texts]
    return short if len(set(short)) == len(set(names)) or limit > 1000 else shortened(names, limit + 8)


def format_text(table: Table, width: int = TEXT_WIDTH) -> str:
    """For a terminal of ``width`` columns: what does not fit beside goes below, in further blocks of columns."""
    cells = table.cells(("{}*", "{}+", "{} "))
    names = [table.head, *shortened([name for name, _ in table.rows], max(LONGEST_HEAD, width // 3))]
    heads = [f"{head} " for head in shortened(table.columns, LONGEST_HEAD)]
    columns = list(zip(heads, *cells, strict=True))
    first_width, widths = max(map(len, names)), [max(map(len, column)) for column in columns]
    blocks: list[list[int]] = [[]]
    for index, own in enumerate(widths):
        if blocks[-1] and first_width + sum(widths[i] + 3 for i in blocks[-1]) + own + 3 > width:
            blocks.append([])
        blocks[-1].append(index)
    texts = []
    for block in blocks:
        rule = "-+-".join(["-" * first_width, *("-" * widths[i] for i in block)])
        lines = [
            " | ".join([name.ljust(first_width), *(columns[i][row].rjust(widths[i]) for i in block)])
            for row, name in enumerate(names)
        ]
        texts.append("\n".join([lines[0], rule, *lines[1:]]))
    legend = ["* best, + second"] if any("*" in cell for line in cells for cell in line) else []
    notes = [printable(note, 1000) for note in (table.title, *table.notes())]
    return "\n".join([*notes, "\n\n".join(texts), *legend]) + "\n"


def format_csv(table: Table) -> str:
    """Comma separated, with the facts as further columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    deviations = [f"{column} std" for column in table.columns] if table.spreads else []
    weights = ["weights"] if table.weights and table.head == "tracker" else []
    writer.writerow(map(csv_text, [table.head, *table.columns, *deviations, *weights, *table.facts]))
    for name, values in table.rows:
        spreads = [f"{value:.4f}" for value in table.spreads.get(name, [])] or [""] * len(deviations)
        texts = [table.weights.get(name, "")] * len(weights) + list(table.facts.values())
        writer.writerow([csv_text(name), *(f"{value:.4f}" for value in values), *spreads, *map(csv_text, texts)])
    return stream.getvalue()


def csv_text(text: str) -> str:
    """Text of a cell that no spreadsheet takes for a formula, on one line."""
    clean = printable(text, 1000)
    return f"'{clean}" if re.match(r"\s*[=+\-@＝＋－＠]", text) or text[:1] in ("\t", "\r") else clean


def markdown_text(text: str) -> str:
    """Text that GitHub Markdown shows as it is, also within a table: no markup, link or HTML."""
    return re.sub(r"([\\`*\[\]<>|~&]|(?<!\w)_|_(?!\w)|(?<=www)\.|:(?=//))", r"\\\1", printable(text, 1000))


def format_markdown(table: Table) -> str:
    """GitHub Markdown, the best value in bold, the second in italics."""
    names = [table.head, *(name for name, _ in table.rows)]
    heads = [markdown_text(column) for column in table.columns]
    cells = [heads, *table.cells(("**{}**", "_{}_", "{}"))]
    lines = [f"| {' | '.join([markdown_text(name), *line])} |" for name, line in zip(names, cells, strict=True)]
    lines.insert(1, "|---|" + "---:|" * len(table.columns))
    notes = [f"* {markdown_text(note)}" for note in table.notes()]
    return "\n".join([markdown_text(table.title), "", *notes, *[""] * bool(notes), *lines]) + "\n"


LATEX_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    | {"[": "{[}", "*": "{*}"}  # which \\ at the end of the line before would take for its own
)


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return printable(text, 1000).translate(LATEX_SPECIAL)


def format_latex(table: Table) -> str:
    """A LaTeX table without packages, the best value in bold, the second underlined."""
    names = [table.head, *(name for name, _ in table.rows)]
    heads = [latex_text(column) for column in table.columns]
    cells = [heads, *table.cells((r"\textbf{{{}}}", r"\underline{{{}}}", "{}"), r"$\pm$")]
    head, *body = [" & ".join([latex_text(name), *line]) + r" \\" for name, line in zip(names, cells, strict=True)]
    caption = "; ".join(latex_text(note) for note in (table.title, *table.notes()))
    top = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    top += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\hline", head, r"\hline"]
    return "\n".join([*top, *body, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n"


class Format(NamedTuple):
    """A way to write a table: its formatter and the suffix of its files."""

    write: Callable[[Table], str]
    suffix: str


FORMATS = {
    "text": Format(format_text, ".txt"),
    "csv": Format(format_csv, ".csv"),
    "markdown": Format(format_markdown, ".md"),
    "latex": Format(format_latex, ".tex"),
}
"""Every format by name."""


def write_table(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write a table in every format; return the files."""
    files = {folder / f"{stem}{form.suffix}": form.write(table) for form in FORMATS.values()}
    for path, text in files.items():
        write_text_atomic(path, text)
    return list(files)
