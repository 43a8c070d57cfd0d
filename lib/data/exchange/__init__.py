"""Annotations of other programs and datasets: read into videos with tracks, and written from them."""

from dataclasses import dataclass

from lib.data.exchange.coco import read_coco, write_coco
from lib.data.exchange.cvat import read_cvat, write_cvat
from lib.data.exchange.json_tools import read_label_studio, read_labelme, write_label_studio, write_labelme
from lib.data.exchange.masks import read_masks
from lib.data.exchange.text import (
    read_folder,
    read_mot,
    read_vot,
    read_yolo,
    write_folder,
    write_mot,
    write_vot,
    write_yolo,
)
from lib.data.exchange.tracks import Box, Reader, Source, Track, Video, Writer

__all__ = ["FORMATS", "Box", "Format", "Source", "Track", "Video"]


@dataclass(frozen=True)
class Format:
    """A format of annotations.

    Attributes:
        read: videos of a path; raises DataError naming file and place of what is wrong.
        write: writes videos to a path and returns what it wrote; None if it is only read.
        one_file: all videos are in one file, not in a folder.
    """

    read: Reader
    write: Writer | None
    one_file: bool = False


FORMATS = {
    "folder": Format(read_folder, write_folder),
    "mot": Format(read_mot, write_mot),
    "coco": Format(read_coco, write_coco, one_file=True),
    "cvat": Format(read_cvat, write_cvat),
    "label_studio": Format(read_label_studio, write_label_studio, one_file=True),
    "labelme": Format(read_labelme, write_labelme),
    "yolo": Format(read_yolo, write_yolo),
    "vot": Format(read_vot, write_vot),
    "masks": Format(read_masks, None),
}
"""Every format by its name on the command line."""
