"""Reading and writing checkpoints, and finding the weights in them. Reading never runs code from the file.

The published ``.pth.tar`` files pickle, beside the tensors, settings and statistics objects of the code that wrote
them; these are read as inert ``PickledObject``.
"""

import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from lib.utils.errors import CheckpointError, printable
from lib.utils.files import atomic_path
from lib.utils.torch_file import PickledObject, read_torch_file

__all__ = ["PickledObject", "check_weights", "find_weights", "load_checkpoint", "load_model_weights", "save_checkpoint"]

WEIGHT_KEYS = ("net", "network", "model", "state_dict")
WRAPPERS = ("module.", "_orig_mod.")
"""Starts of all keys of a network that DistributedDataParallel or torch.compile wrapped."""


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Read a checkpoint onto the CPU, this project's or a published one, without running code from it.

    Args:
        path: a file written by ``torch.save`` in the zip or the older layout, or a ``.safetensors`` file of weights.
            The checksums of the zip layout are verified; a file without checksums gets a warning.

    Returns:
        What was saved; objects of unknown classes are ``PickledObject``.

    Raises:
        CheckpointError: if the file is missing, truncated, or does not hold a dictionary; the message names it.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else read_torch_file(path)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, SafetensorError) as error:
        raise CheckpointError(f"{path}: truncated, or not a checkpoint ({_first_line(error)})") from error
    except (
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
        MemoryError,
        AssertionError,
        ArithmeticError,
        struct.error,
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
    """Put the weights of a checkpoint into a network of the same architecture.

    Args:
        network: changed in place; untouched if an error is raised.
        state: what ``load_checkpoint`` returned.
        source: name of the file, for messages.

    Raises:
        CheckpointError: if there are no weights, or keys or shapes differ; the message names them.
    """
    weights = find_weights(state, source)
    check_weights(network.state_dict(), weights, source)
    network.load_state_dict(weights)


def find_weights(state: Mapping[str, Any], source: Path | str) -> dict[str, torch.Tensor]:
    """The weights in a checkpoint: under one of ``WEIGHT_KEYS`` or bare, without the prefix of a wrapped network.

    Raises:
        CheckpointError: if there are none, or under several keys.
    """
    found = [key for key in WEIGHT_KEYS if isinstance(state.get(key), Mapping) and state[key]]
    if len(found) > 1:
        raise CheckpointError(f"{source}: weights under several keys ({', '.join(found)}); keep one of them")
    weights = dict(state[found[0]]) if found else dict(state)
    if not found and not (state and all(isinstance(value, torch.Tensor) for value in state.values())):
        keys = ", ".join(printable(str(key), 40) for key in list(state)[:10])
        raise CheckpointError(
            f"{source}: no weights under the key 'net' (found: {keys or 'nothing'}), nor under "
            f"{', '.join(WEIGHT_KEYS[1:])}, nor bare"
        )
    if any(not isinstance(key, str) for key in weights):
        raise CheckpointError(f"{source}: weights whose names are not texts")
    while prefix := next((prefix for prefix in WRAPPERS if all(key.startswith(prefix) for key in weights)), None):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


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
