"""Opening exported graphs with the runtime of their format; each is then a function of NumPy arrays."""

import ctypes
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.test.tracker.graphs import FEATURES, FORMAT_VERSION, METADATA, import_extra
from lib.utils.errors import CheckpointError, InputError, printable

Run = Callable[..., list[np.ndarray]]
"""The inputs of a graph in their order -> its outputs in theirs."""


def open_onnx(path: Path, device: str = "cpu", precision: str = "float32") -> tuple[Run, dict[str, Any]]:
    """Open an ONNX file with ONNX Runtime, for as many threads as PyTorch has.

    Args:
        path: the file.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:<index>``.
        precision: the file decides.

    Returns:
        The graph, and its metadata.

    Raises:
        InputError: if the package or the device is missing.
        CheckpointError: if the file is missing, damaged or not one of ours.
    """
    runtime = import_extra("onnxruntime", "onnx")
    runtime.disable_telemetry_events()
    known = runtime.get_available_providers()
    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = "cuda" if "CUDAExecutionProvider" in known else "cpu"
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if provider not in known:
        raise InputError(f"device {device!r}: this onnxruntime has no provider for it, only {', '.join(known)}")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    # Threads that spin for more work take it from each other: 1.1 (B256) to 1.35 times (demo) on two cores without.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI instructions sums of two 8 bit products overflow and are clipped; this takes a slower kernel there.
    options.add_session_config_entry("session.x64quantprecision", "1")
    place = {"device_id": index} if index else {}
    try:
        session = runtime.InferenceSession(_existing(path), options, providers=[(provider, place)])
    except Exception as error:  # classes of its own, without a common base
        raise _damaged(path, error) from error
    if device != "auto" and provider not in session.get_providers():  # it would compute on the CPU, and not say so
        raise InputError(f"device {device!r}: onnxruntime cannot start {provider}; are its libraries installed?")
    names = [entry.name for entry in session.get_inputs()]

    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        return session.run(None, dict(zip(names, arrays, strict=True)))

    return run, _metadata(path, session.get_modelmeta().custom_metadata_map.get(METADATA))


def open_openvino(path: Path, device: str = "cpu", precision: str = "float32") -> tuple[Run, dict[str, Any]]:
    """Open a file of OpenVINO (or ONNX) for the CPU, for as many threads as PyTorch has.

    Args:
        path: the file.
        device: ``auto`` or ``cpu``.
        precision: ``float32``, ``bfloat16``, or ``int8``, whose other operators are float32. The decoder is float32 in
            all of them, since bfloat16 cannot tell the scores of neighboring tokens apart.

    Returns:
        The graph, and its metadata.

    Raises:
        InputError: if the package is missing, or another device is asked for.
        CheckpointError: if the file is missing, damaged or not one of ours.
    """
    openvino = import_extra("openvino", "openvino")
    if device not in ("auto", "cpu"):
        raise InputError(f"device {device!r}: the backend openvino computes on the CPU; use --device cpu")
    core = openvino.Core()
    try:
        model = core.read_model(_existing(path))
    except RuntimeError as error:
        raise _damaged(path, error) from error
    place = METADATA if path.suffix == ".xml" else ["framework", METADATA]  # where the reader of ONNX files puts it
    text = model.get_rt_info(place).astype(str) if model.has_rt_info(place) else None

    def compile(model: Any, hint: str) -> Run:
        options = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": torch.get_num_threads()}
        with _signal_stack_kept():
            compiled = core.compile_model(model, "CPU", {**options, "PERFORMANCE_HINT": "LATENCY"})
        request = compiled.create_infer_request()
        return lambda *arrays: [value.copy() for value in request.infer(list(arrays)).values()]

    if precision != "bfloat16":
        return compile(model, "f32"), _metadata(path, text)
    encoder, decoder = _split(model, openvino)
    encode, decode = compile(encoder, "bf16"), compile(decoder, "f32") if decoder else None
    return (lambda *arrays: decode(*encode(*arrays), *arrays) if decode else encode(*arrays)), _metadata(path, text)


def open_torch(path: Path, device: str = "cpu", precision: str = "float32") -> tuple[Run, dict[str, Any]]:
    """Open a file of ``torch.export``, on the CPU.

    Returns:
        The graph, and its metadata.

    Raises:
        CheckpointError: if the file is missing, damaged or not one of ours.
    """
    extra = {METADATA: ""}
    try:
        module = torch.export.load(_existing(path), extra_files=extra).module()
    except Exception as error:  # zip, pickle and JSON errors, and PyTorch's own
        raise _damaged(path, error) from error

    @torch.inference_mode()
    def run(*arrays: np.ndarray) -> list[np.ndarray]:
        outputs = module(*(torch.from_numpy(array) for array in arrays))
        return [value.numpy() for value in (outputs if isinstance(outputs, tuple) else (outputs,))]

    return run, _metadata(path, extra[METADATA])


class _SignalStack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Put back, after the block, the memory on which this thread handles signals.

    OpenVINO's compiler sets memory of its own, and frees it with the network: when several networks have come and
    gone, the next Ctrl-C would be handled in memory that is no longer there, and end the process.
    """
    change = getattr(ctypes.CDLL(None), "sigaltstack", None) if os.name == "posix" else None
    before = _SignalStack()
    known = change is not None and change(None, ctypes.byref(before)) == 0
    try:
        yield
    finally:
        if known:
            change(ctypes.byref(before), None)


def _split(model: Any, openvino: Any) -> tuple[Any, Any]:
    """Cut ``step`` between encoder and decoder; the second part of another graph is None."""
    features = next(
        (output for op in model.get_ops() for output in op.outputs() if FEATURES in output.get_names()), None
    )
    if features is None:
        return model, None
    between = openvino.opset13.parameter(features.get_partial_shape(), np.float32, name=FEATURES)
    for target in features.get_target_inputs():
        target.replace_source_output(between.output(0))
    encoder = openvino.Model([openvino.opset13.result(features)], model.get_parameters())
    # The decoder takes the size of the batch from the inputs of the whole.
    return encoder, openvino.Model(model.get_results(), [between, *model.get_parameters()])


def _metadata(path: Path, text: str | None) -> dict[str, Any]:
    """Metadata of a file. Raises CheckpointError if they are not those of this project."""
    try:
        content = json.loads(text or "")
        if content["format_version"] == FORMAT_VERSION:
            return content
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise CheckpointError(f"{path}: not a file of this version's tracking/export.py")


def _existing(path: Path) -> str:
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file")
    return str(path)


def _damaged(path: Path, error: Exception) -> CheckpointError:
    if isinstance(error, CheckpointError):
        return error
    reason = printable((str(error).strip().splitlines() or [""])[-1], 200)
    return CheckpointError(f"{path}: damaged, or not a file of tracking/export.py ({reason})")
