"""Writing files whole or not at all."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.utils.errors import InputError
from lib.utils.text import printable


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Give a temporary path beside ``path`` and move it there when the block ends without an error.

    The folder is made if it is missing. After an error nothing is left behind and an older ``path`` stays as it was.
    The temporary name keeps the suffix of ``path``, since some writers choose the format by it. Its stem is short,
    since that of ``path`` may be as long as the system allows, and ASCII, since OpenCV crashes at undecodable names.

    Raises:
        InputError: if ``path`` is a folder, a device or a pipe, which a file must not replace.
        OSError: if the folder cannot be made or written to.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: exists and is not a file")
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
    except OSError as error:
        if error.filename in (None, name):  # a full disk names no file, and nobody knows the temporary one
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path | str, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_writable(path: Path | str) -> None:
    """Refuse early a file that could not be written later; nothing is created.

    Raises:
        InputError: if there is a file where a folder has to be, a folder is read-only, or the system refuses the path.
    """
    path = Path(path)
    for place in (path, *path.absolute().parents):
        shown = printable(str(place), 200)
        try:
            is_folder = place.stat() and place.is_dir()
        except (FileNotFoundError, NotADirectoryError) as error:
            if place.is_symlink():
                raise InputError(f"{shown}: is a link to nowhere") from error
            continue
        except OSError as error:
            raise InputError(f"{shown}: {error.strerror}") from error
        if place == path:
            continue
        if not is_folder:
            raise InputError(f"{shown}: is no folder, nothing can be written below it")
        if not os.access(place, os.W_OK | os.X_OK):
            raise InputError(f"{shown}: this folder cannot be written")
        return
