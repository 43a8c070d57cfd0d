"""Files, seeds, names, devices, and how scripts end."""

import argparse
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.utils.cli import run_script, user_path
from lib.utils.device import resolve_device, resolve_dtype
from lib.utils.errors import ConfigError, DataError, InputError, lookup, printable
from lib.utils.files import atomic_path, folder_lock, write_text_atomic
from lib.utils.seed import SampleRng, sample_rng
from tests.processes import another_owner


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_only_files_are_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: exists and is not a file"):
            write_text_atomic(tmp_path / name, "x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "pipe"]


@pytest.mark.parametrize("name", ["x" * 250 + ".mp4", os.fsdecode(b"\xff\xfe.mp4"), "new\nline.mp4", ".mp4"])
def test_the_temporary_name_is_short_and_ascii_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name.isascii() and len(temporary.name) < 70 and temporary.name[0] == "."
        temporary.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_sample_rng_is_a_function_of_its_arguments() -> None:
    def draw(rng: SampleRng) -> tuple:
        return rng.python.random(), rng.numpy.rand(), torch.rand(1, generator=rng.torch).item()

    assert draw(sample_rng(1, 2, 3)) == draw(sample_rng(1, 2, 3))
    drawn = {draw(sample_rng(*triple)) for triple in [(1, 2, 3), (2, 1, 3), (1, 3, 2), (1, 23, 0), (12, 3, 0)]}
    assert len(drawn) == 5


def test_from_seed_equals_the_global_generators() -> None:
    rng = SampleRng.from_seed(7)
    random.seed(7)
    np.random.seed(7)
    torch.manual_seed(7)
    assert [rng.python.randint(0, 99) for _ in range(5)] == [random.randint(0, 99) for _ in range(5)]
    assert rng.numpy.uniform(size=700).tolist() == np.random.uniform(size=700).tolist()
    assert torch.equal(torch.randn(4, generator=rng.torch), torch.randn(4))


def test_lookup_lists_the_known_names() -> None:
    assert lookup({"a": 1}, "a", "letter") == 1
    with pytest.raises(
        ConfigError, match=r"unknown tracker 'seqtrak'; known: other, seqtrack; did you mean seqtrack\?"
    ):
        lookup({"seqtrack": 1, "other": 2}, "seqtrak", "tracker")


def test_devices_and_dtypes() -> None:
    assert resolve_device("cpu").type == "cpu"
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    assert resolve_dtype("bfloat16") is torch.bfloat16
    for bad in ("gpu", "cuda:999", "meta"):
        with pytest.raises(InputError, match=bad):
            resolve_device(bad)
    with pytest.raises(InputError, match="unknown dtype 'int8'; known: float32, bfloat16, float16"):
        resolve_dtype("int8")


def test_how_scripts_end(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException):
        def main() -> int:
            raise error

        return main

    assert run_script(lambda: 3) == 3
    assert run_script(fail(DataError("a.txt: line 3: expected 4 numbers"))) == 2
    assert capsys.readouterr().err.strip().endswith("error: a.txt: line 3: expected 4 numbers")
    assert run_script(fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):
        run_script(fail(ZeroDivisionError()))


def test_text_from_outside_is_one_short_line() -> None:
    assert printable("a\x1b[31m\nb\u202ec") == "a\\x1b[31m\\nb\\u202ec"
    assert printable("\udcff") == "\\udcff"
    assert printable("naïve 日本") == "naïve 日本"
    long = printable("x" * 100_000 + "end", 90)
    assert len(long) <= 95 and long.endswith("end")
    assert "\n" not in str(InputError("a\nb")) and len(str(InputError("y" * 10**6))) < 1100


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (PermissionError(13, "Permission denied", "/x/y"), 2, "/x/y: Permission denied"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (InputError("--x: \x1b[2Jno"), 2, "--x: \\x1b[2Jno"),
    ],
)
def test_what_the_system_refuses_is_one_line(capsys, error: Exception, code: int, text: str) -> None:
    def fail() -> int:
        raise error

    assert run_script(fail) == code
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1 and captured.rstrip().endswith(text)


def test_a_user_path_expands_the_home_folder(monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert user_path("~/x") == Path("/home/somebody/x")
    for text in ("", "a\0b", "~nosuchuser/x"):
        with pytest.raises(argparse.ArgumentTypeError):
            user_path(text)


def test_a_folder_has_one_owner_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    with another_owner(tmp_path, "training") as other:
        with pytest.raises(InputError, match=f"training is going on there already, by process {other.pid} on "):
            folder_lock(tmp_path, "training").__enter__()
        with folder_lock(tmp_path, "evaluation"):
            pass
    assert (tmp_path / ".training.lock").exists()
    with folder_lock(tmp_path, "training"), pytest.raises(InputError, match="in this process"):
        folder_lock(tmp_path, "training").__enter__()
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_a_lock_is_taken_leaves_none(tmp_path: Path) -> None:
    """It comes between two lines: here in turn before each line that runs until the lock is held."""
    source, steps, left = folder_lock.__wrapped__.__code__.co_filename, 0, 0

    def interrupt(frame, event, argument):
        nonlocal steps
        if frame.f_code.co_filename == source and event == "line":
            steps -= 1
            if steps == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return interrupt

    before = sys.gettrace()
    for number in range(1, 100):
        steps = number
        sys.settrace(interrupt)
        try:
            with folder_lock(tmp_path, "test"):
                sys.settrace(before)
                break
        except KeyboardInterrupt:
            left += len(list(tmp_path.iterdir()))
            (tmp_path / ".test.lock").unlink(missing_ok=True)
        finally:
            sys.settrace(before)
    assert 10 < number < 99
    assert left <= 3  # before it is known whose lock it is, the file must stay
