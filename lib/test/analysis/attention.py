"""Figures of what a network attended to, how likely it found each token, and which templates it compared with.

All are made within the ``rc_context`` of a style; they are as wide as both columns of a paper.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from lib.models.seqtrack.maps import overlay
from lib.test.analysis.style import COLORS, TWO_COLUMNS, new_figure
from lib.test.analysis.token_view import TokenView

BOX_COLOR = "#3CE05A"
LABEL_WIDTH, TITLE_HEIGHT, GAP = 0.45, 0.17, 0.04
"""Inches, of rows of images."""
MOST_SHOWN = 10
"""Templates in one row."""
NEAR = 24
"""Bins on both sides of the chosen one that the close-up of a likelihood shows at least."""


class Template(NamedTuple):
    """A template and the frame it was cut from: (S, S, 3) uint8."""

    frame: int
    crop: np.ndarray


class TemplateHistory:
    """Confidences, and which templates the network had when.

    Args:
        number: of templates.
        interval: frames between those that may give a new one.
        threshold: confidence above which they do.

    Attributes:
        current: the templates now, the first one first.
        all: all there have been.
        rows: frame, confidence and the likelihoods of the four tokens, frame by frame.
    """

    def __init__(self, number: int, interval: int, threshold: float) -> None:
        self.number, self.interval, self.threshold = number, interval, threshold
        self.current: list[Template] = []
        self.all: list[Template] = []
        self.rows: list[tuple[float, ...]] = []

    def start(self, template: Template) -> None:
        """Begin with the template of the first frame."""
        self.current, self.all, self.rows = [template] * self.number, [template], []

    def add(self, frame: int, confidence: float, likelihoods: Sequence[float], new: Template | None) -> None:
        """Take note of a frame, and of the template that it gave."""
        self.rows.append((frame, confidence, *likelihoods))
        if new is not None:
            self.current = [self.current[0], *self.current[2:], new]
            self.all.append(new)


def select_maps(maps: np.ndarray, layers: list[int] | None, heads: list[int] | None) -> list[tuple[str, np.ndarray]]:
    """Maps to show, with what they are.

    Args:
        maps: (K, layers, heads, R, R).
        layers: their numbers; None for the mean over all of them.
        heads: as above.

    Returns:
        A label and (K, R, R) for each layer and head.
    """
    chosen = []
    for layer in [None] if layers is None else layers:
        for head in [None] if heads is None else heads:
            part = maps.mean(axis=1) if layer is None else maps[:, layer]
            part = part.mean(axis=1) if head is None else part[:, head]
            names = [f"layer {layer}" if layer is not None else f"mean of {maps.shape[1]} layers"]
            names += [f"head {head}" if head is not None else f"mean of {maps.shape[2]} heads"]
            chosen.append(("\n".join(names), part))
    return chosen


class Panel(NamedTuple):
    """An image (S, S, 3) uint8 with a title, a box (x1, y1, x2, y2, normalized) and a label at its left."""

    image: np.ndarray
    title: str
    box: Sequence[float] | None = None
    label: str = ""


def draw_attention(
    search: Panel,
    titles: Sequence[str],
    cross: Sequence[tuple[str, np.ndarray]],
    templates: Sequence[Template],
    factor: float,
    encoder: Sequence[tuple[str, np.ndarray]],
) -> Figure:
    """Draw attention over the search crop, each map from 0 to its largest value.

    Args:
        search: the crop, with the box that was found.
        titles: of the four tokens.
        cross: from ``select_maps``, with a map for each token.
        templates: that the encoder saw; the first and the last one are drawn.
        factor: side of a template over that of its target.
        encoder: from ``select_maps``, with a map for each template.
    """
    rows = []
    for name, maps in cross:
        shown = [
            Panel(overlay(search.image, values), title, search.box) for values, title in zip(maps, titles, strict=True)
        ]
        rows.append([search._replace(label=f"decoder\n{name}"), *shown])
    low, high = 0.5 - 0.5 / factor, 0.5 + 0.5 / factor
    for name, maps in encoder:
        row: list[Panel] = []
        for index in sorted({0, len(templates) - 1}):
            label = "" if row else f"encoder\n{name}"
            title = f"template, frame {templates[index].frame}"
            row.append(Panel(templates[index].crop, title, (low, low, high, high), label))
            row.append(Panel(overlay(search.image, maps[index]), "its attention", search.box))
        rows.append(row)
    return _arrange(rows, titled=(0, len(cross)))


def _arrange(rows: Sequence[Sequence[Panel]], titled: Sequence[int]) -> Figure:
    """Put panels side by side; the titles of some rows are shown."""
    side = (TWO_COLUMNS - LABEL_WIDTH) / max(map(len, rows)) - GAP
    height = len(rows) * (side + GAP) + len(titled) * TITLE_HEIGHT
    figure, top = new_figure(TWO_COLUMNS, height), 0.0
    for number, row in enumerate(rows):
        top += TITLE_HEIGHT * (number in titled)
        for column, panel in enumerate(row):
            left = LABEL_WIDTH + column * (side + GAP)
            place = (left / TWO_COLUMNS, 1 - (top + side) / height, side / TWO_COLUMNS, side / height)
            _show(figure.add_axes(place), panel if number in titled else panel._replace(title=""))
        top += side + GAP
    return figure


def _show(axes: Axes, panel: Panel) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.imshow(panel.image, extent=(0, 1, 1, 0), interpolation="bicubic")
    if panel.box is not None:
        _outline(axes, panel.box)
    axes.set_title(panel.title, fontsize=8, pad=2.5)
    axes.set_ylabel(panel.label, fontsize=7, labelpad=2)


def _outline(axes: Axes, box: Sequence[float]) -> None:
    x1, y1, x2, y2 = box
    for color, width in (("black", 1.8), (BOX_COLOR, 0.9)):
        axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linewidth=width))


def draw_likelihoods(
    view: TokenView,
    probabilities: np.ndarray,
    window: np.ndarray | None,
    tokens: np.ndarray,
    ground_truth: np.ndarray | None,
    title: str,
) -> Figure:
    """Draw the likelihood of every coordinate token in each of the four steps: all of them, and those near the choice.

    Args:
        view: names of the tokens.
        probabilities: (4, bins), before the window.
        window: (bins,) factors of the center's steps, or None.
        tokens: (4,), the chosen ones.
        ground_truth: (4,) tokens, or None.
        title: the frame.
    """
    figure = new_figure(TWO_COLUMNS, 3.0, layout="constrained")
    panels, weighted = figure.subplots(2, 4), view.weigh(probabilities, window)
    for step, (name, token) in enumerate(zip(view.names, tokens.tolist(), strict=True)):
        whole, near = panels[:, step]
        low, high = _near(weighted[step], token)
        is_weighted = window is not None and step in view.vocabulary.window_steps()
        for axes in (whole, near):
            if is_weighted:
                axes.plot(probabilities[step], color=COLORS[4], linewidth=0.8, linestyle=":", label="before window")
            _draw_likelihood(axes, weighted[step], token, None if ground_truth is None else ground_truth[step])
            axes.set_ylim(0, 1.15 * max(probabilities[step].max(), 1e-6))
        if is_weighted:
            whole.plot(window * whole.get_ylim()[1] / 1.05, color="#666666", linewidth=0.7, label="window (scaled)")
        whole.axvspan(low, high, color="#999999", alpha=0.25, linewidth=0)
        whole.set_xlim(0, view.bins - 1)
        whole.set_title(f"{name} = {token} ({weighted[step, token]:.2g})", fontsize=8)
        near.set(xlim=(low, high), xlabel=f"token of {name}")
    panels[0, 0].set_ylabel("likelihood, all bins")
    panels[1, 0].set_ylabel("close-up")
    handles: dict = {}
    for axes in panels.flat:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=len(handles), frameon=False)
    figure.suptitle(title, fontsize=8)
    return figure


def _draw_likelihood(axes: Axes, curve: np.ndarray, token: int, ground_truth: int | None) -> None:
    axes.fill_between(np.arange(len(curve)), curve, color=COLORS[0], alpha=0.25, linewidth=0)
    axes.plot(curve, color=COLORS[0], linewidth=0.8, label="likelihood")
    if ground_truth is not None:
        axes.axvline(ground_truth, color=COLORS[2], linewidth=0.8, linestyle="--", label="ground truth")
    axes.plot(token, curve[token], "v", color=COLORS[1], markersize=4, label="chosen token")


def _near(curve: np.ndarray, token: int) -> tuple[float, float]:
    """First and last bin around the chosen one that hold 95 % of a likelihood, and a margin."""
    order = np.abs(np.arange(len(curve)) - token)
    mass = np.bincount(order, weights=curve)
    reach = int(np.searchsorted(np.cumsum(mass), 0.95 * mass.sum())) + 1
    reach = min(max(reach, NEAR), len(curve) // 6 + NEAR)
    return max(0, token - reach), min(len(curve) - 1, token + reach)


def draw_tokens(view: TokenView, title: str, crop: np.ndarray, tokens: np.ndarray, weighted: np.ndarray) -> Figure:
    """Draw how the box comes about: the crop after each token, with the likelihood of that token along its axis.

    Args:
        view: names of the tokens.
        title: the frame.
        crop: (S, S, 3) uint8, the search crop.
        tokens: (4,), the chosen ones.
        weighted: (4, bins) likelihoods, after the window.
    """
    names = [
        f"{name} = {token} ({share[token]:.2g})"
        for name, token, share in zip(view.names, tokens, weighted, strict=True)
    ]
    figure = _arrange([[Panel(crop, name) for name in names]], titled=(0,))
    figure.axes[0].set_ylabel(title, fontsize=7)
    for step, axes in enumerate(figure.axes):
        curve = 0.3 * weighted[step] / max(weighted[step].max(), 1e-12)
        upright, level = view.edges(tokens[: step + 1])
        for places in view.places(tokens, step):
            if view.names[step][0] in "xw":
                axes.fill_between(places, 1 - curve, 1, color=COLORS[1], alpha=0.75, linewidth=0)
            else:
                axes.fill_betweenx(places, 0, curve, color=COLORS[1], alpha=0.75, linewidth=0)
        for lines, draw in ((upright, axes.axvline), (level, axes.axhline)):
            for place in lines:
                for color, width in (("black", 1.8), (BOX_COLOR, 0.9)):
                    draw(place, color=color, linewidth=width)
        axes.set(xlim=(0, 1), ylim=(1, 0))
    return figure


def draw_templates(history: TemplateHistory, names: Sequence[str]) -> Figure:
    """Draw which frames the templates are from, and the confidence over time with the threshold of an update.

    Args:
        history: of one video.
        names: of the four tokens.
    """
    rows = np.array(history.rows, dtype=np.float64).reshape(-1, 6)
    figure = new_figure(TWO_COLUMNS, 3.6, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 2))
    shown = history.all
    if len(shown) > MOST_SHOWN:
        shown = [shown[index] for index in np.linspace(0, len(shown) - 1, MOST_SHOWN).round().astype(int)]
    for axes, template in zip(top.subplots(1, MOST_SHOWN, squeeze=False)[0], shown + [None] * MOST_SHOWN, strict=False):
        axes.set_axis_off()
        if template is not None:
            axes.set_axis_on()
            _show(axes, Panel(template.crop, f"frame {template.frame}"))
    title = "one template, from the first frame to the last"
    if history.number > 1:
        updates = f"updates: {len(history.all) - 1}, tried every {history.interval} frames"
        title = f"{history.number} templates; {updates}"
    top.suptitle(title, fontsize=8)
    _draw_scores(bottom, history, rows, names)
    return figure


def _draw_scores(figure: SubFigure, history: TemplateHistory, rows: np.ndarray, names: Sequence[str]) -> None:
    """``rows`` (F, 6): frame, confidence and likelihoods."""
    confidence, likelihood = figure.subplots(2, 1, sharex=True)
    confidence.plot(rows[:, 0], rows[:, 1], color=COLORS[0], linewidth=0.9, label="confidence")
    if history.number > 1:
        confidence.axhline(history.threshold, color="#666666", linestyle="--", linewidth=0.8, label="threshold")
        accepted = np.isin(rows[:, 0], [template.frame for template in history.all[1:]])
        refused = (rows[:, 0] % history.interval == 0) & ~accepted
        for chosen, mark, color, label in (
            (accepted, "^", COLORS[2], "new template"),
            (refused, "x", COLORS[1], "refused"),
        ):
            if chosen.any():
                confidence.plot(rows[chosen, 0], rows[chosen, 1], mark, color=color, markersize=4, label=label)
    for index, name in enumerate(names):
        likelihood.plot(rows[:, 0], rows[:, 2 + index], linewidth=0.8, color=COLORS[index], label=name)
    confidence.set(ylim=(0, None), ylabel="confidence")
    likelihood.set(ylim=(0, None), ylabel="likelihood", xlabel="frame")
    likelihood.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (confidence, likelihood):
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
