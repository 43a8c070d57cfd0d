"""What a checkpoint must hold to resume from it, checked before anything is changed, and how it is put back."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from lib.utils.errors import CheckpointError, printable


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**9


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_plain(value: Any) -> bool:
    """Whether a value is one of a configuration."""
    if isinstance(value, Mapping):
        return _is_mapping(value) and all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, int | float | str | None)


def _is_means(value: Any) -> bool:
    return _is_mapping(value) and all(
        isinstance(mean, list | tuple) and len(mean) == 2 and all(map(_is_number, mean)) for mean in value.values()
    )


RESUME_STATE: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "epoch": ("a number of epochs from 0 on", _is_count),
    "step": ("a number of steps from 0 on", _is_count),
    "samples_per_step": ("a number of samples from 1 on", lambda value: _is_count(value) and value > 0),
    "net": ("weights by name", _is_mapping),
    "optimizer": (
        "'state' and 'param_groups'",
        lambda value: _is_mapping(value) and {"state", "param_groups"} <= {*value},
    ),
    "scheduler": ("a schedule with 'last_epoch'", lambda value: _is_mapping(value) and "last_epoch" in value),
    "scaler": ("a mapping", _is_mapping),
    "rngs": (
        "one mapping for each process",
        lambda value: isinstance(value, list) and len(value) > 0 and all(map(_is_mapping, value)),
    ),
    "stats": (
        "numbers by split and name",
        lambda value: (
            _is_mapping(value)
            and all(_is_mapping(means) and all(map(_is_number, means.values())) for means in value.values())
        ),
    ),
    "epoch_stats": (
        "running means under 'whole' and 'recent'",
        lambda value: _is_mapping(value) and _is_means(value.get("whole")) and _is_means(value.get("recent")),
    ),
    "config": ("options by name", lambda value: _is_mapping(value) and _is_plain(value)),
    "revision": ("a text", lambda value: isinstance(value, str)),
}
"""Each key, what it should hold, as a text and as a test."""


def _is_best(value: Any) -> bool:
    counts = ("epoch", "checks")
    return _is_mapping(value) and all(_is_count(value.get(key)) for key in counts) and _is_number(value.get("value"))


def check_plain_state(state: Mapping[str, Any], path: Path) -> None:
    """Check what can be checked without the run that continues.

    Raises:
        CheckpointError: naming the file, the key and what is wrong with it.
    """
    missing = [key for key in RESUME_STATE if key not in state]
    if missing:
        raise CheckpointError(
            f"{path}: training cannot go on from it, it has no {', '.join(missing)}; --resume never starts afresh"
        )
    for key, (expected, holds) in RESUME_STATE.items():
        if not holds(state[key]):
            raise _wrong(path, key, expected, state[key])
    if "best" in state and not _is_best(state["best"]):  # younger than the rest
        raise _wrong(path, "best", "'epoch', 'checks' and 'value' of the best epoch", state["best"])


def check_fits(
    state: Mapping[str, Any],
    path: Path,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    scaler: Mapping[str, Any],
    steps: int,
) -> None:
    """Compare with the run that continues.

    Args:
        state: what ``check_plain_state`` has passed.
        path: of the checkpoint, for messages.
        optimizer: of the run.
        scheduler: of the run.
        scaler: state of the run's loss scale, empty if it has none.
        steps: in an epoch of the run.

    Raises:
        CheckpointError: naming the file, the key and what is wrong with it.
    """
    if state["step"] > steps:
        raise _wrong(path, "step", f"at most {steps}, the steps of an epoch", state["step"])
    progress = {key: value for key, value in scheduler.state_dict().items() if key in _PROGRESS}
    _check_like(state["scheduler"], progress, path, "scheduler")
    if state["scheduler"]["last_epoch"] != state["epoch"]:
        raise _wrong(
            path, "scheduler.last_epoch", f"{state['epoch']}, the epochs done", state["scheduler"]["last_epoch"]
        )
    if state["scaler"] and scaler:
        _check_like(state["scaler"], scaler, path, "scaler", required=tuple(scaler))
        if state["scaler"]["scale"] <= 0:
            raise _wrong(path, "scaler.scale", "a number above 0", state["scaler"]["scale"])
    _check_optimizer(state["optimizer"], optimizer, path)
    for rank, saved in enumerate(state["rngs"]):
        _check_generators(saved, path, f"rngs.{rank}")


_GROUP_KEYS = ("params", "lr", "initial_lr", "betas", "eps", "weight_decay")


def _check_optimizer(state: Mapping[str, Any], optimizer: Optimizer, path: Path) -> None:
    own = optimizer.state_dict()["param_groups"]
    _check_like(state["param_groups"], own, path, "optimizer.param_groups", required=_GROUP_KEYS)
    for saved, group in zip(state["param_groups"], own, strict=True):
        if saved["params"] != group["params"]:
            raise _wrong(path, "optimizer.param_groups", "the parameters of this network", saved["params"])
        for key in ("lr", "initial_lr", "eps", "weight_decay"):
            if saved[key] < 0:
                raise _wrong(path, f"optimizer.param_groups.{key}", "a number from 0 on", saved[key])
    parameters = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    if not isinstance(state["state"], Mapping) or not set(state["state"]) <= set(parameters):
        raise _wrong(path, "optimizer.state", "values for parameters by number", state["state"])
    for number, saved in state["state"].items():
        value = parameters[number]
        like = {"step": torch.zeros(()), "exp_avg": value, "exp_avg_sq": value}
        _check_like(saved, like, path, f"optimizer.state.{number}", required=tuple(like))
        for key in ("step", "exp_avg_sq"):
            if saved[key].min() < 0:
                raise _wrong(path, f"optimizer.state.{number}.{key}", "no negative number", "one")


def _check_like(value: Any, example: Any, path: Path, where: str, required: tuple[str, ...] = ()) -> None:
    """Compare types, lengths and shapes with those of an example; numbers have to be finite."""
    if isinstance(example, Tensor):
        fits = isinstance(value, Tensor) and value.shape == example.shape and value.dtype.is_floating_point
        if fits and not torch.isfinite(value).all():
            raise CheckpointError(f"{path}: {where}: holds a value that is not finite")
    elif isinstance(example, Mapping):
        fits = isinstance(value, Mapping)
        for key in example if fits else ():
            if key in value:
                _check_like(value[key], example[key], path, f"{where}.{key}")
            elif key in required:
                raise CheckpointError(f"{path}: {where}: has no {key!r}")
    elif isinstance(example, list | tuple):
        fits = isinstance(value, list | tuple) and len(value) == len(example)
        for number, item in enumerate(example) if fits else ():
            _check_like(value[number], item, path, f"{where}.{number}", required)
    elif isinstance(example, bool | str):
        fits = type(value) is type(example)
    elif isinstance(example, int):
        fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
    else:
        fits = not isinstance(example, float) or (_is_number(value) and abs(value) < math.inf)
    if not fits:
        raise _wrong(path, where, _describe(example), value)


def _check_generators(state: Mapping[str, Any], path: Path, where: str) -> None:
    """Set generators of no consequence to the saved states."""
    try:
        for name in ("python", "numpy", "torch"):
            key = f"{where}.{name}"
            set_generator(name, state[name], random.Random(), np.random.RandomState(0), torch.Generator())
        key, cuda = f"{where}.cuda", state["cuda"]
        if cuda is not None and not (isinstance(cuda, Tensor) and cuda.dtype == torch.uint8 and cuda.shape == (16,)):
            raise TypeError("expected 16 bytes")
    except KeyError as error:
        raise CheckpointError(f"{path}: {where}: has no {error}") from error
    except (AttributeError, IndexError, OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: {key}: no state of a generator: {printable(str(error), 200)}") from error


def set_generator(
    name: str, state: Any, python: random.Random, numpy: np.random.RandomState, generator: torch.Generator
) -> None:
    """Put one of the generators back where ``rng_state`` saw it: ``python``, ``numpy`` or ``torch``."""
    if name == "python":
        version, values, gauss = state
        if gauss is not None and not isinstance(gauss, float):
            raise TypeError(f"expected a number, got {type(gauss).__name__}")
        python.setstate((version, tuple(values), gauss))
    elif name == "numpy":
        kind, keys, position, has_gauss, gauss = state
        if not 0 <= position <= 624:  # NumPy would read beside its memory
            raise ValueError(f"position {position}")
        numpy.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    else:
        generator.set_state(state)


_PROGRESS = ("last_epoch", "_step_count", "_last_lr")
"""What changes in a schedule; the rest of its state follows from the configuration."""


def load_scheduler_state(scheduler: LRScheduler, state: Mapping[str, Any], epochs_before: int) -> None:
    """Take up a schedule's progress; a cosine of another number of epochs goes on along its own curve.

    Args:
        scheduler: of the run, over an optimizer whose state has been loaded.
        state: the saved state.
        epochs_before: TRAIN.EPOCH of the run that was saved.
    """
    scheduler.load_state_dict({key: state[key] for key in _PROGRESS if key in state})
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max != epochs_before:
        share = (1 + math.cos(math.pi * min(scheduler.last_epoch / scheduler.T_max, 1))) / 2
        for group, rate in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
            group["lr"] = scheduler.eta_min + (rate - scheduler.eta_min) * share


def load_optimizer_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Put a saved state into an optimizer; which kernels do the work is this run's choice, not the saved one's."""
    groups = [
        saved | {key: group[key] for key in ("fused", "foreach", "capturable") if key in group}
        for saved, group in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict({**state, "param_groups": groups})


def rng_state() -> dict[str, Any]:
    """State of the global generators (dropout, stochastic depth) of this process as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        # Asking for all devices, or for one that is not in use, would occupy memory there.
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the global generators back where ``rng_state`` saw them."""
    for name in ("python", "numpy", "torch"):
        set_generator(name, state[name], random, np.random, torch.default_generator)
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])


def _wrong(path: Path, key: str, expected: str, value: Any) -> CheckpointError:
    return CheckpointError(f"{path}: {key}: expected {expected}, got {_describe(value)}")


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    if isinstance(value, bool | int | float | str | None):
        return printable(
            repr(value) if value is None or isinstance(value, str) else f"{type(value).__name__} {value}", 80
        )
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"a {type(value).__name__}{size}"
