"""Declaring options: a default together with everything that a value must fulfill, and sections of options.

Every number is declared with finite bounds, so NaN and infinity are refused by construction.
"""

import copy
import functools
import logging
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from lib.utils.errors import ConfigError, did_you_mean, printable

logger = logging.getLogger(__name__)

LONGEST_TEXT = 4096
LONGEST_LIST = 1000
LONGEST_NAME = 100

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 300


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        default: its value where nothing is given.
        expected: what a value must be, for messages: "an integer from 1 to 64".
        parse: returns a value in the type of the option, or raises ValueError.
        choices: the allowed values where they are listed, else empty.
    """

    default: Any
    expected: str
    parse: Callable[[Any], Any]
    choices: tuple[str, ...] = ()


class OpenSection(dict):
    """A section that takes further names of the user's own; their values are those of ``DEFAULT``."""


def integer(default: int, low: int, high: int) -> Option:
    """An integer from ``low`` to ``high``."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return Option(default, f"an integer from {low} to {high}", parse)


def number(default: float, low: float, high: float, *, above: bool = False, below: bool = False) -> Option:
    """A finite number from ``low`` to ``high``; ``above`` and ``below`` exclude the bound itself.

    A text such as ``1e-4``, which YAML does not take for a number, counts as one.
    """
    assert math.isfinite(low) and math.isfinite(high)

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        value = float(value) if isinstance(value, str) else value  # an integer may be too large for a float
        if not low <= value <= high or (above and value == low) or (below and value == high):
            raise ValueError
        return float(value)

    lower = f"above {low:g}" if above else f"from {low:g}"
    upper = f"below {high:g}" if below else f"up to {high:g}" if above else f"to {high:g}"
    return Option(float(default), f"a number {lower} {'and ' if above or below else ''}{upper}", parse)


def boolean(default: bool) -> Option:
    """True or false."""

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Option(default, "true or false", parse)


def text(default: str) -> Option:
    """A text, such as a name or a path."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or "\0" in value:
            raise ValueError
        return value

    return Option(default, f"a text of at most {LONGEST_TEXT} characters", parse)


def path_or_name(default: str) -> Option:
    """A path, whose ``~`` is expanded, or a name that stands for something else."""
    plain = text(default)

    def parse(value: Any) -> str:
        value = plain.parse(value)
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError as error:  # no such home folder
            raise ValueError from error

    return Option(default, f"{plain.expected}; a ~ in front is a known home folder", parse)


def choice(default: str, *others: str) -> Option:
    """One of some names."""
    choices = (default, *others)

    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError
        return value

    return Option(default, f"one of {', '.join(choices)}", parse, choices)


def list_of(item: Option, default: list[Any], shortest: int = 0, longest: int = LONGEST_LIST) -> Option:
    """A list of ``shortest`` to ``longest`` values, each as ``item`` says."""

    def parse(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)) or not shortest <= len(value) <= longest:
            raise ValueError
        return [item.parse(entry) for entry in value]

    length = str(shortest) if shortest == longest else f"{shortest} to {longest}"
    return Option(default, f"a list of {length} entries, each {item.expected}", parse)


def one_or_list(item: Option) -> Option:
    """A value as ``item`` says, or a list of at least one of them."""
    several = list_of(item, [item.default], shortest=1)

    def parse(value: Any) -> Any:
        return several.parse(value) if isinstance(value, (list, tuple)) else item.parse(value)

    return Option(item.default, f"{item.expected}, or {several.expected}", parse)


def open_section(item: Option, **others: Any) -> OpenSection:
    """Section of values that are all declared as ``item`` is, with its default as ``DEFAULT``."""
    return OpenSection(
        {
            "DEFAULT": item,
            **{name: Option(item.parse(value), item.expected, item.parse) for name, value in others.items()},
        }
    )


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Fresh nested dictionary of the defaults of a schema."""
    return {
        name: copy.deepcopy(part.default) if isinstance(part, Option) else defaults(part)
        for name, part in schema.items()
    }


def flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of nested sections by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def options(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Option]]:
    """All options with their dotted names."""
    for name, part in schema.items():
        if isinstance(part, Option):
            yield f"{prefix}{name}", part
        else:
            yield from options(part, f"{prefix}{name}.")


def use_current_names(
    values: Mapping[str, Any], aliases: Mapping[str, str], source: str, prefix: str = ""
) -> Mapping[str, Any]:
    """Options of one section, those with a former name under their current one, with a warning.

    Args:
        values: options by name, or by dotted name.
        aliases: current dotted name of an option by its former one; both are in the same section.
        source: name of the file or flag, for messages.
        prefix: dotted name of the section with a trailing dot.

    Raises:
        ConfigError: if an option has different values under its two names.
    """
    for old, new in aliases.items():
        old_key, new_key = old.removeprefix(prefix), new.removeprefix(prefix)
        if old.startswith(prefix) and old_key in values:
            if new_key in values and values[old_key] != values[new_key]:
                raise ConfigError(
                    f"{source}: {new}: given as {shown(values[new_key])}, and as {shown(values[old_key])} under its "
                    f"former name {old}; keep one"
                )
            _warn_of_former_name(source, old, new)
            values = {new_key if key == old_key else key: value for key, value in values.items()}
    return values


@functools.cache
def _warn_of_former_name(source: str, old: str, new: str) -> None:
    logger.warning("%s: %s is now called %s; the former name still works", source, old, new)


def merge(
    target: dict[str, Any],
    values: Mapping[str, Any],
    schema: Mapping[str, Any],
    source: str,
    prefix: str = "",
    aliases: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Check ``values`` and write them over ``target`` in place.

    Args:
        target: complete values of the schema, possibly nested.
        values: nested values of the same shape, any keys missing.
        schema: what the values must be.
        source: name of the file or flag, for messages.
        prefix: dotted name of ``target`` with a trailing dot.
        aliases: as for ``use_current_names``.

    Raises:
        ConfigError: for an unknown key, two values of one option, or a value that is not as declared; the message names
            source, key and value.
    """
    for key, value in use_current_names(values, aliases, source, prefix).items():
        name = printable(f"{prefix}{key}")
        part = schema.get(key)
        if part is None and isinstance(schema, OpenSection) and isinstance(key, str) and len(key) <= LONGEST_NAME:
            part = schema["DEFAULT"]
        if part is None:
            hint = did_you_mean(key, schema) or f"; known here: {', '.join(schema)}"
            raise ConfigError(f"{source}: {name}: no such option{hint}")
        if not isinstance(part, Option):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{source}: {name}: expected a section, got {shown(value)}")
            merge(target[key], value, part, source, f"{name}.", aliases)
            continue
        try:
            target[key] = part.parse(value)
        except ValueError:
            hint = did_you_mean(value, part.choices) if isinstance(value, str) else ""
            raise ConfigError(f"{source}: {name}: expected {part.expected}, got {shown(value)}{hint}") from None


def shown(value: Any) -> str:
    """A value as messages show it; the work is bounded whatever the value holds."""
    try:
        return printable(_SHORT.repr(value))
    except ValueError:  # an integer of thousands of digits
        return f"a value of type {type(value).__name__} that is too long to show"
