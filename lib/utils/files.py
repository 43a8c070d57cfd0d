"""Writing files whole or not at all."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there when the block ends without an error.

    The folder is made if it is missing. After an error nothing is left behind and an older ``path`` stays as it was.
    The temporary name keeps the suffix of ``path``, since some writers choose the format by it. Its stem is short,
    since that of ``path`` may be as long as the system allows, and ASCII, since OpenCV crashes at undecodable names.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"[^\w.-]", "_", path.stem, flags=re.ASCII)[:40]
    handle, name = tempfile.mkstemp(prefix=f".{stem}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes private files; results are for everybody
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
