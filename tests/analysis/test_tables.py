import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest

from lib.test.analysis.tables import FORMATS, score_table, sequence_table, shortened
from tests.analysis.fakes import TITLE, TRACKERS, tracker

FACTS = {"dataset": "got10k_val", "protocol": "seqtrack"}


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
