"""Finding a toolkit and judging how it went, with programs that play the toolkit."""

import contextlib
import json
import sys
from pathlib import Path

import pytest

from external.vot20.toolkit import Toolkit, find_toolkit, pack_results, read_scores, run_toolkit
from lib.utils.cli import run_script
from lib.utils.errors import DataError, InputError, SeqTrackError
from tracking import vot_evaluate


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def answering(path: Path, **report: object) -> Path:
    return program(path, f"echo '{json.dumps(report)}'")


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = answering(tmp_path / "env/bin/python", found=True, version="0.7.4", attributee="0.1.9", folder="/x")
    expected = Toolkit(python, "0.7.4", Path("/x"))
    program(tmp_path / "env/bin/vot", "")
    for place in (python, tmp_path / "env", tmp_path / "env/bin/vot"):
        assert find_toolkit(place) == expected
    monkeypatch.setenv("SEQTRACK_VOT", str(tmp_path / "env"))
    assert find_toolkit() == expected
    with pytest.raises(InputError, match="no Python interpreter"):
        find_toolkit(tmp_path / "no")


def test_missing_and_broken_ones_say_which_versions_work(tmp_path: Path) -> None:
    missing = answering(tmp_path / "a/python", found=False)
    with pytest.raises(
        InputError, match=r"not installed.* -m pip install vot-toolkit==0\.7\.4 attributee==0\.1\.9.*--vot"
    ):
        find_toolkit(missing)
    report = {
        "found": True,
        "version": "0.7.2",
        "attributee": "0.1.10",
        "folder": "/x",
        "error": "TypeError: dataclass",
    }
    broken = answering(tmp_path / "b/python", **report)
    with pytest.raises(InputError, match=r"0\.7\.2 \(attributee 0\.1\.10\).*TypeError: dataclass; .*0\.7\.4"):
        find_toolkit(broken)
    with pytest.raises(InputError, match="cannot ask"):
        find_toolkit(program(tmp_path / "c/python", "echo no such thing >&2; exit 3"))


def test_the_running_interpreter_can_be_asked() -> None:
    try:
        assert find_toolkit(sys.executable).version
    except InputError as error:
        assert "these versions work" in str(error) or "is not installed" in str(error)


def test_success_is_what_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = program(tmp_path / "good", 'echo "Processing frame 1"; echo "Evaluation concluded successfuly"')
    text = run_toolkit(Toolkit(good, "0.7.4", tmp_path), "evaluate", [], tmp_path, show=sys.stdout.write)
    assert "Processing frame 1" in text
    assert capsys.readouterr().out == "Evaluation concluded successfuly\n"
    crash = 'mkdir -p logs; printf "Traceback\\nRuntimeError: boom\\n" > logs/t_1.log; echo interrupted; exit 0'
    bad = Toolkit(program(tmp_path / "bad", crash), "0.7.4", tmp_path)
    with pytest.raises(SeqTrackError, match=r"`vot evaluate` failed \(its exit code was 0\)"):
        run_toolkit(bad, "evaluate", [], tmp_path, show=sys.stdout.write)
    assert "RuntimeError: boom" in capsys.readouterr().out


def test_scores(tmp_path: Path) -> None:
    content = {
        "trackers": {"a": {}, "b": {}},
        "results": {
            "baseline": {
                "parameters": {
                    "analyses": [
                        {"type": "vot.analysis.multistart.EAOScore"},
                        {"type": "vot.analysis.multistart.EAOCurve"},
                        {"type": "vot.analysis.multistart.AverageAccuracyRobustness"},
                    ]
                },
                "results": [[[0.3], [0.2]], [[[1, 2]], [[3]]], [[0.5, 0.9, 7], [0.4, 0.8, 7]]],
            }
        },
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    first, second = read_scores(path)
    assert (first.experiment, first.tracker) == ("baseline", "a")
    assert first.values == {"EAO": 0.3, "accuracy": 0.5, "robustness": 0.9}
    assert second.values["EAO"] == 0.2
    for text in ("", "{}", '{"trackers": {}, "results": {"x": {}}}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"a\.json"):
            read_scores(path)


def test_scores_of_several_targets(tmp_path: Path) -> None:
    analyses = [
        {"type": "vot.analysis.accuracy.AverageAccuracy", "name": "Quality"},
        {"type": "vot.analysis.longterm.AccuracyRobustness", "name": "AR"},
        {"type": "vot.analysis.longterm.AverageQualityAuxiliary"},
    ]
    rows = [[[0.7]], [[0.8, 0.9, [0.9, 0.8]]], [[0.1, 0.0, None]]]
    baseline = {"parameters": {"analyses": analyses}, "results": rows}
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"trackers": {"a": {}}, "results": {"baseline": baseline}}))
    (score,) = read_scores(path)
    assert score.values == {"quality": 0.7, "accuracy": 0.8, "robustness": 0.9, "NRE": 0.1, "DRE": 0.0}


def test_the_packed_file_is_the_one_that_is_named(tmp_path: Path) -> None:
    text = 'touch a_1.zip; echo "Result packaging successful, archive available in a_1.zip"'
    assert pack_results(Toolkit(program(tmp_path / "good", text), "0.7.4", tmp_path), "a", tmp_path).name == "a_1.zip"
    for text, problem in (
        ('echo "Result packaging successful, archive available in b.zip"', "named no file"),
        ('echo "Unable to continue, experiments not complete"', r"`vot pack` failed"),
    ):
        with pytest.raises(SeqTrackError, match=problem):
            pack_results(Toolkit(program(tmp_path / "bad", text), "0.7.4", tmp_path), "a", tmp_path)


def test_no_module_of_a_shared_or_working_folder_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ``json.py`` of anybody in the folder for temporary files, or in the workspace, must not run."""
    canary = tmp_path / "canary"
    for name in ("json", "os", "importlib", "vot"):
        (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with contextlib.suppress(InputError):
        find_toolkit(sys.executable)
    if sys.version_info >= (3, 11):
        with pytest.raises(SeqTrackError, match="`vot evaluate` failed"):
            run_toolkit(Toolkit(Path(sys.executable), "0.7.4", tmp_path), "evaluate", ["--nonsense"], tmp_path)
    assert not canary.exists()
    assert not list(tmp_path.glob("seqtrack-vot-*"))


@pytest.mark.parametrize("answer", ["5", "[1]", "{}", "null", '{"found": 1}', "[" * 100_000])
def test_an_interpreter_that_answers_nonsense_is_named(tmp_path: Path, answer: str) -> None:
    (tmp_path / "answer").write_text(answer)
    with pytest.raises(InputError, match=r"python: cannot ask for the VOT toolkit"):
        find_toolkit(program(tmp_path / "python", f"cat {tmp_path / 'answer'}"))


def test_a_file_that_cannot_be_run_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, mode in ((tmp_path / "vot", 0o644), (tmp_path / "python", 0o644)):
        path.write_bytes(b"\x00\x01 no program")
        path.chmod(mode)
    for place in ("vot", "python"):
        assert run_script(lambda place=place: vot_evaluate.main(["x", "--vot", str(tmp_path / place)])) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "cannot be run" in error


@pytest.mark.parametrize("text", ["sequences: [1]", "sequences: {a: b}", "a: [", "\x00", "[" * 5000, "sequences: 5"])
def test_a_damaged_workspace_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    python = answering(tmp_path / "python", found=True, version="0.7.4", attributee="0.1.9", folder="/x")
    (tmp_path / "config.yaml").write_text(text)
    command = ["x", "--vot", str(python), "--workspace_dir", str(tmp_path)]
    assert run_script(lambda: vot_evaluate.main(command)) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_results_of_an_earlier_run_are_not_taken_for_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("find_toolkit", "run_toolkit", "check_sequences", "sequences_folder", "pack_results"):
        monkeypatch.setattr(vot_evaluate, name, lambda *_, **__: None)
    monkeypatch.setattr(vot_evaluate, "is_scored", lambda *_: False)
    (tmp_path / "results" / "old" / "baseline" / "car").mkdir(parents=True)
    (tmp_path / "results" / "new").mkdir()
    command = ["old", "new", "--workspace_dir", str(tmp_path)]
    for flags, count in (([], 1), (["--force"], 0)):
        assert vot_evaluate.main([*command, *flags]) == 0
        printed = capsys.readouterr().out
        assert printed.count("are kept") == printed.count("old: results of an earlier run are kept") == count
