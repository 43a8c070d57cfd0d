"""Finding one's way in a dataset: which of the known layouts it has, where a sequence's frames and ground truth are."""

import csv
import json
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from lib.utils.errors import DataError
from lib.utils.storage import Storage, what_lies_near
from lib.utils.video_folder import find_file

SPECS = "lib.test.data_specs"


def read_table(name: str) -> list[dict[str, str]]:
    """Rows of a table of facts (``lib/test/data_specs/<name>.csv``)."""
    text = resources.files(SPECS).joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def read_facts(name: str) -> Any:
    """Content of ``lib/test/data_specs/<name>.json``."""
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


def require_file(storage: Storage, folder: str, *names: str) -> str:
    """Path of the first of ``names`` that is in ``folder``, in whatever case it is written.

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
    storage: Storage, folder: str, first: int, last: int, digits: int, *, ends: bool = False
) -> list[str]:
    """Paths of ``<folder>/<number>.jpg``, without listing the folder.

    Args:
        storage: the dataset.
        folder: folder of the frames.
        first: number of the first frame.
        last: number of the last frame.
        digits: length to which numbers are filled with zeros.
        ends: whether the folder must end with ``last``.

    Raises:
        DataError: if the first or the last frame is missing, or (``ends``) there is one more.
    """
    frames = [f"{folder}/{number:0{digits}d}.jpg" for number in range(first, last + 1)]
    for frame in (frames[0], frames[-1]):
        if not storage.exists(frame):
            raise DataError(
                f"{storage.root / frame}: no such frame (expected {first} to {last}); found "
                f"{what_lies_near(storage, frame)}"
            )
    if ends and storage.exists(f"{folder}/{last + 1:0{digits}d}.jpg"):
        raise DataError(f"{storage.root / folder}: there are more frames than ground truth boxes ({len(frames)})")
    return frames


def frames_by_number(storage: Storage, folder: str) -> list[str]:
    """Paths of all ``<number>.jpg`` of a folder, in the order of the numbers.

    Raises:
        DataError: if there are none, or one is not named by a number.
    """
    try:
        files = sorted(storage.list_files(folder, {".jpg"}), key=lambda file: int(file[: -len(".jpg")]))
    except ValueError as error:
        raise DataError(f"{storage.root / folder}: frames must be named by number: {error}") from error
    if not files:
        raise DataError(f"{storage.root / folder}: no .jpg frames")
    return [f"{folder}/{file}" for file in files]
