"""Result files equal those of the published writer, byte for byte (tests/golden/results_format.json)."""

from pathlib import Path

import numpy as np
import pytest

from lib.test.evaluation.results import ResultFolder
from tests.golden import load_json

GOLDEN = load_json("results_format.json")


@pytest.mark.parametrize("dataset", ["got10k", "lasot", "trackingnet", "tnl2k"])
def test_files_are_byte_identical(tmp_path: Path, dataset: str) -> None:
    folder = ResultFolder(tmp_path, "seqtrack", "fmt", dataset)
    for name in ("GOT-10k_Test_000001", "seq2"):
        folder.write(name, np.array(GOLDEN["boxes"]), np.array(GOLDEN["times"]))
    root = tmp_path / "test" / "tracking_results"
    written = {path.relative_to(root).as_posix(): path.read_bytes() for path in folder.path.iterdir()}
    expected = {
        name: text.encode() for name, text in GOLDEN["files"].items() if name.startswith(f"seqtrack/fmt/{dataset}/")
    }
    assert len(expected) == 4
    assert written == expected
