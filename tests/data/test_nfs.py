"""The annotations of NfS in their several forms; the layouts are in ``test_layouts``."""

from pathlib import Path

import numpy as np
import pytest

from lib.data.nfs import parse_official
from lib.utils.errors import DataError
from lib.utils.image_io import write_image
from tests.data import fabricate
from tests.data.fabricate import load


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("0 5 5 4 9 0 0 0 0 x\n", "line 1: corners in the wrong order"),
        ("0 5 5 inf 9 0 0 0 0 x\n", "line 1: corners in the wrong order, or not finite"),
        ("0 1 2 3 4 0 0 0 0 x\n0 1 2 x\n", "line 2: expected id x1 y1 x2 y2"),
    ],
)
def test_malformed_official_nfs_rows(lines: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_official(lines, "x.txt", 2)


def test_nfs_corners_are_noticed_by_the_size_of_the_image(tmp_path: Path) -> None:
    fabricate.write_nfs(tmp_path / "nfs", "repack")
    corners = "".join(f"{100 + index} 50 {180 + index} 110\n" for index in range(45))
    (tmp_path / "nfs/anno/nfs_bee.txt").write_text(corners)
    write_image(tmp_path / "nfs/sequences/bee/00001.jpg", np.zeros((120, 230, 3), dtype=np.uint8))
    bee = next(sequence for sequence in load(tmp_path, "nfs") if sequence.name == "nfs_bee")
    np.testing.assert_array_equal(bee.ground_truth_rect[3], [103, 50, 80, 60])


@pytest.mark.parametrize(("rows", "boxes"), [(10, 10), (11, 10), (9, 9), (12, 12), (80, 10), (81, 10), (73, 10)])
def test_official_nfs_rows_at_both_rates(rows: int, boxes: int) -> None:
    parsed = parse_official(fabricate.nfs_official_lines(rows), "x.txt", 10)
    assert len(parsed) == boxes
    step = 8 if rows > 50 else 1
    np.testing.assert_array_equal(parsed[:, 0], fabricate.BOX[0] + step * np.arange(boxes))
