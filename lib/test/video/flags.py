"""Texts on the command line of the video demo: boxes, options, places."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lib.test.tracker.lost import LostOptions
from lib.test.video.streams import STDIN, is_address
from lib.utils.cli import user_path
from lib.utils.errors import InputError, printable

BOX_FLAGS = ("--init_box", "--optional_box")
SEARCH = {"auto": None, "on": True, "off": False}
"""Values of ``LostOptions.search`` by what the user writes."""
_PART_OF_BOX = re.compile(r"[\s,;()\[\]]*[-+]?[\d.][\w.+-]*([\s,;()\[\]]+[-+]?[\w.+-]*)*")


def video_name(text: str) -> str:
    """``type=`` of the video: a path, in which ``~`` is expanded; or an address or ``-``, as they are."""
    return text if text == STDIN or is_address(text) else str(user_path(text))


def frame_size(text: str) -> tuple[int, int]:
    """``type=`` of ``--raw_size``: ``640x480`` as (width, height)."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 640x480, got {printable(repr(text))}")
    return int(match[1]), int(match[2])


def output_place(text: str) -> tuple[Path, bool]:
    """``type=`` of ``--output``: the path, and whether it is written as that of a folder."""
    return user_path(text), text.endswith(("/", os.sep))


def join_box(argv: Sequence[str]) -> list[str]:
    """Make one argument of a box that is written as several (``--init_box 10 20 30 40``), or begins with a minus sign.

    ``argparse`` could take several, but then also the arguments after a box that is written as one.
    """
    joined: list[str] = []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument in BOX_FLAGS:
            parts: list[str] = []
            while rest and len(_numbers(" ".join(parts))) < 4 and _PART_OF_BOX.fullmatch(rest[0]):
                parts.append(rest.pop(0))
            argument = f"{argument}={' '.join(parts)}" if parts else argument
        joined.append(argument)
    return joined


def _numbers(text: str) -> list[str]:
    return re.sub(r"[\s,;()\[\]]+", " ", text).split()


def parse_box(text: str) -> list[float]:
    """Read a box as written on a command line: four numbers between commas or blanks, brackets around them or not.

    Raises:
        InputError: if it is not four numbers.
    """
    try:
        box = [float(part) for part in _numbers(text)]
    except ValueError:
        box = []
    if len(box) != 4:
        raise InputError(f"--init_box: expected four numbers x,y,w,h, got {printable(repr(text))}")
    return box


def parse_lost(text: str) -> LostOptions:
    """Read options of lost and found as written on a command line: ``patience=5,search=off``.

    Raises:
        InputError: if there is no such option, or a value is none or out of range.
    """
    known = {option.name: option for option in fields(LostOptions)}
    given: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = (item.strip() for item in part.partition("="))
        if name not in known:
            raise InputError(f"--lost: no option {printable(repr(name), 60)}; known: {', '.join(known)}")
        try:
            default = known[name].default
            convert = SEARCH.__getitem__ if name == "search" else float if default is None else type(default)
            given[name] = None if default is None and value == "auto" else convert(value)
        except (KeyError, ValueError) as error:
            kind = "auto, on or off" if name == "search" else "a number"
            raise InputError(f"--lost: {name} must be {kind}, got {printable(repr(value), 60)}") from error
    try:
        return LostOptions(**given)
    except InputError as error:
        raise InputError(f"--lost: {error}") from error
