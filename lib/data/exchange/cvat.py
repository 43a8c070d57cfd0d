"""Annotations of CVAT, "for video 1.1" and "for images 1.1", as XML or the zip around it. Read as a stream."""

import io
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import quoteattr

from lib.data.exchange.text import shortest
from lib.data.exchange.tracks import (
    LARGEST_FILE,
    Box,
    Key,
    Source,
    Video,
    check_file_size,
    interpolate,
    keys_of,
    warn_left_out,
)
from lib.utils.errors import DataError, InputError, printable
from lib.utils.files import atomic_path

ANNOTATIONS = "annotations.xml"
SHAPES = frozenset({"polygon", "polyline", "points", "ellipse", "cuboid", "mask", "skeleton"})
"""What has no box, and is left out with a warning."""


def read_cvat(path: Path, source: Source) -> Iterator[Video]:
    """Read a file as one video, or a folder of such files.

    Tracks (for video) are taken as they stand where all frames are listed, and interpolated between key frames where
    they are not; one whose last box is not ``outside`` is held to the end. Boxes of images have no identity: one named
    ``track_id`` or ``id`` among their attributes is taken, else each label is one target, once in an image.
    """
    for one in sorted((*path.glob("*.xml"), *path.glob("*.zip"))) if path.is_dir() else [path]:
        with _opened(one) as file:
            yield _read(file, one, source)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    check_file_size(path)
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if Path(member.filename).name == ANNOTATIONS]
        if len(members) != 1:
            raise DataError(f"{path}: {len(members)} files {ANNOTATIONS} in it, expected one")
        if members[0].file_size > LARGEST_FILE:
            raise DataError(f"{path}: {ANNOTATIONS} in it is larger than {LARGEST_FILE >> 30} GiB")
        with archive.open(members[0]) as file:
            yield file


def _elements(file: IO[bytes], path: Path) -> Iterator[tuple[list[str], Element]]:
    """Elements as they end, with the names of those they are in; finished tracks and images are let go."""
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import iterparse
    except ImportError as error:
        raise InputError("reading CVAT needs the Python package defusedxml: pip install defusedxml") from error
    names: list[str] = []
    root: Element | None = None
    try:
        for event, element in iterparse(file, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                root = element if root is None else root
                names.append(element.tag)
                continue
            yield names, element
            names.pop()
            if len(names) == 1:
                root.clear()
    except DefusedXmlException as error:
        raise DataError(f"{path}: a document type or entity, which annotations do not need ({error})") from error
    except ParseError as error:
        raise DataError(f"{path}: not well-formed XML: {error}") from error


def _read(file: IO[bytes], path: Path, source: Source) -> Video:
    video = Video(path.stem, size=source.size, num_frames=source.num_frames)
    meta: dict[str, str] = {}
    images: list[tuple[int, str, list[Element]]] = []
    tracks: list[Element] = []
    others: list[str] = []
    for names, element in _elements(file, path):
        others += [element.tag] if element.tag in SHAPES else []
        if names == ["annotations", "meta", *names[2:]] and len(names) in (4, 5):
            meta.setdefault("/".join(names[3:]), (element.text or "").strip())
        elif names == ["annotations", "track"]:
            tracks.append(element)
            _add_track(video, element, meta, f"{path}: track {element.get('id')}")
        elif names == ["annotations", "image"]:
            if not images:  # the first one's, if they differ
                _note_size(video, element.get("width"), element.get("height"))
            number = _whole(element, "id", f"{path}: image {printable(element.get('name') or '', 60)}")
            images.append((number, element.get("name") or "", list(element.iter("box"))))
        elif names == ["annotations"] and not (tracks or images) and element.tag != "annotations":
            raise DataError(f"{path}: expected <annotations>, got <{element.tag}>")
    if not tracks and not images and not meta:
        raise DataError(f"{path}: no <track> and no <image> in it: not annotations of CVAT")
    if images and not tracks:
        _add_images(video, sorted(images, key=lambda image: image[0]), path)
    warn_left_out(path, others)
    return video


def _note_size(video: Video, width: str | None, height: str | None) -> None:
    if width and height and width.isdecimal() and height.isdecimal():
        video.size = int(width), int(height)


def _grid(meta: dict[str, str]) -> tuple[int, int, int | None]:
    """First frame, step and last frame of a task in the numbers of its video."""
    step = meta.get("frame_filter", "").partition("step=")[2]
    start, stop = meta.get("start_frame", "0"), meta.get("stop_frame", "")
    return (
        int(start) if start.isdecimal() else 0,
        int(step) if step.isdecimal() and int(step) > 0 else 1,
        int(stop) if stop.isdecimal() else None,
    )


def _add_track(video: Video, element: Element, meta: dict[str, str], where: str) -> None:
    start, step, stop = _grid(meta)
    if "size" in meta and meta["size"].isdecimal():
        video.num_frames = max(int(meta["size"]), video.num_frames or 0)
    elif stop is not None:
        video.num_frames = max((stop - start) // step + 1, video.num_frames or 0)
    _note_size(video, meta.get("original_size/width"), meta.get("original_size/height"))
    keys = []
    for box in element.iter("box"):
        frame, rest = divmod(_whole(box, "frame", where) - start, step)
        if rest or frame < 0:
            raise DataError(
                f"{where}: frame {box.get('frame')} is none of {start}, {start + step}, {start + 2 * step}, ..."
            )
        keys.append(Key(frame, _box(box, f"{where}: frame {box.get('frame')}"), box.get("outside") != "1"))
    keys.sort(key=lambda key: key.frame)
    track = video.track(_attribute(element, "id") or element.get("id"), element.get("label") or "")
    for frame, corners in interpolate(keys, video.num_frames, where).items():
        track.add(frame, corners, f"{where}: frame {frame}")


def _attribute(element: Element, name: str) -> str:
    """Value of an attribute that the user has defined, in the element or its first box."""
    found = element.find(f"attribute[@name='{name}']")
    found = element.find(f"box/attribute[@name='{name}']") if found is None else found
    return "" if found is None else (found.text or "").strip()


def _whole(element: Element, name: str, where: str) -> int:
    text = element.get(name) or ""
    if not text.isdecimal() or len(text) > 9:
        raise DataError(f"{where}: expected a number {name}, got {printable(repr(text), 40)}")
    return int(text)


def _box(element: Element, where: str) -> Box:
    try:
        left, top, right, bottom = (float(element.get(name) or "") for name in ("xtl", "ytl", "xbr", "ybr"))
        angle = float(element.get("rotation") or 0)
    except ValueError as error:
        raise DataError(f"{where}: expected numbers xtl, ytl, xbr, ybr") from error
    if angle % 360:
        raise DataError(f"{where}: a box that is turned by {angle:g} degrees; only upright ones can be converted")
    return min(left, right), min(top, bottom), abs(right - left), abs(bottom - top)


def _add_images(video: Video, images: list[tuple[int, str, list[Element]]], path: Path) -> None:
    video.frame_names = [os.path.basename(name.replace("\\", "/")) for _, name, _ in images]
    video.num_frames = len(images)
    for frame, (_, name, boxes) in enumerate(images):
        for box in boxes:
            label = box.get("label") or ""
            identity = _attribute(box, "track_id") or _attribute(box, "id") or label or "1"
            where = f"{path}: image {printable(name, 60)}"
            video.track(identity, label).add(frame, _box(box, where), where)


def write_cvat(videos: Iterable[Video], folder: Path) -> list[Path]:
    """Write ``<video>.xml`` for video 1.1 each; every box is a key frame, its identity also an attribute ``id``."""
    written = []
    for video in videos:
        width, height = video.require_size("CVAT")
        written.append(folder / f"{video.name}.xml")
        with atomic_path(written[-1]) as temporary, temporary.open("w", encoding="utf-8") as file:
            labels = sorted({track.label or "object" for track in video.tracks.values()})
            file.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task>')
            file.write(f"<name>{_text(video.name)}</name><size>{video.length}</size><mode>interpolation</mode>")
            file.write(f"<start_frame>0</start_frame><stop_frame>{max(video.length - 1, 0)}</stop_frame><labels>")
            for label in labels:
                file.write(f"<label><name>{_text(label)}</name><attributes><attribute><name>id</name>")
                file.write("<mutable>False</mutable><input_type>text</input_type></attribute></attributes></label>")
            file.write(f"</labels><original_size><width>{width}</width><height>{height}</height></original_size>")
            file.write("</task></meta>\n")
            for number, (id, track) in enumerate(video.tracks.items()):
                if track.boxes:  # CVAT cannot take a track without one
                    _write_track(file, number, id, track.label or "object", keys_of(track.boxes, video.length))
            file.write("</annotations>\n")
    return written


def _write_track(file: io.TextIOBase, number: int, id: str, label: str, keys: list[Key]) -> None:
    file.write(f'<track id="{number}" label={quoteattr(label)} source="file">\n')
    for key in keys:
        x, y, w, h = key.box
        corners = zip(("xtl", "ytl", "xbr", "ybr"), (x, y, x + w, y + h), strict=True)
        numbers = " ".join(f'{name}="{shortest(value)}"' for name, value in corners)
        state = f'keyframe="1" outside="{int(not key.visible)}" occluded="0"'
        file.write(f'<box frame="{key.frame}" {state} {numbers} z_order="0">')
        file.write(f'<attribute name="id">{_text(id)}</attribute></box>\n')
    file.write("</track>\n")


def _text(value: str) -> str:
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
