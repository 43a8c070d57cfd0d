"""Benchmarks that are for evaluation only, a class for each: OTB-100, NfS, UAV123, TNL2K, TColor-128."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from lib.data.annotations import corners_to_xywh, looks_like_corners, parse_boxes, read_ground_truth, read_labels
from lib.data.attributes import AttributeFiles
from lib.data.layout import choose_layout, find_file, list_frames, numbered_frames, read_table, require_file
from lib.data.sequence import Benchmark, Entry, Sequence
from lib.utils.errors import DataError
from lib.utils.image_io import image_size
from lib.utils.storage import Storage, what_lies_near

logger = logging.getLogger(__name__)

Row = dict[str, str]
"""What ``lib/data/specs`` says about a sequence."""


class Reader(ABC):
    """Reads the sequences of a benchmark; its constructor finds out how the dataset is laid out.

    Args:
        storage: the dataset.

    Attributes:
        tag: of the benchmark.
        complete: how many sequences it has, where no list names them and what is there is taken; else 0.

    Raises:
        DataError: if the layout is not known.
    """

    tag: str
    complete: int = 0

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    @abstractmethod
    def sequences(self) -> Iterable[tuple[str, Any]]:
        """Names of the sequences in the published order, each with what ``load`` needs to know of it."""

    @abstractmethod
    def load(self, name: str, known: Any) -> Sequence:
        """Read a sequence. Raises DataError if something is missing or malformed."""

    @classmethod
    def entries(cls, storage: Storage) -> list[Entry]:
        """All sequences, not read yet; warns if there should be others. Raises DataError if the layout is not known."""
        reader = cls(storage)
        found = [Entry(name, partial(reader.load, name, known)) for name, known in reader.sequences()]
        if reader.complete not in (0, len(found)):
            logger.warning("%s: %d sequences, %s has %d", storage.root, len(found), reader.tag, reader.complete)
        return found


class TableReader(Reader):
    """Reads a benchmark whose sequences are listed in ``lib/data/specs/<tag>.csv``."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.rows = read_table(self.tag)

    def sequences(self) -> Iterable[tuple[str, Row]]:
        return [(row["name"], row) for row in self.rows]


class Otb(TableReader):
    """OTB-100.

    Official layout: ``<video>/img/0001.jpg``, ... and ``<video>/groundtruth_rect.txt``, separated by commas, tabs or
    spaces; videos with two targets have ``groundtruth_rect.1.txt`` and ``.2.txt``. Also found: in a folder ``OTB100``,
    and with a folder for each target (``Jogging-1``, ``Jogging.1`` or ``Jogging_1``). Attributes come from the files of
    toolkits, if they are there: ``<video>/attrs.txt`` or ``anno/att/<sequence>.txt``. Source: Wu et al., PAMI 2015.
    """

    tag = "otb"
    layouts = ("{folder}", "OTB100/{folder}", "OTB2015/{folder}", "data/{folder}")

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.layout = choose_layout(
            storage,
            self.layouts,
            lambda layout: (self._first_frame(layout.format(folder=self._video(row)), row) for row in self.rows),
        )
        prefixes = dict.fromkeys([self.layout.removesuffix("{folder}"), ""])
        folders = [prefix + folder for prefix in prefixes for folder in ("anno/att", "att")]
        self.attributes = AttributeFiles(storage, folders, self.tag)

    @staticmethod
    def _video(row: Row) -> str:
        return row["frames_dir"].removesuffix("/img")

    @staticmethod
    def _first_frame(folder: str, row: Row) -> str:
        return f"{folder}/img/{int(row['first_frame']):0{row['digits']}d}.jpg"

    def load(self, name: str, known: Row) -> Sequence:
        row, video = known, self._video(known)
        separate = [name[: len(video)] + mark + name[len(video) + 1 :] for mark in "-._"] if name != video else []
        folders = [self.layout.format(folder=folder) for folder in (video, *separate)]
        exists = self.storage.exists
        folder = next((folder for folder in folders if exists(self._first_frame(folder, row))), folders[0])
        files = [row["annotation"].rpartition("/")[2]]
        if folder != folders[0] or sum(self._video(other) == video for other in self.rows) == 1:
            files.append("groundtruth_rect.txt")  # in a folder that two targets share, it is of one of them
        file = require_file(self.storage, folder, *dict.fromkeys(files))
        first, last, skip = (int(row[key]) for key in ("first_frame", "last_frame", "skip_first"))
        return Sequence(
            name,
            numbered_frames(self.storage, f"{folder}/img", first, last, int(row["digits"]))[skip:],
            self.tag,
            read_ground_truth(self.storage, file, last - first + 1)[skip:],
            object_class=row["object_class"],
            storage=self.storage,
            attributes=self.attributes.read(name, find_file(self.storage, folder, "attrs.txt")),
        )


class Uav(TableReader):
    """UAV123.

    Official layout: ``data_seq/UAV123/<video>/000001.jpg``, ... and ``anno/UAV123/<sequence>.txt``, with NaN where the
    target is out of view. Long videos are cut into sequences that share a folder of frames (91 folders, 123 sequences).
    ``anno/UAV123/att/<sequence>.txt`` names the attributes.
    Also found: in a folder ``UAV123``, and without the inner folders ``UAV123``. Source: Mueller et al., ECCV 2016.
    """

    tag = "uav"
    layouts = (
        "{part}/UAV123",
        "UAV123/{part}/UAV123",
        "Dataset_UAV123/UAV123/{part}/UAV123",
        "{part}",
        "UAV123/{part}",
    )

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        videos = [self._video(row) for row in self.rows]
        layout = choose_layout(
            storage,
            self.layouts,
            lambda layout: (f"{layout.format(part='data_seq')}/{video}/000001.jpg" for video in videos),
        )
        self.frames, self.annotations = layout.format(part="data_seq"), layout.format(part="anno")
        self.attributes = AttributeFiles(storage, [f"{self.annotations}/att"], self.tag)

    @staticmethod
    def _video(row: Row) -> str:
        return row["frames_dir"].rpartition("/")[2]

    def load(self, name: str, known: Row) -> Sequence:
        first, last, digits = (int(known[key]) for key in ("first_frame", "last_frame", "digits"))
        file = known["annotation"].rpartition("/")[2]
        path = require_file(self.storage, self.annotations, file)
        boxes = read_ground_truth(self.storage, path, last - first + 1, allow_nan=True)
        return Sequence(
            name,
            numbered_frames(self.storage, f"{self.frames}/{self._video(known)}", first, last, digits),
            self.tag,
            boxes,
            object_class=known["object_class"],
            storage=self.storage,
            attributes=self.attributes.read(file.removesuffix(".txt")),
        )


class Nfs(TableReader):
    """Need for Speed at 30 frames/s (100 sequences, each with ``nfs_`` before its name).

    Three layouts are known, and told apart by where the annotation of a sequence is:

    * ``<video>/30/<video>/00001.jpg``, ... and ``<video>/30/<video>_pytracking.txt``: x, y, w, h, one row per frame;
      what the published code reads, not in the public release;
    * ``sequences/<video>/00001.jpg``, ... and ``anno/nfs_<video>.txt``: the re-pack of PyTracking;
    * ``<video>/30/<video>/00001.jpg``, ... and ``<video>/30/<video>.txt``: the official release, whose rows are ``id x1
      y1 x2 y2 frame lost occluded generated "class"``, for each frame, or for each at 240 frames/s (then each eighth
      counts).

    The only attribute that is known is occlusion, from the table of sequences.
    Source: Kiani Galoogahi et al., ICCV 2017.
    """

    tag = "nfs"
    layouts = {  # noqa: RUF012
        "{video}/30/{video}_pytracking.txt": "{video}/30/{video}",
        "anno/nfs_{video}.txt": "sequences/{video}",
        "anno/{video}.txt": "sequences/{video}",
        "{video}/30/{video}.txt": "{video}/30/{video}",
    }
    """Folder of the frames by annotation file."""
    official_fields = 9
    """Fewest fields in a row of the official annotation; the class may be missing."""

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        videos = [row["name"].removeprefix("nfs_") for row in self.rows]
        choose_layout(storage, self.layouts, lambda layout: (layout.format(video=video) for video in videos))

    def load(self, name: str, known: Row) -> Sequence:
        video, last, storage = name.removeprefix("nfs_"), int(known["last_frame"]), self.storage
        found = {file.format(video=video): folder.format(video=video) for file, folder in self.layouts.items()}
        file = next((file for file in found if storage.exists(file)), None)
        if file is None:
            raise DataError(
                f"{storage.root}: no annotation of {video}; found {what_lies_near(storage, f'{video}/30/x')}"
            )
        boxes, text = None, storage.read_text(file)
        first_lines = text.splitlines()[:1]
        if first_lines and len(first_lines[0].replace(",", " ").split()) >= self.official_fields:
            boxes = parse_official_nfs(text, str(storage.root / file), last)
        frames = numbered_frames(storage, found[file], 1, last, 5)
        if boxes is None:
            boxes = parse_boxes(text, str(storage.root / file), allow_nan=False)
            size = image_size(storage.read_bytes(frames[0]))
            if size is not None and looks_like_corners(boxes, *size):
                boxes = corners_to_xywh(boxes)
        if len(boxes) != last:
            raise DataError(f"{storage.root / file}: {len(boxes)} boxes for {last} frames")
        shown, kind = ("Occlusion",) if known["occlusion"] == "1" else (), known["object_class"]
        return Sequence(name, frames, self.tag, boxes, object_class=kind, storage=storage, attributes=shown)


def parse_official_nfs(text: str, name: str, frames: int) -> np.ndarray:
    """Boxes of an annotation file of the official release of NfS.

    Args:
        text: contents of the file.
        name: what to call it in an error.
        frames: number of frames at 30 frames/s; where there are eight times as many rows (240 frames/s), each eighth is
            read, and one surplus row, which the rounding of the rates leaves, is cut.

    Returns:
        (N, 4) float64 xywh.

    Raises:
        DataError: if a row does not begin with five numbers, or has its corners in the wrong order.
    """
    lines = text.rstrip().splitlines()
    step = 8 if abs(len(lines) / frames - 8) < 1 else 1
    corners = []
    for number in range(0, len(lines), step):
        line = lines[number].strip()
        try:
            _, x1, y1, x2, y2 = map(float, line.replace(",", " ").split()[:5])
        except ValueError as error:
            raise DataError(f"{name}: line {number + 1}: expected id x1 y1 x2 y2 ..., got {line!r}") from error
        if not (x2 >= x1 and y2 >= y1 and np.isfinite([x1, y1, x2, y2]).all()):
            raise DataError(f"{name}: line {number + 1}: corners in the wrong order, or not finite, in {line!r}")
        corners.append((x1, y1, x2, y2))
    del corners[frames if len(corners) == frames + 1 else len(corners) :]
    return corners_to_xywh(np.array(corners, dtype=np.float64).reshape(-1, 4))


class Tnl2k(Reader):
    """TNL2K, test split (700 videos), by name.

    Official layout: every folder is a sequence, with ``groundtruth.txt``, ``language.txt`` (not used) and ``imgs/*``,
    JPEG or PNG, with names of many kinds. Also found: one folder deeper, as the archive unpacks.
    Source: Wang et al., CVPR 2021.
    """

    tag, complete = "tnl2k", 700
    archives = ("TNL2K_test_subset", "TNL2K_test", "test")

    def sequences(self) -> Iterable[tuple[str, str]]:
        names = self.storage.list_dirs()
        prefix = next((f"{folder}/" for folder in self.archives if names == [folder]), "")
        names = self.storage.list_dirs(prefix.rstrip("/"))
        if not names:
            raise DataError(f"{self.storage.root}: expected folders <sequence>/imgs, found no folder")
        return [(name, f"{prefix}{name}") for name in names]

    def load(self, name: str, known: str) -> Sequence:
        # By number, not by letter as published: in a folder whose numbers are not filled with zeros, 10 came before 2.
        frames = list_frames(self.storage, f"{known}/imgs")
        boxes = read_ground_truth(self.storage, require_file(self.storage, known, "groundtruth.txt"), len(frames))
        return Sequence(name, frames, self.tag, boxes, storage=self.storage)


class Tc128(Reader):
    """TColor-128, by name.

    Official layout: ``<video>/<video>_gt.txt``, ``<video>/<video>_frames.txt`` with the numbers of the first and the
    last frame, ``<video>/img/0001.jpg``, ... Source: Liang et al., TIP 2015.
    """

    tag = "tc128"
    part = ""
    """What names of sequences must hold."""

    @classmethod
    def has_any(cls, storage: Storage) -> bool:
        """Whether there is any of the sequences."""
        return any(cls.part in name for name in storage.list_dirs())

    def sequences(self) -> Iterable[tuple[str, None]]:
        names = [name for name in self.storage.list_dirs() if self.part in name]
        if not names:
            raise DataError(f"{self.storage.root}: expected folders <video> with <video>_gt.txt, found none")
        return [(name, None) for name in names]

    def _only_file(self, name: str, suffix: str) -> str:
        files = [file for file in self.storage.list_files(name, {".txt"}) if file.endswith(suffix)]
        if len(files) != 1:
            raise DataError(
                f"{self.storage.root / name}: expected one file {name}{suffix}, found {', '.join(files) or 'none'}"
            )
        return f"{name}/{files[0]}"

    def load(self, name: str, known: None) -> Sequence:
        path = self._only_file(name, "_frames.txt")
        numbers = read_labels(self.storage, path).tolist()
        if len(numbers) != 2 or numbers[0] > numbers[1]:
            place = self.storage.root / path
            raise DataError(f"{place}: expected the numbers of the first and the last frame, got {numbers}")
        first, last = numbers
        boxes = read_ground_truth(self.storage, self._only_file(name, "_gt.txt"), last - first + 1)
        frames = numbered_frames(self.storage, f"{name}/img", first, last, 4)
        return Sequence(name, frames, self.tag, boxes, storage=self.storage)


class Tc128Extra(Tc128):
    """The 78 sequences of TColor-128 that OTB does not have."""

    part, complete = "_ce", 78


BENCHMARKS = (
    Benchmark("tnl2k", "tnl2k", Tnl2k.entries, "tnl2k", sequences=700),
    Benchmark("otb", "otb", Otb.entries, "otb", sequences=100),
    Benchmark("nfs", "nfs", Nfs.entries, "nfs", sequences=100),
    Benchmark("uav", "uav", Uav.entries, "uav", sequences=123),
    Benchmark("tc128", "tc128", Tc128.entries, "tc128"),
    Benchmark("tc128ce", "tc128", Tc128Extra.entries, "tc128", sequences=78, discover=False, has=Tc128Extra.has_any),
)
