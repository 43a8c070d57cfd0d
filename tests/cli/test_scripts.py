"""What all scripts share: their parser of flags, and Ctrl-C while they import."""

import builtins
import importlib
import runpy
import signal
import sys
from pathlib import Path

import pytest

from lib.config.paths import PROJECT_ROOT
from lib.utils.cli import ScriptParser, run_script

SCRIPTS = sorted(
    path.relative_to(PROJECT_ROOT)
    for folder in ("tracking", "benchmarks", "lib/test/utils", "lib/train")
    for path in (PROJECT_ROOT / folder).glob("*.py")
    if 'if __name__ == "__main__":' in path.read_text(encoding="utf-8")
    and path.name != "opencv_tracker.py"  # runs in an environment without this project
)


class Imported(Exception):
    """Ends a script at its first import of what is not Python's own."""


@pytest.mark.parametrize("path", SCRIPTS, ids=str)
def test_ctrl_c_during_the_imports_shows_no_traceback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = builtins.__import__

    def watched(name: str, *arguments: object) -> object:
        if name.split(".")[0] not in sys.stdlib_module_names:
            seen.append(signal.getsignal(signal.SIGINT))
            raise Imported(name)
        return real(name, *arguments)

    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(builtins, "__import__", watched)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Imported):
            runpy.run_path(str(PROJECT_ROOT / path), run_name="__main__")
    finally:
        monkeypatch.undo()
        signal.signal(signal.SIGINT, before)
    assert seen == [signal.SIG_DFL]


def test_a_running_script_takes_ctrl_c_back() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        assert run_script(lambda: signal.raise_signal(signal.SIGINT)) == 130
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path.name != "launcher.py"], ids=str)
def test_errors_of_flags_are_printable_and_short(path: Path, capsys: pytest.CaptureFixture) -> None:
    main = importlib.import_module(".".join(path.with_suffix("").parts)).main
    with pytest.raises(SystemExit) as stopped:
        main([f"--x\x1b[31m\n\u202e\udcff{'x' * 5000}=--"])
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    line = error[error.index(": error: argument --x\\x1b") :]
    assert line.endswith("x: expected a value, got '--'\n")
    assert len(line) < 1100 and line[:-1].isprintable()


def test_an_echoed_value_is_printable_and_short(capsys: pytest.CaptureFixture) -> None:
    parser = ScriptParser(prog="x")
    parser.add_argument("--number", type=int)
    for argument in ("--\x1b\n", "--number=\u202e", "--number=" + "9x" * 5000, "\udcff" * 3000):
        with pytest.raises(SystemExit):
            parser.parse_args([argument])
        line = capsys.readouterr().err.partition("\n")[2]
        assert len(line) < 6100 and line[:-1].isprintable()
