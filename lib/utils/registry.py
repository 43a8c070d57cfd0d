"""Looking up a name that a user wrote."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from lib.utils.errors import ConfigError

T = TypeVar("T")


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """``"; did you mean X?"`` for the known name nearest to ``name``, or an empty text."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.6)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""


def lookup(table: Mapping[str, T], name: str, what: str) -> T:
    """Return ``table[name]``.

    Args:
        table: the known names.
        name: what the user wrote.
        what: the kind of thing, for the message, such as ``"tracker"``.

    Raises:
        ConfigError: if the name is unknown; the message lists the known ones.
    """
    try:
        return table[name]
    except KeyError:
        known = ", ".join(sorted(table))
        raise ConfigError(f"unknown {what} {name!r}; known: {known}{did_you_mean(name, table)}") from None
