"""Processes that train together: their devices, the process group, and how a failure of one reaches the others.

A process without ``WORLD_SIZE`` (see ``lib.utils.launch``) is alone, and all this does nothing.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from lib.utils.device import resolve_device
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.launch import Launch, get_rank, get_world_size

logger = logging.getLogger(__name__)

MEETING_TIMEOUT = timedelta(minutes=30)
"""How long processes wait for each other: rank 0 may be downloading weights or writing a checkpoint."""

_WITHOUT_A_MESSAGE = "another process ended without a message (killed, or out of memory?): see what the launcher says"
SPEAKER_HEAD_START = 5.0
"""Seconds that other processes of a machine give the first one to say what is wrong with all."""
LOOK_EVERY = 1.0
"""Seconds between two looks at the failures of others."""
TIME_TO_NOTICE = 4.0
"""Seconds that the main thread has to notice a failure of another, and to end its process in order."""
TIME_TO_WRITE = 120.0
"""Seconds that ``UNINTERRUPTED`` may delay that end."""
UNINTERRUPTED = threading.Lock()
"""Held by a thread that writes what must not be cut off when another process fails, such as a checkpoint."""


class RankFailure(SeqTrackError):
    """Another process of the run has failed; the message is its error."""


def check_processes_per_node(device: str, processes: int) -> None:
    """Refuse more processes on this machine than it has GPUs, if they are to run on GPUs.

    Raises:
        InputError: if there are too many.
    """
    gpus = torch.cuda.device_count()
    wants_gpus = device.startswith("cuda") or (device == "auto" and gpus > 0)
    if wants_gpus and processes > gpus:
        raise InputError(
            f"--nproc_per_node {processes}: this machine has {gpus} GPU(s), and each process needs its own; "
            "start fewer, or use --device cpu"
        )


def choose_device(name: str, launch: Launch) -> torch.device:
    """Device of this process: each process of a machine gets a GPU of its own.

    Args:
        name: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` (a lone process only) or ``mps`` (as above).
        launch: place of this process.

    Raises:
        InputError: if this machine has no such device, or fewer GPUs than processes.
    """
    if launch.world_size == 1:
        return resolve_device(name)
    if re.fullmatch(r"cuda:\d+|mps", name):
        raise InputError(f"--device {name} cannot be shared by {launch.world_size} processes: use auto, cuda or cpu")
    if launch.local_world_size is not None:
        check_processes_per_node(name, launch.local_world_size)
    device = resolve_device("cpu" if name == "auto" and not torch.cuda.is_available() else name)
    if device.type != "cuda":
        return device
    gpus = torch.cuda.device_count()
    if gpus == 1:  # of its own: srun --gpus-per-task=1 shows each process another one
        return device
    if launch.local_rank >= gpus:
        raise InputError(
            f"process {launch.local_rank} of this machine (LOCAL_RANK) has no GPU of its own: there are {gpus}; start "
            "fewer, or use --device cpu"
        )
    return torch.device("cuda", launch.local_rank)


@contextmanager
def first_rank_speaks(launch: Launch) -> Iterator[None]:
    """Around what every process does alike before they meet: the first of a machine says what is wrong, once."""
    try:
        yield
    except SeqTrackError:
        if launch.local_rank > 0:
            time.sleep(SPEAKER_HEAD_START)  # the launcher ends this process meanwhile
        raise


@contextmanager
def process_group(launch: Launch, device: torch.device) -> Iterator[None]:
    """Initialize the process group, and destroy it at the end; a process that is alone has none.

    A process that fails leaves its error for the others, and ends. The others learn of it where their collective
    operations fail, and raise it. Where one waits in a collective that does not fail (NCCL), a thread ends the process.

    Raises:
        InputError: if the meeting place cannot be opened or reached.
        RankFailure: if another process failed.
        SystemExit: with 2 in its place, for all but the first process of a machine: one of them says it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if launch.world_size == 1:
        yield
        return
    failures = FailureBoard(_initialize(launch, device), launch)
    try:
        with failures.watching():
            yield
            reduce_mean(torch.zeros((), device=device))  # nobody leaves while another is writing or reading files
    except Exception as error:
        own = isinstance(error, SeqTrackError)
        failure = failures.of_another()
        deadline = time.monotonic() + SPEAKER_HEAD_START
        while own and launch.local_rank > 0 and time.monotonic() < deadline:
            # A mistake that all processes meet at once. The launcher ends the first one when this one exits, so that
            # one needs the time to say it; usually it has ended before, and the launcher ends this one.
            time.sleep(0.1)
            if not failure and (failure := failures.of_another()):
                deadline = time.monotonic() + SPEAKER_HEAD_START
        if failure and launch.local_rank > 0:
            raise SystemExit(2) from error
        if failure and not own:
            raise RankFailure(failure) from error
        if re.search(r"onnection (closed|reset) by peer", str(error)):
            raise RankFailure(_WITHOUT_A_MESSAGE) from error
        failures.report(f"rank {launch.rank}: {type(error).__name__}: {error}")
        raise
    dist.destroy_process_group()


def _initialize(launch: Launch, device: torch.device) -> dist.Store:
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=MEETING_TIMEOUT))
        store.set_timeout(MEETING_TIMEOUT)
        # The store of an elastic launcher outlives the processes: after a restart the old addresses would be read.
        store = dist.PrefixStore(f"seqtrack_train/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=MEETING_TIMEOUT)
    except (RuntimeError, OSError) as error:
        text = " ".join(str(error).split())
        if "EADDRINUSE" in text or "address already in use" in text.lower():
            raise InputError("MASTER_PORT is in use by another program or run: choose another port") from error
        raise InputError(f"rank {launch.rank} could not meet the other processes: {text[:300]}") from error
    return store


class FailureBoard:
    """The first failure of a run, where all its processes see it.

    Args:
        store: of the process group.
        launch: place of this process.
    """

    def __init__(self, store: dist.Store, launch: Launch) -> None:
        self.launch = launch
        # A restart has another key, since the store of a launcher outlives the processes.
        self._key = f"seqtrack/failure/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
        # A connection of its own: on that of the process group, others wait while a collective waits for a peer.
        while isinstance(store, dist.PrefixStore):
            store = store.underlying_store
        self._store = dist.TCPStore(store.host, store.port, is_master=False, timeout=timedelta(seconds=30))

    def report(self, message: str) -> None:
        """Leave the error of this process, unless there is one already, and the others the time to see it."""
        try:
            if not self._store.check([self._key]):
                self._store.set(self._key, message)
        except RuntimeError:
            return  # the process that keeps the store is gone; the error itself is raised by the caller
        time.sleep(2 * LOOK_EVERY)

    def of_another(self) -> str:
        """What another process has reported, or that the one which keeps the store is gone; empty if nothing."""
        try:
            message = self._store.get(self._key).decode() if self._store.check([self._key]) else ""
        except RuntimeError:
            return _WITHOUT_A_MESSAGE
        return "" if message.startswith(f"rank {self.launch.rank}: ") else message

    @contextmanager
    def watching(self) -> Iterator[None]:
        """End this process from a thread if another one fails while the block runs, and the block does not notice."""
        ended = threading.Event()
        threading.Thread(target=self._watch, args=(ended,), name="watch ranks", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(LOOK_EVERY):
            if not (failure := self.of_another()):
                continue
            deadline, writing = time.monotonic() + TIME_TO_WRITE, False
            while not ended.wait(TIME_TO_NOTICE):
                wrote, writing = writing, UNINTERRUPTED.locked() and time.monotonic() < deadline
                if writing or wrote:  # behind a file, too, there is the whole time to notice
                    continue
                if self.launch.local_rank == 0:
                    logger.error("%s", failure)
                    logging.shutdown()
                os._exit(2)  # the main thread is in a wait that no exception and no signal handler ends


def reduce_mean(values: Tensor) -> Tensor:
    """Mean of a tensor over all processes; a NaN of one is a NaN for all."""
    if get_world_size() > 1:
        values = values.clone()
        dist.all_reduce(values)
        values /= get_world_size()
    return values


def gather(value: Any) -> list[Any]:
    """A plain value of each process, by rank."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


def decide_on_main(value: Any) -> Any:
    """The value that rank 0 gave."""
    return gather(value)[0]


def distribute(network: nn.Module, device: torch.device) -> nn.Module:
    """Wrap a network so that gradients are averaged over all processes; a lone process keeps it as it is.

    The weights of rank 0 become those of all.
    """
    if get_world_size() == 1:
        return network
    return nn.parallel.DistributedDataParallel(
        network,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
    )


def seed_rank(seed: int) -> None:
    """Give ranks other than 0 random numbers (dropout) of their own; rank 0 keeps those of a lone process."""
    if get_rank() > 0:
        torch.manual_seed(seed + 1_000_003 * get_rank())


@torch.no_grad()
def digest(network: nn.Module) -> int:
    """A number that changes when a bit of the weights changes."""
    total = 0
    for position, value in enumerate(network.state_dict().values(), start=1):
        numbers = value.detach().contiguous().flatten().view(torch.uint8)
        numbers = numbers.view(torch.int32) if numbers.numel() % 4 == 0 else numbers
        total = (total + position * int(numbers.sum(dtype=torch.int64))) % 2**61
    return total


def check_ranks_agree(network: nn.Module) -> None:
    """Compare the weights of all processes.

    On devices of different models the norm that clips the gradients may be rounded differently: there the weights of
    rank 0 are taken over, with a warning.

    Raises:
        SeqTrackError: naming the ranks whose weights are not those of rank 0.
    """
    if get_world_size() == 1:
        return
    values = list(network.state_dict().values())
    found = gather((digest(network), device_model(values[0].device)))
    others = ", ".join(str(rank) for rank, (number, _) in enumerate(found) if number != found[0][0])
    if not others:
        return
    models = sorted({model for _, model in found})
    if len(models) == 1:
        raise SeqTrackError(f"the weights of rank {others} have drifted from those of rank 0")
    for value in values:
        dist.broadcast(value, 0)
    if get_rank() == 0:
        logger.warning("devices differ (%s): weights of rank 0 copied to rank %s", ", ".join(models), others)


def device_model(device: torch.device) -> str:
    """What kind of device this process computes on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
