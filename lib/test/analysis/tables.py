"""Tables of scores as text, CSV, Markdown and LaTeX. Every table says by which protocol its numbers were made."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lib.test.analysis.collect import ScoredTracker


@dataclass(frozen=True)
class Table:
    """Numbers with named rows and columns.

    Attributes:
        title: what the numbers are, with the protocol.
        head: head of the column of row names.
        columns: names of the columns.
        rows: name and values of each row, in percent.
        facts: what holds for every row (data set, protocol, ...), repeated in each line of a CSV file.
        spreads: standard deviations beside the values, by row name, where there are several runs.
        best: whether ``column`` or ``row`` is searched for the value to be highlighted.
    """

    title: str
    head: str
    columns: list[str]
    rows: list[tuple[str, list[float]]]
    facts: Mapping[str, str] = field(default_factory=dict)
    spreads: Mapping[str, list[float]] = field(default_factory=dict)
    best: str = "column"

    def cells(self, row: int, sign: str = "±") -> list[str]:
        """The values of a row as text, with their deviation if there is one."""
        name, values = self.rows[row]
        spreads = self.spreads.get(name)
        if spreads is None:
            return [f"{value:.2f}" for value in values]
        return [f"{value:.2f} {sign} {spread:.2f}" for value, spread in zip(values, spreads, strict=True)]

    def is_best(self, row: int, column: int) -> bool:
        """Whether a value is the highest of its column (or row), of at least two."""
        along = [values[column] for _, values in self.rows] if self.best == "column" else self.rows[row][1]
        return len(along) > 1 and self.rows[row][1][column] == max(along)


def score_table(trackers: Sequence[ScoredTracker], title: str, facts: Mapping[str, str]) -> Table:
    """Overall scores, one row per tracker, the best one first."""
    summaries = sorted(((t.label, t.summary) for t in trackers), key=lambda item: -next(iter(item[1].values())))
    rows = [(label, list(summary.values())) for label, summary in summaries]
    spreads = {t.label: list(t.spread.values()) for t in trackers if t.spread}
    return Table(title, "tracker", list(summaries[0][1]), rows, facts, spreads)


def sequence_table(trackers: Sequence[ScoredTracker], title: str, facts: Mapping[str, str]) -> Table:
    """Average overlap, one row per sequence and one column per tracker."""
    rows = [
        (name, [100.0 * tracker.scores[index].average_overlap for tracker in trackers])
        for index, name in enumerate(trackers[0].sequences)
    ]
    return Table(f"Average overlap, {title}", "sequence", [t.label for t in trackers], rows, facts, best="row")


def group_table(
    trackers: Sequence[ScoredTracker],
    groups: Mapping[str, Sequence[int]],
    head: str,
    title: str,
    facts: Mapping[str, str],
) -> Table:
    """The headline score over groups of sequences, one row per group and one column per tracker.

    Args:
        trackers: at least one.
        groups: positions of sequences by name, such as those that show an attribute.
        head: what the groups are, ``attribute`` or ``class``.
        title: the data set and the protocol.
        facts: as for ``Table``.
    """
    score = next(iter(trackers[0].summary))
    rows = [
        (f"{name} ({len(indices)})", [tracker.summary_of(indices)[score] for tracker in trackers])
        for name, indices in groups.items()
    ]
    return Table(f"{score} by {head}, {title}", head, [t.label for t in trackers], rows, facts, best="row")


def format_text(table: Table) -> str:
    """For a terminal."""
    cells = [[name, *table.cells(row)] for row, (name, _) in enumerate(table.rows)]
    lines = [[table.head, *table.columns], *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    texts = [
        " | ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    ]
    rule = "-+-".join("-" * width for width in widths)
    return "\n".join([table.title, texts[0], rule, *texts[1:]]) + "\n"


def format_csv(table: Table) -> str:
    """Comma separated, with the facts as further columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    deviations = [f"{column} std" for column in table.columns] if table.spreads else []
    writer.writerow([table.head, *table.columns, *deviations, *table.facts])
    for name, values in table.rows:
        spreads = [f"{value:.4f}" for value in table.spreads.get(name, [])] or [""] * len(deviations)
        writer.writerow([name, *(f"{value:.4f}" for value in values), *spreads, *table.facts.values()])
    return stream.getvalue()


def format_markdown(table: Table) -> str:
    """GitHub Markdown, the best value in bold."""
    lines = [f"| {table.head} | {' | '.join(table.columns)} |", "|---|" + "---:|" * len(table.columns)]
    for row, (name, _) in enumerate(table.rows):
        cells = [f"**{text}**" if table.is_best(row, i) else text for i, text in enumerate(table.cells(row))]
        lines.append(f"| {name.replace('|', chr(92) + '|')} | {' | '.join(cells)} |")
    return "\n".join([table.title, "", *lines]) + "\n"


LATEX_SPECIAL = str.maketrans({c: f"\\{c}" for c in "_%&#${}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"})


def format_latex(table: Table) -> str:
    """A LaTeX table without packages, the best value in bold."""

    def escape(text: str) -> str:
        return text.translate(LATEX_SPECIAL)

    lines = [r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\hline"]
    lines += [" & ".join(escape(text) for text in [table.head, *table.columns]) + r" \\", r"\hline"]
    for row, (name, _) in enumerate(table.rows):
        texts = table.cells(row, r"$\pm$")
        cells = [rf"\textbf{{{text}}}" if table.is_best(row, i) else text for i, text in enumerate(texts)]
        lines.append(" & ".join([escape(name), *cells]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", r"\end{table}"]) + "\n"


@dataclass(frozen=True)
class Format:
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
