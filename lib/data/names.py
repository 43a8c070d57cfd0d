"""Names of sequences must map one-to-one to result files, on any file system."""

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from lib.utils.errors import DataError
from lib.utils.files import require_plain_name
from lib.utils.registry import did_you_mean
from lib.utils.text import printable

LONGEST = 200
"""Bytes of a name; file systems allow 255, and suffixes and temporary names need their part."""
TIME = "_time"


class Named(Protocol):
    """Something that has the name of a sequence."""

    name: str


T = TypeVar("T", bound=Named)


def check_distinct(items: Iterable[T]) -> dict[str, T]:
    """Sequences by name, if each has a result file of its own.

    Raises:
        DataError: if there is none, or two would share a file: equal names, names that differ in case or Unicode form
            only, and ``x`` beside ``x_time``, whose boxes belong where the times of ``x`` do. The message names them.
    """
    by_name: dict[str, T] = {}
    seen: dict[str, str] = {}
    for item in items:
        name = item.name
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            same = "are both called" if seen[key] == name else f"are called {printable(repr(seen[key]))} and"
            raise DataError(f"two sequences {same} {printable(repr(name))}: their results would be one file")
        seen[key], by_name[name] = name, item
    if not seen:
        raise DataError("there are no sequences")
    for key, name in seen.items():
        if other := seen.get(key + TIME):
            raise DataError(
                f"sequences {printable(repr(name))} and {printable(repr(other))}: the time file of the first is the "
                "box file of the second; rename one"
            )
    return by_name


def check_name(name: str) -> None:
    """Raise DataError if a sequence's name cannot be that of a file in the result folder."""
    require_plain_name(name, "sequence")
    if len(name.encode()) > LONGEST:
        raise DataError(f"sequence {printable(repr(name))} cannot name a result file: longer than {LONGEST} bytes")


def choose_names(names: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Names that are asked for by name, or by position counted from 0; each once.

    Raises:
        DataError: if there is no such sequence.
    """
    known, chosen = set(names), {}
    for key in wanted:
        if key in known:
            chosen[key] = None
        elif key.isdecimal() and len(key) < 10 and int(key) < len(names):
            chosen[names[int(key)]] = None
        else:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise DataError(f"no sequence {printable(repr(key))} among {len(names)}{did_you_mean(key, names)}: {shown}")
    return list(chosen)
