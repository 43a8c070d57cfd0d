"""Zips that are damaged or made to do harm are problems of a submission, never a traceback."""

import random
import zipfile
from pathlib import Path

import pytest

import tracking.pack_results as script
from lib.utils.cli import run_script

NAME = "GOT-10k_Test_000001"


@pytest.fixture
def check(tmp_path, capsys):
    """Check a zip of these bytes; returns the exit code and what was printed."""

    def run(content: bytes) -> tuple[int, str]:
        path = tmp_path / "a.zip"
        path.write_bytes(content)
        places = ["--save_dir", str(tmp_path), "--data_dir", str(tmp_path)]
        code = run_script(lambda: script.main(["got10k", "--check", str(path), *places]))
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert len(out + err) < 10_000
        assert "\x1b" not in out + err
        return code, out + err

    return run


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
    assert check(make(tmp_path / "b.zip", name="\x1b[31m\n"))[0] == 1
    assert check(make(tmp_path / "b.zip", boxes=b"\x1b[31m" * 1000))[0] == 1


def test_flipped_bits(tmp_path, check, capsys):
    original, generator, counts = make(tmp_path / "made.zip"), random.Random(0), {1: 0, 2: 0}
    for _ in range(300):
        content = bytearray(original)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        counts[check(content)[0]] += 1
    with capsys.disabled():
        print(f"\nzips with a flipped bit: {counts}")
