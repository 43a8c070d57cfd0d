"""What shows results to the eye: plots and a radar as PNG and PDF, and sequences played back with the boxes as MP4.

A tracker has the same color and dashes in all of them. No display and no TeX is needed.
"""

import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lib.data.sequence import Sequence as VideoSequence
from lib.test.analysis.metrics import (
    NORM_PRECISION_THRESHOLDS,
    PRECISION_PIXELS,
    PROTOCOLS,
    SCORE_INDEX,
    mean_curves,
)
from lib.test.analysis.scoring import ScoredTracker
from lib.test.analysis.tables import shortened
from lib.test.video.display import DARK, FONT, PALE, WHITE, draw_box, draw_line
from lib.test.video.encoders import VideoWriter
from lib.utils.errors import InputError
from lib.utils.files import atomic_path
from lib.utils.text import printable

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

PLAYBACK_FPS = 30.0
GROUND_TRUTH = "ground truth"
LONGEST_LEGEND = 32
"""Characters of a tracker's name beside a played back sequence."""

logger = logging.getLogger(__name__)


def line_styles(labels: Iterable[str]) -> dict[str, tuple[str, tuple[float, ...]]]:
    """Color (``#rrggbb``) and dashes of each tracker, whatever its score: the same in plots and videos."""
    return {
        label: (COLORS[index % len(COLORS)], DASHES[index // len(COLORS) % len(DASHES)])
        for index, label in enumerate(labels)
    }


class PlotKind(NamedTuple):
    """One of the plots.

    Attributes:
        curve: key of ``metrics.mean_curves``, and name of the files.
        title: what it shows.
        x_label: what the thresholds are.
        last: largest threshold; the first one is 0, and they are evenly spaced.
        score: key of ``metrics.summarise`` that ranks the trackers; the headline of the protocol if it has no such key.
        score_at: threshold that the score is read at, marked by a line; None if it is the mean of the curve.
    """

    curve: str
    title: str
    x_label: str
    last: float
    score: str
    score_at: float | None = None


PIXELS, SIZES = PRECISION_PIXELS, NORM_PRECISION_THRESHOLDS
PLOTS = (
    PlotKind("success", "Success", "Overlap threshold", 1.0, "AUC"),
    PlotKind("precision", "Precision", "Distance of centers [pixels]", PIXELS[-1], "P", PIXELS[SCORE_INDEX]),
    PlotKind(
        "norm_precision",
        "Normalized precision",
        "Distance of centers [true box sizes]",
        SIZES[-1],
        "NP",
        SIZES[SCORE_INDEX],
    ),
)


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
            thresholds = np.linspace(0, kind.last, len(curve))
            look = {"label": labels[tracker.label], "zorder": 3 + len(ranked) - rank, **styles[tracker.label]}
            # A perfect curve runs along the frame and must not lose half its width to it: no clipping.
            axes.plot(thresholds, curve, clip_on=False, **look)
        if kind.score_at is not None:
            axes.axvline(kind.score_at, color="#BBBBBB", linewidth=1.0, zorder=1)
        axes.set(xlim=(0, kind.last), ylim=(0, 100), xlabel=kind.x_label, ylabel="Frames [%]")
        axes.grid(color="#E6E6E6", linewidth=0.8)
        axes.set_axisbelow(True)
        _set_titles(axes, f"{kind.title} plot", 22, subtitle, 1.02)
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
        _set_titles(axes, f"{score} by attribute", 76, subtitle, 1.15)
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1), "ncols": 1 if len(trackers) <= 6 else 2}
        axes.legend(title=f"{score} [%]", frameon=False, fontsize=9, **place)
    return figure


def _set_titles(axes: Axes, title: str, pad: float, subtitle: str, height: float) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=pad)
    axes.text(0, height, printable(subtitle), transform=axes.transAxes, fontsize=9.5, color="#555555")


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
    figures = {kind.curve: draw_plot(kind, trackers, subtitle) for kind in kinds}
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


def write_playback(sequence: VideoSequence, boxes: Mapping[str, np.ndarray], path: Path) -> None:
    """Write an MP4 video, whole or not at all; the legend is beside the frames and hides nothing.

    Args:
        sequence: F frames; those of another size than the first are scaled to it.
        boxes: (F, 4) xywh by tracker, in pixels.
        path: the video.

    Raises:
        DataError: if a frame cannot be read.
        InputError: if OpenCV can write no MP4 here, or not to this folder.
    """
    try:
        os.fsencode(path.parent).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.parent}: OpenCV can write no video into a folder whose name is not UTF-8") from error
    first = sequence.read_frame(0)
    height, width = first.shape[:2]
    legend = _draw_legend(list(boxes), sequence.has_ground_truth, height, width)
    with atomic_path(path) as temporary:
        sides = (width + legend.shape[1], legend.shape[0])
        writer = VideoWriter(temporary, PLAYBACK_FPS, *(side + side % 2 for side in sides))  # codecs want even sides
        try:
            for index in range(len(sequence.frames)):
                frame = first if index == 0 else sequence.read_frame(index)
                frame = draw_frame(frame, sequence, {label: rows[index] for label, rows in boxes.items()}, index)
                if frame.shape[:2] != (height, width):
                    frame = cv2.resize(frame, (width, height))
                writer.write(_with_legend(frame, legend, f"frame {index}"))
        except BaseException:
            writer.release()
            raise
        writer.close()


def draw_frame(image: np.ndarray, sequence: VideoSequence, boxes: Mapping[str, np.ndarray], index: int) -> np.ndarray:
    """A copy of a frame with the ground truth and, above it, the boxes of the trackers.

    Args:
        image: (H, W, 3) uint8 RGB.
        sequence: where the ground truth comes from; a hidden or absent one is not drawn.
        boxes: x, y, w, h by tracker, finite.
        index: number of the frame, from 0.
    """
    canvas = np.ascontiguousarray(image).copy()
    half = round(min(canvas.shape[:2]) / 480)
    if sequence.has_ground_truth and sequence.ground_truth_rect[index, 2:].min() > 0:  # not so for NaN
        draw_box(canvas, sequence.ground_truth_rect[index], WHITE, half + 2)  # seen on both sides of a box that fits
    for label, (color, dashes) in line_styles(boxes).items():
        draw_box(canvas, boxes[label], _rgb(color), half, dashes)
    return canvas


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def _draw_legend(labels: list[str], has_ground_truth: bool, height: int, width: int) -> np.ndarray:
    """The panel beside a frame of that size: (at least ``height``, P, 3) uint8, with room for a line on top."""
    styles = [(_rgb(color), dashes) for color, dashes in line_styles(labels).values()]
    if has_ground_truth:
        labels, styles = [*labels, GROUND_TRUTH], [*styles, (WHITE, ())]
    scale = max(0.4, min(height, width) / 1100)
    step, sample = round(32 * scale) + 2, round(56 * max(scale, 1))
    names = [name.encode("ascii", "backslashreplace").decode() for name in shortened(labels, LONGEST_LEGEND)]
    text_width = max(cv2.getTextSize(text, FONT, scale, 1)[0][0] for text in (*names, "frame 0000000"))
    panel = np.full((max(height, step * (len(names) + 2)), sample + text_width + 18, 3), PALE, dtype=np.uint8)
    for row, (name, (color, dashes)) in enumerate(zip(names, styles, strict=True), start=2):
        middle = row * step - round(step * 0.2)
        draw_line(panel, np.array([(6, middle), (sample, middle)]), color, round(2 * max(scale, 1)), dashes)
        cv2.putText(panel, name, (sample + 10, row * step), FONT, scale, DARK, 1, cv2.LINE_AA)
    return panel


def _with_legend(frame: np.ndarray, legend: np.ndarray, title: str) -> np.ndarray:
    """The frame, the legend with a title at its right, and black where the sides have to be filled."""
    height, width = legend.shape[0], frame.shape[1] + legend.shape[1]
    canvas = np.zeros((height + height % 2, width + width % 2, 3), dtype=np.uint8)
    canvas[: frame.shape[0], : frame.shape[1]] = frame
    panel = canvas[:, frame.shape[1] :]
    panel[:] = PALE
    panel[:height, : legend.shape[1]] = legend
    scale = max(0.4, min(frame.shape[:2]) / 1100)
    cv2.putText(panel, title, (6, round(32 * scale) + 2), FONT, scale, DARK, 1, cv2.LINE_AA)
    return canvas
