"""Processes that train together: their devices, the process group, and how a failure of one reaches the others.

A process without ``WORLD_SIZE`` (see ``lib.utils.launch``) is alone, and all this does nothing.
"""

import re
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

MEETING_TIMEOUT = timedelta(minutes=30)
"""How long processes wait for each other: rank 0 may be downloading weights or writing a checkpoint."""

_FAILURE = "seqtrack/failure"
_SPEAKER_HEAD_START = 3.0  # seconds


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
    check_processes_per_node(name, launch.local_world_size)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = resolve_device(name)
    return torch.device("cuda", launch.local_rank) if device.type == "cuda" else device


@contextmanager
def first_rank_speaks(launch: Launch) -> Iterator[None]:
    """Around what every process does alike before they meet: the first of a machine says what is wrong, once."""
    try:
        yield
    except SeqTrackError:
        if launch.local_rank > 0:
            time.sleep(_SPEAKER_HEAD_START)  # the launcher ends this process meanwhile
        raise


@contextmanager
def process_group(launch: Launch, device: torch.device) -> Iterator[None]:
    """Meet the other processes, and part from them at the end; a lone process meets nobody.

    A process that fails leaves its error for the others, whose collective operations then fail and who raise it.

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
    store = _meet(launch, device)
    try:
        yield
        reduce_mean(torch.zeros((), device=device))  # nobody leaves while another is writing or reading files
    except Exception as error:
        own = isinstance(error, SeqTrackError)
        failure = _failure_of_another(store, launch.rank)
        deadline = time.monotonic() + _SPEAKER_HEAD_START
        while own and launch.local_rank > 0 and not failure and time.monotonic() < deadline:
            time.sleep(0.1)  # a mistake that all processes meet at once
            failure = _failure_of_another(store, launch.rank)
        if failure and launch.local_rank > 0:
            raise SystemExit(2) from error
        if failure and not own:
            raise RankFailure(failure) from error
        if re.search(r"onnection (closed|reset) by peer", str(error)):
            raise RankFailure(
                "another process ended without a word (killed, or out of memory?): see what the launcher says"
            ) from error
        _tell(store, f"rank {launch.rank}: {type(error).__name__}: {error}")
        raise
    dist.destroy_process_group()


def _meet(launch: Launch, device: torch.device) -> dist.Store:
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=MEETING_TIMEOUT))
        store.set_timeout(MEETING_TIMEOUT)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=MEETING_TIMEOUT)
    except (RuntimeError, OSError) as error:
        text = " ".join(str(error).split())
        if "EADDRINUSE" in text or "address already in use" in text.lower():
            raise InputError("MASTER_PORT is in use by another program or run: choose another port") from error
        raise InputError(f"rank {launch.rank} could not meet the other processes: {text[:300]}") from error
    return store


def _tell(store: dist.Store, message: str) -> None:
    try:
        if not store.check([_FAILURE]):
            store.set(_FAILURE, message)
    except RuntimeError:
        pass  # the process that keeps the store is gone; the error itself is raised by the caller


def _failure_of_another(store: dist.Store, rank: int) -> str:
    """What another process has told, empty if nothing."""
    try:
        message = store.get(_FAILURE).decode() if store.check([_FAILURE]) else ""
    except RuntimeError:
        return ""
    return "" if message.startswith(f"rank {rank}: ") else message


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
        words = value.detach().contiguous().flatten().view(torch.uint8)
        words = words.view(torch.int32) if words.numel() % 4 == 0 else words
        total = (total + position * int(words.sum(dtype=torch.int64))) % 2**61
    return total


def check_ranks_agree(network: nn.Module) -> None:
    """Compare the weights of all processes.

    Raises:
        SeqTrackError: naming the ranks whose weights are not those of rank 0.
    """
    if get_world_size() == 1:
        return
    digests = gather(digest(network))
    others = [str(rank) for rank, value in enumerate(digests) if value != digests[0]]
    if others:
        raise SeqTrackError(f"the weights of rank {', '.join(others)} have drifted from those of rank 0")
