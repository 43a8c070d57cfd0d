"""tracking/analysis_results.py on fabricated results."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import tracking.analysis_results as script
from lib.data.sequence import Benchmark
from lib.test.analysis import plots
from lib.test.evaluation import SequenceList
from lib.utils.cli import run_script
from tests.cli.processes import run_python
from tests.evaluation import fakes

FIRST, SECOND = "GOT-10k_Val_000001", "GOT-10k_Val_000002"
LENGTHS = {FIRST: 6, SECOND: 9}
VAL = ("--dataset", "got10k_val")


def results_folder(root: Path, config: str, tracker: str = "seqtrack") -> Path:
    return root / "test" / "tracking_results" / tracker / config / "got10k"


def write_results(root: Path, config: str, shift: float, **kwargs: str) -> None:
    ground_truth = [(name, fakes.truth_boxes(frames, seed)) for seed, (name, frames) in enumerate(LENGTHS.items())]
    results = [
        (name, np.concatenate([boxes[:1], boxes[1:] + np.array([shift, 0, 0, 0])])) for name, boxes in ground_truth
    ]
    fakes.write_results(results_folder(root, config, **kwargs), results)


def write_world(tmp_path: Path) -> Path:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    write_results(tmp_path, "good", 1)
    write_results(tmp_path, "bad", 5)
    return tmp_path


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return write_world(tmp_path)


def run(root: Path, *arguments: str) -> int:
    places = ["--data_dir", str(root / "data"), "--save_dir", str(root)]
    return run_script(lambda: script.main([*arguments, *places]))


def rows(root: Path, name: str = "scores") -> list[dict[str, str]]:
    with (root / "test" / "result_plots" / "got10k_val" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_tables_and_plots(world: Path, capsys) -> None:
    command = ["--tracker", "seqtrack", "--config", "bad", "good", *VAL, "--static_box"]
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


def test_bare_call_analyses_everything(world: Path, capsys) -> None:
    write_results(world, "theirs", 2, tracker="other")
    assert run(world, "--no_plots") == 0
    assert [row["tracker"] for row in rows(world)] == ["seqtrack/good", "other/theirs", "seqtrack/bad"]
    assert not list((world / "test" / "result_plots").rglob("*.png"))


def test_bare_call_without_results_says_what_to_do(tmp_path: Path, refused) -> None:
    assert "tracking/test.py" in refused(run, tmp_path)
    write_results(tmp_path, "good", 1)
    assert "--data_dir" in refused(run, tmp_path)


def test_static_box_alone(world: Path) -> None:
    for path in results_folder(world, "good").parents[1].rglob("*.txt"):
        path.unlink()
    assert run(world, *VAL, "--no_plots") == 2
    assert run(world, *VAL, "--no_plots", "--static_box") == 0
    assert [row["tracker"] for row in rows(world)] == ["static box"]


@pytest.mark.parametrize("form", ["text", "csv", "markdown", "latex"])
def test_printed_format_and_output_dir(world: Path, capsys, form: str) -> None:
    assert run(world, "--no_plots", "--format", form, "--output_dir", str(world / "out")) == 0
    suffix = {"text": "txt", "csv": "csv", "markdown": "md", "latex": "tex"}[form]
    assert (world / "out" / f"scores.{suffix}").read_text() in capsys.readouterr().out
    assert not (world / "test" / "result_plots").exists()


def test_a_tilde_is_the_home_folder(world: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(world))
    command = ["--no_plots", "--data_dir", "~/data", "--save_dir", "~", "--output_dir", "~/out"]
    assert script.main(command) == 0
    assert (world / "out" / "scores.csv").is_file()


@pytest.mark.parametrize("arguments", [(), (*VAL, "--config", "good")])
def test_a_missing_result_is_named_and_never_a_score(world: Path, refused, arguments) -> None:
    path = results_folder(world, "good") / f"{SECOND}.txt"
    path.unlink()
    error = refused(run, world, *arguments)
    assert str(path) in error and "1 of 2 results are missing" in error
    assert not (world / "test" / "result_plots").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\t3\t4\n", "1 boxes for 6 frames; the result is incomplete"),
        ("1\t2\t3\n" * 6, "line 1: expected 4 numbers"),
        ("", "0 boxes for 6 frames"),
    ],
)
def test_a_malformed_result_is_named(world: Path, refused, text: str, message: str) -> None:
    (results_folder(world, "good") / f"{FIRST}.txt").write_text(text)
    error = refused(run, world)
    assert FIRST in error and message in error


def test_surplus_rows_are_ignored(world: Path) -> None:
    assert run(world, "--no_plots") == 0
    before = rows(world)
    path = results_folder(world, "good") / f"{FIRST}.txt"
    path.write_text(path.read_text() + "1\t2\t3\t4\n")
    assert run(world, "--no_plots") == 0
    assert rows(world) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--dataset", "lasso"),
            "unknown dataset 'lasso'; known: avist, didi, dtb70, got10k_ltrval",
        ),
        ((*VAL, "--config", "nope"), "with results on it: seqtrack bad, seqtrack good"),
        ((*VAL, "--tracker", "stark", "--config", "good"), "no results of stark good"),
        (("--protocol", "otb"), "unknown protocol 'otb'; known: got10k, pytracking, seqtrack"),
        (("--no_plots", "--per_attribute"), "ships no attributes"),
        (("--no_plots", "--config", "good", "--float", *VAL), "--float"),
        (("--colors", "good=bluish"), "--colors: expected NAME=COLOR"),
    ],
)
def test_mistakes_are_one_line(world: Path, refused, arguments, message: str) -> None:
    assert message in refused(run, world, *arguments)


def test_hidden_ground_truth_and_missing_data_are_refused(world: Path, refused) -> None:
    fakes.write_got10k(world / "data" / "got10k", {"GOT-10k_Test_000001": 3}, split="test")
    error = refused(run, world, "--dataset", "got10k_test", "--static_box")
    assert "submit the results to its server" in error and "http" in error
    (world / "data" / "got10k").rename(world / "data" / "elsewhere")
    assert "--data_dir" in refused(run, world, *VAL)


def test_as_a_script_from_another_folder(world: Path) -> None:
    flags = ["--no_plots", "--data_dir", "data", "--save_dir", "."]
    done = run_python("tracking/analysis_results.py", *flags, cwd=world)
    assert done.returncode == 0, done.stderr
    assert "AUC" in done.stdout


def test_missing_sequences_are_left_out_on_request_and_counted(world: Path, capsys) -> None:
    path = results_folder(world, "good") / f"{SECOND}.txt"
    path.write_text("1\t2\t3\t4\n")  # too few lines
    assert run(world, "--no_plots", "--allow-missing") == 0
    assert "got10k_val (1 of 2 sequences, 6 frames; good lacks 1)" in capsys.readouterr().out
    assert {(row["tracker"], row["sequences"], row["sequences_of"]) for row in rows(world)} == {
        ("good", "1", "2"),
        ("bad", "1", "2"),
    }
    (results_folder(world, "good") / f"{FIRST}.txt").write_text("")
    assert run(world, *VAL, "--config", "good", "--no_plots", "--allow_missing") == 2


def test_a_sequence_that_cannot_be_read_is_left_out_on_request(world: Path, refused, capsys) -> None:
    good, bad = LENGTHS
    (world / "data" / "got10k" / "val" / bad / "groundtruth.txt").write_text("x\n")
    assert f"{bad}/groundtruth.txt: line 1" in refused(run, world, "--no_plots")
    assert run(world, "--no_plots", "--allow-missing") == 0
    assert "got10k_val (1 of 2 sequences, 6 frames)" in capsys.readouterr().out
    assert run(world, *VAL, "--playback", good) == 0
    assert run(world, *VAL, "--playback", bad) == 2


def test_protocols_side_by_side(world: Path, capsys) -> None:
    assert run(world, "--protocol", "seqtrack", "pytracking", "got10k", "--no_plots") == 0
    out = capsys.readouterr().out
    assert all(f"protocol {name}" in out for name in ("seqtrack", "pytracking", "got10k"))
    assert {"AO", "SR50", "SR75"} < rows(world, "scores_got10k")[0].keys()
    assert run(world, "--protocol", "got10k") == 0
    folder = world / "test" / "result_plots" / "got10k_val"
    assert (folder / "success.png").is_file()
    assert not (folder / "precision.png").exists()  # got10k knows none
    assert run(world, "--protocol", "got10k", "--style", "paper", "--colors", "good=#123456") == 0
    assert "#123456" in (folder / "success.svg").read_text()


def test_runs_of_one_tracker(world: Path, capsys) -> None:
    for number, shift in enumerate((1, 3)):
        write_results(world, f"cfg_{number:03d}", shift)
    assert run(world, *VAL, "--config", "cfg", "--merge_runs", "--no_plots") == 0
    (row,) = rows(world)
    assert row["tracker"] == "cfg (2 runs)"
    assert float(row["AUC std"]) > 0
    assert "±" in capsys.readouterr().out


def test_attributes_and_classes(world: Path, monkeypatch) -> None:
    load = Benchmark.load

    def with_attributes(*args, **kwargs) -> SequenceList:
        first, second = load(*args, **kwargs)
        first = replace(first, attributes=("Blur", "Scale", "Low Light"), object_class="cat")
        return SequenceList([first, replace(second, attributes=("Blur",), object_class="dog")])

    monkeypatch.setattr(plots, "PLOTS", ())  # only the radar
    monkeypatch.setattr(Benchmark, "load", with_attributes)
    assert run(world, "--per_attribute", "--per_class") == 0
    assert [row["attribute"] for row in rows(world, "per_attribute")] == ["Blur (2)", "Low Light (1)", "Scale (1)"]
    overall = {row["tracker"]: row["AUC"] for row in rows(world)}
    assert rows(world, "per_attribute")[0]["good"] == overall["good"]  # both sequences have it
    assert [row["class"] for row in rows(world, "per_class")] == ["cat (1)", "dog (1)"]
    image = cv2.imread(str(world / "test" / "result_plots" / "got10k_val" / "attributes.png"))
    assert min(image.shape[:2]) > 500


def test_published_results_beside_ours(world: Path) -> None:
    raw = world / "downloads" / "their_b256" / "got10k"
    raw.parent.mkdir(parents=True)
    results_folder(world, "bad").rename(raw)
    command = [*VAL, "--no_plots", "--results", str(raw.parent)]
    assert run(world, *command, "--config", "good") == 0
    assert [row["tracker"] for row in rows(world)] == ["good", "their_b256"]
    assert run(world, *command) == 0
    assert [row["tracker"] for row in rows(world)] == ["their_b256"]
    assert run(world, "--results", str(raw.parent)) == 2  # which benchmark?
    other = world / "other" / "their_b256"
    shutil.copytree(raw.parent, other)
    assert run(world, *command, str(other), f"good={other}", "--config", "good") == 0
    names = [row["tracker"] for row in rows(world)]  # never averaged as if they were runs of one tracker
    assert sorted(names) == ["good", "good (raw)", "their_b256", "their_b256 (raw)"]


def test_playback(world: Path, capsys) -> None:
    assert run(world, *VAL, "--playback", SECOND) == 0
    path = world / "test" / "result_plots" / "got10k_val" / "GOT-10k_Val_000002.mp4"
    assert str(path) in capsys.readouterr().out
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert len(frames) == 9
    assert frames[0].shape[0] >= 48 and frames[0].shape[1] > 64  # the legend is beside the frame
    assert np.ptp(frames[4][:48, :64].astype(int)) > 60  # the frames themselves are plain gray
    assert run(world, *VAL, "--playback", "nope") == 2


def test_results_on_own_videos_are_not_left_out_in_silence(world: Path, capsys) -> None:
    results_folder(world, "good").with_name("my_videos").mkdir()
    fakes.write_results(results_folder(world, "good").with_name("my_videos"), [("a", np.ones((3, 4)))])
    assert run(world, "--no_plots") == 0
    captured = capsys.readouterr()
    assert "AUC" in captured.out
    assert "left out" in captured.err and "my_videos" in captured.err and "folder:<path>" in captured.err
    assert captured.err.count("\n") == 1


def test_twelve_trackers_fit_a_terminal(world: Path, capsys, monkeypatch) -> None:
    for number in range(12):
        write_results(world, f"seqtrack_b256_ablation_{number:02d}", 0.3 * number)
    monkeypatch.setenv("COLUMNS", "100")
    assert run(world, "--no_plots", "--per_sequence") == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines() if "|" in line) <= 100
    assert len(rows(world, "per_sequence")[0]) > 12 + 1  # all in one row of the CSV file


@pytest.mark.parametrize("kind", ["file", "loop", "long"])
def test_an_output_folder_that_cannot_be_written_is_one_line(world: Path, unwritable, capsys, kind: str) -> None:
    place = unwritable(kind)
    for flags in ((), ("--playback", "0")):
        assert run(world, *VAL, *flags, "--output_dir", str(place)) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and ": error: " in error and place.name[:40] in error
    if kind == "file":
        assert place.read_text() == "keep"


def test_the_caption_names_the_checkpoint_of_the_split(world: Path, capsys) -> None:
    for split, digit in (("val", "a"), ("test", "b")):
        manifest = {"checkpoint": f"/x/{split}.pth.tar", "sha256": digit * 64}
        (results_folder(world, "good") / f"manifest-{split}.json").write_text(json.dumps(manifest))
    assert run(world, "--no_plots") == 0
    assert "good: val.pth.tar (SHA-256 aaaaaaaaaaaa)\nbad: weights unknown" in capsys.readouterr().out
    assert [row["weights"] for row in rows(world)] == ["val.pth.tar (SHA-256 aaaaaaaaaaaa)", "weights unknown"]


def test_hidden_folders_are_no_results(world: Path) -> None:
    shutil.copytree(results_folder(world, "good"), results_folder(world, ".ipynb_checkpoints"))
    shutil.copytree(results_folder(world, "good"), results_folder(world, "x", tracker=".Trashes"))
    assert run(world, "--no_plots") == 0
    assert [row["tracker"] for row in rows(world)] == ["good", "bad"]


def test_two_datasets_of_one_name_do_not_overwrite_each_other(world: Path, refused) -> None:
    for parent in ("x", "y"):
        (world / parent / "mine").mkdir(parents=True)
    folders = [f"folder:{world / parent / 'mine'}" for parent in ("x", "y")]
    assert "both would be written to" in refused(run, world, "--dataset", *folders)


def test_a_bad_sequence_does_not_keep_the_others_from_being_played_back(world: Path, capsys) -> None:
    bad, good = LENGTHS
    (results_folder(world, "good") / f"{bad}.txt").write_text("1\t2\n")
    assert run(world, *VAL, "--playback", bad, good) == 2
    captured = capsys.readouterr()
    assert f"{good}.mp4" in captured.out and f"{bad}.txt: line 1: expected 4 numbers" in captured.err


def test_a_missing_result_of_nearly_the_right_name_is_said_when_it_is_left_out(world: Path, capsys) -> None:
    path = results_folder(world, "good") / f"{SECOND}.txt"
    path.rename(path.with_name("got10k_val_000002.txt"))
    assert run(world, "--no_plots", "--allow-missing") == 0
    captured = capsys.readouterr()
    assert "good lacks 1" in captured.out
    assert captured.err.count("\n") == 1 and "got10k_val_000002.txt is there" in captured.err


def test_one_benchmark_without_results_does_not_keep_the_others_from_being_shown(world: Path, capsys) -> None:
    assert run(world, "--no_plots", "--dataset", "synthetic", "got10k_val") == 2
    captured = capsys.readouterr()
    assert "AUC" in captured.out and "no results on synthetic" in captured.err
