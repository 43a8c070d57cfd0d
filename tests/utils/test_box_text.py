"""Annotation texts as they are found: every separator, with and without a last end of line, mistakes by line."""

import numpy as np
import pytest

from lib.utils.box_text import parse_boxes, parse_integers
from lib.utils.errors import DataError


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", "  "])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("end", ["", "newline", "blank lines"])
def test_separators_and_ends(separator: str, newline: str, end: str) -> None:
    """The last line counts whatever follows it; the published readers drop it blindly from packed text."""
    tail = {"": "", "newline": newline, "blank lines": newline * 3}[end]
    rows = [["1", "2.5", "-3", "4e1"], ["nan", "NaN", "NAN", "nan"], ["0.1", "0", "7", "8"]]
    boxes = parse_boxes(newline.join(separator.join(row) for row in rows) + tail, "f.txt")
    assert boxes.dtype == np.float64
    np.testing.assert_array_equal(boxes, [[1, 2.5, -3, 40], [np.nan] * 4, [0.1, 0, 7, 8]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,3,4\n\n1,2,3,4", "f.txt: line 2: expected 4 numbers, got ''"),
        ("1,2,3,4\n1,2,3,4,5", "line 2: expected 4 numbers, got '1,2,3,4,5'"),
        ("1,2,3\n4,5,6", "line 1: expected 4 numbers"),
        ("x,y,w,h\n1,2,3,4", "line 1: expected 4 numbers"),
        ("# a\n1,2,3,4", "line 1: expected 4 numbers"),
        ("1,2,3,4\n1,2,inf,4", "line 2: expected 4 finite numbers, got '1,2,inf,4'"),
    ],
)
def test_mistakes_name_the_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_boxes(text, "f.txt")
    assert message in str(caught.value)


def test_nothing() -> None:
    assert parse_boxes("", "f.txt").shape == parse_boxes("\n \n", "f.txt").shape == (0, 4)
    assert parse_integers("", "f.txt").shape == (0,)


@pytest.mark.parametrize("text", ["0,1,0,8", "0,1,0,8\n", "0\n1\n0\n8", "0 1\t0\n8\n\n"])
def test_flags(text: str) -> None:
    assert parse_integers(text, "f.txt").tolist() == [0, 1, 0, 8]


def test_flag_mistakes() -> None:
    with pytest.raises(DataError, match=r"f\.txt: line 2: expected an integer, got '1\.5'"):
        parse_integers("0\n1.5\n", "f.txt")
