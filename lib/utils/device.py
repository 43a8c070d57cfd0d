"""Choosing a device and a precision by name."""

import os
import re
import warnings

import torch

from lib.utils.errors import InputError

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


def resolve_dtype(name: str = "float32") -> torch.dtype:
    """Floating-point type for ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        InputError: if the name is another.
    """
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]
