import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.test.analysis.collect import ScoredTracker
from lib.test.analysis.metrics import score_sequence
from lib.test.analysis.plots import PLOTS, draw_plot, write_plots
from lib.test.analysis.tables import FORMATS, score_table, sequence_table

TITLE = "got10k_val (2 sequences, 40 frames), protocol seqtrack"
FACTS = {"dataset": "got10k_val", "protocol": "seqtrack"}


def tracker(label: str, shift: float, **kwargs) -> ScoredTracker:
    truth = np.tile([20.0, 20.0, 30.0, 40.0], (20, 1))
    scores = [score_sequence(np.add(truth, [shift * k, 0, 0, 0]), truth) for k in (1, 2)]
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
    assert len({len(line) for line in lines}) == 1


def test_the_best_value_is_bold_and_names_are_escaped() -> None:
    table = score_table(TRACKERS, TITLE, FACTS)
    best = f"{TRACKERS[1].summary['AUC']:.2f}"
    assert f"strong_one | **{best}**" in FORMATS["markdown"].write(table)
    assert rf"strong\_one & \textbf{{{best}}}" in FORMATS["latex"].write(table)
    assert "**" not in FORMATS["markdown"].write(score_table(TRACKERS[:1], TITLE, FACTS))


def test_sequence_table() -> None:
    table = sequence_table(TRACKERS, TITLE, FACTS)
    assert table.columns == ["weak_one", "strong_one", "static box"]
    assert table.rows[1][1][1] == pytest.approx(100 * TRACKERS[1].scores[1].average_overlap)


@pytest.mark.parametrize("kind", PLOTS, ids=lambda kind: kind.name)
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
