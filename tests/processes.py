"""Waiting for processes, which of them run (as Linux says), and one that holds a lock."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path

from lib.config.paths import PROJECT_ROOT


def alive(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone(pids, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and any(map(alive, pids)):
        time.sleep(0.1)
    return not any(map(alive, pids))


def descendants(pid):
    found = []
    with contextlib.suppress(OSError):
        for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def command_line(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def wait_for(condition, process=None, seconds=120):
    """Wait for something that a process does; return early if the process ends."""
    deadline = time.monotonic() + seconds
    while not condition() and (process is None or process.poll() is None):
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.01)


HOLD = """
import sys
from lib.utils.files import folder_lock
with folder_lock(sys.argv[1], sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def another_owner(folder, purpose):
    """A process that holds a lock until its standard input is closed; it is killed at the end of the block."""
    command = [sys.executable, "-c", HOLD, str(folder), purpose]
    with subprocess.Popen(command, cwd=PROJECT_ROOT, stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
