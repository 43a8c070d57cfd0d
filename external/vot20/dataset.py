"""Rendered videos in the format of the VOT toolkit's datasets.

Source: the toolkit's default sequence format and the anchors of VOT-ST2020 (every 50 frames and at both ends; from an
anchor in the first half the tracker runs forward, from one in the second half backward).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from lib.utils.errors import DataError, InputError, printable
from lib.utils.files import write_text_atomic
from lib.utils.image_io import write_image

ANCHOR_STEP = 50
FPS = 30
EMPTY_MASK = "m0,0,0,0,0"
UNKNOWN = "0"


class Annotation(Protocol):
    """Ground truth of one target.

    Optional: ``visible_mask(i)`` or ``mask(i)`` -> (H, W): bool, 0 and 1, or an alpha channel of 0 to 255.
    """

    boxes_xywh: np.ndarray  # (F, 4) pixels, zeros where the target is absent


class AnnotatedVideo(Protocol):
    """What can be written; ``lib.synthetic.SyntheticSequence`` is one.

    A video of one target is its own :class:`Annotation`; one of several has ``targets``, a mapping from their ids to
    their annotations.
    """

    num_frames: int

    def frame(self, index: int) -> np.ndarray:
        """(H, W, 3) uint8 RGB."""


def write_vot(
    root: Path | str,
    videos: Iterable[tuple[str, AnnotatedVideo]],
    *,
    masks: bool = True,
    anchor_step: int = ANCHOR_STEP,
    hidden: bool = False,
) -> list[Path]:
    """Write a dataset that the toolkit evaluates on without a download.

    Args:
        root: the folder ``sequences`` of a workspace; made if missing, files in it are replaced.
        videos: names and videos.
        masks: write masks as ground truth where a video has them, else boxes.
        anchor_step: frames between two starting points.
        hidden: label the first frame only, as the main sets of VOTS do.

    Returns:
        The folders of the sequences.

    Raises:
        InputError: if there is no video, two have one name, a target is never visible, or its id cannot be one.
    """
    root = Path(root)
    folders: list[Path] = []
    for name, video in videos:
        if root / name in folders:
            raise InputError(f"two sequences are called {name}")
        write_sequence(root / name, video, masks=masks, anchor_step=anchor_step, hidden=hidden)
        folders.append(root / name)
    if not folders:
        raise InputError("a dataset needs at least one sequence")
    # Last: the toolkit takes this file as the sign that the dataset is complete.
    write_text_atomic(root / "list.txt", "".join(f"{folder.name}\n" for folder in folders))
    return folders


def write_sequence(
    folder: Path, video: AnnotatedVideo, *, masks: bool = True, anchor_step: int = ANCHOR_STEP, hidden: bool = False
) -> None:
    """Write one sequence: frames, ground truth, and the file that describes them; of one target also the anchors.

    Raises:
        InputError: if a target is never visible, or its id cannot be part of a file's name.
    """
    targets: Mapping[str, Annotation] | None = getattr(video, "targets", None)
    for index in range(video.num_frames):
        image = video.frame(index)
        write_image(folder / "color" / f"{index + 1:08d}.jpg", image)
    for name, target in [("", video)] if targets is None else targets.items():
        if targets is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*", name):  # "_ignore" means a mask
            raise InputError(f"{folder.name}: {printable(repr(name))} cannot be the id of a target")
        regions, visible = _regions(target, video.num_frames, masks)
        anchors = choose_anchors(visible, anchor_step)
        if not any(anchors):
            which = f"target {name}" if name else "the target"
            raise InputError(f"{folder.name}: {which} is never visible, so there is no frame to start from")
        if targets is None:
            write_text_atomic(folder / "anchor.value", _lines(anchors))
        else:  # of several targets each begins where it is seen first
            regions[: visible.index(True)] = [UNKNOWN] * visible.index(True)
        file = "groundtruth.txt" if targets is None else f"groundtruth_{name}.txt"
        write_text_atomic(folder / file, _lines(regions[:1] if hidden else regions))
    height, width = image.shape[:2]
    write_text_atomic(
        folder / "sequence",
        f"channels.color=color/%08d.jpg\nfps={FPS}\nformat=default\nheight={height}\nwidth={width}\n"
        f"length={video.num_frames}\nname={folder.name}\n",
    )


def _regions(target: Annotation, num_frames: int, masks: bool) -> tuple[list[str], list[bool]]:
    """Lines of the ground truth, and whether the target can be seen, for each frame."""
    mask_of = getattr(target, "visible_mask", getattr(target, "mask", None)) if masks else None
    regions, visible = [], []
    for index in range(num_frames):
        box = [float(value) for value in target.boxes_xywh[index]]
        # The toolkit reads a mask that is one pixel wide as empty, so a target that thin counts as absent.
        visible.append(min(box[2:]) >= 2)
        if mask_of is None:
            regions.append(",".join(f"{value:g}" for value in (box if visible[-1] else [0, 0, 0, 0])))
        else:
            regions.append(encode_mask(_binary(mask_of(index))) if visible[-1] else EMPTY_MASK)
            visible[-1] = regions[-1] != EMPTY_MASK
    return regions, visible


def _binary(mask: np.ndarray) -> np.ndarray:
    """(H, W) bool of a mask or an alpha channel."""
    return mask > (127 if mask.dtype == np.uint8 and mask.max() > 1 else 0)


def _lines(values: Iterable[object]) -> str:
    return "".join(f"{value}\n" for value in values)


def choose_anchors(visible: Sequence[bool], step: int = ANCHOR_STEP) -> list[int]:
    """Choose the frames to start from.

    Args:
        visible: (F,) whether the target can be seen.
        step: frames between two anchors.

    Returns:
        (F,) 1: run forward from here, -1: run backward, 0: no anchor. An anchor where the target is not visible moves
        to the nearest frame where it is.
    """
    count = len(visible)
    seen = [index for index in range(count) if visible[index]]
    anchors = [0] * count
    for planned in {*range(0, count, step), count - 1} if seen else ():
        index = min(seen, key=lambda frame: (abs(frame - planned), frame))
        anchors[index] = 1 if index < count / 2 else -1
    return anchors


def encode_mask(mask: np.ndarray) -> str:
    """Text of a mask: ``m<x>,<y>,<w>,<h>,<run>,<run>,...``.

    Args:
        mask: (H, W), not 0 on the target.

    Returns:
        The tight crop and its lengths of runs, row by row; the first run counts zeros (0 if there is none).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0 or columns[-1] == columns[0]:
        return EMPTY_MASK
    crop = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] != 0
    values = crop.ravel()
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    runs = np.diff([0, *edges, values.size]).tolist()
    if values[0]:
        runs.insert(0, 0)
    return "m" + ",".join(str(int(value)) for value in (columns[0], rows[0], crop.shape[1], crop.shape[0], *runs))


def label_files(folder: Path) -> list[Path]:
    """Files of a sequence's ground truth: ``groundtruth_<id>.txt`` in the order of ids, else ``groundtruth.txt``."""
    several = sorted(path for path in folder.glob("groundtruth_*.txt") if path.stem != "groundtruth__ignore")
    return several or [path for path in [folder / "groundtruth.txt"] if path.is_file()]


def read_region(line: str) -> list[float] | np.ndarray:
    """Read a line of a ground truth.

    Returns:
        ``[x, y, w, h]``, or a mask (h, w) uint8 from the top left corner of the image to the end of the target.

    Raises:
        DataError: if it is neither.
    """
    text = line.strip()
    try:
        if not text.startswith("m"):
            x, y, w, h = map(float, text.split(","))
            return [x, y, w, h]
        x0, y0, width, height, *runs = map(int, text[1:].split(","))
        values = np.arange(len(runs)) % 2
        mask = np.zeros((y0 + height, x0 + width), dtype=np.uint8)
        mask[y0:, x0:] = np.pad(np.repeat(values, runs), (0, max(0, width * height - sum(runs)))).reshape(height, width)
    except ValueError as error:
        raise DataError(f"neither x,y,w,h nor a mask: {text[:60]!r}") from error
    return mask
