"""A CUDA device for tests on machines without one.

    with simulated_cuda() as device:
        network.to("cuda")  # the code under test, unchanged
        print(device.kernels, device.waits)

A :class:`DeviceTensor` reports ``cuda:0`` and keeps its values in a CPU tensor. Two layers see what is done with it:

* ``Frontend`` sees calls of PyTorch's Python functions. It moves tensors (``to``, ``cuda``, ``torch.tensor``), marks
  pinned memory, and applies the casts of autocast, which looks for real CUDA tensors.
* ``Backend`` sees each operator below autograd and gives it to the ``Device``. That refuses tensors of two devices,
  counts kernels, uploads, downloads and what makes the CPU wait, records graphs while they are captured, and runs the
  CPU's kernels.

For C++ the tensors are on ``meta``: autograd would ask a driver for the streams of a CUDA tensor. It does not model
memory, rounding of CUDA kernels, concurrent streams, or NCCL.
"""

import contextlib
import threading
from types import SimpleNamespace
from unittest import mock

import torch
import torch._dynamo  # before anything is patched
from torch import Tensor
from torch.utils._pytree import tree_flatten

from tests.device.simulated_tensor import CUDA, Backend, Device, DeviceTensor, Frontend, attend

__all__ = ["CUDA", "DeviceTensor", "simulated_cuda"]


class Graph:
    """A CUDA graph: the operators of a capture, replayed on the same tensors."""

    def __init__(self, *_, **__) -> None:
        self.record: list = []

    def replay(self) -> None:
        Device.current.launches += 1
        for func, args, kwargs, result in self.record:
            for old, new in zip(tree_flatten(result)[0], tree_flatten(func(*args, **kwargs))[0], strict=True):
                if isinstance(old, Tensor) and old is not new:
                    old.copy_(new)


@contextlib.contextmanager
def capture(graph: Graph, *_, **__):
    Device.current.recording = graph.record
    try:
        yield
    finally:
        Device.current.recording = None


class Stream:
    """Also an event: work is done when it is issued."""

    def __init__(self, *_, **__) -> None:
        pass

    def synchronize(self) -> None:
        Device.current.wait("synchronize()")

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return Device.current.recording is not None

    wait_stream = wait_event = wait = record = lambda self, *_: self


def _index(device=None, optional=False, allow_cpu=False) -> int:
    """As in ``torch.cuda``: a device needs an index."""
    device = torch.device(device) if isinstance(device, str) else device
    index = device.index if isinstance(device, torch.device) else device
    if index is None and not optional:
        raise ValueError(f"Expected a torch.device with a specified index or an integer, but got:{device}")
    return index or 0


def _in_thread(run):
    """Modes belong to a thread: one that is started within the simulation gets its own."""

    def run_with_modes(thread):
        with Backend(), Frontend():
            run(thread)

    return run_with_modes


def _stubs(device, capability):
    """What stands for the functions of ``torch.cuda``, by name."""
    about = SimpleNamespace(name="Simulated", major=capability[0], minor=capability[1], total_memory=80 << 30)
    nothing = contextlib.nullcontext
    return {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_lazy_init": lambda: None,
        "init": lambda: None,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _index,
        "get_device_name": lambda *_: "Simulated",
        "get_device_properties": lambda *_: about,
        "get_device_capability": lambda *_: capability,
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        "mem_get_info": lambda *_: (79 << 30, 80 << 30),
        "synchronize": lambda *_: device.wait("torch.cuda.synchronize()"),
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "get_rng_state": lambda *_: torch.zeros(16, dtype=torch.uint8),
        "get_rng_state_all": lambda: [torch.zeros(16, dtype=torch.uint8)],
        "set_rng_state": lambda *_: None,
        "set_rng_state_all": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "Stream": Stream,
        "Event": Stream,
        "current_stream": lambda *_: Stream(),
        "default_stream": lambda *_: Stream(),
        "stream": lambda *_: nothing(),
        "device": lambda *_: nothing(),
        "CUDAGraph": Graph,
        "graph": capture,
        "graph_pool_handle": lambda: (0, 0),
        "is_current_stream_capturing": lambda: device.recording is not None,
        "amp.common.amp_definitely_not_available": lambda: False,
    }


_FITS = torch._has_compatible_shallow_copy_type


def _may_share(old, new):
    """Whether ``Module.to`` keeps the parameter and swaps its data: not where its class changes."""
    return old is new or not (isinstance(new, DeviceTensor) or isinstance(old, DeviceTensor) or not _FITS(old, new))


@contextlib.contextmanager
def simulated_cuda(capability=(9, 0)):
    """Within it CUDA is there, as one device."""
    device = Device()
    lift = torch._C._only_lift_cpu_tensors()
    with contextlib.ExitStack() as stack:
        for name, stub in _stubs(device, capability).items():
            place, _, attribute = f"torch.cuda.{name}".rpartition(".")
            stack.enter_context(mock.patch(f"{place}.{attribute}", stub))
        stack.enter_context(mock.patch("torch.nn.functional.scaled_dot_product_attention", attend))
        # A patch: before a mode sees the call, C++ refuses a stream that is not its own.
        stack.enter_context(mock.patch("torch.Tensor.record_stream", lambda tensor, stream: None))
        if hasattr(torch, "accelerator"):
            stack.enter_context(mock.patch("torch.accelerator.current_stream", lambda *_: Stream()))
        stack.enter_context(mock.patch("torch._has_compatible_shallow_copy_type", _may_share))
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, lift)
        tf32 = torch.backends.cuda.matmul.allow_tf32
        stack.callback(setattr, torch.backends.cuda.matmul, "allow_tf32", tf32)
        torch.backends.cuda.matmul.allow_tf32 = False  # as in a new process, whatever was trained in this one
        Device.current = device
        stack.enter_context(mock.patch("threading.Thread.run", _in_thread(threading.Thread.run)))
        with Backend(), Frontend():
            yield device
