from pathlib import Path

import numpy as np
import pytest

import tracking.check_data as script
from lib.utils.cli import run_script
from lib.utils.errors import DataError
from lib.utils.image_io import write_image
from lib.utils.storage import DirectoryStorage
from tests.data import fabricate

WIDTH, HEIGHT = 100, 80


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """78 sequences of four decodable frames; tc128ce is the smallest benchmark of a known size."""
    names = [f"v{number:02d}_ce" for number in range(78)]
    fabricate.write_tc128(tmp_path / "tc128", names)
    image = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    write_image(tmp_path / "image.jpg", image)
    data = (tmp_path / "image.jpg").read_bytes()
    for name in names:
        for number in range(7, 11):
            (tmp_path / "tc128" / name / "img" / f"{number:04d}.jpg").write_bytes(data)
    return tmp_path


def run(data_dir: Path, *arguments: str) -> int:
    return run_script(lambda: script.main([*arguments, "--data_dir", str(data_dir)]))


def frame(data_dir: Path, number: int = 9, name: str = "v03_ce") -> Path:
    return data_dir / "tc128" / name / "img" / f"{number:04d}.jpg"


def ground_truth(data_dir: Path) -> Path:
    return data_dir / "tc128/v03_ce/v03_ce_gt.txt"


@pytest.mark.parametrize("flags", [[], ["--decode", "--threads", "2"]])
def test_a_sound_dataset(data_dir: Path, capsys, flags: list[str]) -> None:
    assert run(data_dir, "tc128ce", *flags) == 0
    captured = capsys.readouterr()
    assert f"{data_dir / 'tc128'} (files; below data_dir" in captured.out
    assert "78 of 78 sequences can be read, 312 frames" in captured.out
    assert "problems: none" in captured.out and "remarks: none" in captured.out
    assert "78/78" in captured.err  # the progress bar


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: frame(d).unlink(), "v03_ce: 1 of 4 frames are missing, the first is v03_ce/img/0009.jpg"),
        (lambda d: frame(d, 10).unlink(), "0010.jpg: no such frame"),
        (lambda d: frame(d).write_bytes(b""), "1 of 4 frames are empty files, the first is v03_ce/img/0009.jpg"),
        (lambda d: frame(d, 7).write_text("<html>"), "v03_ce/img/0007.jpg is not a JPEG or PNG image"),
        (lambda d: ground_truth(d).write_text(fabricate.box_lines(3)), "v03_ce_gt.txt: 3 boxes for 4 frames"),
        (lambda d: ground_truth(d).write_text("0,0,0,0\n" * 4), "the first box, which starts the tracker, has no area"),
        (lambda d: ground_truth(d).write_text("120,9,5,5\n" * 4), "the first box is outside the image (100 x 80)"),
        (lambda d: ground_truth(d).write_text("60,50,90,70\n" * 4), "look like x1, y1, x2, y2"),
        (lambda d: ground_truth(d).write_text("1,2,3,4\n" + "200,2,3,4\n" * 3), "3 of 4 boxes are outside the image"),
    ],
)
def test_problems_are_named_and_exit_1(data_dir: Path, capsys, damage, message: str) -> None:
    damage(data_dir)
    assert run(data_dir, "tc128ce") == 1
    out = capsys.readouterr().out
    assert "problems: 1\n  v03_ce: " in out
    assert message in out


def test_a_turned_image_has_the_size_that_the_tracker_sees(data_dir: Path, capsys) -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    data = frame(data_dir).read_bytes()
    for number in range(7, 11):
        frame(data_dir, number).write_bytes(data[:2] + segment + data[2:])
    ground_truth(data_dir).write_text("10,90,5,5\n" * 4)  # below the 80 rows of the header, inside 80 x 100
    assert run(data_dir, "tc128ce") == 0
    ground_truth(data_dir).write_text("90,10,5,5\n" * 4)
    assert run(data_dir, "tc128ce") == 1
    assert "is outside the image (80 x 100)" in capsys.readouterr().out


def test_everything_is_reported_in_a_bounded_number_of_lines(data_dir: Path, capsys, monkeypatch) -> None:
    read, size = DirectoryStorage.read_bytes, DirectoryStorage.size

    def refuse(self: DirectoryStorage, name: str) -> bytes:
        if name.startswith("v03_ce/img"):
            raise DataError(f"{name}: cannot read the file: Permission denied")
        return read(self, name)

    monkeypatch.setattr(DirectoryStorage, "read_bytes", refuse)
    for number in range(10, 78):
        (data_dir / f"tc128/v{number}_ce/v{number}_ce_gt.txt").write_text("x" * 100_000)
    (data_dir / "tc128/v04_ce/v04_ce_gt.txt").write_text("1e9,1,1e9,5\n" * 4)
    assert run(data_dir, "tc128ce") == 1
    out = capsys.readouterr().out
    assert "v03_ce: v03_ce/img/0007.jpg: cannot read the file: Permission denied" in out
    assert "v04_ce: the first box, which starts the tracker, is larger than any image" in out
    assert "problems: 70" in out
    assert len(out.splitlines()) < 30
    assert max(map(len, out.splitlines())) < 1100

    def vanished(self: DirectoryStorage, name: str) -> int:
        if name.startswith("v05_ce"):
            raise DataError(f"{name}: cannot read the file: Input/output error")
        return size(self, name)

    monkeypatch.setattr(DirectoryStorage, "size", vanished)
    assert run(data_dir, "tc128ce", "--decode") == 1
    assert "v05_ce: v05_ce/img/0007.jpg: cannot read the file: Input/output error" in capsys.readouterr().out


def test_decode_finds_a_truncated_frame(data_dir: Path, capsys) -> None:
    frame(data_dir, 8).write_bytes(frame(data_dir, 8).read_bytes()[:-200])
    assert run(data_dir, "tc128ce") == 0
    assert run(data_dir, "tc128ce", "--decode") == 1
    captured = capsys.readouterr()
    assert "v03_ce: 1 frames cannot be decoded, the first: " in captured.out
    assert "0008.jpg: the image file is truncated" in captured.out


def test_remarks_count_only_if_strict(data_dir: Path, capsys) -> None:
    ground_truth(data_dir).write_text("1,2,3,4\n0,0,0,0\n1,2,3,4\n200,2,3,4\n")
    assert run(data_dir, "tc128ce") == 0
    out = capsys.readouterr().out
    assert "1 of 4 boxes have no area (no target); the first is frame 1" in out
    assert "1 of 4 boxes are outside the image; the first is frame 3" in out
    assert run(data_dir, "tc128ce", "--strict") == 1


def test_half_a_dataset(data_dir: Path, capsys) -> None:
    (data_dir / "tc128/v03_ce").rename(data_dir / "elsewhere")
    (data_dir / "tc128/v05_ce/v05_ce_gt.txt").unlink()
    assert run(data_dir, "tc128ce", "--show", "1") == 1
    out = capsys.readouterr().out
    assert "76 of 78 sequences can be read" in out
    assert "problems: 2\n  77 sequences, there should be 78\n  ... and 1 more (--show 2)" in out


def test_names_of_got10k(tmp_path: Path, capsys) -> None:
    names = [f"GOT-10k_Val_{number:06d}" for number in range(1, 180)] + ["mine"]
    fabricate.write_got10k(tmp_path / "got10k", "val", names)
    assert run(tmp_path, "got10k_val") == 1
    out = capsys.readouterr().out
    assert "1 sequences are missing: GOT-10k_Val_000180" in out
    assert "1 sequences are not part of the benchmark: mine" in out


def test_a_wrong_root_is_a_finding_that_says_what_was_expected(tmp_path: Path, capsys) -> None:
    fabricate.write(tmp_path / "lasot" / "readme.txt")
    assert run(tmp_path, "lasot", "otb") == 1
    out = capsys.readouterr().out
    assert "expected airplane/airplane-1/img/00000001.jpg" in out
    assert "found in the root: readme.txt" in out
    assert "otb: cannot be read" in out


def test_without_a_name_what_is_there_is_checked(data_dir: Path, capsys) -> None:
    run(data_dir)
    out = capsys.readouterr().out
    assert "tc128: " in out and "tc128ce: " in out and "lasot" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["lasso"], "did you mean lasot?"), ([], "no benchmark below"), (["lasot", "--threads", "0"], "--threads")],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path: Path, refused, arguments: list[str], message: str) -> None:
    assert message in refused(run, tmp_path, *arguments)
