import re
import time
import warnings
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import rc_context

from lib.data.sequence import Sequence
from lib.test.analysis.plots import (
    PLOTS,
    draw_frame,
    draw_plot,
    draw_radar,
    write_playback,
    write_plots,
)
from lib.test.analysis.style import ONE_COLUMN, PAPER, SCREEN, TWO_COLUMNS, line_styles, parse_colors
from lib.utils.errors import DataError, InputError
from tests.analysis.fakes import TITLE, TRACKERS, tracker


@pytest.mark.parametrize(
    "name", ["$\\frac{$", "$x^{$", "\\$", "$$", "\udcff", "_hidden", "\x1b[2J", "名", "x" * 300, ""]
)
def test_plots_show_any_name_as_it_is(name: str) -> None:
    trackers = [tracker(name, 8), TRACKERS[1]]
    groups = {name: [0], "b": [1], "c": [0, 1]}
    for figure in (draw_plot(PLOTS[0], trackers, name), draw_radar(trackers, groups, name)):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph")
            figure.canvas.draw()
        assert len(figure.axes[0].get_legend().get_texts()) == 2


def test_colors_stay_with_their_trackers_whatever_the_score() -> None:
    colors = []
    for shifts in ((8, 1), (1, 8)):
        axes = draw_plot(PLOTS[0], [tracker("a", shifts[0]), tracker("b", shifts[1])], TITLE).axes[0]
        colors.append({line.get_label().split()[1]: line.get_color() for line in axes.lines})
    assert colors[0] == colors[1] == {label: color for label, (color, _) in line_styles(["a", "b"]).items()}


def test_colors_depend_on_names_alone() -> None:
    names = [f"tracker_{index}" for index in range(28)]
    for style in (SCREEN, PAPER):
        styles = line_styles(names, style)
        assert list(styles) == names and len(set(styles.values())) == 28
        assert styles == line_styles(names[::-1], style)
        few = line_styles(names[:7], style).values()
        assert len({color for color, _ in few}) == 7
        assert len({dashes for _, dashes in few}) == (4 if style.for_print else 1)
    alone = {name: line_styles([name])[name] for name in names}
    for one, other in pairwise(names):  # the other one in a plot matters only if it likes the same
        if alone[one] != alone[other]:
            assert line_styles([one, other]) == {one: alone[one], other: alone[other]}


def test_colors_can_be_chosen() -> None:
    colors = parse_colors(["a=b=#0072b2", "c=black"])
    assert colors == {"a=b": "#0072B2", "c": "#000000"}
    style = SCREEN._replace(colors={"a": "#0072B2"})
    for others in ("bcdefg", "uvwxyz", ""):
        styles = line_styles(["a", *others], style)
        assert styles["a"] == ("#0072B2", ()) and len(set(styles.values())) == len(styles)
    for wrong in ("", "a", "=red", "a=", "a=#12", "a=\x1b"):
        with pytest.raises(InputError, match=r"^--colors: expected NAME=COLOR.*got '[ -~]*'$"):
            parse_colors([wrong])


def test_plots_of_a_paper_fit_its_columns_and_hold_their_fonts(tmp_path: Path) -> None:
    trackers = [*TRACKERS, *(tracker(f"tracker_{index}", index + 2) for index in range(5))]
    groups = {"Fast Motion": [0], "Occlusion": [1], "Scale": [0, 1]}
    written = write_plots(trackers, TITLE, tmp_path, groups, style=PAPER)
    names = ("success", "precision", "norm_precision", "curves", "attributes")
    assert [path.name for path in written] == [f"{name}.{form}" for name in names for form in ("pdf", "svg")]
    for path in written:
        text = path.read_bytes().decode("latin-1")
        assert TITLE not in text
        if path.suffix == ".pdf":
            (width,) = re.findall(r"/MediaBox \[ 0 0 ([\d.]+) ", text)
            assert "/FontFile2" in text and "/Type3" not in text  # TrueType, embedded
        else:
            (width,) = re.findall(r'<svg [^>]*?width="([\d.]+)pt"', text)
            assert "<text" not in text and "<image" not in text
        assert float(width) == pytest.approx(72 * (TWO_COLUMNS if path.stem == "curves" else ONE_COLUMN), abs=0.1)


@pytest.mark.parametrize("kind", PLOTS, ids=lambda kind: kind.curve)
def test_legend_is_sorted_by_score_and_holds_it(kind) -> None:
    axes = draw_plot(kind, TRACKERS, TITLE).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    ranked = sorted(TRACKERS, key=lambda t: (-t.summary[kind.score], -t.summary["AUC"]))
    assert labels == [f"[{t.summary[kind.score]:.1f}] {t.label}" for t in ranked]
    assert {text.get_text() for text in axes.texts} == {TITLE}


def test_twenty_trackers_can_be_told_apart() -> None:
    many = [tracker(f"tracker_{i}", 0.5 * i + 0.5) for i in range(20)]
    axes = draw_plot(PLOTS[0], many, TITLE).axes[0]
    looks = {(line.get_color(), str(line.get_linestyle()), str(line._dash_pattern)) for line in axes.lines}
    assert len(looks) == 20


def test_plots_are_written_and_can_be_read_whatever_matplotlibrc_says(tmp_path: Path) -> None:
    with rc_context({"text.usetex": True, "text.parse_math": True, "axes.formatter.use_mathtext": True}):
        written = write_plots(TRACKERS, "$\\frac{$", tmp_path)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    assert len(written) == 6
    for path in written:
        if path.suffix == ".png":
            assert min(cv2.imread(str(path)).shape[:2]) > 500
        else:
            assert path.read_bytes().startswith(b"%PDF")


def test_the_target_is_seen_below_twelve_trackers_and_their_legend(tmp_path: Path) -> None:
    ground_truth = np.tile([60.0, 40.0, 40.0, 30.0], (3, 1))
    frames = [tmp_path / f"{index}.png" for index in range(3)]
    for path in frames:
        cv2.imwrite(str(path), np.full((120, 160, 3), 90, np.uint8))
    sequence = Sequence("s", list(map(str, frames)), "mine", ground_truth)
    boxes = {f"tracker {index}": ground_truth[0] + [0, 0, index, index] for index in range(12)}
    drawn = draw_frame(sequence.read_frame(0), sequence, boxes, 0)
    assert (drawn[45:65, 65:95] == 90).all()  # nothing but the boxes
    exact = draw_frame(sequence.read_frame(0), sequence, {"tracker 0": ground_truth[0]}, 0)
    color = tuple(bytes.fromhex(line_styles(["tracker 0"])["tracker 0"][0][1:]))
    assert tuple(exact[40, 80]) == color  # the tracker above the ground truth ...
    assert (exact[38:43, 80] == 255).all(axis=1).any()  # ... which is still seen around it
    for color, _ in line_styles(boxes).values():  # nothing dark on black, pale on white
        brightness = sum(int(color[start : start + 2], 16) for start in (1, 3, 5))
        assert 100 < brightness < 600
    write_playback(sequence, {label: np.tile(box, (3, 1)) for label, box in boxes.items()}, tmp_path / "v.mp4")
    ok, frame = cv2.VideoCapture(str(tmp_path / "v.mp4")).read()
    assert ok and frame.shape[1] > 260 and frame.shape[0] > 12 * 12
    assert np.abs(frame[45:65, 65:95].astype(int) - 90).max() < 25


def test_huge_boxes_are_played_back_in_time(tmp_path: Path) -> None:
    image = np.full((48, 64, 3), 90, np.uint8)
    sequence = Sequence("s", ["a"], "mine", np.array([[1.0, 2, 3, 4]]))
    labels = [f"t{index}" for index in range(20)]  # some of them dashed
    boxes = {label: np.array([-9e8, -9e8, 1.8e9, 1.8e9]) for label in labels}
    start = time.monotonic()
    draw_frame(image, sequence, boxes, 0)
    assert time.monotonic() - start < 1


def test_a_playback_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    sizes = [(48, 64), (96, 128), (48, 64)]
    frames = [tmp_path / f"{index}.png" for index in range(len(sizes))]
    for path, size in zip(frames, sizes, strict=True):
        cv2.imwrite(str(path), np.full((*size, 3), 90, np.uint8))
    sequence = Sequence("s", list(map(str, frames)), "mine", np.tile([10.0, 10, 20, 20], (3, 1)))
    boxes = {"a": sequence.ground_truth_rect}
    write_playback(sequence, boxes, tmp_path / "out" / "v.mp4")
    assert cv2.VideoCapture(str(tmp_path / "out" / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 3
    frames[2].write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2\.png"):
        write_playback(sequence, boxes, tmp_path / "out" / "w.mp4")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["v.mp4"]
    with pytest.raises(InputError, match="whose name is not UTF-8"):
        write_playback(sequence, boxes, tmp_path / "\udcff" / "v.mp4")
