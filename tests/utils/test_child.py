"""A child's exit code and signals reach the caller, and no child outlives its parent."""

import signal
import sys
import time

import pytest

from lib.config.paths import PROJECT_ROOT
from lib.utils.child import run_child
from lib.utils.errors import InputError
from tests.processes import descendants, gone
from tests.train.ranks import FORK


def test_exit_code_of_a_child_comes_back():
    assert run_child(["sh", "-c", "exit 7"]) == 7
    assert run_child(["sh", "-c", "kill -9 $$"]) == 137
    assert run_child(["sh", "-c", "trap 'exit 3' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"]) == 143
    with pytest.raises(InputError, match="no-such-program: cannot be started"):
        run_child(["no-such-program"])


def test_a_closed_terminal_ends_a_child():
    previous = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests run under nohup
    try:
        assert run_child(["sh", "-c", "trap 'exit 3' HUP; kill -HUP $PPID; while :; do sleep 0.05; done"]) == 129
    finally:
        signal.signal(signal.SIGHUP, previous)


def test_a_child_ends_with_its_parent(tmp_path):
    """The parent is killed: the child, which runs a script of this project, gets SIGTERM and then has no choice."""
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys, time, pathlib, signal; sys.path.insert(0, {str(PROJECT_ROOT)!r})\n"
        "from lib.utils.cli import run_script\n"
        f"def end(*_):\n    pathlib.Path({str(tmp_path / 'asked')!r}).touch()\n"
        f"def main():\n    signal.signal(signal.SIGTERM, end)\n    pathlib.Path({str(tmp_path / 'up')!r}).touch()\n"
        "    while True: time.sleep(0.05)\n"
        "from lib.utils import child; child.TIME_TO_END = 0.3\n"
        "run_script(main)\n"
    )
    parent = FORK.Process(target=lambda: run_child([sys.executable, str(script)]))
    parent.start()
    while not (tmp_path / "up").exists():
        time.sleep(0.02)
    pids = descendants(parent.pid)
    parent.kill()
    parent.join()
    assert len(pids) == 1 and gone(pids, 10) and (tmp_path / "asked").exists()
