"""Convert annotations of videos: between annotation tools, multi-object datasets, and folders to train and test on.

    python tracking/convert_annotations.py gt.xml my_videos --from cvat --to folder --images frames
    python tracking/convert_annotations.py my_videos tracks.json --from folder --to coco

Formats: folder (docs/datasets.md, FOLDER: several targets become several sequences), mot (MOT Challenge), coco (of
videos: CocoVID, TAO, YouTube-VIS), cvat (for video and for images 1.1, also zipped), label_studio (video rectangles),
labelme, yolo, vot (rectangles; polygons and masks become boxes), masks (DAVIS; read only). What was written is read
back and compared.
"""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.data.exchange import FORMATS, Source, Video
from lib.data.exchange.text import images_in
from lib.data.exchange.tracks import LAST_FRAME
from lib.data.layout import frames_by_number
from lib.test.video.flags import frame_size
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.errors import DataError, InputError, printable
from lib.utils.files import require_plain_name
from lib.utils.image_io import read_image

READABLE, WRITABLE = tuple(FORMATS), tuple(name for name, format in FORMATS.items() if format.write)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=user_path, help="file or folder of annotations")
    parser.add_argument("output", type=user_path, help="file or folder to write, which must not exist")
    parser.add_argument("--from", dest="before", required=True, choices=READABLE, help="format of the source")
    parser.add_argument("--to", dest="after", required=True, choices=WRITABLE, help="format of the output")
    parser.add_argument(
        "--images", type=user_path, help="folder of the frames of the one video, or of a folder for each, of its name"
    )
    parser.add_argument("--size", type=frame_size, help="WIDTHxHEIGHT of the frames, where nothing else says it")
    parser.add_argument("--frames", type=int, help="number of frames of each video, where nothing else says it")
    parser.add_argument("--copy", action="store_true", help="copy frames into folders instead of linking to them")
    args = parser.parse_args(argv)
    check_ranges(args, {"frames": (1, 10**7)})
    return args


def find_images(folder: Path, video: str) -> Path:
    """Folder of the frames of a video below ``--images``.

    Raises:
        InputError: if there is none.
    """
    places = [*(folder / video / child for child in ("", "img", "img1", "images", "color")), folder]
    for place in places:
        if place.is_dir() and images_in(place):
            return place
    raise InputError(f"--images {folder}: no images there, nor in a folder {printable(video, 60)} of it")


def size_of_images(folder: Path, video: str) -> tuple[int, int]:
    """Width and height of the first frame of a video below ``--images``. Raises InputError if there is none."""
    height, width = read_image(images_in(find_images(folder, video))[0]).shape[:2]
    return width, height


def place_in(images: Sequence[Path], video: Video) -> Video:
    """A video whose frames are images: those of their names where the annotations name them, else in their order.

    A frame that is missing among numbered ones moves no other.

    Raises:
        DataError: if there are boxes in frames that do not exist, or it is unclear which image is which frame.
    """
    place, numbers = images[0].parent, {image.stem: number for number, image in enumerate(images)}
    names = {frame: Path(name).stem for frame, name in enumerate(video.frame_names or ())}
    names = names or {frame: Path(name).stem for frame, name in video.frame_files.items()}
    places = {frame: numbers[name] for frame, name in names.items() if name in numbers}
    if not places or len(numbers) < len(images) or len(set(names.values())) < len(names):
        if len(names or images) != len(images) or video.length > len(images):
            count = f"{len(names)} frames are annotated, {place} has {len(images)} images of other names"
            other = f"{video.length} frames are annotated, {place} has {len(images)}"
            raise DataError(f"{video.name}: {count if names else other}")
        by_number = range(len(images)) if names else frames_by_number([image.name for image in images])
        places = {frame: number for number, frame in enumerate(by_number)}
    tracks = {}
    for id, track in video.tracks.items():
        lacking = sorted(track.boxes.keys() - places.keys())
        if lacking:
            missing = names.get(lacking[0], f"of frame {lacking[0]} (from 0 on)")
            raise DataError(f"{video.name}: {place} has no image {printable(missing, 60)}")
        tracks[id] = replace(track, boxes={places[frame]: box for frame, box in track.boxes.items()})
    return replace(video, tracks=tracks, num_frames=len(images), frame_names=[image.name for image in images])


def with_images(videos: Iterator[Video], folder: Path | None) -> Iterator[Video]:
    """Videos with size, number and names of their frames as ``folder`` has them; names that are fit for paths.

    Raises:
        DataError: if a name is not, a frame cannot be read, frames are not of the size that the annotations say, are
            those of another video too, or as ``place_in``.
    """
    users: dict[Path, str] = {}
    for video in videos:
        if video.length > LAST_FRAME:
            raise DataError(f"{video.name}: {video.length} frames are more than a video has")
        require_plain_name(video.name, "a video of the annotations")
        for id in video.tracks:
            require_plain_name(id, f"a target of {video.name}")
        if folder is not None:
            place, size = find_images(folder, video.name), size_of_images(folder, video.name)
            user = users.setdefault(place, video.name)
            if user != video.name:
                raise DataError(f"{place}: would be the frames of {user} and of {video.name}; make a folder for each")
            if video.size not in (None, size):
                sizes = " and ".join(f"{width}x{height}" for width, height in (video.size, size))
                raise DataError(f"{video.name}: annotations and images in {place} are of different sizes: {sizes}")
            video = replace(place_in(images_in(place), video), size=size)
        yield video


def add_frames(output: Path, videos: Sequence[Video], images: Path, copy: bool) -> None:
    """Link, or copy, the frames of videos into the sequences that were written.

    Raises:
        InputError: if a file cannot be copied, say because the disk is full.
    """
    for video in videos:
        place = find_images(images, video.name)
        for id in video.tracks:
            sequence = output / (video.name if len(video.tracks) == 1 else f"{video.name}-{id}")
            sequence.mkdir(parents=True, exist_ok=True)
            if copy:
                try:
                    shutil.copytree(place, sequence / "img")
                except shutil.Error as error:  # of each file; the first will do
                    reason = printable(str(error.args[0][0][-1]), 500)
                    raise InputError(f"the frames in {place} cannot be copied: {reason}") from error
            else:
                os.symlink(place.resolve(), sequence / "img", target_is_directory=True)


def single_targets(videos: Sequence[Video]) -> list[Video]:
    """A video for each target, of the name that its sequence has."""
    return [
        Video(video.name if len(video.tracks) == 1 else f"{video.name}-{id}", {id: track})
        for video in videos
        for id, track in video.tracks.items()
    ]


def compare(before: Sequence[Video], after: Sequence[Video], tolerance: float) -> None:
    """Check that what was read back is what was written; identities may have got other numbers.

    Raises:
        DataError: naming the video and the frame that differ.
    """
    found = {video.name: video for video in after}
    for video in before:
        other = found.get(video.name) or (after[0] if len(before) == len(after) == 1 else None)
        rows, again = (sorted(_rows(one)) if one else [] for one in (video, other))
        if [len(track) for track in rows] != [len(track) for track in again]:
            raise DataError(f"{video.name}: targets of {_counts(rows)} boxes were written, {_counts(again)} are read")
        for row, copied in zip(chain(*rows), chain(*again), strict=True):
            if row[0] != copied[0] or any(abs(a - b) > tolerance for a, b in zip(row[1], copied[1], strict=True)):
                raise DataError(
                    f"{video.name}: frame {row[0]} was written as {row[1]} and reads {copied[0]}: {copied[1]}"
                )


def _counts(tracks: Sequence[Sequence[object]]) -> str:
    return ", ".join(str(len(track)) for track in tracks[:10]) or "no"


def _rows(video: Video) -> Iterator[list[tuple[int, tuple[float, ...]]]]:
    """Frames and boxes of each target."""
    for track in video.tracks.values():
        if track.boxes:
            yield sorted((frame, tuple(round(number, 3) for number in box)) for frame, box in track.boxes.items())


def main(argv: Sequence[str] | None = None) -> int:
    """Read, write, read back; the output appears whole or not at all."""
    args = parse_args(argv)
    before, after = FORMATS[args.before], FORMATS[args.after]
    if not args.source.exists():
        raise InputError(f"{args.source}: no such file or folder")
    if args.output.exists():
        raise InputError(f"{args.output} exists; remove it, or choose another output")
    source = Source(args.size, args.frames)
    if args.size is None and args.images is not None:
        source = replace(source, size_of=partial(size_of_images, args.images))
    videos = list(with_images(iter(before.read(args.source, source)), args.images))
    for video in videos:
        video.tracks = {id: track for id, track in video.tracks.items() if track.boxes}
    videos = [video for video in videos if video.tracks]
    if not videos:
        raise DataError(f"{args.source}: no boxes in it")
    if len({video.name for video in videos}) < len(videos):
        raise DataError(f"{args.source}: two videos have one name")
    temporary = args.output.with_name(f".converted-{os.getpid()}.partial")  # the output's name may be the longest
    before_signal = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # cleans up
    try:
        after.write(iter(videos), temporary)
        if args.after == "folder":  # whose frames may not be there
            compare(single_targets(videos), list(FORMATS["vot"].read(temporary, Source())), 1e-3)
        else:
            sizes = {video.name: video.size for video in videos}
            again = Source(args.size, args.frames, lambda name: sizes.get(name, videos[0].size))
            compare(videos, list(after.read(temporary, again)), 1e-3)
        if args.after == "folder" and args.images is not None:
            add_frames(temporary, videos, args.images, args.copy)
        temporary.rename(args.output)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
        signal.signal(signal.SIGTERM, before_signal)
    targets = sum(len(video.tracks) for video in videos)
    boxes = sum(len(track.boxes) for video in videos for track in video.tracks.values())
    print(f"{len(videos)} video(s), {targets} target(s), {boxes} boxes: {printable(args.output, 1000)}")
    if args.after == "folder" and args.images is None:
        print("the frames are not there yet: --images links to them")
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
