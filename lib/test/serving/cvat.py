"""The contract of CVAT's tracker functions: an image, shapes and states in, shapes and states out.

Source: the public functions of CVAT (serverless/, ``type: tracker``). A shape without a state begins a target, a shape
with one is its last place. A state goes through the user's browser, so it is only a random number here: what it stands
for stays in this process.
"""

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lib.test.serving.limits import Limits, Refused, decode_base64, decode_frame, items, numbers
from lib.test.serving.worker import MakeSteps, Start, Steps
from lib.test.tracker.lost import LostAndFound, Target
from lib.utils.errors import InputError, printable


@dataclass
class _Saved:
    target: Target
    size: tuple[int, int]
    used: float


class States:
    """Targets between requests, used by the worker's thread only.

    Args:
        most: that are kept; the one that was longest unused goes first.
        seconds: for which an unused one is kept.
        clock: seconds, never going back.
    """

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._seconds, self._clock = most, seconds, clock
        self._saved: OrderedDict[str, _Saved] = OrderedDict()

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._saved)

    def put(self, id: str, target: Target, size: tuple[int, int]) -> None:
        """Keep a target of a video whose frames have a size (height, width)."""
        self._saved[id] = _Saved(target, size, self._clock())
        self._saved.move_to_end(id)
        self._drop(len(self._saved) - self._most)

    def copy(self, id: Any, image: np.ndarray, where: str) -> Target:
        """A copy of a target for its next frame: a request that fails, or comes twice, changes nothing.

        Raises:
            Refused: (410) if there is no such target any more.
            InputError: if the frame has another size than the first one.
        """
        self._drop(0)
        saved = self._saved.get(id) if isinstance(id, str) else None
        if saved is None:
            raise Refused(410, f"{where}: unknown or expired; draw the box again, got {printable(repr(id), 60)}")
        if saved.size != image.shape[:2]:
            given, first = ("x".join(map(str, size[::-1])) for size in (image.shape[:2], saved.size))
            raise InputError(f"image: {given} pixels, that of {where} had {first}")
        target = saved.target
        return replace(target, state=replace(target.state))  # steps replace what is in them, and change it nowhere

    def _drop(self, count: int) -> None:
        """Forget the oldest ones: so many, and those that have expired."""
        oldest = self._clock() - self._seconds
        while self._saved and (count > 0 or next(iter(self._saved.values())).used < oldest):
            self._saved.popitem(last=False)
            count -= 1


def track(body: dict[str, Any], limits: Limits, states: States) -> MakeSteps:
    """Answer a call of the function: the shapes (x1, y1, x2, y2 in pixels) in this image, and their states.

    A target that is lost keeps its last place.

    Raises:
        SeqTrackError: naming the key of the request that is wrong.
    """
    shapes = [numbers(shape, f"shapes[{index}]") for index, shape in enumerate(items(body.get("shapes"), "shapes"))]
    given = items(body.get("states") or [], "states")
    limits.check_count(len(shapes), "targets", "shapes")
    if len(given) > len(shapes):
        raise InputError(f"states: {len(given)} for {len(shapes)} shapes")
    ids = given + [None] * (len(shapes) - len(given))
    image = decode_frame(decode_base64(body.get("image"), "image"), "image", limits)

    def steps(follower: LostAndFound) -> Steps:
        known = [states.copy(id, image, f"states[{i}]") for i, id in enumerate(ids) if id is not None]
        begun = [
            Start(0, (x1, y1, x2 - x1, y2 - y1), f"shapes[{i}]").begin(follower, image)
            for i, (x1, y1, x2, y2) in enumerate(shapes)
            if ids[i] is None
        ]
        yield known, [image] * len(known)
        targets = [(begun if id is None else known).pop(0) for id in ids]
        answers = [id or secrets.token_urlsafe(16) for id in ids]
        for id, target in zip(answers, targets, strict=True):
            states.put(id, target, image.shape[:2])
        return {"shapes": [_corners(target) for target in targets], "states": answers}

    return steps


def _corners(target: Target) -> list[float]:
    x, y, w, h = target.sure_box if target.status == "lost" else target.state.box_xywh
    return [x, y, x + w, y + h]
