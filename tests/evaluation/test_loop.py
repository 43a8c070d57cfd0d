"""Lock-step tracking, decoding ahead, and second attempts, in this process."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.test.evaluation import SequenceList, get_dataset, loop, prefetch
from lib.test.evaluation.loop import SequenceRunner
from lib.test.evaluation.prefetch import FrameReader
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from lib.utils.errors import DataError, InputError
from tests.evaluation import fakes

LENGTHS = {"a": 7, "b": 3, "c": 5, "one": 1, "d": 4}


def benchmark(root: Path, brightness: dict[str, int] | None = None) -> SequenceList:
    fakes.write_got10k(root / "data" / "got10k", LENGTHS, brightness=brightness)
    return get_dataset("got10k_val", paths=load_paths("test", data_dir=root / "data"))


def folder(root: Path, config: str = "cfg") -> ResultFolder:
    return ResultFolder(root, "fake", config, "got10k")


@pytest.mark.parametrize("batch_size", [1, 2, 3, 16])
def test_every_batch_size_writes_the_same_files(tmp_path: Path, batch_size: int) -> None:
    sequences, tracker = benchmark(tmp_path), fakes.FakeBatchTracker()
    run_benchmark(sequences, fakes.make_fake, folder(tmp_path), devices=["cpu"])
    batched = folder(tmp_path, "batched")
    summary = run_benchmark(sequences, lambda device: tracker, batched, devices=["cpu"], batch_size=batch_size)
    assert not summary.failed
    assert sum(tracker.engine.sizes) == sequences.num_frames - len(sequences)  # first frames are not steps
    assert max(tracker.engine.sizes) == min(batch_size, 4)
    for name in LENGTHS:
        assert batched.boxes_path(name).read_bytes() == folder(tmp_path).boxes_path(name).read_bytes()


def test_a_finished_sequence_is_replaced_at_once(tmp_path: Path) -> None:
    tracker = fakes.FakeBatchTracker()
    run_benchmark(benchmark(tmp_path), lambda device: tracker, folder(tmp_path), devices=["cpu"], batch_size=2)
    assert tracker.engine.sizes == [2] * 7 + [1]  # a beside c, then d; d beside b; the last frame of b


def test_a_failure_in_a_batch_hits_only_its_sequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sequences = benchmark(tmp_path, {"c": fakes.FAILING, "d": fakes.NAN})
    (tmp_path / "data" / "got10k" / "val" / "b" / "00000002.jpg").write_bytes(b"")
    summary = run_benchmark(sequences, fakes.make_batch, folder(tmp_path), devices=["cpu"], batch_size=3)
    errors = {outcome.sequence: outcome.error for outcome in summary.failed}
    assert set(errors) == {"b", "c", "d"}
    assert "00000002.jpg" in errors["b"]
    assert errors["c"] == "ValueError: the fake tracker was told to fail"
    assert "frame 1" in errors["d"]
    assert folder(tmp_path).sequences() == ["a", "one"]
    assert "sequence a goes back to the queue" in caplog.text  # it was in the batch that failed
    assert [outcome.sequence for outcome in summary.outcomes].count("a") == 1


def test_an_error_of_many_lines_is_one_short_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self, image: np.ndarray) -> None:
        raise RuntimeError("first\nsecond \x1b[31m" + 100_000 * "x")

    monkeypatch.setattr(fakes.FakeTracker, "track", fail)
    summary = run_benchmark(benchmark(tmp_path).select(["a"]), fakes.make_fake, folder(tmp_path), devices=["cpu"])
    assert summary.lines()[1].startswith("FAILED a: RuntimeError: first\\nsecond \\x1b[31mxxx")
    assert len(summary.lines()[1]) < 600


def test_a_tracker_of_one_sequence_refuses_a_batch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="one sequence at a time"):
        run_benchmark(benchmark(tmp_path), fakes.make_fake, folder(tmp_path), devices=["cpu"], batch_size=2)
    assert not folder(tmp_path).path.exists()


def test_frames_are_decoded_ahead_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sequence = benchmark(tmp_path).select(["a"])[0]
    frame = sequence.read_frame(0).nbytes
    for allowed, expected in ((100 * frame, 6), (3 * frame, 3), (0, 1)):
        monkeypatch.setattr(prefetch, "AHEAD_BYTES", allowed)
        with ThreadPoolExecutor(1) as threads:
            reader = FrameReader(sequence, threads)
            reader.next_frame()
            assert len(reader._pending) == expected
            frames = [reader.next_frame() for _ in range(6)]
            reader.close()
        np.testing.assert_array_equal(frames[-1], sequence.read_frame(6))


def test_an_unreadable_frame_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    sequence = benchmark(tmp_path).select(["b"])[0]
    (tmp_path / "data" / "got10k" / "val" / "b" / "00000002.jpg").unlink()
    with ThreadPoolExecutor(1) as threads:
        reader = FrameReader(sequence, threads)
        reader.next_frame()
        with pytest.raises(DataError, match=r"00000002\.jpg"):
            reader.next_frame()


@pytest.mark.parametrize("overlap", [True, False, None])
def test_half_batches_write_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: bool | None
) -> None:
    """While the device tracks one half, the images of the other are cropped."""
    monkeypatch.setattr(loop, "OVERLAP_SEQUENCES", 3)
    sequences, halves = benchmark(tmp_path), folder(tmp_path, "halves")
    run_benchmark(sequences, fakes.make_fake, folder(tmp_path), devices=["cpu"])
    engine, link = fakes.CroppingEngine(), fakes.FakeLink(sequences)
    SequenceRunner(fakes.EngineTracker(engine), halves, link, batch_size=4, overlap=overlap).run()
    for name in LENGTHS:
        assert halves.boxes_path(name).read_bytes() == folder(tmp_path).boxes_path(name).read_bytes()
    assert sum(engine.sizes) == sequences.num_frames - len(sequences)
    assert max(engine.sizes) == (4 if overlap is False else 2)
    assert engine.cropped_meanwhile == (overlap is not False)  # None: this engine is on a GPU


def test_a_failure_in_a_half_batch_hits_only_its_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "OVERLAP_SEQUENCES", 3)
    sequences, halves = benchmark(tmp_path, {"c": fakes.FAILING}), folder(tmp_path, "halves")
    tracker = fakes.EngineTracker(fakes.CroppingEngine())
    summary = run_benchmark(sequences, lambda device: tracker, halves, devices=["cpu"], batch_size=4)
    assert [outcome.sequence for outcome in summary.failed] == ["c"]
    assert halves.sequences() == ["a", "b", "d", "one"]


def test_out_of_memory_halves_the_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sequences, small, engine = benchmark(tmp_path), folder(tmp_path, "small"), fakes.SmallEngine()
    run_benchmark(sequences, fakes.make_fake, folder(tmp_path), devices=["cpu"])
    tracker = fakes.EngineTracker(engine)
    summary = run_benchmark(sequences, lambda device: tracker, small, devices=["cpu"], batch_size=5)
    assert not summary.failed
    assert caplog.text.count("out of memory with 4 sequences in a batch, going on with 2") == 1  # "one" has no steps
    assert "goes back to the queue" not in caplog.text
    for name in LENGTHS:  # also of those whose states had moved on when memory was short
        assert small.boxes_path(name).read_bytes() == folder(tmp_path).boxes_path(name).read_bytes()
    assert max(engine.sizes) == 2
