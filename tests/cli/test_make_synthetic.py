"""``tracking/make_synthetic.py`` as a user runs it."""

from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.test.evaluation import BENCHMARKS, find_benchmark
from lib.utils.errors import SeqTrackError
from lib.utils.image_io import write_image
from tests.cli.processes import run_python
from tracking import make_lmdb, make_synthetic

SMALL = ["--num_sequences", "2", "--num_frames", "4", "--width", "64", "--height", "48"]


def test_writes_says_what_and_goes_on(tmp_path: Path) -> None:
    done = run_python("tracking/make_synthetic.py", "--output", tmp_path, *SMALL)
    assert done.returncode == 0, done.stderr
    expected = f"2 sequences written, 0 kept that were there before: 8 frames in {tmp_path / 'val'}\n"
    assert done.stdout == expected
    assert "2/2" in done.stderr  # the progress bar
    assert len(list((tmp_path / "val").glob("*/00000004.jpg"))) == 2


def test_second_run_keeps_and_extends(tmp_path: Path, capsys) -> None:
    assert make_synthetic.main(["--output", str(tmp_path), *SMALL]) == 0
    assert make_synthetic.main(["--output", str(tmp_path), *SMALL, "--num_sequences", "3"]) == 0
    assert "1 sequences written, 2 kept" in capsys.readouterr().out


def test_lasot_and_seed(tmp_path: Path) -> None:
    flags = ["--layout", "lasot", "--split", "train", "--difficulty", "easy", *SMALL]
    for seed in ("0", "1"):
        assert make_synthetic.main(["--output", str(tmp_path / seed), "--seed", seed, *flags]) == 0
    first = {p.name: p.read_bytes() for p in (tmp_path / "0").glob("*/*-2/img/00000001.jpg")}
    second = {p.name: p.read_bytes() for p in (tmp_path / "1").glob("*/*-1/img/00000001.jpg")}
    assert first == second  # sequence k of seed s shows world s + k


def test_readers_accept_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = (("lasot", "train"), ("lasot", ""), ("got10k", "val"), ("got10k", "test"), ("got10k", "train"))
    for layout, split in parts:
        flags = ["--layout", layout, *SMALL] + (["--split", split] if split else [])
        assert make_synthetic.main(["--output", str(tmp_path / layout), *flags]) == 0
    paths = load_paths("test", data_dir=tmp_path)
    monkeypatch.chdir(tmp_path)
    found = {}
    for name in ("lasot", "got10k_val", "got10k_test", "folder:lasot", "folder:got10k/val", "folder:got10k/train"):
        benchmark = find_benchmark(name, paths)
        assert benchmark.is_present(paths)
        found[benchmark.tag, name] = [len(sequence.frames) for sequence in benchmark.load(paths, strict=True)]
    assert found == {
        ("lasot", "lasot"): [4, 4],
        ("got10k", "got10k_val"): [4, 4],
        ("got10k", "got10k_test"): [4, 4],
        ("folder_lasot", "folder:lasot"): [4, 4, 4, 4],
        ("val", "folder:got10k/val"): [4, 4],
        ("train", "folder:got10k/train"): [4, 4],
    }
    assert not BENCHMARKS["got10k_ltrval"].is_present(paths)


@pytest.mark.parametrize("splits", [["val"], ["train", "val"]])
def test_what_is_written_can_be_packed(tmp_path: Path, splits: list[str], capsys) -> None:
    for split in splits:
        assert make_synthetic.main(["--output", str(tmp_path / "got10k"), "--split", split, *SMALL]) == 0
    assert make_lmdb.main(["got10k", "--data_dir", str(tmp_path)]) == 0
    assert "annotations read the same" in capsys.readouterr().out
    (tmp_path / "got10k").rename(tmp_path / "original")
    paths = load_paths("test", data_dir=tmp_path)
    assert len(BENCHMARKS["got10k_val"].load(paths, strict=True)) == 2
    assert [name for name in BENCHMARKS if BENCHMARKS[name].setting and BENCHMARKS[name].is_present(paths)] == [
        "got10k_val"
    ]


def test_own_photos(tmp_path: Path) -> None:
    write_image(tmp_path / "photos" / "a.png", np.full((60, 80, 3), 99, dtype=np.uint8))
    (tmp_path / "photos" / "._a.png").write_text("what another system leaves beside a.png")
    flags = ["--backgrounds", str(tmp_path / "photos"), *SMALL]
    assert make_synthetic.main(["--output", str(tmp_path / "out"), *flags]) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_sequences", "0"], "--num_sequences must be from 1 to"),
        (["--num_frames", "0"], "--num_frames must be from 1 to"),
        (["--width", "5"], "not 5x48"),
        (["--seed", "-3"], "not negative"),
        (["--workers", "-1"], "--workers must be from 0 to"),
        (["--backgrounds", "no/such/folder"], "no/such/folder: no such folder"),
        (["--cutouts", "no/such/folder"], "no/such/folder: no such folder"),
        (["--layout", "lasot", "--split", "val"], "LaSOT has no split 'val'"),
    ],
)
def test_bad_values_write_nothing(tmp_path: Path, flags: list[str], message: str) -> None:
    with pytest.raises(SeqTrackError, match=message):
        make_synthetic.main(["--output", str(tmp_path / "out"), *SMALL, *flags])
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run_python("tracking/make_synthetic.py", "--output", tmp_path / "file", *SMALL)
    assert done.returncode == 2
    assert done.stderr == f"make_synthetic.py: error: --output {tmp_path / 'file'}: is a file, not a folder\n"
    assert done.stdout == ""


def test_an_unknown_choice_lists_the_known_ones(tmp_path: Path) -> None:
    done = run_python("tracking/make_synthetic.py", "--output", tmp_path, "--difficulty", "insane")
    assert done.returncode == 2
    assert "easy" in done.stderr and "mixed" in done.stderr
