"""How plots look: colors and dashes of trackers, fonts and sizes for a screen and for a paper; and writing them.

No display and no TeX is needed.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_hex
from matplotlib.figure import Figure

from lib.utils.errors import InputError, printable
from lib.utils.files import atomic_path

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288")
"""Okabe and Ito's colors, told apart by color-blind readers; indigo instead of black and yellow (pale on white)."""
DASHES = ((), (5, 2), (1, 1.2), (5, 1.5, 1, 1.5))
"""Lengths drawn and left out, in line widths; empty: a solid line."""
STYLE = {
    "text.parse_math": False,
    "text.usetex": False,  # whatever a matplotlibrc in the current folder says
    "axes.formatter.use_mathtext": False,
    "font.size": 11,
    "pdf.fonttype": 42,  # fonts are embedded whole, as TrueType: conferences refuse Type 3
    "svg.fonttype": "path",  # letters as outlines: no font is needed to show them
    "svg.hashsalt": "",  # the same plot gives the same file
    "axes.spines.top": False,
    "axes.spines.right": False,
}
ONE_COLUMN, TWO_COLUMNS = 3.25, 6.875
"""Inches: widths of a column and of a page of text. Source: CVPR's author kit; those of IEEE are 0.2 to 0.3 wider."""


class PlotStyle(NamedTuple):
    """One of the ways plots are drawn.

    Attributes:
        rc: settings of matplotlib.
        formats: endings of the files that are written.
        width: of the lines of trackers; the best one's is 1.5 times that.
        for_print: without titles, which a caption has; trackers differ in dashes, too; sized for a column.
        colors: ``#rrggbb`` of some trackers by name, as the user chose them.
    """

    rc: Mapping[str, Any]
    formats: tuple[str, ...]
    width: float
    for_print: bool
    colors: Mapping[str, str] = MappingProxyType({})


_PAPER = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],  # looks like Times, and comes with matplotlib; the rest of Unicode
    "font.size": 8,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.labelpad": 2.5,
}
STYLES = {
    "screen": PlotStyle(STYLE, (".png", ".pdf"), 1.6, for_print=False),
    "paper": PlotStyle(STYLE | _PAPER, (".pdf", ".svg"), 1.0, for_print=True),
}
SCREEN, PAPER = STYLES.values()


def line_styles(labels: Iterable[str], style: PlotStyle = SCREEN) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Color (``#rrggbb``) and dashes of each tracker, by its name: whatever its score, or its place among the others.

    Every name has colors that it likes best; where two like the same, the later one in the alphabet takes its next.

    Args:
        labels: names of the trackers.
        style: for print, trackers of different colors have different dashes, too, as far as there are dashes.
    """
    labels = list(labels)
    styles = {label: (style.colors[label], ()) for label in labels if label in style.colors}
    colors = [color for color in COLORS if color not in dict(styles.values())] or list(COLORS)
    free: list[str] = []
    for number, label in enumerate(sorted(set(labels) - set(styles))):
        free = free or list(colors)
        likes = {color: sha256(f"{color} {label}".encode(errors="backslashreplace")).digest() for color in free}
        color = min(likes, key=likes.__getitem__)
        free.remove(color)
        turn = number // len(colors) + (colors.index(color) if style.for_print else 0)
        styles[label] = color, DASHES[turn % len(DASHES)]
    return {label: styles[label] for label in labels}


def parse_colors(pairs: Iterable[str]) -> dict[str, str]:
    """Colors that the user chose, ``NAME=COLOR``; a color as matplotlib knows it: ``#0072B2``, ``black``.

    Raises:
        InputError: for something else.
    """
    colors = {}
    for pair in pairs:
        name, _, color = pair.rpartition("=")
        if not name or not is_color_like(color):
            raise InputError(
                f"--colors: expected NAME=COLOR, such as seqtrack_b256=#0072B2, got {printable(repr(pair))}"
            )
        colors[name] = to_hex(color).upper()
    return colors


def new_figure(width: float, height: float, **options: Any) -> Figure:
    """A figure of that many inches that needs no display; within the ``rc_context`` of a style."""
    figure = Figure(figsize=(width, height), **options)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, style: PlotStyle, dpi: int = 160, **options: Any) -> Path:
    """Write a figure, whole or not at all, and return the file.

    Args:
        figure: made within the ``rc_context`` of the style.
        path: the file; its ending says how: ``.png``, ``.pdf`` or ``.svg``.
        style: of the figure.
        dpi: of a PNG, and of images inside of the others.
        options: as ``Figure.savefig`` takes them.
    """
    form = path.suffix[1:].lower()
    options |= {"metadata": {{"pdf": "CreationDate", "svg": "Date"}[form]: None}} if form != "png" else {}
    with rc_context(dict(style.rc)), atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks
        figure.savefig(temporary, format=form, dpi=dpi, **options)
    return path


def dash_pattern(dashes: Sequence[float]) -> Any:
    """Dashes as matplotlib's ``linestyle``."""
    return (0, tuple(dashes)) if dashes else "-"
