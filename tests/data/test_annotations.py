"""Annotation texts as they are found: every separator, with and without a last end of line, mistakes by line."""

from pathlib import Path

import numpy as np
import pytest

from lib.data.annotations import looks_like_corners, parse_boxes, parse_integers, read_boxes
from lib.utils.errors import DataError
from lib.utils.files import decode_text, read_names, require_plain_name
from lib.utils.image_io import encode_image, image_size


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
        ("1,2,3,4\n1e400,2,3,4", "line 2: expected 4 finite numbers"),
        ("1,2,3,4\n0x10,2,3,4", "line 2: expected 4 numbers"),
        ("1,2,3,4\n1_000,2,3,4", "line 2: expected 4 numbers"),
        ("1,234 5 6", "line 1: expected 4 numbers"),
        ("1,234.5 6 7 8", "line 1: expected 4 numbers"),
        ("1 2 3 4\n\u0661 2 3 4", "line 2: expected 4 numbers"),
        ("1;2;3;4", "line 1: expected 4 numbers, got '1;2;3;4'"),
        ("1,2,3,4\n" + "9" * 5000, "line 2: expected 4 numbers"),
    ],
)
def test_mistakes_name_the_line(text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_boxes(text, "f.txt")
    assert message in str(caught.value)


def test_a_line_that_says_nan_and_a_huge_number() -> None:
    boxes = parse_boxes("1,2,3,4\nNaN\n" + "9" * 30 + ",2,3,4,\n", "f.txt")
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [np.nan] * 4, [1e30, 2, 3, 4]])
    with pytest.raises(DataError, match="line 2: expected 4 finite numbers, got 'NaN'"):
        parse_boxes("1,2,3,4\nNaN\n", "f.txt", allow_nan=False)


def test_nothing() -> None:
    assert parse_boxes("", "f.txt").shape == parse_boxes("\n \n", "f.txt").shape == (0, 4)
    assert parse_integers("", "f.txt").shape == (0,)


@pytest.mark.parametrize("text", ["0,1,0,8", "0,1,0,8\n", "0\n1\n0\n8", "0 1\t0\n8\n\n"])
def test_flags(text: str) -> None:
    assert parse_integers(text, "f.txt").tolist() == [0, 1, 0, 8]


@pytest.mark.parametrize("field", ["1.5", "9" * 30, "1_0", "\u0661", "0x1", "nan", "\x00"])
def test_flag_mistakes(field: str) -> None:
    with pytest.raises(DataError, match=r"f\.txt: line 2: expected an integer, got '"):
        parse_integers(f"0\n{field}\n", "f.txt")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-16-be"])
def test_other_encodings_are_refused_in_one_line(encoding: str) -> None:
    with pytest.raises(DataError, match=r"f\.txt: .*not a UTF-8 text file") as caught:
        decode_text("1,2,3,4\n".encode(encoding), "f.txt")
    assert "\n" not in str(caught.value)


def test_a_byte_order_mark_is_no_text_and_a_bad_byte_has_a_line(tmp_path: Path) -> None:
    (tmp_path / "f.txt").write_bytes(b"\xef\xbb\xbf1,2,3,4\r\n5,6,7,8\r\n\r\n")
    np.testing.assert_array_equal(read_boxes(tmp_path / "f.txt"), [[1, 2, 3, 4], [5, 6, 7, 8]])
    for bad in (b"1,2,3,4\n1,2,\xff,4", b"1,2,3,4\n1,2,\x00,4"):
        (tmp_path / "f.txt").write_bytes(bad)
        with pytest.raises(DataError, match=r"not a UTF-8 text file: byte 0x.. in line 2"):
            read_boxes(tmp_path / "f.txt")


@pytest.mark.parametrize("name", ["../evil", "a/b", "a\\b", ".hidden", "..", "~", "a\x1b[2J", "a\udcff", ""])
def test_what_cannot_name_a_sequence(name: str) -> None:
    with pytest.raises(DataError, match=r"list\.txt: line 3: .* cannot name a sequence"):
        require_plain_name(name, "list.txt: line 3")
    assert read_names("a b\n\ncaf\xe9-1\n", "list.txt") == [(1, "a b"), (3, "caf\xe9-1")]


def test_read_boxes_keeps_nan(tmp_path: Path) -> None:
    (tmp_path / "uav.txt").write_text("1,2,3,4\nNaN,NaN,NaN,NaN\n")
    boxes = read_boxes(tmp_path / "uav.txt")
    assert np.isnan(boxes[1]).all()
    assert np.isfinite(boxes[0]).all()


def test_looks_like_corners() -> None:
    inside = np.array([[20.0, 20, 60, 60], [20, 20, 70, 70]])
    assert not looks_like_corners(inside, 200, 200)  # both readings fit: it stays as it is
    assert looks_like_corners(inside, 75, 75)
    assert not looks_like_corners(np.array([[50.0, 50, 40, 40]]), 75, 75)  # no corners either
    assert not looks_like_corners(np.zeros((3, 4)), 75, 75)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_image_size_from_the_header(suffix: str) -> None:
    assert image_size(encode_image(np.zeros((33, 57, 3), dtype=np.uint8), suffix)) == (57, 33)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00", b"GIF89a", b"\x89PNG\r\n\x1a\n"])
def test_image_size_of_something_else(data: bytes) -> None:
    assert image_size(data) is None
