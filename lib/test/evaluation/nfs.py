"""Need for Speed at 30 frames/s (100 sequences).

Three layouts are known, and told apart by where the annotation of a sequence is:

* ``<video>/30/<video>/00001.jpg``, ... and ``<video>/30/<video>_pytracking.txt``: x, y, w, h, one row per frame; what
  the published code reads, not in the public release;
* ``sequences/<video>/00001.jpg``, ... and ``anno/nfs_<video>.txt``: the re-pack of PyTracking;
* ``<video>/30/<video>/00001.jpg``, ... and ``<video>/30/<video>.txt``: the official release, whose rows are ``id x1 y1
  x2 y2 frame lost occluded generated "class"``, for each frame, or for each at 240 frames/s (then each eighth counts).

The only attribute that is known is occlusion, from the table of sequences. Source: Kiani Galoogahi et al., ICCV 2017.
"""

import numpy as np

from lib.test.evaluation.boxes import corners_to_xywh, image_size, looks_like_corners
from lib.test.evaluation.data import Entry, Sequence
from lib.test.evaluation.layout import choose_layout, numbered_frames, read_table
from lib.utils.box_text import parse_boxes
from lib.utils.errors import DataError
from lib.utils.storage import Storage, what_lies_near

TAG = "nfs"
LAYOUTS = {
    "{video}/30/{video}_pytracking.txt": "{video}/30/{video}",
    "anno/nfs_{video}.txt": "sequences/{video}",
    "anno/{video}.txt": "sequences/{video}",
    "{video}/30/{video}.txt": "{video}/30/{video}",
}
"""Folder of the frames by annotation file."""
OFFICIAL_FIELDS = 9
"""Fewest fields in a row of the official annotation; the class may be missing."""
FULL_RATE = 8
"""How many frames at 240 frames/s there are for one at 30."""


def nfs_entries(storage: Storage) -> list[Entry]:
    """The 100 sequences in the published order, each with ``nfs_`` before its name.

    Raises:
        DataError: if there is no annotation in any of the known layouts.
    """
    rows = read_table("nfs")
    choose_layout(storage, LAYOUTS, lambda layout: (layout.format(video=_video(row)) for row in rows))

    def entry(row: dict[str, str]) -> Entry:
        return Entry(row["name"], lambda: _load(storage, row))

    return [entry(row) for row in rows]


def _video(row: dict[str, str]) -> str:
    return row["name"].removeprefix("nfs_")


def _load(storage: Storage, row: dict[str, str]) -> Sequence:
    video, last = _video(row), int(row["last_frame"])
    file = next((file for file in (key.format(video=video) for key in LAYOUTS) if storage.exists(file)), None)
    if file is None:
        raise DataError(f"{storage.root}: no annotation of {video}; found {what_lies_near(storage, f'{video}/30/x')}")
    ground_truth, text = None, storage.read_text(file)
    first_lines = text.splitlines()[:1]
    if first_lines and len(first_lines[0].replace(",", " ").split()) >= OFFICIAL_FIELDS:
        ground_truth = parse_official(text, str(storage.root / file), last)
    folder = next(folder for key, folder in LAYOUTS.items() if key.format(video=video) == file)
    frames = numbered_frames(storage, folder.format(video=video), 1, last, 5)
    if ground_truth is None:
        ground_truth = parse_boxes(text, str(storage.root / file), allow_nan=False)
        size = image_size(storage.read_bytes(frames[0]))
        if size is not None and looks_like_corners(ground_truth, *size):
            ground_truth = corners_to_xywh(ground_truth)
    if len(ground_truth) != last:
        raise DataError(f"{storage.root / file}: {len(ground_truth)} boxes for {last} frames")
    shown, kind = ("Occlusion",) if row["occlusion"] == "1" else (), row["object_class"]
    return Sequence(row["name"], frames, TAG, ground_truth, object_class=kind, storage=storage, attributes=shown)


def parse_official(text: str, name: str, frames: int) -> np.ndarray:
    """Boxes of an annotation file of the official release.

    Args:
        text: contents of the file.
        name: what to call it in an error.
        frames: number of frames at 30 frames/s; where there are eight times as many rows, each eighth is read, and one
            surplus row, which the rounding of the rates leaves, is cut.

    Returns:
        (N, 4) float64 xywh.

    Raises:
        DataError: if a row does not begin with five numbers, or has its corners in the wrong order.
    """
    lines = text.rstrip().splitlines()
    step = FULL_RATE if abs(len(lines) / frames - FULL_RATE) < 1 else 1
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
