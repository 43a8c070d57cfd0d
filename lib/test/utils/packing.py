"""Results as the servers of GOT-10k and TrackingNet want them: one zip, made from files that are left alone."""

import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.test.evaluation.results import ResultFolder, to_integers
from lib.utils.errors import DataError, lookup
from lib.utils.files import atomic_path

EXTRA_SUFFIXES = ("_all_boxes", "_all_scores")
"""What other trackers of the family write beside the boxes of a sequence."""
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""Of every file in a zip, so that the same results make the same bytes."""


@dataclass(frozen=True)
class Submission:
    """What a server expects.

    Attributes:
        tag: name of the result folder and of the zip.
        benchmark: the dataset whose results it takes.
        boxes: path of a box file in the zip, with ``{name}`` for the sequence.
        times: path of a time file in the zip; empty if there is none.
        foreign: names of sequences that are in the same result folder and are no part of it.
    """

    tag: str
    benchmark: str
    boxes: str
    times: str = ""
    foreign: re.Pattern[str] | None = None


SUBMISSIONS: dict[str, Submission] = {
    "got10k": Submission(
        tag="got10k",
        benchmark="got10k_test",
        boxes="{name}/{name}_001.txt",
        times="{name}/{name}_time.txt",
        foreign=re.compile(r"GOT-10k_(Train|Val)_\d+"),
    ),
    "trackingnet": Submission(tag="trackingnet", benchmark="trackingnet", boxes="{name}.txt"),
}
"""Servers by the dataset they score."""


def find_submission(name: str) -> Submission:
    """Submission for ``got10k`` or ``trackingnet``. Raises ConfigError for another name."""
    return lookup(SUBMISSIONS, name, "server")


def submission_path(folder: ResultFolder, form: Submission) -> Path:
    """Where the zip of a result folder is: beside the folder, ``<tag>_submit.zip``."""
    return folder.path.with_name(f"{form.tag}_submit.zip")


def packed_sequences(folder: ResultFolder, form: Submission) -> list[str]:
    """Names of the sequences of a result folder that belong into the zip, sorted.

    Raises:
        DataError: if there is none.
    """
    names = folder.sequences()
    for suffix in EXTRA_SUFFIXES:
        bases = set(names)
        names = [name for name in names if not (name.endswith(suffix) and name.removesuffix(suffix) in bases)]
    if form.foreign:
        names = [name for name in names if not form.foreign.fullmatch(name)]
    if not names:
        raise DataError(f"{folder.path}: no results of {form.benchmark} there; make them with tracking/test.py")
    return names


def pack(folder: ResultFolder, form: Submission) -> Path:
    """Write the zip for the server; an older one is replaced, the results stay as they are.

    Returns:
        The zip.

    Raises:
        DataError: if there are no results, or one is unreadable or has not one time for each box.
    """
    names = packed_sequences(folder, form)
    files = dict(_submitted_files(folder, form, names))
    directories = sorted({f"{name}/" for name in (path.rpartition("/")[0] for path in files) if name})
    path = submission_path(folder, form)
    write_zip(path, {**dict.fromkeys(directories, b""), **files})
    return path


def pack_raw(folder: ResultFolder) -> Path:
    """Write the result files as they are to ``<folder>.zip`` beside the folder, as the published scripts do."""
    path = folder.path.with_name(f"{folder.path.name}.zip")
    files = sorted(file for file in folder.path.glob("*.txt") if not file.name.startswith("."))
    write_zip(path, {file.name: file.read_bytes() for file in files})
    return path


def write_zip(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a zip, whole or not at all, whose bytes depend on the files alone; names that end in ``/`` are folders."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, TIMESTAMP)
            is_folder = name.endswith("/")
            info.compress_type = zipfile.ZIP_STORED if is_folder else zipfile.ZIP_DEFLATED
            info.external_attr = 0o40755 << 16 | 0x10 if is_folder else 0o100644 << 16
            archive.writestr(info, content)


def _submitted_files(folder: ResultFolder, form: Submission, names: list[str]) -> Iterator[tuple[str, bytes]]:
    for name in names:
        boxes = folder.read(name)
        if len(boxes) == 0 or np.isnan(boxes).any():
            raise DataError(f"{folder.boxes_path(name)}: {'NaN among the boxes' if len(boxes) else 'it is empty'}")
        lines = (",".join(map(str, row)) for row in to_integers(boxes).tolist())
        yield form.boxes.format(name=name), "".join(f"{line}\n" for line in lines).encode()
        if form.times:
            yield form.times.format(name=name), _read_times(folder.times_path(name), len(boxes))


def _read_times(path: Path, frames: int) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the times, which the server asks for: {error.strerror}") from error
    if len(content.split()) != frames:
        raise DataError(f"{path}: {len(content.split())} times for {frames} boxes")
    return content
