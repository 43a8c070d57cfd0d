import csv
import io
import re
import warnings
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib import rc_context

from lib.test.analysis.metrics import score_sequence
from lib.test.analysis.plots import PLOTS, draw_plot, draw_radar, line_styles, write_plots
from lib.test.analysis.scoring import ScoredTracker
from lib.test.analysis.tables import FORMATS, score_table, sequence_table, shortened

TITLE = "got10k_val (2 sequences, 40 frames), protocol seqtrack"
FACTS = {"dataset": "got10k_val", "protocol": "seqtrack"}


def tracker(label: str, shift: float, **kwargs) -> ScoredTracker:
    ground_truth = np.tile([20.0, 20.0, 30.0, 40.0], (20, 1))
    scores = [score_sequence(np.add(ground_truth, [shift * k, 0, 0, 0]), ground_truth) for k in (1, 2)]
    return ScoredTracker(label, ["a", "b"], scores, **kwargs)


TRACKERS = [tracker("weak_one", 8), tracker("strong_one", 1), tracker("static box", 12, is_baseline=True)]


def test_rows_are_sorted_by_score() -> None:
    table = score_table(TRACKERS, TITLE, FACTS)
    assert [name for name, _ in table.rows] == ["strong_one", "weak_one", "static box"]
    assert table.columns == ["AUC", "OP50", "OP75", "P", "NP"]
    assert table.rows[0][1][0] == pytest.approx(TRACKERS[1].summary["AUC"])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", [score_table, sequence_table])
def test_every_table_names_the_protocol(name: str, make) -> None:
    assert "seqtrack" in FORMATS[name].write(make(TRACKERS, TITLE, FACTS)).replace("\\_", "_")


def test_csv_holds_the_numbers() -> None:
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"].write(score_table(TRACKERS, TITLE, FACTS)))))
    assert float(rows[1]["NP"]) == pytest.approx(TRACKERS[0].summary["NP"], abs=1e-4)
    assert rows[0]["protocol"] == "seqtrack"


def test_text_is_aligned() -> None:
    lines = FORMATS["text"].write(score_table(TRACKERS, TITLE, FACTS)).splitlines()[1:]
    assert len({len(line) for line in lines[:-1]}) == 1
    assert lines[-1] == "* best, + second"


def test_the_best_value_is_bold_and_names_are_escaped() -> None:
    table = score_table(TRACKERS, TITLE, FACTS)
    best = f"{TRACKERS[1].summary['AUC']:.2f}"
    assert f"strong_one | **{best}**" in FORMATS["markdown"].write(table)
    assert rf"strong\_one & \textbf{{{best}}}" in FORMATS["latex"].write(table)
    second = f"{TRACKERS[0].summary['AUC']:.2f}"
    assert f"| weak_one | _{second}_" in FORMATS["markdown"].write(table)
    assert rf"weak\_one & \underline{{{second}}}" in FORMATS["latex"].write(table)
    assert re.search(rf"{best}\* .*\n.* {second}\+", FORMATS["text"].write(table))
    assert "**" not in FORMATS["markdown"].write(score_table(TRACKERS[:1], TITLE, FACTS))


def test_sequence_table() -> None:
    table = sequence_table(TRACKERS, TITLE, FACTS)
    assert table.columns == ["strong_one", "weak_one", "static box"]
    assert table.rows[1][1][0] == pytest.approx(100 * TRACKERS[1].scores[1].average_overlap)


@pytest.mark.parametrize("width", [60, 80, 120, 600])
def test_a_wide_text_table_goes_on_below_and_loses_nothing(width: int) -> None:
    many = [tracker(f"seqtrack_b256_ablation_{i:02d}_of_the_decoder", 0.5 * i + 0.5) for i in range(12)]
    text = FORMATS["text"].write(sequence_table(many, TITLE, FACTS), width)
    lines = text.splitlines()[1:]
    assert max(map(len, lines)) <= width
    assert text.count("*") - 1 == 2  # one best value in each row, and the legend
    numbers = re.findall(r"\d+\.\d\d", text)
    assert len(numbers) == 2 * 12
    heads = [head.strip() for line in lines if "sequence" in line for head in line.split("|")[1:]]
    assert len(set(heads)) == 12 and all(head.startswith("seqtrack_") for head in heads)
    if width == 600:
        assert len(lines) == 5


def test_shortened_names_stay_different() -> None:
    names = [f"{'a' * 60}{i}{'b' * 60}" for i in range(10, 14)]
    short = shortened(names, 20)
    assert len(set(short)) == 4
    assert shortened(["short", "x" * 300], 20) == ["short", f"{'x' * 9}..{'x' * 9}"]


NAMES = [
    "=HYPERLINK(1)", "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "  =1", "a|b", "a\\|b",
    "<img src=x onerror=1>", "[x](http://evil)", "two\nlines", "\r\n| x | y |", "_em_ *b* `c`", "$\\frac{$",
    "$x^{$", "100%", "a&b#c_d^e~f\\g{h}i", "\x1b[31mred", "\udcff\udcfe.txt", "[optional]", "*",
    "\u202edesrever", "x" * 300, "名前", "", "</td>", "https://evil.example", "www.evil.example",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_hostile_name_is_shown_and_breaks_no_table(name: str, tmp_path: Path) -> None:
    """As a row, as a column head, in the caption and in the facts."""
    trackers = [replace(tracker(name, 8), weights=name, sequences=[name, "b"]), TRACKERS[1], TRACKERS[2]]
    for make in (score_table, sequence_table):
        texts = {form: FORMATS[form].write(make(trackers, f"{TITLE} {name}", {"dataset": name})) for form in FORMATS}
        for text in texts.values():
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e\ud800-\udfff]", text)
            text.encode()
        columns = len(make(trackers, "", {}).columns)
        rows = list(csv.reader(io.StringIO(texts["csv"])))
        assert len({len(row) for row in rows}) == 1
        assert not [cell for row in rows for cell in row if cell.lstrip()[:1] in tuple("=+-@")]
        assert all(float(row[1]) >= 0 for row in rows[1:])
        lines = [line for line in texts["markdown"].splitlines() if line.startswith("| ") or line.startswith("|-")]
        assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in lines} == {columns + 2}
        assert not re.search(r"(?<!\\)[<>`\]]|https?://|www\.", texts["markdown"])
        latex = texts["latex"]
        assert latex.count(r" \\") == len(rows)
        assert {len(re.findall(r"(?<!\\)&", line)) for line in latex.splitlines() if line.endswith(r" \\")} == {columns}
        plain = re.sub(r"\\[{}]", "", latex)
        assert plain.count("{") == plain.count("}") and not re.search(r"(?<!\\)[$#%]|\^|~", plain)
        assert not re.search(r"\\\\\s*[\[*]", latex)


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


def test_settings_of_the_current_folder_run_no_tex(tmp_path: Path) -> None:
    with rc_context({"text.usetex": True, "text.parse_math": True, "axes.formatter.use_mathtext": True}):
        written = write_plots(TRACKERS[:2], "$\\frac{$", tmp_path)
    assert len(written) == 6


def test_colors_stay_with_their_trackers_whatever_the_score() -> None:
    colors = []
    for shifts in ((8, 1), (1, 8)):
        axes = draw_plot(PLOTS[0], [tracker("a", shifts[0]), tracker("b", shifts[1])], TITLE).axes[0]
        colors.append({line.get_label().split()[1]: line.get_color() for line in axes.lines})
    assert colors[0] == colors[1] == {label: color for label, (color, _) in line_styles(["a", "b"]).items()}


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


def test_plots_are_written_and_can_be_read(tmp_path: Path) -> None:
    written = write_plots(TRACKERS, TITLE, tmp_path)
    assert {path.name for path in written} == {path.name for path in tmp_path.iterdir()}
    assert len(written) == 6
    for path in written:
        if path.suffix == ".png":
            image = cv2.imread(str(path))
            assert min(image.shape[:2]) > 500
        else:
            assert path.read_bytes().startswith(b"%PDF")
