"""The service's own contract: frames, or the name of a video, and boxes in; a track for each box out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.exchange.tracks import LAST_FRAME
from lib.test.serving.limits import Limits, decode_base64, decode_frame, find_video, items, numbers
from lib.test.serving.worker import MakeSteps, Start, Steps, track_video
from lib.test.tracker.lost import LostAndFound
from lib.test.video.sources import open_source
from lib.utils.errors import InputError, printable


def track(body: dict[str, Any], limits: Limits, roots: Sequence[Path]) -> MakeSteps:
    """Answer ``/track``.

    The request has ``boxes`` (x, y, w, h in pixels each), ``first`` (their frame, from 0 on; default 0), and ``frames``
    (images as bytes or base64) or ``video`` (in one of the ``roots``).

    Raises:
        SeqTrackError: naming the key of the request that is wrong.
    """
    boxes = items(body.get("boxes"), "boxes")
    limits.check_count(len(boxes), "targets", "boxes")
    first = body.get("first", 0)
    if type(first) is not int or not 0 <= first <= LAST_FRAME:
        raise InputError(f"first: expected the number of a frame, from 0 on, got {printable(repr(first), 60)}")
    starts = [Start(first, numbers(box, f"boxes[{i}]"), f"boxes[{i}]") for i, box in enumerate(boxes)]
    if not starts:
        raise InputError("boxes: expected at least one box")
    if ("frames" in body) == ("video" in body):
        raise InputError("the request must have either frames or video")
    path = find_video(body["video"], roots, "video") if "video" in body else None
    deadline = limits.deadline()
    images = _read_images(body["frames"], limits) if path is None else []

    def steps(follower: LostAndFound) -> Steps:
        frames = _decoded(images, limits) if path is None else open_source(path).frames()
        tracked = yield from track_video(follower, frames, starts, limits, deadline)
        tracks = [
            {
                "first": first,
                "boxes": [seen.box_xywh for seen in track.values()],
                "scores": [seen.score for seen in track.values()],
                "states": [seen.status for seen in track.values()],
            }
            for track in tracked.tracks
        ]
        return {"num_frames": tracked.num_frames, "complete": tracked.complete, "tracks": tracks}

    return steps


def _read_images(value: Any, limits: Limits) -> list[bytes]:
    given = items(value, "frames")
    limits.check_count(len(given), "frames", "frames")
    if not given:
        raise InputError("frames: expected at least one image")
    return [
        image if isinstance(image, bytes) else decode_base64(image, f"frames[{i}]") for i, image in enumerate(given)
    ]


def _decoded(images: list[bytes], limits: Limits) -> Iterator[np.ndarray]:
    for index, data in enumerate(images):
        yield decode_frame(data, f"frames[{index}]", limits)
