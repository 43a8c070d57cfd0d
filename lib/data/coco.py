"""COCO 2017: every annotated object is a sequence of one frame.

Layout: ``annotations/instances_train2017.json``, ``images/train2017/<file>``. Source: Lin et al., ECCV 2014.
"""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lib.data.base import DiskDataset, DiskOpener
from lib.data.index import SequenceRecord
from lib.data.layout import require_files
from lib.utils.errors import DataError
from lib.utils.storage import Storage

ANNOTATIONS = "annotations/instances_train2017.json"
IMAGES = "images/train2017"
MIN_SIDE = 50
"""Objects that are not larger than this, in pixels, both ways are not ``valid``."""
# Faithful: the sampler looks at neither flag of still images, so that smaller objects are drawn all the same.


class Coco(DiskDataset):
    """Objects of COCO 2017 that are not crowds, in the order of the annotation file.

    Args:
        storage: the folder that holds ``annotations`` and ``images``.

    Raises:
        DataError: if files are missing or malformed.
    """

    is_video = False

    def __init__(self, storage: Storage, *, cache_dir: Path | None = None, name: str = "COCO17") -> None:
        super().__init__(
            storage,
            name=name,
            options="COCO train2017",
            sources=[ANNOTATIONS],
            parse=lambda: _parse(storage),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        return f"{IMAGES}/{self.index.name(sequence)}"


def _parse(storage: Storage) -> Iterator[SequenceRecord]:
    from pycocotools.coco import COCO  # imported here: the index needs it once, training never

    require_files(storage, [ANNOTATIONS], "annotation files")
    place = storage.root / ANNOTATIONS
    coco = COCO()
    try:
        coco.dataset = json.loads(storage.read_bytes(ANNOTATIONS))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            coco.createIndex()
        objects = coco.loadAnns(coco.getAnnIds(iscrowd=False))
        files = [coco.imgs[entry["image_id"]]["file_name"] for entry in objects]
        boxes = np.array([entry["bbox"] for entry in objects], dtype=np.float32).reshape(-1, 1, 4)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: line {error.lineno}: no valid JSON: {error.msg}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{place}: not a COCO instances file: {type(error).__name__}: {error}") from error
    require_files(storage, [f"{IMAGES}/{file}" for file in dict.fromkeys(files)], "images")
    valid = (boxes[..., 2:] > MIN_SIDE).all(axis=-1)
    for i, file in enumerate(files):
        yield SequenceRecord(file, boxes[i], valid[i], valid[i])


TRAINING = {"COCO17": DiskOpener("coco", lambda storage, _, **common: Coco(storage, **common))}
