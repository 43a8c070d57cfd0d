"""tracking/analysis_results.py where results or labels do not belong together."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.test_analysis import FIRST, LENGTHS, VAL, results_folder, rows, run, write_results, write_world


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path)


def test_what_is_asked_for_twice_is_no_second_run_and_what_has_no_results_is_named(world: Path, refused) -> None:
    assert run(world, *VAL, "--tracker", "seqtrack", "seqtrack", "--config", "good", "good.yaml", "--no_plots") == 0
    assert [row["tracker"] for row in rows(world)] == ["good"]
    message = refused(run, world, *VAL, "--tracker", "seqtrack", "other", "--no_plots")
    assert "no results of other on got10k_val" in message


def test_experiments_that_end_in_a_number_are_no_runs_of_one_tracker(world: Path, capsys) -> None:
    shutil.rmtree(results_folder(world, "bad").parent)
    for config, experiment in (("b_256", "b_256"), ("b_384", "b_384.yaml"), ("b_384_000", "b_384")):
        write_results(world, config, 2)
        manifest = {"config": experiment, "dtype": "float16" if config == "b_384" else "float32"}
        (results_folder(world, config) / "manifest-val.json").write_text(json.dumps(manifest))
    assert run(world, *VAL, "--merge_runs", "--no_plots") == 0
    assert {row["tracker"] for row in rows(world)} == {"good", "b_256", "b_384 (2 runs)"}
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "runs of b_384 were made with different dtypes" in err


@pytest.mark.parametrize(
    ("file", "text", "arguments", "message"),
    [
        ("meta_info.ini", "object_class: cat\n", ["--per_class"], "no class of target"),
        ("cover.label", "8\n" * LENGTHS[FIRST], ["--protocol", "got10k"], "no labels of the frames that count"),
        ("meta_info.ini", "resolution: (64, 48)\n", ["--protocol", "got10k"], "no resolution (meta_info.ini)"),
    ],
)
def test_what_only_some_sequences_have_is_no_basis_of_a_table(world: Path, refused, file, text, arguments, message):
    assert run(world, *VAL, "--no_plots") == 0
    (world / "data" / "got10k" / "val" / FIRST / file).write_text(text)
    expected = f"got10k_val: 1 of 2 sequences have {message}"
    assert expected in refused(run, world, *VAL, "--no_plots", *arguments)
    for path in (world / "data" / "got10k" / "val").glob("GOT*"):
        (path / file).write_text("8\n" * LENGTHS[path.name] if file == "cover.label" else text)
    assert run(world, *VAL, "--no_plots", *arguments) == 0
