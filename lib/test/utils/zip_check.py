"""Looking at a submission as the server will, before one of the few submissions of the week is spent on it."""

import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from lib.test.utils.packing import Submission
from lib.utils.errors import DataError, InputError, printable

MAX_TEXT = 64 << 20
"""Bytes to which one file may unpack; no result comes near it."""
MAX_PROBLEM = 300
"""Characters of a problem that are told."""
MAX_TOTAL = 1 << 30
"""Bytes to which all files may unpack."""


def check_zip(
    path: Path,
    form: Submission,
    *,
    names: Iterable[str] | None = None,
    count: int | None = None,
    frames: Mapping[str, int] | None = None,
) -> list[str]:
    """Find what the server would refuse.

    Args:
        path: the zip.
        form: what the server expects.
        names: all sequences of the benchmark, if they are known.
        count: how many there are, if only that is known.
        frames: number of frames by sequence, where the dataset is at hand.

    Returns:
        One line for each problem; empty if there is none.

    Raises:
        InputError: if the zip cannot be read at all.
    """
    if path.exists() and not path.is_file():  # /dev/zero never ends
        raise InputError(f"{path}: not a zip file")
    try:
        with zipfile.ZipFile(path) as archive:
            problems = _problems(archive, form, names, count, frames or {})
            return [printable(problem, MAX_PROBLEM) for problem in problems]
    except OSError as error:
        raise InputError(f"{path}: cannot read the zip: {error.strerror}") from error
    except (NotImplementedError, UnicodeDecodeError) as error:  # a version or names that no reader knows
        return [printable(f"unreadable: {error}", MAX_PROBLEM)]
    except (zipfile.BadZipFile, ValueError, LookupError, struct.error, MemoryError) as error:
        raise InputError(f"{path}: not a zip file, or a damaged one ({error})") from error


def _problems(
    archive: zipfile.ZipFile,
    form: Submission,
    names: Iterable[str] | None,
    count: int | None,
    frames: Mapping[str, int],
) -> Iterator[str]:
    if sum(info.file_size for info in archive.infolist()) > MAX_TOTAL:
        yield f"it unpacks to more than {MAX_TOTAL >> 20} MiB"
        return
    files = [info.filename for info in archive.infolist() if not info.is_dir()]
    found = sorted(name for name in (_sequence(file, form.boxes) for file in files) if name is not None)
    if not found and (shifted := _shifted(files, form)):
        yield f"the files are in a folder {shifted!r} of the zip; they must be at its root"
        return
    expected = set(found) if names is None else set(names)
    missing, unknown = sorted(expected - set(found)), sorted(set(found) - expected)
    if missing:
        yield f"{len(missing)} of {len(expected)} sequences are missing: {_some(missing)}"
    if unknown:
        yield f"{len(unknown)} sequences are not part of {form.benchmark}: {_some(unknown)}"
    if names is None and count is not None and len(found) != count:
        yield f"{len(found)} sequences, {form.benchmark} has {count}"
    wanted = {form.boxes.format(name=name) for name in found} | {form.times.format(name=name) for name in found}
    surplus = sorted(set(files) - wanted)
    if surplus:
        yield f"{len(surplus)} files do not belong there: {_some(surplus)}"
    if len(set(files)) < len(files):
        yield "some files are in the zip twice"
    for name in found:
        try:
            yield from _sequence_problems(archive, form, name, frames.get(name))
        except (
            DataError,
            zipfile.BadZipFile,
            zlib.error,
            RuntimeError,
            EOFError,
            OSError,
            ValueError,
            lzma.LZMAError,
        ) as error:
            yield f"{name}: {error}"


def _sequence(file: str, pattern: str) -> str | None:
    """Name of the sequence whose file of the form ``pattern`` this is, or None."""
    first, *rest = (re.escape(part) for part in pattern.split("{name}"))
    match = re.fullmatch(f"{first}(?P<name>[^/]+){'(?P=name)'.join(rest)}", file)
    name = match["name"] if match else None
    return name


def _shifted(files: list[str], form: Submission) -> str:
    """The folder below which everything would be right, or an empty text."""
    for file in files:
        folder, slash, rest = file.partition("/")
        if slash and _sequence(rest, form.boxes) is not None:
            return folder
    return ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _read(archive: zipfile.ZipFile, name: str) -> list[str]:
    if archive.getinfo(name).file_size > MAX_TEXT:
        raise DataError(f"{name}: far too large for a text of boxes or times")
    try:
        return archive.read(name).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not a plain text file") from error


def _sequence_problems(archive: zipfile.ZipFile, form: Submission, name: str, frames: int | None) -> Iterator[str]:
    file = form.boxes.format(name=name)
    boxes = _read(archive, file)
    if not boxes:
        yield f"{file}: it is empty"
    elif frames is not None and len(boxes) != frames:
        yield f"{file}: {len(boxes)} boxes for {frames} frames"
    for number, line in enumerate(boxes, start=1):
        if _numbers(line, ",", 4) is None:
            hint = " (the delimiter must be a comma)" if _numbers(line.replace(",", " "), None, 4) is not None else ""
            yield f"{file}: line {number}: expected x,y,w,h, got {line!r}{hint}"
            break
    if not form.times:
        return
    file = form.times.format(name=name)
    if file not in archive.NameToInfo:
        yield f"{file}: the time file is missing"
        return
    times = _read(archive, file)
    if len(times) != len(boxes):
        yield f"{file}: {len(times)} times for {len(boxes)} boxes"
    for number, line in enumerate(times, start=1):
        seconds = _numbers(line, None, 1)
        if seconds is None or seconds[0] < 0:
            yield f"{file}: line {number}: expected seconds, got {line!r}"
            break


def _numbers(line: str, delimiter: str | None, count: int) -> list[float] | None:
    """The numbers of a line, or None if they are not ``count`` finite ones."""
    try:
        numbers = [float(field) for field in line.split(delimiter)]
    except ValueError:
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None
