"""tracking/analysis_results.py on fabricated results."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tracking.analysis_results as script
from lib.utils.cli import run_script
from tests.evaluation import fakes

LENGTHS = {"GOT-10k_Val_000001": 6, "GOT-10k_Val_000002": 9}
ROOT = Path(__file__).parents[2]


def results_folder(root: Path, config: str, tracker: str = "seqtrack") -> Path:
    return root / "test" / "tracking_results" / tracker / config / "got10k"


def write_results(root: Path, config: str, shift: float, **kwargs: str) -> None:
    truth = [(name, fakes.truth_boxes(frames, seed)) for seed, (name, frames) in enumerate(LENGTHS.items())]
    fakes.write_results(results_folder(root, config, **kwargs), [(n, np.add(b, [shift, 0, 0, 0])) for n, b in truth])


@pytest.fixture
def world(tmp_path: Path) -> Path:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    write_results(tmp_path, "good", 1)
    write_results(tmp_path, "bad", 5)
    return tmp_path


def run(root: Path, *arguments: str) -> int:
    places = ["--data_dir", str(root / "data"), "--save_dir", str(root)]
    return run_script(lambda: script.main([*arguments, *places]))


def rows(root: Path, name: str = "scores") -> list[dict[str, str]]:
    with (root / "test" / "result_plots" / "got10k_val" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_tables_and_plots(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--tracker", "seqtrack", "--config", "bad", "good", "--dataset", "got10k_val", "--static_box"]
    assert run(world, *command, "--per_sequence") == 0
    out = capsys.readouterr().out
    assert "protocol seqtrack" in out
    names = [row["tracker"] for row in rows(world)]
    assert set(names) == {"good", "bad", "static box"}
    assert names.index("good") < names.index("bad")
    assert {row["protocol"] for row in rows(world)} == {"seqtrack"}
    assert [row["sequence"] for row in rows(world, "per_sequence")] == list(LENGTHS)
    folder = world / "test" / "result_plots" / "got10k_val"
    assert str(folder) in out
    stems = {"success", "precision", "norm_precision"}
    assert {path.name for path in folder.iterdir()} >= {f"{s}{suffix}" for s in stems for suffix in (".png", ".pdf")}


def test_bare_call_analyses_everything(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_results(world, "theirs", 2, tracker="other")
    assert run(world, "--no_plots") == 0
    assert [row["tracker"] for row in rows(world)] == ["seqtrack/good", "other/theirs", "seqtrack/bad"]
    assert not list((world / "test" / "result_plots").rglob("*.png"))


def test_bare_call_without_results_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 2
    assert "tracking/test.py" in capsys.readouterr().err
    write_results(tmp_path, "good", 1)
    assert run(tmp_path) == 2
    assert "--data_dir" in capsys.readouterr().err


def test_static_box_alone(world: Path) -> None:
    for path in results_folder(world, "good").parents[1].rglob("*.txt"):
        path.unlink()
    assert run(world, "--dataset", "got10k_val", "--no_plots") == 2
    assert run(world, "--dataset", "got10k_val", "--no_plots", "--static_box") == 0
    assert [row["tracker"] for row in rows(world)] == ["static box"]


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "latex"])
def test_printed_format_and_output_dir(world: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert run(world, "--no_plots", "--format", form, "--output_dir", str(world / "out")) == 0
    suffix = {"text": "txt", "csv": "csv", "markdown": "md", "latex": "tex"}[form]
    assert (world / "out" / f"scores.{suffix}").read_text() in capsys.readouterr().out
    assert not (world / "test" / "result_plots").exists()


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    return captured.err


@pytest.mark.parametrize("arguments", [[], ["--dataset", "got10k_val", "--config", "good"]])
def test_a_missing_result_is_named_and_never_a_score(
    world: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    path = results_folder(world, "good") / "GOT-10k_Val_000002.txt"
    path.unlink()
    assert run(world, *arguments) == 2
    error = one_line(capsys)
    assert str(path) in error
    assert "1 of 2 results are missing" in error
    assert not (world / "test" / "result_plots").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\t3\t4\n", "1 boxes for 6 frames; the result is incomplete"),
        ("1\t2\t3\n" * 6, "line 1: expected 4 numbers"),
        ("1\t2\t3\t4\n" * 5 + "nan\tnan\tnan\tnan\n", "NaN or a negative size in row 6"),
        ("", "0 boxes for 6 frames"),
    ],
)
def test_a_malformed_result_is_named(world: Path, capsys: pytest.CaptureFixture[str], text: str, message: str) -> None:
    (results_folder(world, "good") / "GOT-10k_Val_000001.txt").write_text(text)
    assert run(world) == 2
    error = one_line(capsys)
    assert "GOT-10k_Val_000001" in error
    assert message in error


def test_surplus_rows_are_ignored(world: Path) -> None:
    assert run(world, "--no_plots") == 0
    before = rows(world)
    path = results_folder(world, "good") / "GOT-10k_Val_000001.txt"
    path.write_text(path.read_text() + "1\t2\t3\t4\n")
    assert run(world, "--no_plots") == 0
    assert rows(world) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "lasso"], "unknown data set 'lasso'; known: got10k_ltrval, got10k_test, got10k_val"),
        (["--dataset", "got10k_val", "--config", "nope"], "with results on it: seqtrack bad, seqtrack good"),
        (["--dataset", "got10k_val", "--tracker", "stark", "--config", "good"], "no results of stark good"),
        (["--protocol", "otb"], "unknown protocol 'otb'; known: seqtrack"),
    ],
)
def test_unknown_names(world: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(world, *arguments) == 2
    assert message in one_line(capsys)


def test_hidden_truth_is_refused(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.write_got10k(world / "data" / "got10k", {"GOT-10k_Test_000001": 3}, split="test")
    assert run(world, "--dataset", "got10k_test", "--static_box") == 2
    error = one_line(capsys)
    assert "submit the results to its server" in error
    assert "http" in error


def test_missing_data_names_the_setting(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (world / "data" / "got10k").rename(world / "data" / "elsewhere")
    assert run(world, "--dataset", "got10k_val") == 2
    assert "--data_dir" in one_line(capsys)


def test_as_a_script_from_another_folder(world: Path) -> None:
    places = ["--data_dir", "data", "--save_dir", "."]
    command = [sys.executable, str(ROOT / "tracking" / "analysis_results.py"), "--no_plots", *places]
    done = subprocess.run(command, cwd=world, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout
