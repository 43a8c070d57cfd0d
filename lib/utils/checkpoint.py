"""Reading and writing checkpoints. Reading never runs code from the file.

The published ``.pth.tar`` files pickle, beside the tensors, settings and statistics objects of the code that wrote
them. ``torch.load(weights_only=True)`` refuses such files and a plain load needs (and runs) those classes. Here a
restricted unpickler builds tensors and plain containers only, and puts an inert ``PickledObject`` in place of the rest.
"""

import collections
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import torch
from torch import nn

from lib.utils.errors import CheckpointError
from lib.utils.files import atomic_path
from lib.utils.text import printable


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


class _Call:
    """An allowed function or class that a file can call but not change: BUILD would set attributes on the original."""

    __slots__ = ("_target",)

    def __init__(self, target: Callable[..., Any]) -> None:
        self._target = target

    def __call__(self, *args: Any) -> Any:
        return self._target(*args)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("changes an allowed function or class")


# Storage types are resolved by torch.load itself, to an object of their own for each use.
_SAFE_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Call(collections.OrderedDict),
    ("collections", "Counter"): _Call(collections.Counter),
    ("torch._utils", "_rebuild_tensor"): _Call(torch._utils._rebuild_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Call(torch._utils._rebuild_parameter),
    ("torch", "Size"): _Call(torch.Size),
    ("torch", "device"): _Call(torch.device),
    **{
        ("torch", name): getattr(torch, name)
        for name in ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    },
    # Plain values of the language. They only build data.
    **{
        (module, name): _Call(value)
        for module in ("builtins", "__builtin__")
        for name, value in (("set", set), ("frozenset", frozenset), ("complex", complex), ("bytearray", bytearray))
    },
}


class _SafeUnpickler(pickle.Unpickler):
    """Resolves the names above; any other name becomes a stub class."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _SAFE_GLOBALS[module, name]
        except KeyError:
            return type(name, (PickledObject,), {"class_name": f"{module}.{name}"})


def _pickle_module() -> ModuleType:
    """What ``torch.load`` expects of its ``pickle_module`` argument."""
    module = ModuleType("safe_pickle")
    module.Unpickler = _SafeUnpickler
    module.load = lambda file, **kwargs: _SafeUnpickler(file, **kwargs).load()
    return module


_LEGACY_START = pickle.dumps(torch.serialization.MAGIC_NUMBER, protocol=2)


def _check_container(file: BinaryIO) -> None:
    """Refuse what ``torch.load`` would not give to the unpickler above, and zip records with a wrong checksum.

    torch.load ignores ``pickle_module`` for TorchScript archives and the tar layout: they run code or write files.

    Raises:
        pickle.UnpicklingError, zipfile.BadZipFile: saying what is wrong.
    """
    start = file.read(len(_LEGACY_START))
    file.seek(0)
    if not start.startswith(b"PK\x03\x04"):
        if start != _LEGACY_START or tarfile.is_tarfile(file):
            raise pickle.UnpicklingError("neither the zip nor the older layout of torch.save")
        file.seek(0)
        return
    # Both readers are asked: torch.load follows its own, and a crafted file can show each another list.
    records = torch._C.PyTorchFileReader(file).get_all_records()
    file.seek(0)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = [*records, *(member.filename for member in members)]
        if any(name.split("/")[-1] == "constants.pkl" for name in names):
            raise pickle.UnpicklingError("a TorchScript archive, which holds code")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise pickle.UnpicklingError("compressed records, which torch.save never writes")
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"record {damaged} has a wrong checksum")
    file.seek(0)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, this project's or a published one, without running code from it.

    Args:
        path: a file written by ``torch.save`` in the zip or the older layout. The checksums of the zip layout are
            verified (0.1 s for 300 MB in the page cache); the older layout has none.

    Returns:
        What was saved; objects of unknown classes are ``PickledObject``.

    Raises:
        CheckpointError: if the file is missing, truncated, or does not hold a dictionary; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        with path.open("rb") as file:
            _check_container(file)
            state = torch.load(file, map_location="cpu", pickle_module=_pickle_module(), weights_only=False)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: truncated, or not a checkpoint ({_first_line(error)})") from error
    except (
        AttributeError,
        IndexError,
        KeyError,
        TypeError,
        ValueError,
        MemoryError,
        AssertionError,
        ArithmeticError,
    ) as error:
        # What a damaged or hostile pickle stream can provoke in the unpickler.
        raise CheckpointError(f"{path}: not a checkpoint ({type(error).__name__}: {_first_line(error)})") from error
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: expected a dictionary, got {type(state).__name__}")
    return dict(state)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def save_checkpoint(state: Mapping[str, Any], path: Path | str) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        state: tensors and plain values, nested.
        path: the file; its folder is made if missing.
    """
    with atomic_path(path) as temporary:
        torch.save(dict(state), temporary)


def load_model_weights(network: nn.Module, state: Mapping[str, Any], source: Path | str) -> None:
    """Put the weights under ``net`` of a checkpoint into a network of the same architecture.

    Args:
        network: changed in place; untouched if an error is raised.
        state: what ``load_checkpoint`` returned.
        source: name of the file, for messages.

    Raises:
        CheckpointError: if there are no weights, or keys or shapes differ; the message names them.
    """
    weights = state.get("net")
    if not isinstance(weights, Mapping):
        raise CheckpointError(
            f"{source}: no weights under the key 'net' (found: {', '.join(map(str, state)) or 'nothing'})"
        )
    check_weights(network.state_dict(), weights, source)
    network.load_state_dict(weights)


def check_weights(expected: Mapping[str, Any], weights: Mapping[str, Any], source: Path | str) -> None:
    """Compare names and shapes of weights with what a network expects, and refuse weights that are not finite.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected, of another shape, or NaN or infinite.
    """
    problems = [
        _list_keys("missing", [key for key in expected if key not in weights]),
        _list_keys("unexpected", [key for key in weights if key not in expected]),
        _list_keys(
            "of another shape",
            [key for key in expected if key in weights and not _same_shape(expected[key], weights[key])],
            lambda key: f"{key} {_shape(weights[key])} instead of {_shape(expected[key])}",
        ),
    ]
    text = "; ".join(problem for problem in problems if problem)
    if text:
        raise CheckpointError(f"{source}: made for another network or configuration: {text}")
    broken = [
        key
        for key, value in weights.items()
        if value.is_floating_point() and not value.is_meta and not value.isfinite().all()
    ]
    if broken:
        raise CheckpointError(f"{source}: {_list_keys('weights with NaN or infinite values', broken)}")


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _same_shape(first: Any, second: Any) -> bool:
    return isinstance(second, torch.Tensor) and first.shape == second.shape


def _list_keys(what: str, keys: list[str], describe: Callable[[str], str] = str) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{what}: {', '.join(printable(describe(key), 150) for key in keys[:3])}{more}"
