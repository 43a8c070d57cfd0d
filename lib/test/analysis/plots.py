"""Success, precision and normalized precision plots, and the radar of attributes, as PNG and PDF.

No display and no TeX is needed.
"""

import logging
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.test.analysis.collect import ScoredTracker
from lib.test.analysis.metrics import (
    NORM_PRECISION_THRESHOLDS,
    PRECISION_PIXELS,
    PROTOCOLS,
    SCORE_INDEX,
    mean_curves,
    success_thresholds,
)
from lib.test.analysis.tables import shortened
from lib.utils.errors import printable
from lib.utils.files import atomic_path

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#332288")
"""Okabe and Ito's colors, told apart by color-blind readers; indigo instead of black and yellow (pale on white)."""
DASHES = ((), (5, 2), (1, 1.2), (5, 1.5, 1, 1.5))
"""Lengths drawn and left out, in line widths, where the colors are used up; empty: a solid line."""
BASELINE_STYLE = {"color": "#888888", "linestyle": (0, (2, 2)), "linewidth": 1.5}
STYLE = {
    "text.parse_math": False,
    "text.usetex": False,  # whatever a matplotlibrc in the current folder says
    "axes.formatter.use_mathtext": False,
    "font.size": 11,
    "pdf.fonttype": 42,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
LONGEST_LABEL = 44
FEWEST_SPOKES = 3
"""Attributes that a radar needs to have an area."""

logger = logging.getLogger(__name__)


def line_styles(labels: Iterable[str]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Color (``#rrggbb``) and dashes of each tracker, whatever its score: the same in plots and videos."""
    return {
        label: (COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)])
        for index, label in enumerate(labels)
    }


@dataclass(frozen=True)
class PlotKind:
    """One of the plots.

    Attributes:
        name: of its files.
        curve: key of ``metrics.mean_curves``.
        title: what it shows.
        x_label: what the thresholds are.
        score: key of ``metrics.summarise`` that ranks the trackers; the headline of the protocol if it has no such key.
        thresholds: makes the x values from the number of points.
        score_at: threshold that the score is read at, marked by a line; None if it is the mean of the curve.
    """

    name: str
    curve: str
    title: str
    x_label: str
    score: str
    thresholds: Callable[[int], np.ndarray]
    score_at: float | None


PLOTS = (
    PlotKind(
        "success", "success", "Success", "Overlap threshold", "AUC", lambda n: success_thresholds(1 / (n - 1)), None
    ),
    PlotKind(
        "precision",
        "precision",
        "Precision",
        "Distance of centers [pixels]",
        "P",
        lambda n: PRECISION_PIXELS,
        float(PRECISION_PIXELS[SCORE_INDEX]),
    ),
    PlotKind(
        "norm_precision",
        "norm_precision",
        "Normalized precision",
        "Distance of centers [true box sizes]",
        "NP",
        lambda n: NORM_PRECISION_THRESHOLDS,
        float(NORM_PRECISION_THRESHOLDS[SCORE_INDEX]),
    ),
)
"""The three plots."""


def draw_plot(kind: PlotKind, trackers: Sequence[ScoredTracker], subtitle: str) -> Figure:
    """Draw the curves of trackers, the legend sorted by score.

    Args:
        kind: which plot.
        trackers: at least one.
        subtitle: the dataset and the protocol.
    """
    headline = PROTOCOLS[trackers[0].scores[0].protocol].headline
    score = kind.score if kind.score in trackers[0].summary else headline
    ranked = sorted(trackers, key=lambda tracker: (-tracker.summary[score], -tracker.summary[headline]))
    styles, labels = _styles(trackers), _legend_labels(trackers, score)
    with rc_context(STYLE):
        figure = Figure(figsize=(6.0, max(4.4, 1.2 + 0.2 * len(ranked))))  # a long legend needs a high figure
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        for rank, tracker in enumerate(ranked):
            curve = mean_curves(tracker.scores)[kind.curve]
            label = labels[tracker.label]
            order = 3 + len(ranked) - rank
            # A perfect curve runs along the frame and must not lose half its width to it: no clipping.
            axes.plot(
                kind.thresholds(len(curve)), curve, label=label, zorder=order, clip_on=False, **styles[tracker.label]
            )
        if kind.score_at is not None:
            axes.axvline(kind.score_at, color="#BBBBBB", linewidth=1.0, zorder=1)
        axes.set(xlim=(0, kind.thresholds(len(curve))[-1]), ylim=(0, 100), xlabel=kind.x_label, ylabel="Frames [%]")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.set_title(f"{kind.title} plot", loc="left", fontsize=13, fontweight="bold", pad=22)
        axes.text(0, 1.02, printable(subtitle), transform=axes.transAxes, fontsize=9.5, color="#555555")
        axes.legend(
            title=f"{score} [%]",
            alignment="left",
            loc="upper left",
            bbox_to_anchor=(1.04, 1.02),
            frameon=False,
            fontsize=10 if len(ranked) <= 12 else 8,
            handlelength=2.6,
        )
    return figure


def _styles(trackers: Sequence[ScoredTracker]) -> dict[str, dict]:
    """Line style of each tracker by label, the same in all plots; the best one is drawn thickest."""
    own = [tracker for tracker in trackers if not tracker.is_baseline]
    best = max(own, key=lambda tracker: next(iter(tracker.summary.values())), default=None)
    styles: dict[str, dict] = {tracker.label: BASELINE_STYLE for tracker in trackers if tracker.is_baseline}
    for label, (color, dashes) in line_styles(tracker.label for tracker in own).items():
        width = 2.4 if best is not None and label == best.label else 1.6
        styles[label] = {"color": color, "linestyle": (0, dashes) if dashes else "-", "linewidth": width}
    return styles


def _legend_labels(trackers: Sequence[ScoredTracker], score: str) -> dict[str, str]:
    """What the legend says of each tracker, by label."""
    labels = [tracker.label for tracker in trackers]
    names = dict(zip(labels, shortened(labels, LONGEST_LABEL), strict=True))
    return {tracker.label: f"[{tracker.summary[score]:.1f}] {names[tracker.label]}" for tracker in trackers}


def draw_radar(trackers: Sequence[ScoredTracker], groups: Mapping[str, Sequence[int]], subtitle: str) -> Figure:
    """Draw the headline score over groups of sequences, one spoke per group.

    Args:
        trackers: at least one.
        groups: positions of sequences by attribute, at least ``FEWEST_SPOKES``.
        subtitle: the dataset and the protocol.
    """
    angles = np.linspace(0, 2 * np.pi, len(groups), endpoint=False)
    score = next(iter(trackers[0].summary))
    styles, labels = _styles(trackers), _legend_labels(trackers, score)
    with rc_context(STYLE):
        figure = Figure(figsize=(7.0, 7.0))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot(projection="polar")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        highest = 0.0
        for tracker in sorted(trackers, key=lambda tracker: -tracker.summary[score]):
            values = [tracker.summary_of(indices)[score] for indices in groups.values()]
            highest = max(highest, *values)
            label = labels[tracker.label]
            axes.plot([*angles, angles[0]], [*values, values[0]], label=label, **styles[tracker.label])
        axes.set_ylim(0, min(100.0, 10.0 * np.ceil(max(highest, 1.0) / 10.0)))
        axes.set_xticks(
            angles, [f"{printable(name, 40)}\n({len(group)})" for name, group in groups.items()], fontsize=9
        )
        axes.tick_params(axis="x", pad=8)
        for label, angle in zip(axes.get_xticklabels(), angles, strict=True):  # long names grow away from the circle
            side = round(float(np.sin(angle)), 1)
            label.set(horizontalalignment="left" if side > 0 else "right" if side < 0 else "center")
            label.set_verticalalignment("center" if side else "bottom" if np.cos(angle) > 0 else "top")
        axes.tick_params(axis="y", labelsize=8, colors="#777777")
        axes.grid(color="#DDDDDD", linewidth=0.8)
        axes.set_title(f"{score} by attribute", loc="left", fontsize=13, fontweight="bold", pad=76)
        axes.text(0, 1.15, printable(subtitle), transform=axes.transAxes, fontsize=9.5, color="#555555")
        columns = 1 if len(trackers) <= 6 else 2
        axes.legend(
            title=f"{score} [%]",
            loc="upper center",
            bbox_to_anchor=(0.5, -0.1),
            frameon=False,
            fontsize=9,
            ncols=columns,
        )
    return figure


def write_plots(
    trackers: Sequence[ScoredTracker],
    subtitle: str,
    folder: Path,
    groups: Mapping[str, Sequence[int]] | None = None,
    suffix: str = "",
) -> list[Path]:
    """Write all plots as PNG and PDF, each whole or not at all.

    Args:
        trackers: at least one.
        subtitle: the dataset and the protocol.
        folder: where they go.
        groups: positions of sequences by attribute, for the radar; with less than ``FEWEST_SPOKES`` there is none.
        suffix: goes behind the names of the files.

    Returns:
        The files.
    """
    protocol = PROTOCOLS[trackers[0].scores[0].protocol]
    kinds = PLOTS[:1] if protocol.counts_frames else PLOTS  # got10k knows no precision
    figures = {kind.name: draw_plot(kind, trackers, subtitle) for kind in kinds}
    if groups and len(groups) >= FEWEST_SPOKES:
        figures["attributes"] = draw_radar(trackers, groups, subtitle)
    elif groups:
        logger.warning("no radar of attributes: it needs %d, there are %d", FEWEST_SPOKES, len(groups))
    written = []
    for name, figure in figures.items():
        for form, options in ((".png", {"dpi": 160}), (".pdf", {"metadata": {"CreationDate": None}})):
            path = folder / f"{name}{suffix}{form}"
            with rc_context(STYLE), atomic_path(path) as temporary, warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks
                figure.savefig(temporary, format=form[1:], bbox_inches="tight", pad_inches=0.15, **options)
            written.append(path)
    return written
