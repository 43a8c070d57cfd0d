"""Running exported graphs: ONNX Runtime, OpenVINO, and PyTorch's own format, each as a function of NumPy arrays."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.test.tracker.graphs import METADATA, import_extra
from lib.utils.errors import CheckpointError, InputError, printable

Run = Callable[..., list[np.ndarray]]
"""The inputs of a graph in their order -> its outputs in theirs."""


def open_onnx(path: Path, device: str = "cpu") -> tuple[Run, dict[str, Any]]:
    """Open an ONNX file with ONNX Runtime, for as many threads as PyTorch has.

    Returns:
        The graph, and its metadata.

    Raises:
        InputError: if the package or the device is missing.
        CheckpointError: if the file is missing, damaged or not one of ours.
    """
    runtime = import_extra("onnxruntime", "onnx")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(device.partition(":")[0])
    if provider not in runtime.get_available_providers():
        known = ", ".join(runtime.get_available_providers())
        raise InputError(f"device {device!r}: this onnxruntime has no provider for it, only {known}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    index = {"device_id": int(device.partition(":")[2])} if ":" in device else {}
    _check_file(path)
    try:
        session = runtime.InferenceSession(str(path), options, providers=[(provider, index)])
    except Exception as error:  # classes of its own, without a common base
        raise damaged(path, error) from error
    names = [entry.name for entry in session.get_inputs()]

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return run, read_metadata(path, session.get_modelmeta().custom_metadata_map.get(METADATA))


def read_metadata(path: Path, text: str | None) -> dict[str, Any]:
    """Metadata of a file. Raises CheckpointError if they are not those of this project."""
    try:
        content = json.loads(text or "")
        return {**content, "format_version": int(content["format_version"])}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a file of tracking/export.py: its metadata are not ours") from error


def damaged(path: Path, error: Exception) -> CheckpointError:
    """The error of a file that a runtime cannot read."""
    reason = printable((str(error).strip().splitlines() or [""])[0], 200)
    return CheckpointError(f"{path}: damaged, or not a file of tracking/export.py ({reason})")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
