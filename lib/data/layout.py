"""Layouts of datasets: telling the known ones apart, finding files and frames in them; tables of published facts."""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from importlib import resources
from itertools import pairwise
from typing import Any

from lib.utils.errors import DataError
from lib.utils.image_io import IMAGE_SUFFIXES
from lib.utils.storage import Storage, what_lies_near

SPECS = "lib.data.specs"
GROUND_TRUTH = "groundtruth.txt"
"""Usual name of the box file of a sequence."""


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a table of facts (``lib/data/specs/<name>.csv``)."""
    text = resources.files(SPECS).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def read_facts(name: str) -> Any:
    """Content of ``lib/data/specs/<name>.json``."""
    return json.loads(resources.files(SPECS).joinpath(f"{name}.json").read_text(encoding="utf-8"))


def choose_layout(storage: Storage, layouts: Iterable[str], probes: Callable[[str], Iterable[str]]) -> str:
    """The first layout in which any of its probes is there, so that half a dataset is still recognized.

    Args:
        storage: the dataset.
        layouts: known layouts, the official one first.
        probes: files by which a layout is recognized.

    Raises:
        DataError: if it is none of them; the message says what was expected and what is there.
    """
    expected = []
    for layout in layouts:
        names = list(probes(layout))
        if any(storage.exists(name) for name in names):
            return layout
        expected.append(names[0])
    raise DataError(
        f"{storage.root}: not the expected layout (see docs/benchmarks.md): expected {' or '.join(expected)}, "
        f"found {what_lies_near(storage, expected[0])}"
    )


def require_files(storage: Storage, names: Sequence[str], what: str) -> None:
    """Check that files are there.

    Args:
        storage: the dataset.
        names: paths that have to exist.
        what: what they are, for the message.

    Raises:
        DataError: if not; one line says how many are missing, what was expected and what is there instead.
    """
    missing = [name for name in names if not storage.exists(name)]
    if missing:
        raise DataError(
            f"{storage.root}: {len(missing)} of {len(names)} {what} are missing (half a download, or another layout?): "
            f"expected {missing[0]}, found {what_lies_near(storage, missing[0])}"
        )


def find_file(storage: Storage, folder: str, name: str) -> str | None:
    """Path of a file whose name may be written in other case (``Groundtruth.txt``), or None.

    Args:
        storage: where to look.
        folder: an existing or missing folder, ``""`` for the root.
        name: the usual name of the file; a file with exactly this name is preferred.
    """
    prefix = f"{folder}/" if folder else ""
    if storage.exists(prefix + name):
        return prefix + name
    try:
        files = storage.list_files(folder, {name[name.rfind(".") :].lower()})
    except DataError:
        return None
    return next((prefix + file for file in files if file.lower() == name.lower()), None)


def require_file(storage: Storage, folder: str, *names: str) -> str:
    """Path of the first of ``names`` in ``folder``, in whatever case it is written.

    Raises:
        DataError: if there is none; the message names the usual one.
    """
    for name in names:
        path, _, file = f"{folder}/{name}".rpartition("/")
        found = find_file(storage, path, file)
        if found is not None:
            return found
    others = f" (nor {', '.join(names[1:])})" if len(names) > 1 else ""
    raise DataError(f"{storage.root / folder / names[0]}: no such file{others}")


def numbered_frames(
    storage: Storage, folder: str, first: int, last: int, digits: int, *, ends: bool = False, suffix: str = ".jpg"
) -> list[str]:
    """Paths of ``<folder>/<number><suffix>``, without listing the folder.

    Args:
        storage: the dataset.
        folder: folder of the frames.
        first: number of the first frame.
        last: number of the last frame.
        digits: length to which numbers are filled with zeros.
        ends: whether the folder must end with ``last``.
        suffix: of the files.

    Raises:
        DataError: if the first or the last frame is missing, or (``ends``) there is one more.
    """
    frames = [f"{folder}/{number:0{digits}d}{suffix}" for number in range(first, last + 1)]
    for frame in (frames[0], frames[-1]):
        if not storage.exists(frame):
            raise DataError(
                f"{storage.root / frame}: no such frame (expected {first} to {last}); found "
                f"{what_lies_near(storage, frame)}"
            )
    if ends and storage.exists(f"{folder}/{last + 1:0{digits}d}{suffix}"):
        raise DataError(f"{storage.root / folder}: there are more frames than ground truth boxes ({len(frames)})")
    return frames


def list_frames(
    storage: Storage,
    folder: str,
    suffixes: Collection[str] = IMAGE_SUFFIXES,
    *,
    numbered: bool = False,
    first: int | None = None,
) -> list[str]:
    """Paths of the images of a folder, in the order of the numbers in their names (``natural_key``).

    Args:
        storage: the dataset.
        folder: folder of the frames, ``""`` for the root.
        suffixes: kinds of images, in lower case with the dot.
        numbered: whether each has to be named by its number alone.
        first: number of the first one, where none may be missing (and ``numbered``): as many boxes would show it, but
            hidden ground truth has none.

    Raises:
        DataError: if there are none, or one is missing or not named by a number.
    """
    place = storage.root / folder
    try:
        key = _file_number if numbered else natural_key
        files = sorted(storage.list_files(folder, suffixes), key=key)
    except ValueError as error:
        raise DataError(f"{place}: frames must be named by number: {error}") from error
    if not files:
        raise DataError(f"{place}: no {'images' if suffixes is IMAGE_SUFFIXES else '/'.join(suffixes) + ' frames'}")
    if first is not None and (odd := [(n, file) for n, file in enumerate(files, first) if _file_number(file) != n]):
        raise DataError(f"{place}: expected frame {odd[0][0]}, found {odd[0][1]} (half a download?)")
    return [f"{folder}/{file}" if folder else file for file in files]


def _file_number(file: str) -> int:
    return int(file.rpartition(".")[0])


def frames_by_number(files: Sequence[str]) -> dict[int, str]:
    """Images of a video by their frames, from 0 on: in their order, the first one being frame 0.

    Where they are numbered one by one and some are missing in between (1, 2, 4), those have no image, so that the ones
    after them keep their frames.
    """
    stems = [file.rpartition("/")[2].rpartition(".")[0] for file in files]
    ends = [re.search("[0-9]{1,18}$", stem) for stem in stems]
    numbers = [int(end[0]) for end in ends if end is not None]
    steps = sorted(after - before for before, after in pairwise(numbers))
    if len(numbers) < len(files) or not steps or steps[0] < 1 or steps[(len(steps) - 1) // 2] != 1:
        return dict(enumerate(files))
    return {number - numbers[0]: file for number, file in zip(numbers, files, strict=True)}


def natural_key(name: str) -> tuple[list, str]:
    """Sorting key by which ``2.jpg`` comes before ``10.jpg``, ``1.25.jpg`` before ``1.3.jpg``, and ``a`` beside ``A``.

    A number is a run of digits, with its decimals where one dot and digits follow (a time stamp) and no second dot (a
    version, an address, a date). A ``-`` separates parts of a name, and is never a sign. Equal numbers (``01``, ``1``)
    keep their order by letter.
    """
    parts: list = _NUMBER.split(name.casefold())  # texts and numbers in turn
    parts[1::2] = map(Decimal, parts[1::2])
    return parts, name


_NUMBER = re.compile(r"((?<!\d)(?<!\d\.)\d+\.\d+(?!\.?\d)|\d+)")
