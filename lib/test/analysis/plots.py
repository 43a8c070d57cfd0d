"""What shows results to the eye: plots and a radar, and sequences played back with the boxes as MP4.

A tracker has the same color in all of them (``style``).
"""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.data.sequence import Sequence as VideoSequence
from lib.test.analysis.metrics import NORM_PRECISION_THRESHOLDS, PRECISION_PIXELS, SCORE_INDEX, mean_curves
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.scoring import ScoredTracker
from lib.test.analysis.style import (
    ONE_COLUMN,
    SCREEN,
    TWO_COLUMNS,
    PlotStyle,
    dash_pattern,
    line_styles,
    new_figure,
    save_figure,
)
from lib.test.analysis.tables import shortened
from lib.test.video.display import DARK, FONT, PALE, WHITE, draw_box, draw_line
from lib.test.video.encoders import VideoWriter
from lib.utils.errors import InputError, printable
from lib.utils.files import atomic_path

BASELINE_STYLE = {"color": "#888888", "linestyle": (0, (2, 2)), "linewidth": 1.5}
LONGEST_LABEL = 44
FEWEST_SPOKES = 3  # attributes that a radar needs to have an area

PLAYBACK_FPS = 30.0
GROUND_TRUTH = "ground truth"
LONGEST_LEGEND = 32  # characters of a tracker's name beside a played back sequence

logger = logging.getLogger(__name__)


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
X_LABELS = ("Overlap threshold", "Distance of centers [pixels]", "Distance of centers [true box sizes]")
PLOTS = (
    PlotKind("success", "Success", X_LABELS[0], 1.0, "AUC"),
    PlotKind("precision", "Precision", X_LABELS[1], PIXELS[-1], "P", PIXELS[SCORE_INDEX]),
    PlotKind("norm_precision", "Normalized precision", X_LABELS[2], SIZES[-1], "NP", SIZES[SCORE_INDEX]),
)


def draw_plot(kind: PlotKind, trackers: Sequence[ScoredTracker], subtitle: str, style: PlotStyle = SCREEN) -> Figure:
    """Draw the curves of trackers, the legend sorted by score.

    Args:
        kind: which plot.
        trackers: at least one.
        subtitle: the dataset and the protocol.
        style: of a screen, or of a column of a paper, which has no titles.
    """
    with rc_context(dict(style.rc)):
        if style.for_print:
            figure = new_figure(ONE_COLUMN, 2.4 + 0.13 * len(trackers), layout="constrained")
        else:
            figure = new_figure(6.0, max(4.4, 1.2 + 0.2 * len(trackers)))  # a long legend needs a high figure
        axes = figure.add_subplot()
        draw_curves(axes, kind, trackers, style)
        if not style.for_print:
            _set_titles(axes, f"{kind.title} plot", 22, subtitle, 1.02)
    return figure


def draw_page(kinds: Sequence[PlotKind], trackers: Sequence[ScoredTracker], style: PlotStyle) -> Figure:
    """Draw plots side by side, over both columns of a paper."""
    with rc_context(dict(style.rc)):
        figure = new_figure(TWO_COLUMNS, 2.2 + 0.13 * len(trackers), layout="constrained")
        for axes, kind in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
            draw_curves(axes, kind, trackers, style)
            axes.set_title(kind.title, fontsize="medium")
    return figure


def draw_curves(axes: Axes, kind: PlotKind, trackers: Sequence[ScoredTracker], style: PlotStyle) -> None:
    """Draw one plot, without titles."""
    headline = PROTOCOLS[trackers[0].scores[0].protocol].headline
    score = kind.score if kind.score in trackers[0].summary else headline
    ranked = sorted(trackers, key=lambda tracker: (-tracker.summary[score], -tracker.summary[headline]))
    looks, labels = _looks(trackers, style), _legend_labels(trackers, score)
    for rank, tracker in enumerate(ranked):
        curve = mean_curves(tracker.scores)[kind.curve]
        thresholds = np.linspace(0, kind.last, len(curve))
        look = {"label": labels[tracker.label], "zorder": 3 + len(ranked) - rank, **looks[tracker.label]}
        # A perfect curve runs along the frame and must not lose half its width to it: no clipping.
        axes.plot(thresholds, curve, clip_on=False, **look)
    if kind.score_at is not None:
        axes.axvline(kind.score_at, color="#BBBBBB", linewidth=0.6 * style.width, zorder=1)
    axes.set(xlim=(0, kind.last), ylim=(0, 100), xlabel=kind.x_label, ylabel="Frames [%]")
    axes.grid(color="#E6E6E6", linewidth=0.5 * style.width)
    axes.set_axisbelow(True)
    if style.for_print:  # below, where it hides nothing
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2)}
    else:
        place = {"loc": "upper left", "bbox_to_anchor": (1.04, 1.02), "fontsize": 10 if len(ranked) <= 12 else 8}
    axes.legend(title=f"{score} [%]", alignment="left", frameon=False, handlelength=2.6, **place)


def _looks(trackers: Sequence[ScoredTracker], style: PlotStyle) -> dict[str, dict]:
    """Line style of each tracker by label, the same in all plots; the best one is drawn thickest."""
    own = [tracker for tracker in trackers if not tracker.is_baseline]
    best = max(own, key=lambda tracker: next(iter(tracker.summary.values())), default=None)
    looks: dict[str, dict] = {
        tracker.label: BASELINE_STYLE | {"linewidth": style.width} for tracker in trackers if tracker.is_baseline
    }
    for label, (color, dashes) in line_styles((tracker.label for tracker in own), style).items():
        width = style.width * (1.5 if best is not None and label == best.label else 1)
        looks[label] = {"color": color, "linestyle": dash_pattern(dashes), "linewidth": width}
    return looks


def _legend_labels(trackers: Sequence[ScoredTracker], score: str) -> dict[str, str]:
    """What the legend says of each tracker, by label."""
    labels = [tracker.label for tracker in trackers]
    names = dict(zip(labels, shortened(labels, LONGEST_LABEL), strict=True))
    return {tracker.label: f"[{tracker.summary[score]:.1f}] {names[tracker.label]}" for tracker in trackers}


def draw_radar(
    trackers: Sequence[ScoredTracker],
    groups: Mapping[str, Sequence[int]],
    subtitle: str,
    style: PlotStyle = SCREEN,
) -> Figure:
    """Draw the headline score over groups of sequences, one spoke per group.

    Args:
        trackers: at least one.
        groups: positions of sequences by attribute, at least ``FEWEST_SPOKES``.
        subtitle: the dataset and the protocol.
        style: of a screen, or of a column of a paper, which has no titles.
    """
    angles = np.linspace(0, 2 * np.pi, len(groups), endpoint=False)
    score = next(iter(trackers[0].summary))
    looks, labels = _looks(trackers, style), _legend_labels(trackers, score)
    with rc_context(dict(style.rc)):
        if style.for_print:
            figure = new_figure(ONE_COLUMN, 3.0 + 0.13 * len(trackers), layout="constrained")
        else:
            figure = new_figure(7.0, 7.0)
        axes = figure.add_subplot(projection="polar")
        axes.set_theta_offset(np.pi / 2)
        axes.set_theta_direction(-1)
        highest = 0.0
        for tracker in sorted(trackers, key=lambda tracker: -tracker.summary[score]):
            values = [tracker.summary_of(indices)[score] for indices in groups.values()]
            highest = max(highest, *values)
            label = labels[tracker.label]
            axes.plot([*angles, angles[0]], [*values, values[0]], label=label, **looks[tracker.label])
        axes.set_ylim(0, min(100.0, 10.0 * np.ceil(max(highest, 1.0) / 10.0)))
        small = 6 if style.for_print else 9
        _name_spokes(axes, angles, groups, small)
        axes.grid(color="#DDDDDD", linewidth=0.5 * style.width)
        if not style.for_print:
            _set_titles(axes, f"{score} by attribute", 76, subtitle, 1.15)
        place = {
            "loc": "upper center",
            "bbox_to_anchor": (0.5, -0.25 if style.for_print else -0.1),
            "ncols": 1 if len(trackers) <= 6 else 2,
        }
        axes.legend(title=f"{score} [%]", frameon=False, fontsize=small, **place)
    return figure


def _name_spokes(axes: Axes, angles: np.ndarray, groups: Mapping[str, Sequence[int]], size: float) -> None:
    names = [f"{printable(name, 40)}\n({len(group)})" for name, group in groups.items()]
    axes.set_xticks(angles, names, fontsize=size)
    axes.tick_params(axis="x", pad=0.9 * size)
    for label, angle in zip(axes.get_xticklabels(), angles, strict=True):  # long names grow away from the circle
        side = round(float(np.sin(angle)), 1)
        label.set(horizontalalignment="left" if side > 0 else "right" if side < 0 else "center")
        label.set_verticalalignment("center" if side else "bottom" if np.cos(angle) > 0 else "top")
    axes.tick_params(axis="y", labelsize=size - 1, colors="#777777")


def _set_titles(axes: Axes, title: str, pad: float, subtitle: str, height: float) -> None:
    axes.set_title(title, loc="left", fontsize=13, fontweight="bold", pad=pad)
    axes.text(0, height, printable(subtitle), transform=axes.transAxes, fontsize=9.5, color="#555555")


def write_plots(
    trackers: Sequence[ScoredTracker],
    subtitle: str,
    folder: Path,
    groups: Mapping[str, Sequence[int]] | None = None,
    suffix: str = "",
    style: PlotStyle = SCREEN,
) -> list[Path]:
    """Write all plots, each whole or not at all; for a paper also all curves side by side.

    Args:
        trackers: at least one.
        subtitle: the dataset and the protocol.
        folder: where they go.
        groups: positions of sequences by attribute, for the radar; with less than ``FEWEST_SPOKES`` there is none.
        suffix: goes behind the names of the files.
        style: how they look, and the kinds of files.

    Returns:
        The files.
    """
    protocol = PROTOCOLS[trackers[0].scores[0].protocol]
    kinds = PLOTS[:1] if protocol.counts_frames else PLOTS  # got10k knows no precision
    figures = {kind.curve: draw_plot(kind, trackers, subtitle, style) for kind in kinds}
    if style.for_print and len(kinds) > 1:
        figures["curves"] = draw_page(kinds, trackers, style)
    if groups and len(groups) >= FEWEST_SPOKES:
        figures["attributes"] = draw_radar(trackers, groups, subtitle, style)
    elif groups:
        logger.warning("no radar of attributes: it needs %d, there are %d", FEWEST_SPOKES, len(groups))
    frame = {} if style.for_print else {"bbox_inches": "tight", "pad_inches": 0.15}
    return [
        save_figure(figure, folder / f"{name}{suffix}{form}", style, **frame)
        for name, figure in figures.items()
        for form in style.formats
    ]


def write_playback(
    sequence: VideoSequence, boxes: Mapping[str, np.ndarray], path: Path, style: PlotStyle = SCREEN
) -> None:
    """Write an MP4 video, whole or not at all; the legend is beside the frames and hides nothing.

    Args:
        sequence: F frames; those of another size than the first are scaled to it.
        boxes: (F, 4) xywh by tracker, in pixels.
        path: the video.
        style: whose colors the trackers have.

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
    legend = _draw_legend(line_styles(boxes, style), sequence.has_ground_truth, height, width)
    with atomic_path(path) as temporary:
        sides = (width + legend.shape[1], legend.shape[0])
        writer = VideoWriter(temporary, PLAYBACK_FPS, *(side + side % 2 for side in sides))  # codecs want even sides
        try:
            for index in range(len(sequence.frames)):
                frame = first if index == 0 else sequence.read_frame(index)
                frame = draw_frame(frame, sequence, {label: rows[index] for label, rows in boxes.items()}, index, style)
                if frame.shape[:2] != (height, width):
                    frame = cv2.resize(frame, (width, height))
                writer.write(_with_legend(frame, legend, f"frame {index}"))
        except BaseException:
            writer.release()
            raise
        writer.close()


def draw_frame(
    image: np.ndarray,
    sequence: VideoSequence,
    boxes: Mapping[str, np.ndarray],
    index: int,
    style: PlotStyle = SCREEN,
) -> np.ndarray:
    """A copy of a frame with the ground truth and, above it, the boxes of the trackers.

    Args:
        image: (H, W, 3) uint8 RGB.
        sequence: where the ground truth comes from; a hidden or absent one is not drawn.
        boxes: x, y, w, h by tracker, finite.
        index: number of the frame, from 0.
        style: whose colors the trackers have.
    """
    canvas = np.ascontiguousarray(image).copy()
    half = round(min(canvas.shape[:2]) / 480)
    if sequence.has_ground_truth and sequence.ground_truth_rect[index, 2:].min() > 0:  # not so for NaN
        draw_box(canvas, sequence.ground_truth_rect[index], WHITE, half + 2)  # seen on both sides of a box that fits
    for label, (color, dashes) in line_styles(boxes, style).items():
        draw_box(canvas, boxes[label], _rgb(color), half, dashes)
    return canvas


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return red, green, blue


def _draw_legend(
    looks: Mapping[str, tuple[str, Sequence[float]]], has_ground_truth: bool, height: int, width: int
) -> np.ndarray:
    """The panel beside a frame of that size: (at least ``height``, P, 3) uint8, with room for a line on top."""
    labels, styles = list(looks), [(_rgb(color), dashes) for color, dashes in looks.values()]
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
