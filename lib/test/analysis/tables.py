"""Tables of scores as text, CSV, Markdown and LaTeX. Every table says by which protocol its numbers were made."""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lib.test.analysis.collect import ScoredTracker
from lib.utils.errors import printable

TEXT_WIDTH = 120
"""Columns of a text table where there is no terminal to ask."""
LONGEST_HEAD = 20
"""Longest name of a tracker in the head of a column of a text table, unless it takes more to tell them apart."""
MARKS = ("*", "+")


@dataclass(frozen=True)
class Table:
    """Numbers with named rows and columns.

    Attributes:
        title: what the numbers are, with the protocol.
        head: head of the column of row names.
        columns: names of the columns.
        rows: name and values of each row, in percent.
        facts: what holds for every row (dataset, protocol, ...), repeated in each line of a CSV file.
        spreads: standard deviations beside the values, by row name, where there are several runs.
        best: whether ``column`` or ``row`` is searched for the values to be highlighted.
        weights: by tracker, which checkpoint made its results; part of the caption.
    """

    title: str
    head: str
    columns: list[str]
    rows: list[tuple[str, list[float]]]
    facts: Mapping[str, str] = field(default_factory=dict)
    spreads: Mapping[str, list[float]] = field(default_factory=dict)
    best: str = "column"
    weights: Mapping[str, str] = field(default_factory=dict)

    def cells(self, row: int, sign: str = "±") -> list[str]:
        """The values of a row as text, with their deviation if there is one."""
        name, values = self.rows[row]
        spreads = self.spreads.get(name)
        if spreads is None:
            return [f"{value:.2f}" for value in values]
        return [f"{value:.2f} {sign} {spread:.2f}" for value, spread in zip(values, spreads, strict=True)]

    def rank(self, row: int, column: int) -> int | None:
        """0 for the highest value of its column (or row), 1 for the second of at least three; None for the others."""
        along = [values[column] for _, values in self.rows] if self.best == "column" else self.rows[row][1]
        better = sum(value > self.rows[row][1][column] for value in along)
        return better if better < len(MARKS) and better + 1 < len(along) else None

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
    spreads = {t.label: list(t.spread.values()) for t in trackers if t.spread}
    return Table(title, "tracker", list(ranked[0].summary), rows, facts, spreads, weights=_weights(ranked))


def by_score(trackers: Sequence[ScoredTracker]) -> list[ScoredTracker]:
    """Trackers by their headline score, the best one first."""
    return sorted(trackers, key=lambda tracker: -next(iter(tracker.summary.values())))


def _weights(trackers: Sequence[ScoredTracker]) -> dict[str, str]:
    return {tracker.label: tracker.weights for tracker in trackers if tracker.weights}


def sequence_table(trackers: Sequence[ScoredTracker], title: str, facts: Mapping[str, str]) -> Table:
    """Average overlap, one row per sequence and one column per tracker, the best one first."""
    trackers = by_score(trackers)
    rows = [
        (name, [100.0 * tracker.scores[index].average_overlap for tracker in trackers])
        for index, name in enumerate(trackers[0].sequences)
    ]
    columns, weights = [tracker.label for tracker in trackers], _weights(trackers)
    return Table(f"Average overlap, {title}", "sequence", columns, rows, facts, best="row", weights=weights)


def group_table(
    trackers: Sequence[ScoredTracker],
    groups: Mapping[str, Sequence[int]],
    head: str,
    title: str,
    facts: Mapping[str, str],
) -> Table:
    """The headline score over groups of sequences, one row per group and one column per tracker, the best one first.

    Args:
        trackers: at least one.
        groups: positions of sequences by name, such as those that show an attribute.
        head: what the groups are, ``attribute`` or ``class``.
        title: the dataset and the protocol.
        facts: as for ``Table``.
    """
    trackers = by_score(trackers)
    score = next(iter(trackers[0].summary))
    rows = [
        (f"{name} ({len(indices)})", [tracker.summary_of(indices)[score] for tracker in trackers])
        for name, indices in groups.items()
    ]
    columns, weights = [tracker.label for tracker in trackers], _weights(trackers)
    return Table(f"{score} by {head}, {title}", head, columns, rows, facts, best="row", weights=weights)


def shortened(names: Sequence[str], limit: int) -> list[str]:
    """Names on one line without their middle where they are too long; different names stay different."""
    short = [_shorten(printable(name, 1000), limit) for name in names]
    return short if len(set(short)) == len(set(names)) or limit > 1000 else shortened(names, limit + 8)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit // 2 - 1]}..{text[len(text) - (limit - limit // 2 - 1) :]}"


def format_text(table: Table, width: int = TEXT_WIDTH) -> str:
    """For a terminal of ``width`` columns: what does not fit beside goes below, in further blocks of columns."""
    cells = [
        [f"{text}{' ' if (rank := table.rank(row, i)) is None else MARKS[rank]}" for i, text in enumerate(line)]
        for row, line in enumerate(map(table.cells, range(len(table.rows))))
    ]
    names = shortened([name for name, _ in table.rows], max(LONGEST_HEAD, width // 3))
    first = [table.head, *names]
    columns = [
        [f"{head} ", *(line[i] for line in cells)] for i, head in enumerate(shortened(table.columns, LONGEST_HEAD))
    ]
    first_width, widths = max(map(len, first)), [max(map(len, column)) for column in columns]
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
            for row, name in enumerate(first)
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
    heads = [markdown_text(head) for head in (table.head, *table.columns)]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * len(table.columns)]
    for row, (name, _) in enumerate(table.rows):
        marks = [{0: "**", 1: "_"}.get(table.rank(row, i), "") for i in range(len(table.columns))]
        cells = [f"{mark}{text}{mark}" for mark, text in zip(marks, table.cells(row), strict=True)]
        lines.append(f"| {markdown_text(name)} | {' | '.join(cells)} |")
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
    caption = "; ".join(latex_text(note) for note in (table.title, *table.notes()))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}", r"\hline"]
    lines += [" & ".join(latex_text(text) for text in [table.head, *table.columns]) + r" \\", r"\hline"]
    for row, (name, _) in enumerate(table.rows):
        forms = [
            {0: r"\textbf{%s}", 1: r"\underline{%s}"}.get(table.rank(row, i), "%s") for i in range(len(table.columns))
        ]
        cells = [form % text for form, text in zip(forms, table.cells(row, r"$\pm$"), strict=True)]
        lines.append(" & ".join([latex_text(name), *cells]) + r" \\")
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
