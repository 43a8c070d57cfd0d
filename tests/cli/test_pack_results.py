"""tracking/pack_results.py and the published scripts: what they pack, and zips that are damaged or made to do harm."""

import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tracking.pack_results as script
from lib.data.sequence import Sequence, SequenceList
from lib.test.utils import transform_got10k, transform_trackingnet
from lib.test.utils.submission import SUBMISSIONS, check_zip, write_zip
from lib.utils.cli import run_script
from tests.cli.processes import run_python
from tests.data import fabricate
from tests.golden import load_json

GOLDEN = load_json("results_format.json")
SERVERS = {"got10k": transform_got10k, "trackingnet": transform_trackingnet}
LOST = {"ballseq", "timelapse"}
"""Sequences whose names the published scripts mistake for something else."""
NAME = "GOT-10k_Test_000001"


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """The result files from which the recorded zips were made."""
    root = tmp_path / "test" / "tracking_results"
    texts = GOLDEN["files"]
    for name in GOLDEN["before"]:
        suffix = "_time.txt" if name.endswith("_time.txt") else ".txt"
        fabricate.write(root / name, texts.get(name) or texts[f"{Path(name).parent}/seq2{suffix}"])
    return root / "seqtrack" / "fmt"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def contents(path: Path) -> dict[str, str | None]:
    with zipfile.ZipFile(path) as archive:
        return {n: None if n.endswith("/") else archive.read(n).decode() for n in archive.namelist()}


def without_lost(files: dict[str, str | None]) -> dict[str, str | None]:
    return {name: text for name, text in files.items() if name.partition("/")[0].removesuffix(".txt") not in LOST}


def transform(server: str, save_dir: Path, *arguments: str) -> int:
    flags = ["--tracker_name", "seqtrack", "--cfg_name", "fmt", "--save_dir", str(save_dir)]
    return run_script(lambda: SERVERS[server].main([*flags, "--data_dir", str(save_dir / "data"), *arguments]))


def run(save_dir: Path, *arguments: str) -> int:
    places = ["--save_dir", str(save_dir), "--data_dir", str(save_dir / "data")]
    return run_script(lambda: script.main([*arguments, *places]))


@pytest.mark.parametrize("server", SERVERS)
def test_zips_equal_the_recorded_ones_and_nothing_is_deleted(tmp_path: Path, results: Path, server: str) -> None:
    before = snapshot(results)
    assert transform(server, tmp_path) == 0
    recorded = GOLDEN[f"transform_{server}"]["zips"]
    expected = without_lost(recorded[f"{server}_submit.zip"])
    assert expected
    assert without_lost(contents(results / f"{server}_submit.zip")) == expected
    assert contents(results / f"{server}.zip") == recorded[f"{server}.zip"]
    after = snapshot(results)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {f"{server}_submit.zip", f"{server}.zip"}


def test_sequences_that_the_published_scripts_lose_are_there(tmp_path: Path, results: Path) -> None:
    assert transform("got10k", tmp_path) == 0
    made = contents(results / "got10k_submit.zip")
    for name in ("ballseq", "timelapse"):
        assert made[f"{name}/{name}_001.txt"] == "10,20,30,40\n10,0,30,40\n-3,5,0,0\n123456,1000,99,100\n"
        assert made[f"{name}/{name}_time.txt"] == "0.123457\n0.032100\n1.000000\n0.000000\n"
        assert f"{name}/" in made


def test_the_same_results_make_the_same_bytes(tmp_path: Path, results: Path) -> None:
    assert transform("got10k", tmp_path) == 0
    first = (results / "got10k_submit.zip").read_bytes()
    assert transform("got10k", tmp_path) == 0
    assert (results / "got10k_submit.zip").read_bytes() == first


def test_results_of_other_splits_and_scores_are_left_out(tmp_path: Path, results: Path) -> None:
    for name in ("GOT-10k_Val_000001.txt", "GOT-10k_Val_000001_time.txt", "seq2_all_boxes.txt", "seq2_all_scores.txt"):
        fabricate.write(results / "got10k" / name, "1\t2\t3\t4\n")
    assert transform("got10k", tmp_path) == 0
    assert not [name for name in contents(results / "got10k_submit.zip") if "Val" in name or "all_" in name]


@pytest.fixture
def complete(tmp_path: Path) -> Path:
    """Results of all of GOT-10k test, two frames each, and the dataset."""
    folder = tmp_path / "test/tracking_results/seqtrack/cfg/got10k"
    names = [f"GOT-10k_Test_{number:06d}" for number in range(1, 181)]
    fabricate.write_got10k(tmp_path / "data/got10k", "test", names)
    for name in names:
        fabricate.write(folder / f"{name}.txt", "10\t20\t30\t40\n" * 2)
        fabricate.write(folder / f"{name}_time.txt", "0.1\n" * 2)
    return folder


def test_a_complete_submission(tmp_path: Path, complete: Path, capsys) -> None:
    assert run(tmp_path, "got10k", "--tracker_name", "seqtrack", "--cfg_name", "cfg") == 0
    out = capsys.readouterr().out
    path = complete.with_name("got10k_submit.zip")
    assert f"packed for the server: {path}" in out
    assert "the server should take it (compared with" in out
    assert not complete.with_name("got10k.zip").exists()
    assert run(tmp_path, "got10k", "--check", str(path)) == 0


def test_without_the_dataset_names_and_counts_are_still_checked(tmp_path: Path, complete: Path, capsys) -> None:
    (tmp_path / "data").rename(tmp_path / "moved")
    assert run(tmp_path, "got10k", "--cfg_name", "cfg") == 0
    assert "numbers of frames not checked: the dataset is not here" in capsys.readouterr().out


def test_an_incomplete_sweep_is_exit_1(tmp_path: Path, complete: Path, capsys) -> None:
    (complete / "GOT-10k_Test_000007.txt").unlink()
    (complete / "GOT-10k_Test_000007_time.txt").unlink()
    assert run(tmp_path, "got10k", "--cfg_name", "cfg") == 1
    assert "1 of 180 sequences are missing: GOT-10k_Test_000007" in capsys.readouterr().out


def test_the_published_scripts_warn_and_fail_only_with_check(tmp_path: Path, results: Path, capsys) -> None:
    assert transform("trackingnet", tmp_path) == 0
    assert "4 sequences, trackingnet has 511" in capsys.readouterr().out
    assert transform("trackingnet", tmp_path, "--check") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a/a_001.txt": "1\t2\t3\t4\n" * 2}, "a/a_001.txt: line 1: expected x,y,w,h, got '1\\t2\\t3\\t4' (the d"),
        ({"a/a_001.txt": "1,2,3,4\n1,2,3\n"}, "a/a_001.txt: line 2: expected x,y,w,h, got '1,2,3'"),
        ({"a/a_001.txt": "1,2,3,4\nnan,2,3,4\n"}, "a/a_001.txt: line 2"),
        ({"a/a_001.txt": ""}, "a/a_001.txt: it is empty"),
        ({"a/a_001.txt": "1,2,3,4\n"}, "a/a_001.txt: 1 boxes for 2 frames"),
        ({"a/a_001.txt": "1,2,6,8\n" * 2}, "a/a_001.txt: starts with '1,2,6,8', its sequence with [1.5, 2.0, 3."),
        ({"a/a_time.txt": "0.1\n"}, "a/a_time.txt: 1 times for 2 boxes"),
        ({"a/a_time.txt": "0.1\n-1\n"}, "a/a_time.txt: line 2: expected seconds, got '-1'"),
        ({"a/a_time.txt": None}, "a/a_time.txt: the time file is missing"),
        ({"b/b_001.txt": None, "b/b_time.txt": None}, "1 of 2 sequences are missing: b"),
        ({"notes.txt": "hello"}, "1 files do not belong there: notes.txt"),
        ({"c/c_001.txt": "1,2,3,4\n", "c/c_time.txt": "1\n"}, "1 sequences are not part of got10k_test: c"),
        ({"a/a_001.txt": "\xe9"}, "a/a_001.txt: not a plain text file"),
    ],
)
def test_what_the_server_would_refuse(tmp_path: Path, changes: dict[str, str | None], message: str) -> None:
    good = {f"{n}/{n}_{kind}.txt": text * 2 for n in "ab" for kind, text in (("001", "1,2,3,4\n"), ("time", "0.1\n"))}
    path = tmp_path / "x.zip"
    known = SequenceList(Sequence(name, ["1.jpg", "2.jpg"], "got10k", np.array([[1.5, 2, 3, 4]])) for name in "ab")

    def check(files: dict[str, str | None]) -> list[str]:
        write_zip(path, {name: text.encode() for name, text in files.items() if text is not None})
        return check_zip(path, SUBMISSIONS["got10k"], names=["a", "b"], sequences=known)

    assert check(good) == []
    problems = check({**good, **changes})
    assert any(message in problem for problem in problems), problems


def test_a_zip_with_one_folder_too_many(tmp_path: Path, capsys) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, {"got10k/a/a_001.txt": b"1,2,3,4\n", "got10k/a/a_time.txt": b"0.1\n"})
    assert run(tmp_path, "got10k", "--check", str(path)) == 1
    assert "the files are in a folder 'got10k' of the zip; they must be at its root" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["got10k"], "say whose results"),
        (["got10k", "--cfg_name", "nope"], "no results of got10k_test there; make them with tracking/test.py"),
        (["lasot", "--cfg_name", "fmt"], "unknown server 'lasot'; known: got10k, trackingnet"),
        (["got10k", "--check", "missing.zip"], "missing.zip: cannot read the zip"),
        (["got10k", "--check", __file__], "not a zip file"),
        (["got10k", "--check", "/dev/zero"], "not a zip file"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(tmp_path: Path, results: Path, refused, arguments, message: str) -> None:
    assert message in refused(run, tmp_path, *arguments)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("seq2_time.txt", None, "seq2_time.txt: cannot read the times"),
        ("seq2_time.txt", "0.1\n", "seq2_time.txt: 1 times for 4 boxes"),
        ("seq2.txt", "1\t2\t3\n", "seq2.txt: line 1: expected 4 numbers"),
        ("seq2.txt", "NaN\tNaN\tNaN\tNaN\n", "seq2.txt: NaN among the boxes"),
    ],
)
def test_results_that_cannot_be_packed(tmp_path: Path, results: Path, refused, file: str, text, message: str) -> None:
    path = results / "got10k" / file
    path.unlink() if text is None else path.write_text(text)
    assert message in refused(transform, "got10k", tmp_path)
    assert not (results / "got10k_submit.zip").exists()


def test_the_published_command(tmp_path: Path, results: Path) -> None:
    flags = ["--tracker_name", "seqtrack", "--cfg_name", "fmt", "--save_dir", tmp_path]
    done = run_python("lib/test/utils/transform_got10k.py", *flags)
    assert done.returncode == 0, done.stderr
    assert (results / "got10k_submit.zip").exists()


@pytest.fixture
def check(tmp_path, capsys):
    """Check a zip of these bytes; returns the exit code and what was printed."""

    def check_bytes(content: bytes) -> tuple[int, str]:
        (tmp_path / "a.zip").write_bytes(content)
        code = run(tmp_path, "got10k", "--check", str(tmp_path / "a.zip"))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert len(out + err) < 10_000
        assert "\x1b" not in out + err
        return code, out + err

    return check_bytes


def make(path: Path, compression: int = zipfile.ZIP_DEFLATED, name: str = NAME, boxes: bytes = b"1,2,3,4\n" * 50):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr(f"{name}/{name}_001.txt", boxes)
        archive.writestr(f"{name}/{name}_time.txt", b"0.1\n" * 50)
    return bytearray(path.read_bytes())


def patched(content: bytearray, local: int, central: int, value: bytes) -> bytearray:
    """Change a field of the first file in both of its headers."""
    for start, offset in ((content.index(b"PK\x03\x04"), local), (content.index(b"PK\x01\x02"), central)):
        content[start + offset : start + offset + len(value)] = value
    return content


@pytest.mark.parametrize(
    ("local", "central", "value", "message"),
    [
        (8, 10, b"\x63\x00", "compression"),
        (6, 8, b"\x01\x00", "encrypted"),
        (4, 6, b"\xff\x00", "version 25.5"),
        (14, 16, b"\x01\x02\x03\x04", "CRC"),
        (22, 24, b"\xff\xff\xff\x7f", "unpacks to more"),
        (22, 24, b"\xff\xff\xff\x0f", "far too large"),
    ],
)
def test_fields_of_the_headers(tmp_path, check, local, central, value, message):
    code, text = check(patched(make(tmp_path / "made.zip"), local, central, value))
    assert code == 1
    assert message in text


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_broken_streams(tmp_path, check, method):
    content = make(tmp_path / "made.zip", method)
    start = 30 + len(f"{NAME}/{NAME}_001.txt")
    content[start : start + 12] = b"\xff" * 12
    assert check(content)[0] == 1


def test_names_that_are_not_utf8_and_control_characters(tmp_path, check):
    name = f"{NAME}/{NAME}_001.txt".encode()
    content = bytes(patched(make(tmp_path / "made.zip"), 6, 8, b"\x00\x08"))
    assert check(content.replace(name, b"\xff\xfe" + name[2:]))[0] == 1
    code, text = check(make(tmp_path / "b.zip", name="\x1b[31m\n"))
    assert code == 1 and "\\x1b[31m" in text
    assert check(make(tmp_path / "b.zip", boxes=b"\x1b[31m" * 1000))[0] == 1


def test_flipped_bits(tmp_path, check, capsys):
    original, generator, counts = make(tmp_path / "made.zip"), random.Random(0), {1: 0, 2: 0}
    for _ in range(150):
        content = bytearray(original)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        counts[check(content)[0]] += 1
    with capsys.disabled():
        print(f"\nzips with a flipped bit: {counts}")
