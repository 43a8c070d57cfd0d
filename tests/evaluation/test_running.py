import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.test.evaluation import SequenceList, get_dataset, pool
from lib.test.evaluation.loop import SequenceRunner
from lib.test.evaluation.manifest import FolderClaim, read_manifest, run_facts
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from lib.utils.errors import InputError, SeqTrackError
from tests.evaluation import fakes
from tests.evaluation.test_disasters import children
from tests.processes import gone, wait_for

LENGTHS = {"short": 2, "one": 1, "long": 6, "middle": 4}


def benchmark(root: Path, brightness: dict[str, int] | None = None) -> SequenceList:
    fakes.write_got10k(root / "data" / "got10k", LENGTHS, brightness=brightness)
    return get_dataset("got10k_val", paths=load_paths("test", data_dir=root / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path, "fake", "cfg", "got10k")


def contents(folder: ResultFolder) -> dict[str, bytes]:
    return {name: folder.boxes_path(name).read_bytes() for name in folder.sequences()}


def test_boxes_times_and_reports(tmp_path: Path, folder: ResultFolder) -> None:
    sequence = benchmark(tmp_path).select(["middle"])[0]
    link = fakes.FakeLink([sequence])
    SequenceRunner(fakes.FakeTracker(), replace(folder, floats=True), link).run()
    boxes = replace(folder, floats=True).read("middle")
    np.testing.assert_allclose(boxes - boxes[0], np.outer(range(4), [0.7, -0.3, 0, 0]), atol=1e-4)
    np.testing.assert_allclose(boxes[0], sequence.ground_truth_rect[0], atol=1e-4)
    np.testing.assert_array_equal(folder.read("middle"), np.trunc(boxes))
    frames, outcome = link.sent
    assert frames == outcome.frames == 4
    assert outcome.seconds == pytest.approx(sum(map(float, folder.times_path("middle").read_text().split())), abs=1e-5)


def test_longest_first_and_resume(tmp_path: Path, folder: ResultFolder) -> None:
    sequences = benchmark(tmp_path)
    summary = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    assert [outcome.sequence for outcome in summary.outcomes] == ["long", "middle", "short", "one"]
    assert not summary.failed
    assert summary.frames == 13
    first = contents(folder)
    assert set(first) == set(LENGTHS)

    folder.boxes_path("middle").write_text("1\t2\t3\t4\n")  # incomplete
    before = folder.boxes_path("long").stat().st_mtime_ns
    again = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    assert [outcome.sequence for outcome in again.outcomes] == ["middle"]
    assert sorted(again.present) == ["long", "one", "short"]
    assert contents(folder) == first
    assert folder.boxes_path("long").stat().st_mtime_ns == before


def test_results_of_another_data_set_are_not_taken_for_these(tmp_path: Path, folder: ResultFolder) -> None:
    sequences = benchmark(tmp_path)
    for frames in (LENGTHS["middle"], 9):
        folder.write("middle", np.full((frames, 4), 7.0), np.ones(frames))
        with pytest.raises(InputError, match=r"middle.txt: starts with another box .* --overwrite"):
            run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    assert not run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"], overwrite=True).failed
    assert not run_benchmark(sequences, fakes.make_broken, folder, devices=["cpu"]).outcomes


def test_the_bar_counts_the_sequences_that_can_be_read_and_a_second_run_makes_no_tracker(
    tmp_path: Path, folder: ResultFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    sequences = benchmark(tmp_path)
    sequences.failures["broken"] = "no images"
    run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    assert "4/4 sequences, 1 failed" in capsys.readouterr().err
    again = run_benchmark(sequences, fakes.make_broken, folder, devices=["cpu"])
    assert [outcome.sequence for outcome in again.outcomes] == ["broken"]


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_a_failing_sequence_is_listed_and_the_others_go_on(
    tmp_path: Path, folder: ResultFolder, devices: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    sequences = benchmark(tmp_path, {"middle": fakes.FAILING, "short": fakes.NAN})
    (tmp_path / "data" / "got10k" / "val" / "long" / "00000003.jpg").write_bytes(b"")
    summary = run_benchmark(sequences, fakes.make_fake, folder, devices=devices)
    errors = {outcome.sequence: outcome.error for outcome in summary.failed}
    assert set(errors) == {"long", "middle", "short"}
    assert errors["middle"] == "ValueError: the fake tracker was told to fail"
    assert "00000003.jpg" in errors["long"]
    assert "frame 1" in errors["short"]
    assert "Traceback" not in caplog.text
    assert any("in track" in getattr(record, "details", "") for record in caplog.records)  # for the log file
    assert folder.sequences() == ["one"]
    assert [line for line in summary.lines() if line.startswith("FAILED middle")]


def test_processes_write_the_same_files(tmp_path: Path, folder: ResultFolder) -> None:
    sequences = benchmark(tmp_path)
    run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    parallel = ResultFolder(tmp_path, "fake", "parallel", "got10k")
    summary = run_benchmark(sequences, fakes.make_fake, parallel, devices=["cpu", "cpu"])
    assert not summary.failed
    assert contents(parallel) == contents(folder)


def test_a_dead_worker_is_named_and_its_sequence_tried_once_more(
    tmp_path: Path, folder: ResultFolder, caplog: pytest.LogCaptureFixture
) -> None:
    sequences = benchmark(tmp_path, {"long": fakes.DEADLY})
    summary = run_benchmark(sequences, fakes.make_batch, folder, devices=["cpu", "cpu"], batch_size=2)
    (failed,) = summary.failed
    assert failed.sequence == "long"
    assert "exited, signal SIGKILL, while tracking long" in failed.error
    assert "goes back to the queue" in caplog.text
    assert folder.sequences() == ["middle", "one", "short"]  # also what died with it in one batch
    assert len(summary.outcomes) == 4


def test_workers_warn_once(tmp_path: Path, folder: ResultFolder, capfd: pytest.CaptureFixture[str]) -> None:
    run_benchmark(benchmark(tmp_path), fakes.make_warning, folder, devices=["cpu"] * 3)
    errors = capfd.readouterr().err
    assert errors.count("the fake tracker has no kernels") == 1
    assert errors.count("UserWarning: the fake tracker is deprecated") == 1


@pytest.mark.slow
def test_workers_that_were_stopped_or_hang_are_killed(
    tmp_path: Path, folder: ResultFolder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    sequences, began = benchmark(tmp_path, {"long": fakes.STOPPED, "middle": fakes.HANGING}), time.monotonic()

    def shorten_limits(device: str) -> None:
        """To more than a worker takes to start, which is seconds on a busy machine."""
        seconds = 3 + 2 * (time.monotonic() - began)
        monkeypatch.setattr(pool, "SILENCE_SECONDS", seconds)
        monkeypatch.setattr(pool, "STUCK_SECONDS", 2 * seconds)

    summary = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu", "cpu"], on_ready=shorten_limits)
    errors = {outcome.sequence: outcome.error for outcome in summary.failed}
    for name, reason in (("long", "no heartbeat for"), ("middle", "no frame for")):
        assert reason in errors.pop(name)
        assert caplog.text.count(reason) >= 2  # it was tried twice
        assert f"sequence {name} goes back to the queue" in caplog.text
    assert not errors and folder.sequences() == ["one", "short"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "reason", "failed"),
    [
        ("CUDA error: an illegal memory access was encountered", "exited, RuntimeError: CUDA error: an illegal", 0),
        ("the driver is gone", "exited, 3 errors in a row, the last one RuntimeError: the driver is gone", 2),
    ],
)
def test_a_worker_with_a_broken_device_leaves_its_work_to_others(
    tmp_path: Path,
    folder: ResultFolder,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: str,
    reason: str,
    failed: int,
) -> None:
    monkeypatch.setenv("FAKE_ERROR", error)
    fakes.write_got10k(tmp_path / "data" / "got10k", {f"s{index:02d}": 8 for index in range(20)})
    sequences = get_dataset("got10k_val", paths=load_paths("test", data_dir=tmp_path / "data"))
    summary = run_benchmark(sequences, fakes.make_breaking, folder, devices=["cpu", "cpu"])
    assert caplog.text.count(reason) == 2  # it exits, and its sequence goes back; the one in its place is sound
    assert len(summary.failed) == failed
    assert len(folder.sequences()) == 20 - failed


@pytest.mark.slow
def test_a_worker_that_is_done_takes_over_from_a_device_that_breaks_at_the_end(
    tmp_path: Path, folder: ResultFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "lost"
    log.touch()
    monkeypatch.setenv("FAKE_LOST", str(log))
    sequences = benchmark(tmp_path).select(["long", "one"])
    summary = run_benchmark(sequences, fakes.make_losing, folder, devices=["cpu", "cpu"])
    assert log.read_text() == "lost"
    assert not summary.failed
    assert folder.sequences() == ["long", "one"]


@pytest.mark.slow
def test_a_broken_device_of_this_process_is_left_to_a_new_one(
    tmp_path: Path, folder: ResultFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(multiprocessing.current_process(), "name", "main-1")
    summary = run_benchmark(benchmark(tmp_path), fakes.make_breaking, folder, devices=["cpu"])
    assert (
        "exited, RuntimeError: CUDA error: an illegal memory access was encountered, while tracking long" in caplog.text
    )
    assert not summary.failed
    assert len(summary.outcomes) == 4


def test_a_mistake_of_the_user_stops_the_workers(tmp_path: Path, folder: ResultFolder) -> None:
    with pytest.raises(SeqTrackError, match=r"weights\.pth\.tar: the file is truncated"):
        run_benchmark(benchmark(tmp_path), fakes.make_broken, folder, devices=["cpu", "cpu"])


def test_a_bug_in_making_the_tracker_fails_every_sequence(
    tmp_path: Path, folder: ResultFolder, caplog: pytest.LogCaptureFixture
) -> None:
    summary = run_benchmark(benchmark(tmp_path), fakes.make_buggy, folder, devices=["cpu", "cpu"])
    assert len(summary.failed) == 4
    assert "RuntimeError: a bug in the tracker" in caplog.text


SLOW_RUN = """
import sys
from pathlib import Path
from lib.config.paths import load_paths
from lib.test.evaluation import get_dataset
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from lib.utils.cli import run_script
from tests.evaluation import fakes

def main():
    root = Path(sys.argv[1])
    sequences = get_dataset("got10k_val", paths=load_paths("test", data_dir=root / "data"))
    run_benchmark(sequences, fakes.make_fake, ResultFolder(root, "fake", "cfg", "got10k"), devices=sys.argv[2:])
    return 0

if __name__ == "__main__":
    sys.exit(run_script(main))
"""


def start_slow_run(root: Path, devices: list[str]) -> subprocess.Popen:
    lengths = {"quick": 100, "slow": 99, "slower": 98}  # the quick one is done while the others last ten seconds
    brightness = {"slow": fakes.SLOW, "slower": fakes.SLOW}
    fakes.write_got10k(root / "data" / "got10k", lengths, brightness=brightness)
    script = root / "slow_run.py"
    script.write_text(textwrap.dedent(SLOW_RUN))
    return subprocess.Popen(
        [sys.executable, str(script), str(root), *devices],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_ctrl_c_leaves_only_whole_files(tmp_path: Path, folder: ResultFolder, devices: list[str]) -> None:
    process = start_slow_run(tmp_path, devices)
    wait_for(folder.boxes_path("quick").exists, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the group
    began = time.monotonic()
    _, errors = process.communicate(timeout=30)
    assert time.monotonic() - began < 5  # 3 s, and what a busy machine adds
    assert "interrupted: 2 of 3 sequences have no result yet" in errors
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert sorted(path.name for path in folder.path.iterdir()) == ["quick.txt", "quick_time.txt"]
    assert folder.is_complete("quick", 100)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc")
def test_workers_end_with_their_parent(tmp_path: Path, folder: ResultFolder) -> None:
    process = start_slow_run(tmp_path, ["cpu", "cpu"])
    wait_for(folder.boxes_path("quick").exists, process)
    workers = children(process.pid)
    assert len(workers) == 2
    process.kill()
    process.communicate(timeout=30)
    assert gone(workers, 8)


def test_results_of_other_weights_are_never_reused(tmp_path: Path, folder: ResultFolder) -> None:
    sequences = benchmark(tmp_path)
    old, new = tmp_path / "old.pth.tar", tmp_path / "new.pth.tar"
    old.write_bytes(b"old")
    new.write_bytes(b"new")

    def claim(checkpoint: Path, names: Iterable[str] = LENGTHS, **options: bool) -> FolderClaim:
        return FolderClaim(folder, list(names), run_facts({}, checkpoint), benchmark=list(LENGTHS), **options)

    first = claim(old)
    assert not folder.path.exists()
    with first:
        run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"], on_ready=first.take)
    claim(old)  # the same weights go on
    with pytest.raises(InputError, match=r"made with other weights \(.*old\.pth\.tar\); use --overwrite"):
        claim(new)
    with pytest.raises(InputError, match=r"1 results .*use --overwrite without --sequence"):  # the others would stay
        claim(new, ["long", "middle", "one"], overwrite=True)
    assert read_manifest(folder)["checkpoint"] == str(old)
    second = claim(new, overwrite=True)
    assert set(folder.sequences()) == set(LENGTHS)
    with second:
        second.take()
    assert folder.sequences() == []
    assert read_manifest(folder)["checkpoint"] == str(new)


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_overwriting_with_broken_weights_touches_nothing(
    tmp_path: Path, folder: ResultFolder, devices: list[str]
) -> None:
    sequences = benchmark(tmp_path)
    run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    before = contents(folder)
    claim = FolderClaim(folder, sequences.names, run_facts({}), overwrite=True)
    with pytest.raises(SeqTrackError, match="truncated"):
        run_benchmark(sequences, fakes.make_broken, folder, devices=devices, overwrite=True, on_ready=claim.take)
    assert contents(folder) == before
    assert not folder.manifest_path.exists()
