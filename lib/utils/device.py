"""Choosing a device and a precision by name."""

import re

import torch

from lib.utils.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def resolve_device(name: str = "auto") -> torch.device:
    """Device for ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``; ``auto`` takes the fastest one present.

    Raises:
        InputError: if the name is unknown or this machine has no such device.
    """
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if has_mps else "cpu")
    match = re.fullmatch(r"cpu|mps|cuda(?::(\d+))?", name)
    if match is None:
        raise InputError(f"unknown device {name!r}; known: auto, cpu, cuda, cuda:<index>, mps")
    if name.startswith("cuda") and int(match[1] or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    if name == "mps" and not has_mps:
        raise InputError("device 'mps': this machine has none")
    return torch.device(name)


def resolve_dtype(name: str = "float32") -> torch.dtype:
    """Floating-point type for ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        InputError: if the name is another.
    """
    if name not in DTYPES:
        raise InputError(f"unknown dtype {name!r}; known: {', '.join(DTYPES)}")
    return DTYPES[name]
