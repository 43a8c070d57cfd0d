"""Text as people's editors leave it, files written whole or not at all, and one writer at a time in a folder."""

import codecs
import contextlib
import fcntl
import hashlib
import os
import re
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lib.utils.errors import DataError, InputError, printable

_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # that of UTF-32 LE begins like UTF-16's


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


def decode_text(data: bytes, name: str) -> str:
    """Decode the contents of a UTF-8 text file; the byte order mark that some editors put first is left out.

    Args:
        data: contents of the file.
        name: what to call it in an error.

    Raises:
        DataError: if it is UTF-16, not UTF-8, or holds a NUL byte; the message names the line.
    """
    if data.startswith(_WIDE_MARKS):
        raise DataError(f"{name}: not a UTF-8 text file: it is UTF-16 or UTF-32; save it as UTF-8")
    data = data.removeprefix(codecs.BOM_UTF8)
    position = data.find(b"\0")
    if position < 0:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            position = error.start
    line, byte = data.count(b"\n", 0, position) + 1, data[position]
    raise DataError(f"{name}: not a UTF-8 text file: byte 0x{byte:02x} in line {line}")


def read_text(path: Path | str) -> str:
    """Read a UTF-8 text file; see ``decode_text``. Raises DataError if it cannot be read."""
    try:
        return decode_text(Path(path).read_bytes(), str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot read the file: {error.strerror}") from error


def require_folder(path: Path | str) -> None:
    """Raise DataError if something is not a folder, saying what it is or what the system says about it."""
    try:
        if stat.S_ISDIR(os.stat(path).st_mode):
            return
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such data folder") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot open the data folder: {reason}") from error
    raise DataError(f"{path}: not a folder")


def expand_home(text: str) -> Path:
    """Path that a user wrote, with ``~`` and ``~name`` expanded. Raises InputError if there is no such home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise InputError(f"{text}: {error}") from error


def require_plain_name(name: str, where: str) -> str:
    """Return a sequence's name, which becomes that of a file, or raise DataError.

    Args:
        name: from a list, a description or a folder.
        where: what the message begins with.
    """
    if not name.strip() or name[0] in ".~" or any(mark in name for mark in "/\\") or name != printable(name, len(name)):
        reason = (
            "expected a name without / and \\, control characters or undecodable bytes, and no dot or ~ at its start"
        )
        raise DataError(f"{where}: {printable(repr(name))} cannot name a sequence: {reason}")
    return name


def read_names(text: str, name: str) -> list[tuple[int, str]]:
    """Sequence names of a list, one per line, with their line numbers; empty lines are left out.

    Raises:
        DataError: if one cannot name a file in a folder, such as ``../x``; the message names file and line.
    """
    lines = ((number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
    return [(number, require_plain_name(line, f"{name}: line {number}")) for number, line in lines if line]


def file_hash(path: Path | str) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


_held: set[Path] = set()  # the system's locks belong to the process: it would grant itself the same one twice


class FolderInUseError(InputError):
    """Another process has the lock; the message says which."""


@contextlib.contextmanager
def folder_lock(folder: Path | str, purpose: str, wait_seconds: float = 0.0) -> Iterator[None]:
    """Hold ``<folder>/.<purpose>.lock`` for the length of the block.

    The lock ends with its process, however that ends, so a lock file that a crash left behind is taken over; the file
    names host and process of its last owner. It holds between machines where the file system has locks (NFS 4, Lustre,
    GPFS); where it has none, the block runs without one.

    Args:
        folder: made if it is missing.
        purpose: what the owner does, such as ``training``; different purposes do not exclude each other.
        wait_seconds: how long to wait for an owner that holds it for a moment.

    Raises:
        FolderInUseError: if another process holds it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder.resolve() / f".{purpose}.lock"
    if path in _held:
        raise FolderInUseError(f"{folder}: {purpose} is going on there already, in this process")
    deadline = time.monotonic() + wait_seconds
    handles: list[int] = []  # filled by the callee: Ctrl-C may come before a returned value has been stored
    try:
        while not handles:
            try:
                _acquire(path, f"{folder}: {purpose} is going on there already, by", handles)
            except FolderInUseError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
        _held.add(path)
        yield
    finally:
        _held.discard(path)
        for handle in handles:
            if _is_file(path, handle):
                path.unlink(missing_ok=True)  # before the lock goes with the handle
            os.close(handle)


def other_owners(folder: Path | str) -> list[str]:
    """Living processes, but this one, that hold locks in a folder; locks that an owner left behind are removed.

    Where the file system has no locks, an owner on this machine is looked up by its process number, and one on another
    machine counts as alive.
    """
    owners = []
    for path in sorted(Path(folder).resolve().glob(".*.lock")):
        if path in _held:
            continue
        with contextlib.suppress(FileNotFoundError):  # its owner has just removed it
            handle = os.open(path, os.O_RDONLY)
            owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            try:
                fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                is_gone = True
            except (BlockingIOError, PermissionError):
                is_gone = False
            except OSError:  # this file system has no locks
                is_gone = _is_gone(owner)
            try:
                if is_gone:
                    path.unlink()
                else:
                    owners.append(printable(owner))
            finally:
                os.close(handle)
    return list(dict.fromkeys(owners))


def _is_gone(owner: str) -> bool:
    match = re.fullmatch(r"process (\d+) on (.*)", owner)
    if match is None or match[2] != socket.gethostname():
        return False
    try:
        os.kill(int(match[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _is_file(path: Path, handle: int) -> bool:
    """Whether a path is that of an open file; another process may have put a new one in its place."""
    try:
        return os.stat(path).st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _acquire(path: Path, refusal: str, handles: list[int]) -> None:
    """Open and lock a file, and add its handle to ``handles``; the lock goes with it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            owner = os.read(handle, 200).decode(errors="replace").strip() or "another process"
            os.close(handle)
            raise FolderInUseError(f"{refusal} {printable(owner)}") from error
        except OSError:
            pass  # this file system has no locks
        handles.append(handle)
        if _is_file(path, handle):
            os.ftruncate(handle, 0)
            os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            return
        os.close(handles.pop())  # its last owner has just removed the file: take the new one
