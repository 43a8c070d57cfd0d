"""One writer at a time in a folder."""

import contextlib
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from lib.utils.errors import InputError, printable

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
        purpose: what the owner does, one word such as ``training``; different purposes do not exclude each other.
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
    while True:
        try:
            handle = _acquire(path, f"{folder}: {purpose} is going on there already, by")
            break
        except FolderInUseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
    try:
        _held.add(path)
        yield
    finally:
        _held.discard(path)
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


def _acquire(path: Path, refusal: str) -> int:
    """Open and lock a file; the lock goes with the handle."""
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
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(handle).st_ino:
                os.ftruncate(handle, 0)
                os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return handle
        os.close(handle)  # its last owner has just removed the file: take the new one
