"""Tiny datasets in the official layouts.

Those for training have real images. Of benchmarks (``write_*``), only the files are written that a reader looks at, and
their images are empty.
"""

import csv
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.test.evaluation import SequenceList, get_dataset
from lib.utils.image_io import encode_image

SPECS = PROJECT_ROOT / "lib" / "data" / "specs"
BOX = (10.0, 20.0, 30.0, 40.0)

WIDTH, HEIGHT = 32, 24
Boxes = Sequence[Sequence[float]]


def boxes_of(count: int, seed: int = 0) -> list[list[float]]:
    """``count`` boxes inside the image, all different."""
    rng = np.random.RandomState(seed)
    return np.column_stack([rng.randint(0, 16, (count, 2)), rng.randint(1, 8, (count, 2)) + 0.5]).tolist()


def lines(boxes: Boxes) -> str:
    return "".join(",".join(f"{value:g}" for value in box) + "\n" for box in boxes)


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_frame(path: Path, seed: int) -> None:
    image = np.random.RandomState(seed).randint(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_image(image, ".jpg" if path.suffix.lower() in (".jpg", ".jpeg") else path.suffix))


def lasot(root: Path, sequences: Sequence[str] = ("bird-1", "bird-4", "car-1"), frames: int = 4) -> None:
    for number, name in enumerate(sequences):
        folder = root / name.rpartition("-")[0] / name
        write(folder / "groundtruth.txt", lines(boxes_of(frames, number)))
        write(folder / "full_occlusion.txt", ",".join(str(int(i == 1)) for i in range(frames)))
        write(folder / "out_of_view.txt", ",".join(str(int(i == 2)) for i in range(frames)) + "\n")
        for i in range(frames):
            write_frame(folder / "img" / f"{i + 1:08d}.jpg", 10 * number + i)


def write_got10k(
    root: Path,
    split: str,
    lengths: dict[str, int] | list[str],
    listed: list[str] | None = None,
    *,
    write_image: Callable[[Path, str, int], None] = lambda path, name, index: write(path),
    boxes: Callable[[int, int], Boxes] = lambda count, seed: [(BOX[0] + index, *BOX[1:]) for index in range(count)],
) -> None:
    """Sequences of a list ``listed``, by their number of frames (2 for mere names).

    ``write_image`` gets the path, the sequence and the number of a frame; ``boxes`` how many there are, and a seed.
    """
    lengths = lengths if isinstance(lengths, dict) else dict.fromkeys(lengths, 2)
    write(root / split / "list.txt", "".join(f"{name}\n" for name in listed or lengths))
    for number, (name, frames) in enumerate(lengths.items()):
        for index in range(frames):
            write_image(root / split / name / f"{index + 1:08d}.jpg", name, index)
        rows = boxes(frames, number)[: 1 if split == "test" else None]
        write(root / split / name / "groundtruth.txt", "".join(",".join(map(str, row)) + "\n" for row in rows))


def got10k(root: Path, sequences: int = 3, frames: int = 3, part: str = "train") -> None:
    names = [f"GOT-10k_{part.title()}_{i + 1:06d}" for i in range(sequences)]
    write_got10k(
        root,
        part,
        dict.fromkeys(names, frames),
        write_image=lambda path, name, index: write_frame(path, 10 * names.index(name) + index),
        boxes=boxes_of,
    )
    for number, name in enumerate(names):
        folder = root / part / name
        write(folder / "absence.label", "".join(f"{int(i == 2)}\n" for i in range(frames)))
        write(folder / "cover.label", "".join(f"{(0, 8, 8)[(i + number) % 3]}\n" for i in range(frames)))


def trackingnet(root: Path, parts: Sequence[int] = tuple(range(12)), frames: int = 2) -> None:
    for part in parts:
        for number in range(1 + part % 2):
            name = f"vid{part}_{number}"
            write(root / f"TRAIN_{part}" / "anno" / f"{name}.txt", lines(boxes_of(frames, part)))
            for i in range(frames):
                write_frame(root / f"TRAIN_{part}" / "frames" / name / f"{i}.jpg", 10 * part + i)


def coco(root: Path) -> None:
    def entry(number: int, image: int, box: list[float], crowd: int = 0) -> dict:
        return {"id": number, "image_id": image, "category_id": 1, "bbox": box, "iscrowd": crowd, "area": 1}

    content = {
        "images": [{"id": i, "file_name": f"{i:012d}.jpg", "width": WIDTH, "height": HEIGHT} for i in (1, 2)],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [
            entry(5, 1, [1, 2, 60, 70]),
            entry(6, 1, [1, 2, 3.5, 4]),
            entry(7, 2, [1, 1, 9, 9], crowd=1),
            entry(8, 2, [0, 0, 51, 50]),
        ],
    }
    write(root / "annotations" / "instances_train2017.json", json.dumps(content))
    for i in (1, 2):
        write_frame(root / "images" / "train2017" / f"{i:012d}.jpg", i)


def vid(root: Path) -> None:
    def thing(track: int, box: Sequence[int], occluded: int = 0) -> str:
        coordinates = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
        return (
            f"<object><trackid>{track}</trackid><name>n0{track}</name><bndbox>{coordinates}</bndbox>"
            f"<occluded>{occluded}</occluded></object>"
        )

    frames = [
        thing(0, (1, 2, 10, 12)),
        thing(0, (2, 2, 11, 12), 1) + thing(1, (0, 0, WIDTH, HEIGHT)),  # the second fills the image: not used
        thing(2, (5, 5, 9, 9)),
        thing(0, (1, 2, 3, 4)) + thing(2, (6, 5, 9, 9)),  # the first comes back after a gap: not followed
    ]
    video = "ILSVRC2015_VID_train_0001/ILSVRC2015_train_00000007"
    for i, objects in enumerate(frames):
        size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
        write(root / "Annotations/VID/train" / video / f"{i:06d}.xml", f"<annotation>{size}{objects}</annotation>")
        write_frame(root / "Data/VID/train" / video / f"{i:06d}.JPEG", i)


def folder(root: Path) -> None:
    write(root / "cats" / "one" / "groundtruth.txt", "1 2 3 4\nNaN NaN NaN NaN\n2\t2\t5\t5")
    for i in (9, 10, 100):  # the order of the numbers, not that of the letters
        write_frame(root / "cats" / "one" / "images" / f"f{i}.png", i)
    write(root / "two" / "groundtruth.txt", "1,2,3,4\n0,0,0,0\n5,5,5,5\n")
    write(root / "two" / "absence.label", "0\n0\n1\n")
    for i in range(3):
        write_frame(root / "two" / f"{i}.jpg", i)


FABRICATE: dict[str, Callable[[Path], None]] = {
    "lasot": lasot,
    "got10k": got10k,
    "trackingnet": trackingnet,
    "coco": coco,
    "vid": vid,
    "folder": folder,
}
"""By the names of ``lib.data.packing.TRAINING_PACKABLE``."""


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SPECS / f"{name}.csv").read_text().splitlines()))


def box_lines(count: int, separator: str = ",", first: float = BOX[0]) -> str:
    """``count`` boxes; x counts up from ``first``, so that a row says which it is."""
    rest = separator.join(f"{value:g}" for value in BOX[1:])
    return "".join(f"{first + index:g}{separator}{rest}\n" for index in range(count))


def write_frames(folder: Path, numbers: Iterable[int], digits: int, suffix: str = ".jpg") -> None:
    for number in numbers:
        write(folder / f"{number:0{digits}d}{suffix}")


def write_lasot(
    root: Path, table: str = "lasot", layout: str = "{kind}/{name}", ground_truth: str = "groundtruth.txt"
) -> None:
    for row in rows(table):
        for number in row["numbers"].split():
            folder = root / layout.format(kind=row["class"], name=f"{row['class']}-{number}")
            write_frames(folder / "img", range(1, 4), 8)
            write(folder / ground_truth, box_lines(3))
            write(folder / "full_occlusion.txt", "0,1,0")
            write(folder / "out_of_view.txt", "0,0,1")


def write_otb(root: Path, separator: str = ",", separate: str = "") -> None:
    """``separate``: the mark in the names of folders, if each target has its own."""
    for row in rows("otb"):
        folder = row["frames_dir"].removesuffix("/img")
        if separate and folder != row["name"]:
            folder = row["name"].replace("_", separate)
        first, last = int(row["first_frame"]), int(row["last_frame"])
        write_frames(root / folder / "img", {first, first + int(row["skip_first"]), last}, int(row["digits"]))
        file = "groundtruth_rect.txt" if separate else row["annotation"].rpartition("/")[2]
        write(root / folder / file, box_lines(last - first + 1, separator))


def write_uav(root: Path, inner: str = "/UAV123", prefix: str = "") -> None:
    for row in rows("uav"):
        first, last = int(row["first_frame"]), int(row["last_frame"])
        video, anno = row["frames_dir"].rpartition("/")[2], row["annotation"].rpartition("/")[2]
        write_frames(root / f"{prefix}data_seq{inner}" / video, {first, last}, int(row["digits"]))
        lines = box_lines(last - first + 1).splitlines(keepends=True)
        lines[3] = "NaN,NaN,NaN,NaN\n"
        write(root / f"{prefix}anno{inner}" / anno, "".join(lines))


NFS_LAYOUTS = {
    "published": ("{v}/30/{v}", "{v}/30/{v}_pytracking.txt"),
    "repack": ("sequences/{v}", "anno/nfs_{v}.txt"),
    "official": ("{v}/30/{v}", "{v}/30/{v}.txt"),
}


def nfs_official_lines(count: int) -> str:
    """Rows ``id x1 y1 x2 y2 frame lost occluded generated "class"`` of boxes as ``box_lines`` makes them."""
    lines = []
    for index in range(count):
        x, y, w, h = BOX[0] + index, *BOX[1:]
        lines.append(f'0 {x:g} {y:g} {x + w:g} {y + h:g} {index} 0 0 0 "a ball"\n')
    return "".join(lines)


def write_nfs(root: Path, layout: str, rate: int = 1) -> None:
    """``rate`` rows for each frame in the official layout."""
    frames, anno = NFS_LAYOUTS[layout]
    for row in rows("nfs"):
        video, last = row["name"].removeprefix("nfs_"), int(row["last_frame"])
        write_frames(root / frames.format(v=video), {1, last}, 5)
        text = nfs_official_lines(rate * last) if layout == "official" else box_lines(last, "\t")
        write(root / anno.format(v=video), text)


def write_trackingnet(root: Path, names: Iterable[str], prefix: str = "TEST/") -> None:
    for name in names:
        write(root / f"{prefix}anno" / f"{name}.txt", box_lines(1))
        write_frames(root / f"{prefix}frames" / name, range(12), 1)


def write_tnl2k(root: Path, names: Iterable[str], prefix: str = "") -> None:
    for name in names:
        write_frames(root / f"{prefix}{name}" / "imgs", (1, 2, 9), 1, ".png")
        write_frames(root / f"{prefix}{name}" / "imgs", (10,), 1, ".jpg")
        write(root / f"{prefix}{name}" / "groundtruth.txt", box_lines(4))
        write(root / f"{prefix}{name}" / "language.txt", "the box")


def write_tc128(root: Path, names: Iterable[str]) -> None:
    for name in names:
        write(root / name / f"{name}_gt.txt", box_lines(4))
        write(root / name / f"{name}_frames.txt", "7,10")
        write_frames(root / name / "img", (7, 10), 4)


def load(data_dir: Path, name: str) -> SequenceList:
    return get_dataset(name, paths=load_paths("test", data_dir=data_dir))
