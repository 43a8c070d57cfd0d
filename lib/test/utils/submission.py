"""Results as the servers of GOT-10k and TrackingNet want them: packed into one zip, and checked as the server will.

The result files are left alone. A check costs seconds; a refused zip costs one of the few submissions of the week.
"""

import argparse
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as ListOf
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lib.config.paths import Paths, load_paths
from lib.data.annotations import MARGIN
from lib.data.registry import BENCHMARKS
from lib.data.sequence import Sequence, SequenceList
from lib.test.evaluation.results import ResultFolder, start_gaps, to_integers
from lib.utils.cli import ScriptParser, user_path
from lib.utils.errors import DataError, InputError, lookup, printable
from lib.utils.files import atomic_path

EXTRA_SUFFIXES = ("_all_boxes", "_all_scores")
"""What other trackers of the family write beside the boxes of a sequence."""
TIMESTAMP = (1980, 1, 1, 0, 0, 0)
"""Of every file in a zip, so that the same results make the same bytes."""
MAX_TEXT = 64 << 20
"""Bytes to which one file may unpack; no result comes near it."""
MAX_TOTAL = 1 << 30
"""Bytes to which all files may unpack."""
MAX_PROBLEM = 300
"""Characters of a problem that are shown."""
MAX_PROBLEMS = 20
"""Problems that are listed."""
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError, ValueError)
"""What reading a file of a damaged zip may raise."""


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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the published flags, the paths, and ``--check``."""
    parser.add_argument("--tracker_name", default="seqtrack", help="name of the tracker (default: seqtrack)")
    parser.add_argument("--cfg_name", help="name of its configuration, such as seqtrack_b256_got")
    parser.add_argument(
        "--check",
        nargs="?",
        type=user_path,
        const=Path(),
        metavar="ZIP",
        help="validate a zip as the server would, without packing; without a value: pack, then validate",
    )
    parser.add_argument("--data_dir", type=user_path, help="folder of the datasets, for the number of frames")
    parser.add_argument("--save_dir", type=user_path, help="folder below which test.py wrote its results (default: .)")


def transform(server: str, description: str | None, argv: ListOf[str] | None) -> int:
    """Body of the published scripts: pack what is there, and warn of what the server would refuse.

    Returns:
        The exit code: 1 if ``--check`` was given and there are problems, else 0.
    """
    parser = ScriptParser(description=description)
    add_arguments(parser)
    args = parser.parse_args(argv)
    answer, problems = pack_and_check(server, args, raw=True)
    print(answer)
    return 1 if problems and args.check is not None else 0


def pack_and_check(server: str, args: argparse.Namespace, *, raw: bool = False) -> tuple[str, list[str]]:
    """Pack results, or look at a zip that is there.

    Args:
        server: a key of ``SUBMISSIONS``.
        args: values of the flags of ``add_arguments``.
        raw: also pack the result files as they are, as the published scripts do.

    Returns:
        The answer for the user, and what the server would refuse.

    Raises:
        ConfigError: if there is no such server.
        InputError: if no results are named, or the zip is unreadable.
        DataError: if there are no results, or they cannot be packed.
    """
    form = lookup(SUBMISSIONS, server, "server")
    paths = load_paths("test", data_dir=args.data_dir, save_dir=args.save_dir)
    path, lines = args.check, []
    if path is None or path == Path():
        if not args.cfg_name:
            raise InputError("say whose results with --tracker_name and --cfg_name (or give a zip to --check)")
        folder = ResultFolder(paths.save_dir, args.tracker_name, args.cfg_name, form.tag)
        path = pack(folder, form)
        lines.append(f"packed for the server: {path}")
        if raw:
            lines.append(f"packed as they are: {pack_raw(folder)} ({folder.path} was left alone)")
    problems, basis = _check_against_dataset(path, form, paths)
    if problems:
        lines.append(f"{path}: {len(problems)} problem(s), the server would refuse it or score it wrongly ({basis})")
        lines += [f"  {problem}" for problem in problems[:MAX_PROBLEMS]]
        lines += [f"  ... and {len(problems) - MAX_PROBLEMS} more"] * (len(problems) > MAX_PROBLEMS)
    else:
        lines.append(f"{path}: the server should take it ({basis})")
    return "\n".join(lines), problems


def pack(folder: ResultFolder, form: Submission) -> Path:
    """Write the zip for the server, ``<tag>_submit.zip`` beside the results; an older one is replaced.

    Raises:
        DataError: if there are no results, or one is unreadable or has not one time for each box.
    """
    names = folder.sequences()
    for suffix in EXTRA_SUFFIXES:
        bases = set(names)
        names = [name for name in names if not (name.endswith(suffix) and name.removesuffix(suffix) in bases)]
    if form.foreign:
        names = [name for name in names if not form.foreign.fullmatch(name)]
    if not names:
        raise DataError(f"{folder.path}: no results of {form.benchmark} there; make them with tracking/test.py")
    files = dict(_submitted_files(folder, form, names))
    directories = sorted({f"{name}/" for name in (path.rpartition("/")[0] for path in files) if name})
    path = folder.path.with_name(f"{form.tag}_submit.zip")
    write_zip(path, {**dict.fromkeys(directories, b""), **files})
    return path


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


def _check_against_dataset(path: Path, form: Submission, paths: Paths) -> tuple[list[str], str]:
    """Problems of a zip by the dataset if it is here, else by what is known of the benchmark; and which it was."""
    benchmark = BENCHMARKS[form.benchmark]
    names = None if benchmark.names is None else list(benchmark.names())
    try:
        sequences = benchmark.load(paths, strict=True) if benchmark.is_present(paths) else None
        doubt = "not here"
    except DataError:
        sequences, doubt = None, "here but unsound, see tracking/check_data.py"
    if sequences is None:
        known = f"numbers of frames not checked: the dataset is {doubt}"
        return check_zip(path, form, names=names, count=benchmark.sequences), known
    if len(sequences) == benchmark.sequences:
        names = sequences.names
    problems = check_zip(path, form, names=names, count=benchmark.sequences, sequences=sequences)
    return problems, f"compared with {benchmark.place(paths)[0]}"


def check_zip(
    path: Path,
    form: Submission,
    *,
    names: Iterable[str] | None = None,
    count: int | None = None,
    sequences: SequenceList | None = None,
) -> list[str]:
    """Find what the server would refuse, one printable line for each problem.

    Args:
        path: the zip.
        form: what the server expects.
        names: all sequences of the benchmark, if they are known.
        count: how many there are, if only that is known.
        sequences: the benchmark, where the dataset is at hand: how many frames there are, and the first box of each.

    Raises:
        InputError: if the zip cannot be read at all.
    """
    if path.exists() and not path.is_file():  # /dev/zero never ends
        raise InputError(f"{path}: not a zip file")
    try:
        with zipfile.ZipFile(path) as archive:
            problems = list(_problems(archive, form, names, count, {item.name: item for item in sequences or ()}))
    except OSError as error:
        raise InputError(f"{path}: cannot read the zip: {error.strerror}") from error
    except (NotImplementedError, UnicodeDecodeError) as error:  # a version or names that no reader knows
        problems = [f"unreadable: {error}"]
    except (zipfile.BadZipFile, ValueError, LookupError, struct.error, MemoryError) as error:
        raise InputError(f"{path}: not a zip file, or a damaged one ({error})") from error
    return [printable(problem, MAX_PROBLEM) for problem in problems]


def _problems(
    archive: zipfile.ZipFile,
    form: Submission,
    names: Iterable[str] | None,
    count: int | None,
    sequences: Mapping[str, Sequence],
) -> Iterator[str]:
    if sum(info.file_size for info in archive.infolist()) > MAX_TOTAL:
        yield f"it unpacks to more than {MAX_TOTAL >> 20} MiB"
        return
    files = [info.filename for info in archive.infolist() if not info.is_dir()]
    found = sorted(filter(None, (_sequence_of(file, form) for file in files)))
    parts = (file.partition("/") for file in files)
    shifted = next((folder for folder, _, rest in parts if not found and _sequence_of(rest, form)), None)
    if shifted:
        yield f"the files are in a folder {shifted!r} of the zip; they must be at its root"
        return
    expected = set(found) if names is None else set(names)
    if missing := expected - set(found):
        yield f"{len(missing)} of {len(expected)} sequences are missing: {_some(missing)}"
    if unknown := set(found) - expected:
        yield f"{len(unknown)} sequences are not part of {form.benchmark}: {_some(unknown)}"
    if names is None and count is not None and len(found) != count:
        yield f"{len(found)} sequences, {form.benchmark} has {count}"
    wanted = {pattern.format(name=name) for name in found for pattern in (form.boxes, form.times)}
    if surplus := set(files) - wanted:
        yield f"{len(surplus)} files do not belong there: {_some(surplus)}"
    if len(set(files)) < len(files):
        yield "some files are in the zip twice"
    for name in found:
        try:
            yield from _sequence_problems(archive, form, name, sequences.get(name))
        except (DataError, *DAMAGE) as error:
            yield f"{name}: {error}"


def _sequence_of(file: str, form: Submission) -> str | None:
    """Name of the sequence whose box file this is, or None."""
    first, *rest = (re.escape(part) for part in form.boxes.split("{name}"))
    match = re.fullmatch(f"{first}(?P<name>[^/]+){'(?P=name)'.join(rest)}", file)
    return match["name"] if match else None


def _some(names: Iterable[str]) -> str:
    first, *others = sorted(names)
    return ", ".join([first, *others[:2], *(["..."] if others[2:] else [])])


def _sequence_problems(archive: zipfile.ZipFile, form: Submission, name: str, known: Sequence | None) -> Iterator[str]:
    file = form.boxes.format(name=name)
    boxes = _read_lines(archive, file)
    first = _numbers(boxes[0], ",", 4) if boxes else None
    if not boxes:
        yield f"{file}: it is empty"
    elif known is not None and len(boxes) != len(known.frames):
        yield f"{file}: {len(boxes)} boxes for {len(known.frames)} frames"
    elif known and first and np.abs(start_gaps(first, known.init_box_xywh)).max() > MARGIN:
        yield f"{file}: starts with {boxes[0]!r}, its sequence with {known.init_box_xywh}; not x, y, width, height?"
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
    times = _read_lines(archive, file)
    if len(times) != len(boxes):
        yield f"{file}: {len(times)} times for {len(boxes)} boxes"
    for number, line in enumerate(times, start=1):
        seconds = _numbers(line, None, 1)
        if seconds is None or seconds[0] < 0:
            yield f"{file}: line {number}: expected seconds, got {line!r}"
            break


def _read_lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    if archive.getinfo(name).file_size > MAX_TEXT:
        raise DataError(f"{name}: far too large for a text of boxes or times")
    try:
        return archive.read(name).decode("ascii").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not a plain text file") from error


def _numbers(line: str, delimiter: str | None, count: int) -> list[float] | None:
    """The numbers of a line, or None if they are not ``count`` finite ones."""
    try:
        numbers = [float(field) for field in line.split(delimiter)]
    except ValueError:
        return None
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else None
