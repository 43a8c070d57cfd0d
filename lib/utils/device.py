"""Choosing a device and a precision by name."""

import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from lib.utils.errors import InputError

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """Device for ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``; ``auto`` takes the fastest one present.

    Returns:
        The device; a GPU of CUDA always with its index (0 if none is named), which ``torch.cuda.set_device`` needs.

    Raises:
        InputError: if the name is unknown or this machine has no such device.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        name = "cuda" if _has_cuda() else "mps" if has_mps else "cpu"
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise InputError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:<index>, mps")
    if name == "mps" and not has_mps:
        raise InputError("device 'mps': this machine has none")
    if not name.startswith("cuda"):
        return torch.device(name)
    count, index = torch.cuda.device_count(), int(match[1] or 0)
    if not count or not _has_cuda():
        raise InputError(f"device {name!r}: {_why_no_cuda()}")
    if index >= count:
        raise InputError(f"device {name!r}: this machine has {count} CUDA devices, cuda:0 to cuda:{count - 1}")
    return torch.device("cuda", index)


def _has_cuda() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old driver: `_why_no_cuda` says it where a GPU was asked for
        return torch.cuda.is_available()


def _why_no_cuda() -> str:
    """What keeps PyTorch from a GPU, in one line."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip(", "):
        return "CUDA_VISIBLE_DEVICES is empty, which hides all CUDA devices"
    try:
        torch.cuda.init()
        reason = "there is none that works"
    except (RuntimeError, AssertionError) as error:  # no driver, one older than this PyTorch needs, a build for CPUs
        reason = (str(error).strip().splitlines() or ["unknown reason"])[0]
    shown = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    return f"this machine has 0 CUDA devices for PyTorch {torch.__version__}{shown}: {reason}"


def upload(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Bring values from the CPU to a device, without a wait on CUDA."""
    on_cuda = device.type == "cuda"
    if on_cuda:
        values = values.pin_memory()  # else the copy would wait for all work before it
    # MPS would read pageable memory later, when it may be another tensor's.
    return values.to(device, non_blocking=on_cuda)


def resolve_dtype(name: str = "float32") -> torch.dtype:
    """Floating-point type for ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        InputError: if the name is another.
    """
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]


@contextmanager
def device_errors(device: torch.device, advice: str) -> Iterator[None]:
    """Around work on a device: what keeps it from working is one line.

    Args:
        device: where the work is done.
        advice: what to change if its memory does not suffice, such as ``a smaller --batch_size``.

    Raises:
        InputError: if there is not enough memory, another process has the device for itself, or this PyTorch was built
            without kernels for it.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        found = re.search(r"Tried to allocate ([\d.]+ \w+)", str(error))
        more = found[1] if found else "some"
        free, total = (f"{size / 2**30:.1f} GiB" for size in torch.cuda.mem_get_info(device))
        raise InputError(
            f"{device}: not enough memory: {more} more was needed, {free} of {total} are free; use {advice}"
        ) from error
    except RuntimeError as error:
        if "busy or unavailable" in str(error):
            raise InputError(f"{device}: another process has it for itself; end that one, or choose another") from error
        if "no kernel image" in str(error):
            name, built = torch.cuda.get_device_name(device), ", ".join(torch.cuda.get_arch_list())
            raise InputError(f"{device}: this PyTorch has no kernels for {name}, only for {built}") from error
        raise


def warn_of_shared_gpus(devices: Sequence[str]) -> None:
    """Log that processes of this run are on one GPU, where its multi-process service (MPS) does not run."""
    shared = Counter("cuda:0" if name in ("auto", "cuda") and _has_cuda() else name for name in devices)
    pipe = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    for name, count in shared.items():
        if name.startswith("cuda") and count > 1 and not pipe.exists():
            logger.warning("%d processes share %s without MPS: they take turns on it", count, name)
