"""The queue and the progress, on the store of one process and on that of torch.distributed."""

import pytest

from benchmarks import scale_simulation
from benchmarks.scale_simulation import lengths_like_lasot, simulate
from lib.test.evaluation import shared
from lib.test.evaluation.protocol import Outcome, Request
from lib.test.evaluation.shared import MemoryStore, Progress, Ranks, SharedQueue, has_room, join_ranks
from lib.utils.errors import InputError, SeqTrackError


def make_store(kind: str):
    if kind == "memory":
        return MemoryStore()
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_each_position_once_and_once_more(kind: str) -> None:
    store = make_store(kind)
    first, second = SharedQueue(store, 3), SharedQueue(store, 3)  # two ranks
    assert [first.take(), second.take(), first.take()] == [(0, False), (1, False), (2, False)]
    assert first.take() is None
    assert second.put_back(1)
    assert first.put_back(0)
    assert first.take(retries=False) is None
    assert first.take() == (1, True)
    assert second.take() == (0, True)
    assert first.take() is second.take() is None
    assert not second.put_back(1)
    assert SharedQueue(store, 0).take() is None


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_rank_0_collects_everything_once(kind: str) -> None:
    store, collected = make_store(kind), []
    first = Progress(Ranks(store, 0, 2), collected.append)
    second = Progress(Ranks(store, 1, 2), None)
    second.report(5)
    second.report(3)
    outcome = Outcome("dog", 8, 0.5, "it failed", "why")
    second.report(outcome)
    assert collected == []
    first.update()
    assert collected == [8, outcome]
    second.report(-2)
    second.finish()
    first.finish()  # does not wait
    assert collected == [8, outcome, -2]


def test_a_silent_rank_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "SILENCE_SECONDS", -1.0)
    with pytest.raises(SeqTrackError, match="rank 1"):
        Progress(Ranks(MemoryStore(), 0, 2), print).finish()


def test_rank_0_decides() -> None:
    store = MemoryStore()
    assert Ranks(store, 0, 2).decide("what", lambda: [1, 2]) == [1, 2]
    assert Ranks(store, 1, 2).decide("what", lambda: pytest.fail("not on rank 1")) == [1, 2]


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert join_ranks().world_size == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join_ranks().world_size == 1


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("RANK", None, "WORLD_SIZE is 2 but RANK not set"),  # four lone processes would write one folder
        ("WORLD_SIZE", "x", "WORLD_SIZE should be a number"),
        ("WORLD_SIZE", "9" * 5000, "WORLD_SIZE should be a number"),
        ("RANK", "-1", "RANK should be a number"),
        ("RANK", "2", "RANK is 2 but WORLD_SIZE is 2"),
        ("LOCAL_RANK", "one", "LOCAL_RANK should be a number"),
        ("MASTER_PORT", "x", "MASTER_PORT should be a number"),
        ("MASTER_PORT", "65536", "MASTER_PORT should be a number from 0 to 65535"),
    ],
)
def test_a_wrong_launch_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, message: str
) -> None:
    right = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, content in (right | {variable: value}).items():
        monkeypatch.delenv(name, raising=False)
        if content is not None:
            monkeypatch.setenv(name, content)
    with pytest.raises(InputError, match=message):
        join_ranks()


def test_a_task_of_srun_uses_the_cores_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """RANK and the like as in a batch script, without LOCAL_WORLD_SIZE: 16 tasks on two machines, 8 cores for each."""
    launch = {"WORLD_SIZE": "16", "RANK": "11", "LOCAL_RANK": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in launch.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    monkeypatch.setattr("torch.distributed.rendezvous", lambda url: iter([(make_store("tcp"), 11, 16)]))
    monkeypatch.setattr(shared.os, "cpu_count", lambda: 64)
    for cores, expected in ((8, 1), (64, 16)):
        monkeypatch.setattr(shared.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert join_ranks().local_world_size == expected
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert join_ranks().local_world_size == 8


@pytest.mark.parametrize("launch_ms", [1.0, 2.6])  # with CUDA graphs, and without
def test_eight_workers_end_together(launch_ms: float) -> None:
    """Lengths like those of LaSOT, batches of 64: no worker takes so much that others have nothing to do."""
    lengths = lengths_like_lasot(280, 685_000)
    assert (len(lengths), lengths[0], round(sum(lengths), -3)) == (280, 11_397, 685_000)

    def seconds(size: int) -> float:
        return (max(launch_ms, 0.34 * size) + 0.1 * size) / 1000

    ideal = max(sum(lengths) * seconds(64) / 64 / 8, lengths[0] * seconds(1))
    makespan, idle = simulate(lengths, 8, 64, seconds)
    assert ideal <= makespan < 1.1 * ideal
    assert idle < 0.05


def test_the_simulation_prints_the_dealing_before_and_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert scale_simulation.main(["--workers", "4", "--batch_sizes", "32", "--sequences", "80"]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    before, now = (float(row.split(" | ")[index]) for index in (4, 7))
    assert before > 1.3 > now >= 1.0


def test_a_lone_worker_fills_its_batch() -> None:
    request = Request(live=60, longest=1000)
    assert has_room(request, frames_left=10, workers=1)
    assert not has_room(request, frames_left=60_000, workers=2)
    assert has_room(request, frames_left=120_001, workers=2)
