"""The contract of Label Studio's ML back-ends, for video rectangles.

Source: the public reference server (label_studio_ml/api.py) and the documentation of the tag VideoRectangle. Frames
count from 1, boxes are percent of the frame.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring

from lib.data.exchange.json_tools import sequence_of
from lib.data.exchange.tracks import LAST_FRAME
from lib.test.serving.limits import Limits, find_video, items, numbers
from lib.test.serving.worker import MakeSteps, Start, Steps, Tracked, track_video
from lib.test.tracker.lost import LostAndFound, Sighting
from lib.test.video.sources import FrameSource, open_source
from lib.utils.errors import InputError, printable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tags:
    """What the labeling configuration calls things.

    Attributes:
        rectangle: name of the tag VideoRectangle.
        video: name of the tag Video that it is for.
        key: field of a task's data that holds the video.
    """

    rectangle: str
    video: str
    key: str


def read_config(text: Any) -> Tags:
    """Find the video rectangle of a labeling configuration.

    Raises:
        InputError: if it is not XML, or has no VideoRectangle for a Video.
    """
    if not isinstance(text, str):
        raise InputError("label_config: expected the labeling configuration, a text")
    try:
        root = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InputError(f"label_config: not XML: {printable(str(error), 100)}") from None
    rectangle = next(root.iter("VideoRectangle"), None)
    if rectangle is None:
        raise InputError("label_config: has no tag VideoRectangle")
    for video in root.iter("Video"):
        value = video.get("value", "")
        if video.get("name") == rectangle.get("toName") and value.startswith("$"):
            return Tags(rectangle.get("name", ""), video.get("name", ""), value[1:])
    raise InputError("label_config: VideoRectangle has no Video of the name toName whose value is a $field")


@dataclass(frozen=True)
class Region:
    """A video rectangle as the user has drawn it.

    Attributes:
        region: as Label Studio sent it.
        start: its last key; from there on the target is tracked.
        kept: the keys before that.
    """

    region: dict[str, Any]
    start: Start
    kept: list[dict[str, Any]]

    @property
    def value(self) -> dict[str, Any]:
        """The part of the region with its keys."""
        return self.region["value"]


def read_region(region: dict[str, Any], where: str) -> Region:
    """Read a region of type ``videorectangle``.

    Raises:
        InputError: if a key is malformed, or its box is turned.
    """
    value = region.get("value")
    sequence = items(value.get("sequence") if isinstance(value, dict) else None, f"{where}.value.sequence")
    keys: dict[int, tuple[dict[str, Any], Start]] = {}
    for number, key in enumerate(sequence):
        place = f"{where}.value.sequence[{number}]"
        frame = key.get("frame") if isinstance(key, dict) else None
        if type(frame) is not int or not 1 <= frame <= LAST_FRAME:
            raise InputError(f"{place}.frame: expected a number from 1 on, got {printable(repr(frame), 60)}")
        if key.get("rotation"):
            raise InputError(f"{place}.rotation: a turned box cannot be tracked, got {printable(key['rotation'], 60)}")
        box = numbers([key.get(name) for name in ("x", "y", "width", "height")], f"{place}: x, y, width, height")
        keys[frame] = key, Start(frame - 1, box, place, percent=True)
    if not keys:
        raise InputError(f"{where}.value.sequence: has no key")
    ordered = [keys[frame] for frame in sorted(keys)]
    return Region(region, ordered[-1][1], [key for key, _ in ordered[:-1]])


def read_prompts(body: dict[str, Any], tags: Tags) -> list[Region]:
    """The regions that the user has drawn, of the tag that the configuration names; none without a context.

    Raises:
        InputError: if one is malformed, or an event is asked for that is not in this contract.
    """
    params = body.get("params")
    context = (params.get("context") if isinstance(params, dict) else None) or {}
    where = "params.context"
    if not isinstance(context, dict):
        raise InputError(f"{where}: expected an object")
    if context.get("event") not in (None, "predict"):
        raise InputError(f"{where}.event: only predict is known, got {printable(repr(context['event']), 60)}")
    regions = []
    for number, region in enumerate(items(context.get("result", []), f"{where}.result")):
        is_rectangle = isinstance(region, dict) and region.get("type") == "videorectangle"
        if is_rectangle and region.get("from_name", tags.rectangle) == tags.rectangle:
            regions.append(read_region(region, f"{where}.result[{number}]"))
    return regions


def predict(body: dict[str, Any], limits: Limits, roots: Sequence[Path], version: str) -> MakeSteps:
    """Answer ``/predict``: the target of each drawn region from its last key on, in frames to come.

    Without a drawn region there is nothing to track, and every task gets an empty prediction.

    Raises:
        SeqTrackError: naming the key of the request that is wrong.
    """
    tags = read_config(body.get("label_config"))
    tasks = items(body.get("tasks"), "tasks")
    regions = read_prompts(body, tags)
    limits.check_count(len(regions), "targets", "params.context.result")
    if regions and len(tasks) != 1:
        raise InputError(f"tasks: drawn regions belong to one task, got {len(tasks)}")
    if not regions:
        empty = [{"result": [], "score": 0.0, "model_version": version} for _ in tasks]
        return lambda _: _at_once({"results": empty})
    data = tasks[0].get("data") if isinstance(tasks[0], dict) else None
    path = find_video(data.get(tags.key) if isinstance(data, dict) else None, roots, f"tasks[0].data.{tags.key}")

    starts, deadline = [region.start for region in regions], limits.deadline()

    def steps(follower: LostAndFound) -> Steps:
        source = open_source(path)
        tracked = yield from track_video(follower, source.frames(), starts, limits, deadline)
        found = [
            _answer(region, track, tracked, source, tags) for region, track in zip(regions, tracked.tracks, strict=True)
        ]
        score = fmean(region["score"] for region in found)
        return {"results": [{"result": found, "score": score, "model_version": version}]}

    return steps


def _at_once(answer: dict[str, Any]) -> Steps:
    yield (), ()
    return answer


def _answer(
    region: Region, track: dict[int, Sighting], tracked: Tracked, source: FrameSource, tags: Tags
) -> dict[str, Any]:
    """The region with the keys that were found; it ends where the target is lost, or where tracking stopped."""
    value = region.value
    count, duration = value.get("framesCount"), value.get("duration")
    known = tracked.num_frames if tracked.complete else source.num_frames or tracked.num_frames + 1
    if type(count) is not int or not 1 <= count <= LAST_FRAME:
        count = known
    elif abs(count - known) > 1:
        logger.warning(
            "Label Studio counts %d frames, the video has %d: is the framerate of the tag right?", count, known
        )
    timed = isinstance(duration, (int, float)) and 0 < duration < float("inf")
    fps = count / duration if timed else source.fps
    boxes = {
        frame: tuple(sighting.box_xywh)
        for frame, sighting in track.items()
        if sighting.status != "lost" and frame < max(count, region.start.frame + 1)
    }
    sequence = region.kept + sequence_of(boxes, count, tracked.size, fps)
    names = {"type": "videorectangle", "from_name": tags.rectangle, "to_name": tags.video}
    answer = {"framesCount": count, "duration": count / fps, "sequence": sequence}
    score = fmean(sighting.score for sighting in track.values())
    return region.region | names | {"score": score, "value": value | answer}
