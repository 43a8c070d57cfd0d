"""Names of sequences must map one-to-one to result files, on any file system."""

import unicodedata
from collections.abc import Iterable, Sequence

from lib.utils.errors import DataError
from lib.utils.text import printable

LONGEST = 200
"""Bytes of a name; file systems allow 255, and suffixes and temporary names need their part."""
TIME = "_time"


def check_names(names: Iterable[str]) -> None:
    """Refuse names whose results would get lost, mixed up, or written outside the result folder.

    Raises:
        DataError: if there is no name, one cannot be a file name, or two would share a file: equal names, names that
            differ in case or Unicode form only, and ``x`` beside ``x_time``, whose boxes belong where the times of
            ``x`` do. The message names them.
    """
    seen: dict[str, str] = {}
    for name in names:
        _check_name(name)
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            same = "are both called" if seen[key] == name else f"are called {printable(repr(seen[key]))} and"
            raise DataError(f"two sequences {same} {printable(repr(name))}: their results would be one file")
        seen[key] = name
    if not seen:
        raise DataError("there are no sequences")
    for key, name in seen.items():
        if other := seen.get(key + TIME):
            raise DataError(
                f"sequences {printable(repr(name))} and {printable(repr(other))}: the time file of the first is the "
                "box file of the second; rename one"
            )


def _check_name(name: str) -> None:
    problem = ""
    if not name.strip():
        problem = "it is empty"
    elif name.startswith("."):
        problem = "it begins with a dot"
    elif "/" in name or "\\" in name:
        problem = "it holds a slash"
    elif any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        problem = "it holds control characters or is not valid Unicode"
    elif len(name.encode()) > LONGEST:
        problem = f"it is longer than {LONGEST} bytes"
    if problem:
        raise DataError(f"sequence {printable(repr(name))} cannot name a result file: {problem}")


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
            raise DataError(f"no sequence {printable(repr(key))} among {len(names)}: {shown}")
    return list(chosen)
