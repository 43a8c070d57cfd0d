"""The benchmarks of the library run, and check what they are there to check."""

import re

import pytest

from benchmarks import multi_target


def test_multi_target_compares_the_same_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--targets", "1", "3", "--frames", "3", "--rounds", "1", "--size", "160", "120", "--device", "cpu"]
    assert multi_target.main(flags) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [int(row.split()[0]) for row in rows] == [1, 3]
    assert all(float(re.search(r"(\S+) pixels", row)[1]) < 1e-3 for row in rows)
