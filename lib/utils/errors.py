"""Errors that a user can cause and mend; every message is one line that names the file, key or value."""


class SeqTrackError(Exception):
    """Base class. Scripts print the message on one line of standard error and exit with code 2."""


class ConfigError(SeqTrackError):
    """A configuration key, value or name is wrong."""


class DataError(SeqTrackError):
    """A data set, annotation, image or result on disk is missing or malformed."""


class CheckpointError(SeqTrackError):
    """A checkpoint is missing, damaged, or made for another network."""


class InputError(SeqTrackError):
    """A value given by the caller (flag, box, image, video) cannot be used."""
