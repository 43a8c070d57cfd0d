"""Processes that train together, forked from the test: importing torch again would take longer than the test."""

import multiprocessing
import os
import signal
import socket
import traceback

import torch

from lib.train.distributed import process_group
from lib.utils.launch import read_launch
from tests.train.world import CPU

FORK = multiprocessing.get_context("fork")
# The first backward pass of a process decides whether autograd has threads, and where it has, nothing forked can train.
# After an export it would want them, so it comes here: pytest imports all tests before it runs one.
torch.ones(1, requires_grad=True).backward()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _rank_main(function, rank, world_size, port, folder):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    torch.set_num_threads(1)
    try:
        with process_group(read_launch(os.environ), CPU):
            torch.save(function(rank), folder / f"{rank}.result")
    except BaseException as error:
        (folder / f"{rank}.error").write_text(f"{type(error).__name__}: {error}")
        traceback.print_exc()
        os._exit(2)
    os._exit(0)


def run_ranks(function, folder, world_size=2, timeout=120):
    """What ``function(rank)`` returned in each process, the text of its error, or its exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.result"):
        old.unlink()
    port = free_port()
    children = [
        FORK.Process(target=_rank_main, args=(function, rank, world_size, port, folder)) for rank in range(world_size)
    ]
    for child in children:
        child.start()
    results = []
    for rank, child in enumerate(children):
        child.join(timeout)
        if child.is_alive():
            for other in filter(lambda child: child.is_alive(), children):
                os.kill(other.pid, signal.SIGABRT)  # faulthandler shows where each one waits
            raise AssertionError(f"rank {rank} did not end")
        error = folder / f"{rank}.error"
        result = folder / f"{rank}.result"
        text = error.read_text() if error.exists() else f"exit code {child.exitcode}"
        results.append(torch.load(result) if result.exists() else text)
    return results
