"""The queue and the news, on the store of one process and on that of torch.distributed."""

import pytest

from lib.test.evaluation import shared
from lib.test.evaluation.loop import Outcome
from lib.test.evaluation.shared import MemoryStore, News, Place, SharedQueue, Ticket, decide, find_place
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
    assert [first.take(), second.take(), first.take()] == [Ticket(0), Ticket(1), Ticket(2)]
    assert first.take() is None
    assert second.put_back(1)
    assert first.put_back(0)
    assert first.take(retries=False) is None
    assert first.take() == Ticket(1, retry=True)
    assert second.take() == Ticket(0, retry=True)
    assert first.take() is second.take() is None
    assert not second.put_back(1)
    assert SharedQueue(store, 0).take() is None


@pytest.mark.parametrize("kind", ["memory", "tcp"])
def test_rank_0_hears_everything_once(kind: str) -> None:
    store = make_store(kind)
    first, second = (News(Place(store, rank, 2)) for rank in range(2))
    second.post(5)
    first.post(3)
    outcome = Outcome("dog", 8, 0.5, "it failed", "why")
    second.post(outcome)
    assert list(first.poll()) == [8, outcome]
    second.post(-2)
    assert list(first.poll()) == [-2]
    assert list(first.poll()) == []
    first.finish()
    assert not first.all_finished()
    second.finish()
    assert first.all_finished()


def test_a_silent_rank_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    first, second = (News(Place(store, rank, 2)) for rank in range(2))
    monkeypatch.setattr(shared, "SILENCE_SECONDS", -1.0)
    second.beat()
    with pytest.raises(SeqTrackError, match="rank 1"):
        first.all_finished()


def test_rank_0_decides() -> None:
    store = MemoryStore()
    assert decide(Place(store, 0, 2), "what", lambda: [1, 2]) == [1, 2]
    assert decide(Place(store, 1, 2), "what", lambda: pytest.fail("not my business")) == [1, 2]


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert find_place().world == 1
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert find_place().world == 1


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
        find_place()
