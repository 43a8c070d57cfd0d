"""What a process knows about the run it belongs to."""

import torch.distributed as dist


def get_rank() -> int:
    """Rank of this process, 0 outside a distributed run."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def get_world_size() -> int:
    """Number of processes of the run, 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_main_process() -> bool:
    """Whether this process writes the run's files and log."""
    return get_rank() == 0
