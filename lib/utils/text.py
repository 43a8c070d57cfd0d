"""Text that comes from outside (file names, file contents, flags) made fit for a terminal, a log or a message."""

import re

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
