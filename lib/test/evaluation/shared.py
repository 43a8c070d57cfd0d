"""What the processes of a run share: the queue of sequences, and the reports of what became of them.

Both live on a key-value store that counts atomically. For the processes of one command it is a dictionary, since only
their parent touches it; for the ranks of ``torchrun``, on one machine or many, it is the store of
``torch.distributed``. A sequence is handed out once; if the worker that had it dies, it comes back once and is then
tracked alone, so that it takes no other sequence with it.
"""

import contextlib
import enum
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from lib.data.sequence import SequenceList
from lib.test.evaluation.loop import Assignment, Outcome, Report
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.lock import FolderInUseError, folder_lock

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""Pause between two looks at the store while waiting for other ranks."""
BEAT_SECONDS = 1.0
SILENCE_SECONDS = 180.0
"""A rank that has not been heard of for so long is taken for dead."""


class Store(Protocol):
    """The part of ``torch.distributed.Store`` that is needed."""

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which starts at 0, and return its new value."""

    def set(self, key: str, value: str) -> None:
        """Set a value."""

    def get(self, key: str) -> bytes:
        """Return a value; waits until it is set."""


class MemoryStore:
    """A store for one process."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def add(self, key: str, amount: int) -> int:
        """Add to a counter and return its new value."""
        self._values[key] = self._values.get(key, 0) + amount
        return self._values[key]

    def set(self, key: str, value: str) -> None:
        """Set a value."""
        self._values[key] = value.encode()

    def get(self, key: str) -> bytes:
        """Return a value."""
        return self._values[key]


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that were launched together.

    Attributes:
        store: shared by all of them.
        rank: number of this process, from 0; rank 0 decides, listens and prints.
        world: number of processes.
        local_rank: number of this process on its machine.
        local_world: number of processes on its machine.
    """

    store: Store
    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


def find_place() -> Place:
    """Join the processes that ``torchrun`` (or whatever sets the same variables) launched; alone if none did.

    Raises:
        InputError: if the variables are incomplete or wrong, or the other processes cannot be reached.
    """
    from lib.utils.launch import read_launch  # brings torch, which workers of other trackers must not pay for

    launch = read_launch(os.environ)
    if launch.world_size == 1:
        return Place(MemoryStore())
    from torch.distributed import PrefixStore, rendezvous

    try:
        store, rank, world = next(rendezvous("env://"))
    except (RuntimeError, ValueError) as error:  # torch.distributed's errors are RuntimeErrors
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(f"rank {launch.rank} cannot reach the other processes at {where}: {error}") from error
    return Place(PrefixStore("seqtrack_test", store), rank, world, launch.local_rank, launch.local_world_size or world)


@dataclass(frozen=True)
class Ticket:
    """The right and duty to track a sequence.

    Attributes:
        index: its position in the order of the run.
        retry: whether the first attempt ended with the death of its worker; then it is tracked alone.
    """

    index: int
    retry: bool = False


class SharedQueue:
    """Hands out the positions 0, 1, ... to all ranks, each once, and once more where a worker died.

    Args:
        store: shared by the ranks.
        size: how many positions there are.
    """

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._fresh = size > 0
        self._looked_at = 0

    def take(self, *, retries: bool = True) -> Ticket | None:
        """Take the next position; None if there is none (now: another may still come back).

        Args:
            retries: whether one that came back will do.
        """
        if self._fresh:
            number = self._store.add("handed_out", 1) - 1
            self._fresh = number + 1 < self._size
            if number < self._size:
                return Ticket(number)
        while retries and self._looked_at < self._store.add("returned", 0):
            index = int(self._store.get(f"returned/{self._looked_at}"))
            self._looked_at += 1
            if self._store.add(f"retaken/{index}", 1) == 1:
                return Ticket(index, retry=True)
        return None

    def put_back(self, index: int) -> bool:
        """Give a position back for a second attempt; False if it had one already."""
        if self._store.add(f"attempts/{index}", 1) > 1:
            return False
        self._store.set(f"returned/{self._store.add('returning', 1) - 1}", str(index))
        self._store.add("returned", 1)
        return True


class Wait(enum.Enum):
    """Answer of a dispatcher: ask again later."""

    WAIT = 0


class Dispatcher:
    """Hands out the sequences of a run to the workers of this process.

    A sequence that another run is tracking, which this one shares the folder with, is left to it. It is looked at again
    at the end, and tracked if the other run has not finished it.

    Args:
        sequences: all sequences of the run.
        queue: holds positions in ``sequences``; shared with the other ranks.
        folder: of the results.
        report: hears of sequences that another run has finished.
        overwrite: whether a result that is there counts only if another run has just made it.
    """

    def __init__(
        self, sequences: SequenceList, queue: SharedQueue, folder: ResultFolder, report: Report, overwrite: bool
    ) -> None:
        self._sequences = sequences
        self._queue = queue
        self._folder = folder
        self._report = report
        self._overwrite = overwrite
        self._locks: dict[str, contextlib.ExitStack] = {}
        self._left: list[Ticket] = []
        self._positions: dict[str, int] = {}

    def next(self, live: int) -> Assignment | Wait | None:
        """The next sequence for a worker that has ``live`` others; None if there is none.

        A sequence that comes back after a crash waits for a worker that has no other.
        """
        while (ticket := self._queue.take(retries=live == 0)) is not None:
            if given := self._try(ticket, is_left=False):
                return given
        if live or not self._left:
            return None
        left, self._left = self._left, []
        for position, ticket in enumerate(left):
            if given := self._try(ticket, is_left=True):
                self._left += left[position + 1 :]
                return given
        return Wait.WAIT if self._left else None

    def _try(self, ticket: Ticket, is_left: bool) -> Assignment | None:
        sequence, lock = self._sequences[ticket.index], contextlib.ExitStack()
        try:
            lock.enter_context(folder_lock(self._folder.path, f"sequence-{sequence.name}"))
        except FolderInUseError as error:
            if not is_left:
                owner = str(error).rpartition(", by ")[2]
                logger.info("sequence %s is left to another run in this folder, %s", sequence.name, owner)
            self._left.append(ticket)
            return None
        frames = len(sequence.frames)
        if (is_left or not self._overwrite) and self._folder.is_complete(sequence.name, frames):
            lock.close()
            self._report(Outcome(sequence.name, frames, shared=True))
            return None
        self._locks[sequence.name] = lock
        self._positions[sequence.name] = ticket.index
        return Assignment(sequence, alone=ticket.retry)

    def settle(self, outcome: Outcome) -> None:
        """Report what became of a sequence, or give it back to the queue if it deserves a second attempt."""
        self._locks.pop(outcome.sequence).close()
        if outcome.again and self._queue.put_back(self._positions[outcome.sequence]):
            logger.warning("sequence %s goes back to the queue: %s", outcome.sequence, outcome.error)
            if outcome.frames:
                self._report(-outcome.frames)
        else:
            self._report(replace(outcome, again=False))

    def close(self) -> None:
        """Let other runs have the sequences that were not finished."""
        for lock in self._locks.values():
            lock.close()
        self._locks.clear()


class News:
    """What all ranks report to rank 0: numbers of frames, and what became of sequences.

    Args:
        place: of this process.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._store = place.store
        self._frames = self._outcomes = 0
        self._last_beat = 0.0
        self._heard: dict[int, tuple[int, float]] = {}

    def post(self, news: int | Outcome) -> None:
        """Report a number of frames (below 0: they have to be tracked again) or an outcome."""
        if isinstance(news, int):
            self._store.add("frames", news)
        else:
            self._store.set(f"outcome/{self._store.add('posting', 1) - 1}", json.dumps(asdict(news)))
            self._store.add("outcomes", 1)

    def poll(self) -> Iterator[int | Outcome]:
        """Everything posted since the last call; for rank 0."""
        frames = self._store.add("frames", 0)
        if frames != self._frames:
            yield frames - self._frames
            self._frames = frames
        posted = self._store.add("outcomes", 0)
        while self._outcomes < posted:
            yield Outcome(**json.loads(self._store.get(f"outcome/{self._outcomes}")))
            self._outcomes += 1

    def beat(self) -> None:
        """Show that this rank is alive."""
        if self._place.world > 1 and time.monotonic() - self._last_beat > BEAT_SECONDS:
            self._store.add(f"beat/{self._place.rank}", 1)
            self._last_beat = time.monotonic()

    def finish(self) -> None:
        """Say that this rank has nothing left to do."""
        self._store.add(f"left/{self._place.rank}", 1)
        self._store.add("finished", 1)

    def all_finished(self) -> bool:
        """Whether all ranks have.

        Raises:
            SeqTrackError: if a rank has been silent for too long.
        """
        if self._store.add("finished", 0) >= self._place.world:  # more: the launcher has restarted the ranks
            return True
        now = time.monotonic()
        for rank in range(1, self._place.world):
            beats = self._store.add(f"beat/{rank}", 0)
            known, since = self._heard.get(rank, (-1, now))
            self._heard[rank] = (beats, now if beats != known else since)
            if now - self._heard[rank][1] > SILENCE_SECONDS and not self._store.add(f"left/{rank}", 0):
                raise SeqTrackError(
                    f"nothing has been heard of rank {rank} for {SILENCE_SECONDS:.0f} s; its finished sequences are "
                    "kept, run the same command again for the others"
                )
        return False


def decide(place: Place, key: str, make: Callable[[], Any]) -> Any:
    """Let rank 0 decide something for all ranks.

    Args:
        place: of this process.
        key: names the decision.
        make: called on rank 0 only; its answer must survive JSON.
    """
    if place.rank == 0:
        answer = make()
        place.store.set(f"decision/{key}", json.dumps(answer))
        place.store.add(f"decided/{key}", 1)
        return answer
    while not place.store.add(f"decided/{key}", 0):  # rank 0 may need long, or fail, which ends this process too
        time.sleep(POLL_SECONDS)
    return json.loads(place.store.get(f"decision/{key}"))
