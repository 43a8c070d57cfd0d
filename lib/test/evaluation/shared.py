"""What the ranks of a run share: the queue of sequences, and the progress of all.

Both are kept in a key-value store that counts atomically: a dictionary if there is one rank, else the store of
``torch.distributed``. A sequence is handed out once; if the worker that had it exits, it comes back once and is then
tracked alone, so that it takes no other sequence with it.
"""

import contextlib
import enum
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from lib.data.sequence import SequenceList
from lib.test.evaluation.protocol import Assignment, Outcome, Report, Request
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.files import FolderInUseError, folder_lock
from lib.utils.launch import available_cores, read_launch

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""Pause between two looks at the store while waiting for other ranks."""
BEAT_SECONDS = 1.0
SILENCE_SECONDS = 180.0
"""A rank without a heartbeat for so long is taken for gone."""


class MemoryStore:
    """What is needed of ``torch.distributed.Store``, for one process."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}

    def add(self, key: str, amount: int) -> int:
        """Add to a counter, which starts at 0, and return its new value."""
        self._values[key] = self._values.get(key, 0) + amount
        return self._values[key]

    def set(self, key: str, value: str) -> None:
        """Set a value."""
        self._values[key] = value.encode()

    def get(self, key: str) -> bytes:
        """Return a value that was set."""
        return self._values[key]


@dataclass(frozen=True)
class Ranks:
    """This process among those that were launched together.

    Attributes:
        store: of all of them, a ``torch.distributed.Store`` or ``MemoryStore``.
        rank: number of this process, from 0; rank 0 decides, collects and prints.
        world_size: number of processes.
        local_rank: number of this process on its machine.
        local_world_size: number of processes that share its cores.
    """

    store: Any = field(default_factory=MemoryStore)
    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    def decide(self, key: str, make: Callable[[], Any]) -> Any:
        """What rank 0 makes, which must survive JSON, on all ranks; ``key`` names it."""
        if self.rank == 0:
            answer = make()
            self.store.set(f"decision/{key}", json.dumps(answer))
            self.store.add(f"decided/{key}", 1)
            return answer
        while not self.store.add(f"decided/{key}", 0):  # rank 0 may need long, or fail, which ends this process too
            time.sleep(POLL_SECONDS)
        return json.loads(self.store.get(f"decision/{key}"))


def join_ranks() -> Ranks:
    """Join the processes that ``torchrun`` (or whatever sets the same variables) launched; alone if none did.

    Raises:
        InputError: if the variables are incomplete or wrong, or the other processes cannot be reached.
    """
    launch = read_launch(os.environ)
    if launch.world_size == 1:
        return Ranks()
    from torch.distributed import PrefixStore, rendezvous  # workers of other trackers must not pay for importing torch

    try:
        store, rank, world_size = next(rendezvous("env://"))
    except (RuntimeError, ValueError) as error:  # torch.distributed's errors are RuntimeErrors
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise InputError(f"rank {launch.rank} cannot reach the other processes at {where}: {error}") from error
    # The store of an elastic launcher outlives the processes: those that it starts again must not read its old keys.
    attempt = "/".join(os.environ.get(f"TORCHELASTIC_{name}", "") for name in ("RUN_ID", "RESTART_COUNT"))
    store = PrefixStore(f"seqtrack_test/{attempt}", store)
    return Ranks(store, rank, world_size, launch.local_rank, launch.local_world_size or _processes_here(world_size))


def _processes_here(world_size: int) -> int:
    """Processes that share the cores of this one; ``srun`` and ``mpirun`` do not say, but may give each its own."""
    return 1 if available_cores() < (os.cpu_count() or 1) else world_size


class SharedQueue:
    """Hands out the positions 0, 1, ... to all ranks, each once, and once more where a worker exited.

    Args:
        store: shared by the ranks.
        size: how many positions there are.
    """

    def __init__(self, store: Any, size: int) -> None:
        self._store = store
        self._size = size
        self._has_fresh = size > 0
        self._looked_at = 0

    def take(self, *, retries: bool = True) -> tuple[int, bool] | None:
        """Take the next position, and whether it is its second time; None if there is none (for now).

        Args:
            retries: whether one that came back will do.
        """
        if self._has_fresh:
            number = self._store.add("handed_out", 1) - 1
            self._has_fresh = number + 1 < self._size
            if number < self._size:
                return number, False
        while retries and self._looked_at < self._store.add("returned", 0):
            index = int(self._store.get(f"returned/{self._looked_at}"))
            self._looked_at += 1
            if self._store.add(f"retaken/{index}", 1) == 1:
                return index, True
        return None

    def put_back(self, index: int) -> bool:
        """Give a position back for a second attempt; False if it had one already."""
        if self._store.add(f"attempts/{index}", 1) > 1:
            return False
        self._store.set(f"returned/{self._store.add('returning', 1) - 1}", str(index))
        self._store.add("returned", 1)
        return True


def has_room(request: Request, frames_left: int, workers: int) -> bool:
    """Whether a worker should track one more sequence, so that all workers end at about the same time.

    All sequences of a batch move on at one pace, so the longest needs as many steps as it has frames. If every worker
    tracked so many at once that this takes its share of all frames, none would be left with a long tail, nor without
    work because another took everything.

    Args:
        request: of the worker.
        frames_left: of the whole run.
        workers: of all ranks.
    """
    return workers == 1 or request.live * request.longest * workers < frames_left


class Wait(enum.Enum):
    """Answer of a dispatcher: ask again later."""

    WAIT = 0


class Dispatcher:
    """Hands out the sequences of a run to the workers of this process.

    A sequence that another run is tracking, which this one shares the folder with, is left to it. It is looked at again
    at the end, and tracked if the other run has not finished it.

    Args:
        sequences: all sequences of the run.
        store: shared by the ranks.
        folder: of the results.
        report: takes the outcomes.
        overwrite: whether a result that is there counts only if another run has just made it.
        workers: how many there are, of all ranks.
    """

    def __init__(
        self,
        sequences: SequenceList,
        store: Any,
        folder: ResultFolder,
        report: Report,
        *,
        overwrite: bool = False,
        workers: int = 1,
    ) -> None:
        self._sequences = sequences
        self._store = store
        self._queue = SharedQueue(store, len(sequences))
        self._folder = folder
        self._report = report
        self._overwrite = overwrite
        self._workers = workers
        self._held: dict[str, tuple[int, contextlib.ExitStack]] = {}  # position and lock by name
        self._left: list[tuple[int, bool]] = []

    def next(self, request: Request) -> Assignment | Wait | None:
        """The next sequence for a worker; None if there is none, or none for a worker with so many others.

        A sequence that comes back after a crash waits for a worker that has no other; such a worker waits, too, as long
        as one of the others might crash.
        """
        is_free = request.live == 0
        frames_left = self._sequences.num_frames - self._store.add("frames", 0)
        if not is_free and not has_room(request, frames_left, self._workers):
            return None
        while (item := self._queue.take(retries=is_free)) is not None:
            if given := self._try(item, is_left=False):
                return given
        if not is_free:
            return None
        left, self._left = self._left, []
        for position, item in enumerate(left):
            if given := self._try(item, is_left=True):
                self._left += left[position + 1 :]
                return given
        return Wait.WAIT if self._left or self._held else None

    def _try(self, item: tuple[int, bool], is_left: bool) -> Assignment | None:
        index, is_retry = item
        sequence, lock = self._sequences[index], contextlib.ExitStack()
        name, frames = sequence.name, len(sequence.frames)
        try:
            lock.enter_context(folder_lock(self._folder.path, f"sequence-{name}"))
        except FolderInUseError as error:
            if not is_left:
                owner = str(error).rpartition(", by ")[2]
                logger.info("sequence %s is left to another run in this folder, %s", name, owner)
            self._left.append(item)
            return None
        if (is_left or not self._overwrite) and self._folder.is_complete(name, frames):
            lock.close()
            self._report(Outcome(name, frames, shared=True))
            return None
        self._held[name] = index, lock
        return Assignment(sequence, alone=is_retry)

    def settle(self, outcome: Outcome) -> None:
        """Report what became of a sequence, or give it back to the queue if it deserves a second attempt."""
        index, lock = self._held.pop(outcome.sequence)
        lock.close()
        if outcome.again and self._queue.put_back(index):
            logger.warning("sequence %s goes back to the queue: %s", outcome.sequence, outcome.error)
            if outcome.frames:
                self._report(-outcome.frames)
        else:
            self._report(replace(outcome, again=False))

    def close(self) -> None:
        """Let other runs have the sequences that were not finished."""
        for _, lock in self._held.values():
            lock.close()
        self._held.clear()


class Progress:
    """What all ranks report, collected by rank 0.

    Args:
        ranks: this process among the others.
        collect: on rank 0, takes every report of every rank.
    """

    def __init__(self, ranks: Ranks, collect: Report) -> None:
        self._ranks = ranks
        self._store = ranks.store
        self._collect = collect
        self._frames = self._outcomes = 0
        self._last_beat = 0.0
        self._beats: dict[int, tuple[int, float]] = {}

    def report(self, message: int | Outcome) -> None:
        """Report a number of frames (below 0: they have to be tracked again) or an outcome."""
        if isinstance(message, int):
            self._store.add("frames", message)
        else:
            self._store.set(f"outcome/{self._store.add('posting', 1) - 1}", json.dumps(asdict(message)))
            self._store.add("outcomes", 1)
        self.update()

    def update(self) -> None:
        """Send a heartbeat; rank 0 also collects what is new."""
        if self._ranks.world_size > 1 and time.monotonic() - self._last_beat > BEAT_SECONDS:
            self._store.add(f"beat/{self._ranks.rank}", 1)
            self._last_beat = time.monotonic()
        if self._ranks.rank:
            return
        frames, outcomes = self._store.add("frames", 0), self._store.add("outcomes", 0)
        if frames != self._frames:
            self._collect(frames - self._frames)
            self._frames = frames
        while self._outcomes < outcomes:
            self._collect(Outcome(**json.loads(self._store.get(f"outcome/{self._outcomes}"))))
            self._outcomes += 1

    def finish(self) -> None:
        """This rank has nothing left to do; rank 0 waits for the others.

        Raises:
            SeqTrackError: on rank 0, if another has been silent for too long.
        """
        self._store.add(f"left/{self._ranks.rank}", 1)
        self._store.add("finished", 1)
        # More than there are: ranks that the launcher has started again with their old store.
        while self._ranks.rank == 0 and self._store.add("finished", 0) < self._ranks.world_size:
            self.update()
            self._check_beats()
            time.sleep(POLL_SECONDS)
        self.update()

    def _check_beats(self) -> None:
        now = time.monotonic()
        for rank in range(1, self._ranks.world_size):
            beats = self._store.add(f"beat/{rank}", 0)
            known, since = self._beats.get(rank, (-1, now))
            self._beats[rank] = (beats, now if beats != known else since)
            if now - self._beats[rank][1] > SILENCE_SECONDS and not self._store.add(f"left/{rank}", 0):
                raise SeqTrackError(
                    f"nothing has been heard of rank {rank} for {SILENCE_SECONDS:.0f} s; its finished sequences are "
                    "kept, run the same command again for the others"
                )
