"""Benchmarks in their official layouts, with empty images, of which only those are written that a reader looks at."""

import csv
from collections.abc import Iterable
from pathlib import Path

from lib.config.paths import PROJECT_ROOT, load_paths
from lib.test.evaluation import SequenceList, get_dataset

SPECS = PROJECT_ROOT / "lib" / "test" / "data_specs"
BOX = (10.0, 20.0, 30.0, 40.0)


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((SPECS / f"{name}.csv").read_text().splitlines()))


def box_lines(count: int, separator: str = ",", first: float = BOX[0]) -> str:
    """``count`` boxes; x counts up from ``first``, so that a row says which it is."""
    rest = separator.join(f"{value:g}" for value in BOX[1:])
    return "".join(f"{first + index:g}{separator}{rest}\n" for index in range(count))


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


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


def write_got10k(root: Path, split: str, names: list[str], listed: list[str] | None = None) -> None:
    """The sequences ``names`` of a list ``listed``."""
    write(root / split / "list.txt", "\n".join(listed or names))
    for name in names:
        write_frames(root / split / name, (1, 2), 8)
        write(root / split / name / "groundtruth.txt", box_lines(1 if split == "test" else 2))


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
