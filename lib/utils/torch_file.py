"""Reader of the files of ``torch.save`` that runs nothing from them and allocates no more than they hold.

``torch.load(weights_only=True)`` with inert stand-ins is no substitute: the names to stand in for can be asked of zip
files only (published weights also have the older layout), the stand-ins are shared by the whole process, and memo
indexes, declared lengths and hashes of nested keys stay unbounded. ``torch.load`` with an own ``pickle_module`` is none
either: it hands TorchScript archives and tar files to code that does not use it.
"""

import collections
import io
import logging
import math
import mmap
import pickle
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

import numpy as np
import torch

logger = logging.getLogger(__name__)

MAX_EXPANDED = 64 << 20
"""Bytes that a tensor whose elements share memory (stride 0) may stand for, if the file is smaller."""
MAX_DIMENSIONS = 64
_OLDER_START = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)


class PickledObject:
    """Stands for an object of a class that is not loaded; holds what was pickled and does nothing.

    Attributes:
        class_name: dotted name of the class that was pickled, set on a subclass for each name.
        args: what the class would have been called with.
        state: what ``__setstate__`` would have been given.
    """

    class_name = "?"
    args: tuple[Any, ...] = ()
    state: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.args = args
        self.state = kwargs or None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    # Subclasses of list and dict are pickled as a call and then filled through these.
    def append(self, item: Any) -> None:
        """Accept an item of a pickled list."""

    def extend(self, items: Any) -> None:
        """Accept items of a pickled list."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """Accept an item of a pickled mapping."""

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<pickled {self.class_name}>"


class _Storage(NamedTuple):
    dtype: torch.dtype
    content: torch.Tensor  # flat, uint8


def _check_keys(keys: Iterable[Any]) -> None:
    """Refuse nested tuples: hashing one that repeats its parts takes exponential time."""
    nested = (tuple, frozenset)
    if any(isinstance(key, nested) and any(isinstance(part, nested) for part in key) for key in keys):
        raise pickle.UnpicklingError("a nested tuple as a key")


def _check_items(target: Any, keys: Iterable[Any]) -> None:
    if not isinstance(target, (dict, PickledObject)):
        raise pickle.UnpicklingError("items for something else than a dictionary")
    _check_keys(keys)


def _mapping(kind: Callable[..., Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        items = list(items.items() if isinstance(items, Mapping) else items)
        _check_keys(key for key, _ in items)
        return kind(dict(items))

    return build


def _collection(kind: Callable[..., Any]) -> Callable[..., Any]:
    def build(items: Any = ()) -> Any:
        items = list(items)
        _check_keys(items)
        return kind(items)

    return build


def _byte_array(content: Any = b"", *encoding: str) -> bytearray:
    if not isinstance(content, (bytes, str)):  # a number would allocate as many bytes
        raise pickle.UnpicklingError("a bytearray of something else than bytes")
    return bytearray(content, *encoding)


def _parameter(data: torch.Tensor, requires_grad: bool, *_: Any) -> torch.nn.Parameter:
    return torch.nn.Parameter(data, requires_grad)


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _mapping(collections.OrderedDict),
    ("collections", "Counter"): _mapping(collections.Counter),
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{
        ("torch", name): getattr(torch, name)
        for name in ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    },
    **{
        (module, name): value
        for module in ("builtins", "__builtin__")
        for name, value in (
            ("set", _collection(set)),
            ("frozenset", _collection(frozenset)),
            ("complex", complex),
            ("bytearray", _byte_array),
        )
    },
}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "UntypedStorage": torch.uint8,
}
_TENSORS = ("_rebuild_tensor", "_rebuild_tensor_v2")


# The unpickler written in Python, because its operations can be replaced; the one in C allocates gigabytes for a memo
# index. A checkpoint has some thousand operations outside its tensors.
class _Unpickler(pickle._Unpickler):
    """Builds tensors and plain containers; whatever else a file names becomes a ``PickledObject``."""

    # Numbers of thousands of digits, and lengths that are allocated before they are read; torch.save writes neither.
    dispatch: ClassVar[dict[int, Callable[..., None]]] = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code not in (pickle.LONG4[0], pickle.BYTEARRAY8[0])
    }

    def __init__(self, file: Any, file_size: int, load_storage: Callable[[str, int], torch.Tensor]) -> None:
        super().__init__(file, encoding="utf-8")  # of texts pickled by Python 2
        self._limit = max(file_size, MAX_EXPANDED)
        self._load_storage = load_storage
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if name in _STORAGES and module in ("torch", "torch.cuda", "torch.storage"):
            return _STORAGES[name]
        if module == "torch._utils" and name in _TENSORS:
            return self._tensor
        try:
            return _GLOBALS[module, name]
        except KeyError:
            return type(name, (PickledObject,), {"class_name": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> Any:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype) or view not in ([], [None]):
            raise pickle.UnpicklingError("a storage of an unknown kind")
        key = str(key)
        if key not in self._storages:
            self._storages[key] = self._load_storage(key, size * dtype.itemsize)
        return _Storage(dtype, self._storages[key])

    def _tensor(self, storage: _Storage, offset: int, size: Any, stride: Any, grad: bool = False, *_: Any) -> Any:
        size = torch.Size(size)
        if len(size) > MAX_DIMENSIONS or math.prod(size) * storage.dtype.itemsize > self._limit:
            raise pickle.UnpicklingError("a tensor larger than the file")
        tensor = torch.empty(0, dtype=storage.dtype)
        tensor.set_(storage.content.untyped_storage(), offset, size, torch.Size(stride))
        tensor.requires_grad = bool(grad)
        return tensor

    def load_build(self) -> None:
        target = self.stack[-2]
        if isinstance(target, PickledObject):
            target.__setstate__(self.stack.pop())
        elif isinstance(target, dict):
            self.stack.pop()  # attributes of a state dict: _metadata, which strict loading does not need
        else:  # on an allowed function or class it would change this process
            raise pickle.UnpicklingError("changes an allowed function or class")

    def load_setitem(self) -> None:
        _check_items(self.stack[-3], self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_items(self.metastack[-1][-1], self.stack[::2])
        super().load_setitems()

    def load_additems(self) -> None:
        _check_keys(self.stack)
        super().load_additems()

    def load_dict(self) -> None:
        _check_keys(self.stack[::2])
        super().load_dict()

    def load_frozenset(self) -> None:
        _check_keys(self.stack)
        super().load_frozenset()

    dispatch |= {
        pickle.BUILD[0]: load_build,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.ADDITEMS[0]: load_additems,
        pickle.DICT[0]: load_dict,
        pickle.FROZENSET[0]: load_frozenset,
    }


def read_torch_file(path: Path) -> Any:
    """Read what ``torch.save`` wrote, in the zip or the older layout; a file without checksums gets a warning.

    Raises:
        pickle.UnpicklingError, zipfile.BadZipFile, EOFError: saying what is wrong.
        ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError:
            from a pickle stream that is damaged or made to do harm.
    """
    with path.open("rb") as file:
        start = file.read(len(_OLDER_START))
        file.seek(0)
        if start == _OLDER_START:
            return _read_older(file, path)
        if not start.startswith(b"PK\x03\x04"):
            raise pickle.UnpicklingError("neither the zip nor the older layout of torch.save")
        with zipfile.ZipFile(file) as archive:
            return _read_zip(archive, path)


def _read_zip(archive: zipfile.ZipFile, path: Path) -> Any:
    members, file_size = archive.infolist(), path.stat().st_size
    names = {member.filename: member for member in members}
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if any(name.split("/")[-1] == "constants.pkl" for name in names):
        raise pickle.UnpicklingError("a TorchScript archive, which holds code")
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise pickle.UnpicklingError("compressed records, which torch.save never writes")
    if len(names) < len(members) or len(pickles) != 1 or sum(member.file_size for member in members) > file_size:
        raise pickle.UnpicklingError("records that are missing, twice there or overlap")
    if not any(member.CRC for member in members):  # torch.serialization.set_crc32_options(False)
        logger.warning("%s: it holds no checksums, so damage of its weights cannot be found", path)
        for member in members:
            del member.CRC  # else the reader compares with it
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
        raise pickle.UnpicklingError("its numbers are not little endian")

    def load_storage(key: str, size: int) -> torch.Tensor:
        member = names[f"{root}data/{key}"]
        if size != member.file_size:
            raise pickle.UnpicklingError(f"record data/{key} has {member.file_size} bytes instead of {size}")
        content = torch.empty(size, dtype=torch.uint8)
        with archive.open(member) as record:
            if size and record.readinto(content.numpy().data) != size:
                raise EOFError(f"record data/{key} is cut short")
        return content

    return _Unpickler(io.BytesIO(archive.read(pickles[0])), file_size, load_storage).load()


def _read_older(file: BinaryIO, path: Path) -> Any:
    """The older layout: pickles of a magic number, a version, the sizes of types, the object and the keys of its
    storages, then for each key the number of elements and the elements."""
    logger.warning("%s: it holds no checksums (older layout), so damage of its weights cannot be found", path)
    storages: dict[str, torch.Tensor] = {}
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:  # never reads more than there is
        left = len(content)

        def load_storage(key: str, size: int) -> torch.Tensor:
            nonlocal left
            if not 0 <= size <= left:
                raise EOFError(f"storage {key} has {size} bytes, more than the file")
            left -= size
            storages[key] = torch.empty(size, dtype=torch.uint8)
            return storages[key]

        _magic, _version, types, result, keys = [
            _Unpickler(content, len(content), load_storage).load() for _ in range(5)
        ]
        if not types.get("little_endian", True):
            raise pickle.UnpicklingError("its numbers are not little endian")
        for key in map(str, keys):
            storage = storages.pop(key)
            start = content.tell() + 8  # behind the number of elements, which the object has too
            if start + len(storage) > len(content):
                raise EOFError(f"storage {key} is cut short")
            storage.numpy()[:] = np.frombuffer(content, np.uint8, len(storage), min(start, len(content) - 1))
            content.seek(start + len(storage))
    if storages:
        raise EOFError(f"{len(storages)} storages are missing")
    return result
