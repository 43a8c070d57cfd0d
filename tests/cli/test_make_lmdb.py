"""``tracking/make_lmdb.py`` packs any dataset, says what it did, and answers mistakes in one line."""

from pathlib import Path

import pytest

from lib.data.packing import TRAINING_PACKABLE
from lib.utils.errors import InputError
from lib.utils.storage import LmdbStorage, open_storage
from tests.cli.processes import run_python
from tests.data.fabricate import FABRICATE
from tracking import make_lmdb


@pytest.mark.parametrize("kind", TRAINING_PACKABLE)
def test_packs_and_goes_on(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FABRICATE[kind](tmp_path / kind)
    before = sorted(tmp_path.rglob("*"))
    flags = [kind, "--data_dir", str(tmp_path)] if kind != "folder" else [kind, "--source", str(tmp_path / kind)]
    assert make_lmdb.main(flags) == 0
    assert "files written, 0 were there already; annotations read the same" in capsys.readouterr().out
    target = tmp_path / f"{kind}_lmdb"
    assert isinstance(open_storage(target), LmdbStorage)
    assert make_lmdb.main(flags) == 0
    assert ": 0 files written" in capsys.readouterr().out
    assert [path for path in sorted(tmp_path.rglob("*")) if target not in (path, *path.parents)] == before


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    FABRICATE["lasot"](tmp_path / "lasot")
    (tmp_path / "lasot" / "car" / "car-1" / "groundtruth.txt").write_text("1,2,3\n")
    done = run_python("tracking/make_lmdb.py", "lasot", "--data_dir", tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "groundtruth.txt: line 1: expected 4 numbers, got '1,2,3'" in done.stderr
    assert not (tmp_path / "lasot_lmdb").exists()


def test_other_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="folder: say where it is with --source"):
        make_lmdb.main(["folder"])
    with pytest.raises(InputError, match="is in the dataset itself"):
        make_lmdb.main(["coco", "--source", str(tmp_path), "--target", str(tmp_path / "out")])
