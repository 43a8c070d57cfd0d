"""Tiny datasets in the official layouts."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lib.utils.image_io import encode_image

WIDTH, HEIGHT = 32, 24
Boxes = Sequence[Sequence[float]]


def boxes_of(count: int, seed: int = 0) -> list[list[float]]:
    """``count`` boxes inside the image, all different."""
    rng = np.random.RandomState(seed)
    return np.column_stack([rng.randint(0, 16, (count, 2)), rng.randint(1, 8, (count, 2)) + 0.5]).tolist()


def lines(boxes: Boxes) -> str:
    return "".join(",".join(f"{value:g}" for value in box) + "\n" for box in boxes)


def write(path: Path, text: str) -> None:
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


def got10k(root: Path, sequences: int = 3, frames: int = 3, part: str = "train") -> None:
    names = [f"GOT-10k_{part.title()}_{i + 1:06d}" for i in range(sequences)]
    write(root / part / "list.txt", "".join(f"{name}\n" for name in names))
    for number, name in enumerate(names):
        folder = root / part / name
        write(folder / "groundtruth.txt", lines(boxes_of(frames, number)))
        write(folder / "absence.label", "".join(f"{int(i == 2)}\n" for i in range(frames)))
        write(folder / "cover.label", "".join(f"{(0, 8, 8)[(i + number) % 3]}\n" for i in range(frames)))
        for i in range(frames):
            write_frame(folder / f"{i + 1:08d}.jpg", 10 * number + i)


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
"""By the names of ``lib.train.dataset.packing.PACKABLE``."""
