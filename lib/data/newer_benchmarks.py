"""Benchmarks for evaluation that are younger than the published code: VastTrack, AVisT, DTB70, LaGOT, DiDi, OxUvA.

What sources say differently about a layout is looked for in each form; docs/benchmarks.md names these places.
"""

import csv
import json
import logging
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from lib.data.annotations import has_area, parse_boxes, read_ground_truth, read_labels, read_list
from lib.data.attributes import AttributeFiles
from lib.data.benchmarks import Reader
from lib.data.exchange.text import vot_region
from lib.data.layout import GROUND_TRUTH, choose_layout, list_frames, numbered_frames, require_file
from lib.data.sequence import Benchmark, Sequence
from lib.utils.errors import DataError, printable
from lib.utils.image_io import image_size
from lib.utils.storage import Storage

logger = logging.getLogger(__name__)


class VastTrack(Reader):
    """VastTrack, test split (3500 videos of 701 classes), in the order of its list, or by class and name without one.

    Official layout: ``<class>/<class>-<n>/`` with ``Groundtruth.txt``, ``nlp.txt`` (not used) and ``imgs/00001.jpg``,
    ...; zeros where the target is absent. Also found: ``groundtruth.txt``, ``img/`` and other digits, and in a folder
    ``test``. Names hold spaces, dashes and underscores; the class ends at the last dash. Source: Peng et al., NeurIPS
    2024.
    """

    tag = "vasttrack"
    lists = ("testing_set.txt", "vasttrack_test_list.txt")
    archives = ("test", "Test", "VastTrack")

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        folders = storage.list_dirs()
        self.prefix = next((f"{folder}/" for folder in self.archives if folder in folders), "")
        self.attributes = AttributeFiles(storage, ("annos/att", "att"), self.tag)

    def sequences(self) -> Iterable[tuple[str, str]]:
        listed = next((file for file in self.lists if self.storage.exists(file)), None)
        if listed is not None:
            names = read_list(self.storage, listed)
            found = [(name, f"{self.prefix}{name.rpartition('-')[0]}/{name}") for name in names]
        else:
            kinds = [kind for kind in self.storage.list_dirs(self.prefix.rstrip("/")) if kind not in ("annos", "att")]
            places = [f"{self.prefix}{kind}" for kind in kinds]
            found = [(name, f"{place}/{name}") for place in places for name in self.storage.list_dirs(place)]
            self.complete = 3500
        if not found:
            raise DataError(f"{self.storage.root}: expected folders <class>/<class>-<n>, found none")
        return found

    def load(self, name: str, known: str) -> Sequence:
        file = require_file(self.storage, known, "Groundtruth.txt")
        images = next((folder for folder in ("imgs", "img") if folder in self.storage.list_dirs(known)), "imgs")
        frames = list_frames(self.storage, f"{known}/{images}")
        boxes = read_ground_truth(self.storage, file, len(frames))
        kind, shown = name.rpartition("-")[0], self.attributes.read(name)
        return Sequence(
            name, frames, self.tag, boxes, has_area(boxes), object_class=kind, storage=self.storage, attributes=shown
        )


class Avist(Reader):
    """AVisT (120 videos of adverse visibility), by name.

    Layout: ``sequences/<name>/img_00001.jpg``, ..., ``anno/<name>.txt``, and one line of flags each in
    ``full_occlusion/<name>_full_occlusion.txt`` and ``out_of_view/<name>_out_of_view.txt``: the target is visible where
    both are 0, whatever the box says. A difference of ``TOLERANCE`` between frames and boxes is cut off. Source: Noman
    et al., BMVC 2022.
    """

    tag = "avist"
    TOLERANCE, complete = 2, 120
    flags = ("full_occlusion", "out_of_view")

    def sequences(self) -> Iterable[tuple[str, None]]:
        choose_layout(
            self.storage, ["anno"], lambda folder: (f"{folder}/{file}" for file in self._files() or ["x.txt"])
        )
        names = {file.removesuffix(".txt") for file in self._files()} | set(self.storage.list_dirs("sequences"))
        return [(name, None) for name in sorted(names)]

    def _files(self) -> list[str]:
        return self.storage.list_files("anno", {".txt"}) if "anno" in self.storage.list_dirs() else []

    def load(self, name: str, known: None) -> Sequence:
        storage, frames = self.storage, list_frames(self.storage, f"sequences/{name}")
        place = f"anno/{name}.txt"
        boxes = parse_boxes(storage.read_text(place), str(storage.root / place))
        flags = [read_labels(storage, f"{kind}/{name}_{kind}.txt", len(boxes)) != 0 for kind in self.flags]
        count = min(len(frames), len(boxes))
        if count < max(len(frames), len(boxes)):
            text = f"{storage.root / place}: {len(boxes)} boxes for {len(frames)} frames"
            if max(len(frames), len(boxes)) - count > self.TOLERANCE:
                raise DataError(text)
            last = re.search(r"(\d+)\D*$", frames[count - 1])
            if last is None or int(last[1]) != count:  # one is missing before the end: all that follow would be shifted
                raise DataError(f"{text}, and frame {count} is {frames[count - 1]}")
            logger.warning("%s; the surplus is cut off", text)
        hidden = np.any(flags, axis=0) | np.isnan(boxes).any(axis=1)
        boxes = np.nan_to_num(boxes[:count])
        return Sequence(name, frames[:count], self.tag, boxes, ~hidden[:count], storage=storage)


class Dtb70(Reader):
    """DTB70 (70 videos from drones), by name.

    Layout, that of OTB: ``<name>/img/00001.jpg``, ... and ``<name>/groundtruth_rect.txt``; zeros where the target is
    absent. Attributes of its toolkit: ``experiments/anno/att/<name>.txt``. Source: Li and Yeung, AAAI 2017.
    """

    tag, file, complete = "dtb70", "groundtruth_rect.txt", 70

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        self.attributes = AttributeFiles(storage, ("experiments/anno/att", "anno/att", "att"), self.tag)

    def sequences(self) -> Iterable[tuple[str, None]]:
        names = self.storage.list_dirs()
        choose_layout(self.storage, [self.file], lambda file: (f"{name}/{file}" for name in names or ["<name>"]))
        return [
            (name, None)
            for name in names
            if self.storage.exists(f"{name}/{self.file}") or "img" in self.storage.list_dirs(name)
        ]

    def load(self, name: str, known: None) -> Sequence:
        frames = list_frames(self.storage, f"{name}/img")
        boxes = read_ground_truth(self.storage, f"{name}/{self.file}", len(frames))
        return Sequence(name, frames, self.tag, boxes, storage=self.storage, attributes=self.attributes.read(name))


class Lagot(Reader):
    """LaGOT: more targets in the test videos of LaSOT, each a sequence of its own (``<video>_<track>``).

    One of its two JSON files is in the folder of LaSOT: video -> ``frames`` (paths below that folder) and ``xywh``,
    the boxes of each track by its number, or of the only one. Every third frame is annotated, where a negative size
    means that the target is absent (-1, -1, -1, -1); between them the ground truth is NaN and does not count. Source:
    Mayer et al., WACV 2024.
    """

    tag, PERIOD = "lagot", 3
    files = tuple(f"LaGOT_{which}_object_per_sequence_annotations_final.json" for which in ("multiple", "one"))
    archives = ("", "LaSOTBenchmark/", "LaSOTTest/")

    @classmethod
    def has(cls, storage: Storage) -> bool:
        """Whether one of the JSON files is there."""
        return any(map(storage.exists, cls.files))

    def sequences(self) -> Iterable[tuple[str, Any]]:
        file = choose_layout(self.storage, self.files, lambda file: [file])
        self.file = self.storage.root / file
        found = []
        try:
            for video, record in json.loads(self.storage.read_text(file)).items():
                frames, tracks = record["frames"], record["xywh"]
                if isinstance(tracks, dict):
                    found += [(f"{video}_{id}", (frames, boxes)) for id, boxes in tracks.items()]
                else:
                    found.append((video, (frames, tracks)))
        except (ValueError, RecursionError, AttributeError, LookupError, TypeError) as error:
            raise DataError(f"{self.file}: not a file of LaGOT: {printable(repr(error), 100)}") from error
        return found

    def load(self, name: str, known: Any) -> Sequence:
        try:
            frames = [str(frame) for frame in known[0]]
            rows = np.array(known[1], dtype=np.float64).reshape(-1, 4)
        except (TypeError, ValueError) as error:
            raise DataError(f"{self.file}: {name}: expected a list of boxes of four numbers") from error
        if len(rows) != len(frames) or not frames:
            raise DataError(f"{self.file}: {name}: {len(rows)} boxes for {len(frames)} frames")
        prefix = choose_layout(self.storage, self.archives, lambda prefix: [prefix + frames[0]])
        boxes = np.full_like(rows, np.nan)
        boxes[:: self.PERIOD] = np.where((rows[:, 2:] < 0).any(axis=1)[:, None], 0, rows)[:: self.PERIOD]
        return Sequence(name, [prefix + frame for frame in frames], self.tag, boxes, storage=self.storage)


class Didi(Reader):
    """DiDi (180 videos with distractors), in the order of its list: a dataset of the VOT toolkit.

    Layout: ``list.txt``, and ``<name>/`` with ``sequence`` (``channels.color=color/%08d.jpg``), the frames, and
    ``groundtruth.txt`` of VOT regions; a special code or NaN where the target is absent. Also found: in a folder
    ``sequences``, as in a workspace. Source: Videnovic et al., CVPR 2025.
    """

    tag = "didi"

    def sequences(self) -> Iterable[tuple[str, str]]:
        prefix = choose_layout(self.storage, ("", "sequences/"), lambda prefix: [f"{prefix}list.txt"])
        return [(name, prefix + name) for name in read_list(self.storage, f"{prefix}list.txt")]

    def load(self, name: str, known: str) -> Sequence:
        facts: dict[str, str] = {}
        if self.storage.exists(f"{known}/sequence"):
            lines = [line.partition("=") for line in self.storage.read_text(f"{known}/sequence").splitlines()]
            facts = {key.strip(): value.strip() for key, _, value in lines}
        folder = facts.get("channels.color", "color/%08d.jpg").rpartition("/")[0]
        frames = list_frames(self.storage, f"{known}/{folder}")
        file = require_file(self.storage, known, GROUND_TRUTH)
        lines, place = self.storage.read_text(file).strip().splitlines(), self.storage.root / file
        if len(lines) != len(frames):
            raise DataError(f"{place}: {len(lines)} boxes for {len(frames)} frames")
        regions = [vot_region(line.strip(), f"{place}: line {number}") for number, line in enumerate(lines, 1)]
        boxes = np.array([region or (0, 0, 0, 0) for region in regions], dtype=np.float64)
        shown = np.array([region is not None for region in regions])
        return Sequence(name, frames, self.tag, boxes, shown, storage=self.storage)


class Oxuva(Reader):
    """OxUvA, one part: long videos whose targets leave and come back; ``<video>_<object>`` in the order of the tasks.

    Layout: ``images/<part>/<video>/000000.jpeg``, ..., ``tasks/<part>.csv`` and, for ``dev`` only,
    ``annotations/<part>.csv``, in the shares and the order xmin, xmax, ymin, ymax of its toolkit; the tables also in
    ``dataset/``. The ground truth is NaN where nothing is labelled and zeros where the target is absent. Source:
    Valmadre et al., ECCV 2018.
    """

    tag, part = "oxuva", "dev"

    def __init__(self, storage: Storage) -> None:
        super().__init__(storage)
        table = f"tasks/{self.part}.csv"
        self.prefix = choose_layout(storage, ("", "dataset/"), lambda prefix: [prefix + table])
        self.tasks = {(row[0], row[1]): (where, row) for where, row in self._rows(f"{self.prefix}{table}", 8)}
        labels: dict[tuple[str, str], list[tuple[str, list[str]]]] = {}
        if self.part == "dev":
            for where, row in self._rows(f"{self.prefix}annotations/{self.part}.csv", 12):
                labels.setdefault((row[0], row[1]), []).append((where, row))
        self.labels = labels

    @classmethod
    def has(cls, storage: Storage) -> bool:
        """Whether the tasks of the part are there."""
        return any(storage.exists(f"{prefix}tasks/{cls.part}.csv") for prefix in ("", "dataset/"))

    def _rows(self, file: str, fields: int) -> list[tuple[str, list[str]]]:
        """Place and fields of each row of a table."""
        rows = list(csv.reader(self.storage.read_text(file).splitlines()))
        for number, row in enumerate(rows, 1):
            if len(row) != fields:
                raise DataError(f"{self.storage.root / file}: line {number}: {len(row)} fields, expected {fields}")
        return [(f"{self.storage.root / file}: line {number}", row) for number, row in enumerate(rows, 1)]

    def sequences(self) -> Iterable[tuple[str, tuple[str, str]]]:
        return [(f"{video}_{target}", (video, target)) for video, target in self.tasks]

    def load(self, name: str, known: tuple[str, str]) -> Sequence:
        where, task = self.tasks[known]
        first, last = _numbers(task[2:4], where)
        if not 0 <= first <= last < 10**7:
            raise DataError(f"{where}: frames {first:g} to {last:g}")
        folder = f"images/{self.part}/{known[0]}"
        frames = numbered_frames(self.storage, folder, int(first), int(last), 6, suffix=".jpeg")
        size = image_size(self.storage.read_bytes(frames[0]))
        if size is None:
            raise DataError(f"{self.storage.root / frames[0]}: not a JPEG image, so its boxes have no size")
        if self.part == "dev" and known not in self.labels:
            raise DataError(f"{where}: no label of {name} in annotations/{self.part}.csv")
        boxes = np.full((len(frames) if self.part == "dev" else 1, 4), np.nan)
        for place, row in self.labels.get(known, ()):
            frame = int(_numbers(row[6:7], place)[0]) - int(first)
            if 0 <= frame < len(boxes):
                boxes[frame] = 0 if row[7] == "absent" else _from_shares(row[8:], size, place)
        boxes[0] = _from_shares(task[4:], size, where)
        return Sequence(name, frames, self.tag, boxes, storage=self.storage, resolution=size)


class OxuvaTest(Oxuva):
    """The part whose labels only the server has."""

    part = "test"


def _numbers(fields: Iterable[str], where: str) -> list[float]:
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = [np.nan]
    if not np.isfinite(numbers).all():
        raise DataError(f"{where}: expected numbers, got {printable(','.join(fields), 80)}")
    return numbers


def _from_shares(fields: Iterable[str], size: tuple[int, int], where: str) -> tuple[float, float, float, float]:
    """Pixels x, y, w, h of the shares xmin, xmax, ymin, ymax."""
    left, right, top, bottom = _numbers(fields, where)
    width, height = size
    return left * width, top * height, (right - left) * width, (bottom - top) * height


BENCHMARKS = (
    Benchmark("vasttrack", "vasttrack", VastTrack.entries, "vasttrack", sequences=3500),
    Benchmark("avist", "avist", Avist.entries, "avist", sequences=120),
    Benchmark("dtb70", "dtb70", Dtb70.entries, "dtb70", sequences=70),
    Benchmark("lagot", "lagot", Lagot.entries, "lasot", has=Lagot.has),
    Benchmark("didi", "didi", Didi.entries, "didi", sequences=180),
    Benchmark("oxuva_dev", "oxuva", Oxuva.entries, "oxuva", sequences=200, has=Oxuva.has),
    Benchmark(
        "oxuva_test",
        "oxuva",
        OxuvaTest.entries,
        "oxuva",
        sequences=166,
        has=OxuvaTest.has,
        server="the challenge server of OxUvA",
    ),
)
