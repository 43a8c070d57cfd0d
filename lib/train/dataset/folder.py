"""Your own videos: every folder with a ``groundtruth.txt`` is a sequence.

Layout: ``<anything>/groundtruth.txt`` with one box ``x, y, w, h`` per frame (commas, tabs or spaces; NaN or an empty
box where the target is absent), the frames as ``lib.utils.video_folder`` finds them, and, if you like,
``absence.label`` with one 0 or 1 per frame (1: hidden).
"""

from pathlib import Path

from lib.train.dataset.disk import DiskDataset, has_area, read_boxes, read_labels
from lib.train.dataset.index import SequenceRecord
from lib.utils.errors import DataError
from lib.utils.storage import Storage
from lib.utils.video_folder import TRUTH, VideoFolder, find_videos


class FolderDataset(DiskDataset):
    """Videos in folders; a frame is visible if its box has an area and it is not labelled as absent.

    Args:
        storage: a folder of sequences (nested as you like), or a single sequence.
        cache_dir: where the annotation index is kept; None keeps it in memory.
        name: as in the configuration.

    Raises:
        DataError: if there is no sequence, or one is malformed.
    """

    def __init__(self, storage: Storage, *, cache_dir: Path | None = None, name: str = "FOLDER") -> None:
        videos = list(find_videos(storage))
        if not videos:
            raise DataError(f"{storage.root}: expected folders with {TRUTH} and images, found no {TRUTH}")
        super().__init__(
            storage,
            name=name,
            options="Folder",
            sources=[source for video in videos for source in (video.ground_truth, video.absence, video.images)],
            parse=lambda: (_parse(storage, video) for video in videos),
            cache_dir=cache_dir,
        )

    def frame_path(self, sequence: int, frame: int) -> str:
        """Path of a frame, relative to the root of the dataset."""
        return self.index.frame_name(sequence, frame)


def _parse(storage: Storage, video: VideoFolder) -> SequenceRecord:
    frames = video.frames(storage)
    boxes = read_boxes(storage, video.ground_truth)
    if len(frames) != len(boxes):
        raise DataError(
            f"{storage.root / video.ground_truth}: {len(boxes)} boxes, but {len(frames)} images in "
            f"{video.images or '.'}"
        )
    valid = has_area(boxes)
    visible = valid.copy()
    if storage.exists(video.absence):
        visible &= read_labels(storage, video.absence, len(boxes)) == 0
    return SequenceRecord(video.name(storage), boxes, valid, visible, frame_names=frames)
