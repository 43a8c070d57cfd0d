"""What a process knows about its run (what its launcher set, its rank once the group is initialized) and its machine.

``torchrun``, ``torch.distributed.launch`` and any other launcher describe the run in the environment (``RANK``,
``WORLD_SIZE``, ``LOCAL_RANK``, ``MASTER_ADDR``, ``MASTER_PORT``); a process without ``WORLD_SIZE`` is alone.
"""

import contextlib
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata

from lib.utils.errors import InputError, printable

PACKAGES = (
    *("seqtrack", "torch", "torchvision", "timm", "numpy", "opencv-python", "opencv-python-headless"),
    *("lmdb", "pycocotools", "onnxruntime", "openvino"),
)
"""Packages whose versions can move a number."""


def available_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions() -> dict[str, str]:
    """Versions of Python and of those ``PACKAGES`` that are installed."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return versions


def get_rank() -> int:
    """Rank of this process, 0 outside a distributed run."""
    return sys.modules["torch.distributed"].get_rank() if _is_distributed() else 0


def get_world_size() -> int:
    """Number of processes of the run, 1 outside a distributed run."""
    return sys.modules["torch.distributed"].get_world_size() if _is_distributed() else 1


def _is_distributed() -> bool:
    """Whether there is a process group; a process that has none need not import torch to know it."""
    dist = sys.modules.get("torch.distributed")
    return dist is not None and dist.is_available() and dist.is_initialized()


def is_main_process() -> bool:
    """Whether this process writes the run's files and log."""
    return get_rank() == 0


@dataclass(frozen=True)
class Launch:
    """Place of this process among those that train together.

    Attributes:
        rank: number of the process, from 0.
        world_size: number of processes on all machines.
        local_rank: number of the process on its machine.
        local_world_size: number of processes on this machine, ``None`` if the launcher does not say.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int | None = 1


def read_launch(environment: Mapping[str, str], local_rank: int | None = None) -> Launch:
    """Read what a launcher says.

    Args:
        environment: variables of this process.
        local_rank: value of the flag ``--local_rank``, which older launchers pass; the environment wins.

    Raises:
        InputError: if variables are missing, no numbers, or out of range.
    """
    if "WORLD_SIZE" not in environment:
        return Launch()
    world_size = _number(environment, "WORLD_SIZE", 1)
    if world_size == 1:
        return Launch()
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        raise InputError(
            f"WORLD_SIZE is {world_size} but {', '.join(missing)} not set: start with torchrun, or unset WORLD_SIZE"
        )
    _number(environment, "MASTER_PORT", 0, highest=65535)
    rank = _number(environment, "RANK", 0)
    local_world_size = None  # srun and mpirun do not say
    if "LOCAL_WORLD_SIZE" in environment:
        local_world_size = _number(environment, "LOCAL_WORLD_SIZE", 1)
    if "LOCAL_RANK" in environment or local_rank is None:
        local_rank = _number(environment, "LOCAL_RANK", 0, default=rank % (local_world_size or world_size))
    if rank >= world_size:
        raise InputError(f"RANK is {rank} but WORLD_SIZE is {world_size}")
    return Launch(rank, world_size, local_rank, local_world_size)


def _number(
    environment: Mapping[str, str], name: str, lowest: int, default: int | None = None, highest: int = 2**31 - 1
) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and lowest <= int(text) <= highest):
        until = "on" if highest == 2**31 - 1 else f"to {highest}"
        raise InputError(
            f"the environment variable {name} should be a number from {lowest} {until}, it is {printable(repr(text))}"
        )
    return int(text)
