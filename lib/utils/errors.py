"""Errors that a user can cause and fix: one line that names the file, key or value, fit for a terminal and a log."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")

MESSAGE_LIMIT = 1000
"""Longest message in characters; values from outside are shortened where they enter it (``printable``)."""


class SeqTrackError(Exception):
    """Base class. Scripts print the message on one line of standard error and exit with code 2."""

    def __str__(self) -> str:
        return printable(super().__str__(), MESSAGE_LIMIT)


class ConfigError(SeqTrackError):
    """A configuration key, value or name is wrong."""


class DataError(SeqTrackError):
    """A dataset, annotation, image or result on disk is missing or malformed."""


class CheckpointError(SeqTrackError):
    """A checkpoint is missing, damaged, or made for another network."""


class InputError(SeqTrackError):
    """A value given by the caller (flag, box, image, video) cannot be used."""


_ESCAPED = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


def printable(value: object, limit: int = 200) -> str:
    """Return ``str(value)`` on one line, escaped and shortened.

    Control characters (newlines, terminal codes), direction marks and undecodable bytes are written as ``\\x1b`` and
    the like; what is longer than ``limit`` characters keeps its beginning and its end around ``...``.
    """
    text = value if isinstance(value, str) else str(value)
    if len(text) > limit:
        head = limit * 2 // 3
        text = f"{text[:head]} ... {text[len(text) - (limit - head) :]}"
    return _ESCAPED.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


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
