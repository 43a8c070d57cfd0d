"""Strict merging: every key must exist in the defaults and every value must have the type of the default."""

from collections.abc import Mapping, Sequence
from typing import Any

from easydict import EasyDict

from lib.utils.errors import ConfigError
from lib.utils.registry import did_you_mean


def merge_strict(
    target: EasyDict,
    values: Mapping[str, Any],
    source: str,
    *,
    open_sections: Sequence[str] = (),
    prototypes: Mapping[str, Sequence[Any]] | None = None,
    prefix: str = "",
) -> None:
    """Write ``values`` over ``target`` in place.

    Args:
        target: the defaults, possibly nested.
        values: nested values of the same shape, any keys missing.
        source: name of the file or flag, for messages.
        open_sections: dotted names of sections that accept new keys; their values take the type of ``DEFAULT``.
        prototypes: by dotted name, values whose types are accepted instead of that of the default.
        prefix: dotted name of ``target`` with a trailing dot.

    Raises:
        ConfigError: on an unknown key or a wrong type; the message names the source and the key.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if key in target:
            default = target[key]
        elif prefix.rstrip(".") in open_sections and isinstance(key, str):
            default = target["DEFAULT"]
        else:
            known = ", ".join(target)
            raise ConfigError(
                f"{source}: {name}: no such option{did_you_mean(key, target) or f'; known here: {known}'}"
            )
        if isinstance(default, Mapping):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: {name}: expected a section, got {value!r}")
            merge_strict(default, value, source, open_sections=open_sections, prototypes=prototypes, prefix=f"{name}.")
        else:
            allowed = (prototypes or {}).get(name, (default,))
            try:
                target[key] = _coerce_any(value, allowed)
            except _WrongTypeError:
                expected = " or ".join(_describe(prototype) for prototype in allowed)
                raise ConfigError(f"{source}: {name}: expected {expected}, got {value!r}") from None


class _WrongTypeError(Exception):
    pass


def _coerce_any(value: Any, prototypes: Sequence[Any]) -> Any:
    for prototype in prototypes:
        try:
            return _coerce(value, prototype)
        except _WrongTypeError:
            continue
    raise _WrongTypeError


def _coerce(value: Any, default: Any) -> Any:
    """Give ``value`` the type of ``default``: integers and texts such as ``1e-4`` become floats where due."""
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
    elif isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(default, float):
        number = _as_float(value)
        if number is not None:
            return number
    elif isinstance(default, str):
        if isinstance(value, str):
            return value
    elif isinstance(default, list) and isinstance(value, (list, tuple)):
        return [_coerce(item, default[0]) for item in value]
    raise _WrongTypeError


def _as_float(value: Any) -> float | None:
    """``value`` as a float; YAML reads ``1e-4`` as a text, which counts as a number here."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _describe(prototype: Any) -> str:
    names = {bool: "true or false", int: "an integer", float: "a number", str: "a text"}
    plurals = {int: "integers", float: "numbers", str: "texts"}
    if isinstance(prototype, list):
        return f"a list of {plurals[type(prototype[0])]}"
    return names[type(prototype)]
