"""Errors that a user can cause and mend; every message is one line that names the file, key or value."""

from lib.utils.errors import printable

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
