"""Reading and writing checkpoints. Reading never runs code from the file.

The published ``.pth.tar`` files pickle, beside the tensors, settings and statistics objects of the code that wrote
them. ``torch.load(weights_only=True)`` refuses such files and a plain load needs (and runs) those classes. Here a
restricted unpickler builds tensors and plain containers only, and puts an inert ``PickledObject`` in place of the rest.
"""

import collections
import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from lib.utils.errors import CheckpointError
from lib.utils.files import atomic_path


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


_STORAGE_NAMES = tuple(
    f"{kind}Storage"
    for kind in ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool", "Untyped")
)

_SAFE_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "Counter"): collections.Counter,
    ("torch._utils", "_rebuild_tensor"): torch._utils._rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    **{("torch", name): getattr(torch, name) for name in _STORAGE_NAMES},
    ("torch.storage", "UntypedStorage"): torch.UntypedStorage,
    **{
        ("torch", name): getattr(torch, name)
        for name in ["float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    },
    # Plain values of the language. They only build data.
    **{
        (module, name): value
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


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, this project's or a published one, without running code from it.

    Args:
        path: a file written by ``torch.save`` in the zip or the older layout.

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
            state = torch.load(file, map_location="cpu", pickle_module=_pickle_module(), weights_only=False)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path}: truncated, or not a checkpoint ({_first_line(error)})") from error
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, UnicodeDecodeError, MemoryError) as error:
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
    """Compare names and shapes of weights with what a network expects.

    Raises:
        CheckpointError: naming the keys that are missing, unexpected, or of another shape.
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


def _shape(value: Any) -> Any:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__


def _same_shape(first: Any, second: Any) -> bool:
    return isinstance(second, torch.Tensor) and first.shape == second.shape


def _list_keys(what: str, keys: list[str], describe: Callable[[str], str] = str) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
    return f"{what}: {', '.join(describe(key) for key in keys[:3])}{more}"
