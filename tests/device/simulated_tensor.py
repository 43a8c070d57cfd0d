"""Tensors of a simulated CUDA device, and the device that runs their operators; see ``tests/device/simulated.py``."""

import traceback
from collections import Counter
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

aten = torch.ops.aten
CUDA = torch.device("cuda", 0)
ROOT = str(Path(__file__).resolve().parents[2])

READS_BACK = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
SIZED_BY_VALUES = {aten.nonzero.default, aten.masked_select.default}  # the CPU has to know how many there are
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
NO_KERNEL = {
    aten.empty.memory_format,
    aten.empty_strided.default,
    aten.empty_like.default,
    aten.new_empty.default,
    aten.new_empty_strided.default,
    aten.detach.default,
    aten.alias.default,
    aten._unsafe_view.default,
    aten.lift_fresh.default,
}

# The part of CUDA's autocast lists that this project meets. The functional form and the method are different objects.
NARROW = {F.linear, F.conv2d, torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, torch.bmm, torch.addmm}
NARROW |= {torch.baddbmm, torch.einsum, F.scaled_dot_product_attention}
WIDE = {F.softmax, torch.softmax, Tensor.softmax, F.log_softmax, torch.log_softmax, Tensor.log_softmax, F.layer_norm}
WIDE |= {
    F.cross_entropy,
    F.softplus,
    torch.sum,
    Tensor.sum,
    torch.pow,
    Tensor.pow,
    Tensor.__pow__,
    torch.exp,
    torch.log,
}
WIDE |= {F.binary_cross_entropy_with_logits, F.l1_loss, F.smooth_l1_loss, Tensor.exp, Tensor.log, torch.norm}

_any_attention = F.scaled_dot_product_attention


class DeviceTensor(torch.Tensor):
    """A tensor of the simulated device."""

    values: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, values: Tensor):
        with torch.inference_mode(False):  # a view of an ordinary tensor is ordinary, in inference mode too
            made = torch.Tensor._make_wrapper_subclass(
                cls, values.size(), strides=values.stride(), dtype=values.dtype, device="meta"
            )
        made.values = values
        return made

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self):
        return f"DeviceTensor({self.values!r})"

    def __deepcopy__(self, memo):
        copied = DeviceTensor(self.values.clone())
        if isinstance(self, torch.nn.Parameter):
            copied = torch.nn.Parameter(copied, self.requires_grad)
        return memo.setdefault(id(self), copied)

    def __reduce_ex__(self, protocol):
        return self.values.__reduce_ex__(protocol)  # as torch.save and torch.load(map_location="cpu")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return Device.current.run(func, args, kwargs or {})


class WaitWhileCapturing(RuntimeError):
    """What CUDA says of a wait inside a capture."""


class Frontend(TorchFunctionMode):
    """What PyTorch's Python functions do with tensors of the device."""

    def __init__(self) -> None:
        super().__init__()
        self.special = {
            Tensor.to: self.to,
            Tensor.cuda: lambda tensor, device=None, non_blocking=False: self.move(tensor, CUDA, None, non_blocking),
            Tensor.tolist: lambda tensor: tensor.cpu().tolist(),
            Tensor.numpy: self.numpy,
            Tensor.new_tensor: self.new_tensor,
            Tensor.pin_memory: self.pin,
            Tensor.is_pinned: lambda tensor, *_: getattr(tensor, "pinned", False),
            Tensor.__getitem__: lambda tensor, key: tensor[self.index(key)],
            Tensor.__setitem__: lambda tensor, key, value: tensor.__setitem__(self.index(key), value),
            torch.tensor: self.tensor,
        }
        self.always = {Tensor.to, Tensor.cuda, Tensor.pin_memory, Tensor.is_pinned, torch.tensor}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in NARROW or func in WIDE:
            args, kwargs = self.autocast(func, args, kwargs)
        if func in self.special and (func in self.always or isinstance(args[0], DeviceTensor)):
            return self.special[func](*args, **kwargs)
        return func(*args, **kwargs)

    @staticmethod
    def autocast(func, args, kwargs):
        """Cast floating-point arguments as autocast does."""
        if not torch.is_autocast_enabled("cuda"):
            return args, kwargs
        dtype = torch.get_autocast_dtype("cuda") if func in NARROW else torch.float32

        def cast(value):
            wide = isinstance(value, DeviceTensor) and value.is_floating_point() and value.dtype != torch.float64
            return aten._to_copy.default(value, dtype=dtype) if wide and value.dtype != dtype else value

        return tree_map(cast, (args, kwargs))

    def to(self, tensor, *args, **kwargs):
        """``Tensor.to`` in all its forms."""
        if args and isinstance(args[0], Tensor):
            args, kwargs = (args[0].device, args[0].dtype), kwargs
        copy = kwargs.pop("copy", False)
        device, dtype, non_blocking, layout = torch._C._nn._parse_to(*args, **kwargs)
        return self.move(tensor, device, dtype, non_blocking, copy, layout)

    def move(self, tensor, device, dtype, non_blocking, copy=False, layout=None):
        """Copy a tensor to a device or type; one that is there already is returned."""
        if device is not None and device.type == "cuda":
            device = torch.device("cuda", device.index or 0)
        there = device in (None, tensor.device) and dtype in (None, tensor.dtype) and layout is None
        if there and not copy:
            return tensor
        options = {} if layout is None else {"memory_format": layout}
        where = tensor.device if device is None else device
        dtype = tensor.dtype if dtype is None else dtype
        return aten._to_copy.default(tensor, device=where, dtype=dtype, non_blocking=non_blocking, **options)

    def tensor(self, data, *, dtype=None, device=None, **options):
        made = torch.tensor(data, dtype=dtype, **options)
        return made if device is None else self.move(made, torch.device(device), None, False)

    def new_tensor(self, tensor, data, *, dtype=None, device=None, requires_grad=False):
        return self.tensor(data, dtype=dtype or tensor.dtype, device=device or CUDA)

    @staticmethod
    def numpy(tensor, **_):
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")

    @staticmethod
    def pin(tensor, *_):
        if isinstance(tensor, DeviceTensor):
            raise RuntimeError("only dense CPU tensors can be pinned")
        pinned = tensor.clone()
        pinned.pinned = True
        return pinned

    def index(self, key):
        """Lists in an index are uploaded."""
        parts = key if isinstance(key, tuple) else (key,)
        return tuple(self.tensor(part, device=CUDA) if isinstance(part, list) else part for part in parts)


def attend(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False):
    """One kernel, as on CUDA. A patch: the backward pass, where checkpoints run forward again, has no function mode."""
    if not isinstance(query, DeviceTensor):
        return _any_attention(query, key, value, attn_mask, dropout_p, is_causal)
    (query, key, value), _ = Frontend.autocast(_any_attention, (query, key, value), {})
    if len({query.dtype, key.dtype, value.dtype}) > 1:
        raise RuntimeError(f"query, key and value of different types: {query.dtype}, {key.dtype}, {value.dtype}")
    assert attn_mask is None and not dropout_p, "not simulated"
    return aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, is_causal)[0]


class Backend(TorchDispatchMode):
    """Gives the device each operator below autograd."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return Device.current.run(func, args, kwargs or {})


class Device:
    """The device, and what was seen of it since ``reset``.

    Attributes:
        kernels: number of each operator that is a kernel.
        launches: replays of graphs.
        uploads, pageable: copies to the device, and how many came from memory that was not pinned.
        downloads: copies from the device.
        waits: what made the CPU wait, with the line of the project.
    """

    current: "Device"

    def __init__(self) -> None:
        self.recording: list | None = None
        self.reset()

    def reset(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.launches = self.uploads = self.pageable = self.downloads = 0
        self.waits: list[str] = []

    def wait(self, what: str) -> None:
        frames = [frame for frame in traceback.extract_stack() if frame.filename.startswith(f"{ROOT}/lib/")]
        where = f"{frames[-1].filename.removeprefix(ROOT)}:{frames[-1].lineno}" if frames else "a test"
        if self.recording is not None:
            raise WaitWhileCapturing(f"operation not permitted when stream is capturing: {what} at {where}")
        self.waits.append(f"{what} at {where}")

    def run(self, func, args, kwargs):
        flat, spec = tree_flatten((args, kwargs))
        here = [value for value in flat if isinstance(value, DeviceTensor)]
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        if not here and (target is None or target.type != "cuda"):
            return func(*args, **kwargs)
        with Backend():  # in inference mode composite operators arrive whole
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        if func is aten._to_copy.default:
            return self.copy(args[0], target, dict(kwargs))
        if func is aten.copy_.default and len(here) == 1:
            return self.copy_between(*args)
        self.check(func, args, flat)
        values, named = tree_unflatten([v.values if isinstance(v, DeviceTensor) else v for v in flat], spec)
        if target is not None:  # formulas of gradients in C++ say meta
            named["device"] = torch.device("cpu")
        return self.kernel(func, values, named, here)

    def kernel(self, func, args, kwargs, here=()):
        """Run on the values; what comes back in place is the tensor that went in."""
        result = func(*args, **kwargs)
        if not (func.is_view or func in NO_KERNEL):
            self.kernels[str(func)] += 1
        if self.recording is not None and not func.is_view:
            self.recording.append((func, args, kwargs, result))
        known = {id(tensor.values): tensor for tensor in here}

        def wrap(value):
            if not isinstance(value, Tensor):
                return value
            return known[id(value)] if id(value) in known else DeviceTensor(value)

        return tree_map(wrap, result)

    def check(self, func, args, flat) -> None:
        """Refuse tensors of two devices and note what waits."""
        outside = [v for v in flat if isinstance(v, Tensor) and not isinstance(v, DeviceTensor) and v.dim() > 0]
        if outside and func not in INDEXING:
            raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu ({func})")
        if func in READS_BACK or func in SIZED_BY_VALUES:
            self.wait(str(func))
        if func in INDEXING:
            if outside:
                self.wait("an index on the CPU")
            if any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1]):
                self.wait("a boolean mask as index")

    def copy(self, source, target, kwargs):
        """``aten._to_copy``: a cast on the device, an upload or a download."""
        non_blocking = kwargs.pop("non_blocking", False)
        for key in ("device", "pin_memory", "layout"):
            kwargs.pop(key, None)
        if not isinstance(source, DeviceTensor):
            self.upload(source, non_blocking)
            return DeviceTensor(aten._to_copy.default(source, **kwargs))
        if target is None or target.type in ("cuda", "meta"):
            return self.kernel(aten._to_copy.default, (source.values,), kwargs)
        self.downloads += 1
        self.wait(f"download of {tuple(source.shape)}")
        return aten._to_copy.default(source.values, **kwargs)

    def copy_between(self, destination, source, non_blocking=False):
        if isinstance(destination, DeviceTensor):
            self.upload(source, non_blocking)
            destination.values.copy_(source)
        else:
            self.downloads += 1
            self.wait(f"download of {tuple(source.shape)}")
            destination.copy_(source.values)
        return destination

    def upload(self, source, non_blocking) -> None:
        pinned = getattr(source, "pinned", False)
        self.uploads += 1
        self.pageable += not pinned
        if not (pinned and non_blocking):
            self.wait(f"upload of {tuple(source.shape)}, {'pinned' if pinned else 'pageable'}")
