"""Shared by the scripts: how an error becomes an exit code."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lib.utils.child import watch_given_parent
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.files import expand_home
from lib.utils.text import printable


def run_script(main: Callable[[], int]) -> int:
    """Run a script's ``main`` and return its exit code.

    A mistake of the user is one line on standard error and exit code 2: a ``SeqTrackError``, or a file or folder that
    the system refuses (``OSError``). Ctrl-C is 130, a reader that has gone away (``| head``) 141; a bug keeps its
    traceback. Characters that the terminal cannot show are written as escapes. A script that another one started ends
    with it.
    """
    watch_given_parent()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as a script sets it while it imports
        signal.signal(signal.SIGINT, signal.default_int_handler)
    name = Path(sys.argv[0]).name
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not under a test's capture
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
        sys.stdout.flush()
        return code
    except SeqTrackError as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails when it flushes
        return 141
    except OSError as error:
        if error.errno is None:  # raised by code, not by the system: a bug
            raise
        print(f"{name}: error: {describe_os_error(error)}", file=sys.stderr)
        return 2


def describe_os_error(error: OSError) -> str:
    """One line that names the file and what the system says about it."""
    reason = error.strerror or str(error)
    return printable(f"{error.filename}: {reason}" if error.filename is not None else reason, 1000)


class ScriptParser(argparse.ArgumentParser):
    """Parser of a script's flags. What an error echoes of them is one printable line of bounded length."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
        args = sys.argv[1:] if args is None else list(args)
        for text in args[: args.index("--")] if "--" in args else args:
            if text.startswith("-") and text.endswith("=--"):  # before Python 3.13 the value would be []
                self.error(f"argument {text[:-3]}: expected a value, got '--'")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        super().error(printable(message, 1000))


def user_path(text: str) -> Path:
    """``type=`` of every path option: ``~`` and ``~name`` are expanded.

    Raises:
        argparse.ArgumentTypeError: if the text cannot be a path, or there is no such home folder.
    """
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"expected a path, got {printable(repr(text))}")
    try:
        return expand_home(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def check_ranges(args: argparse.Namespace, limits: Mapping[str, tuple[int, int]]) -> None:
    """Refuse numbers of flags below their smallest or above their largest value; None means not given.

    Raises:
        InputError: naming the flag and its range.
    """
    for name, (lowest, highest) in limits.items():
        value = getattr(args, name)
        if value is not None and not lowest <= value <= highest:
            raise InputError(f"--{name} must be from {lowest} to {highest}, got {printable(str(value), 30)}")


def show(text: str) -> None:
    """Pass on to the user, at once, what another program prints."""
    sys.stdout.write(text)
    sys.stdout.flush()
