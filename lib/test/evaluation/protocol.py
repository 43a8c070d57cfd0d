"""What a tracker is, and the messages between a worker, which tracks, and its host, which hands out sequences."""

from collections.abc import Callable, Mapping
from collections.abc import Sequence as AbstractSequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from lib.data.sequence import Sequence
from lib.utils.errors import SeqTrackError


class Tracker(Protocol):
    """What testing asks of a tracker; images are (H, W, 3) uint8 RGB, boxes x, y, w, h in pixels."""

    def initialize(self, image: np.ndarray, info: Mapping[str, Any]) -> None:
        """Begin a sequence; ``info`` is ``{"init_bbox": [x, y, w, h]}``."""

    def track(self, image: np.ndarray) -> Mapping[str, Any]:
        """Follow the target into the next frame; the answer holds ``target_bbox``."""


class BoxResult(Protocol):
    """An answer of a batch tracker."""

    box_xywh: AbstractSequence[float]


class BatchTracker(Protocol):
    """A tracker that follows many sequences at once; a tracker offers it as its attribute ``engine``.

    It may also have ``crop(states, images)``, the part of a step that the CPU does; ``step`` then takes what it returns
    as a third argument. And ``presence(results)``, how likely it is, 0 to 1, that each target is there at all.
    """

    def start(self, image: np.ndarray, box_xywh: AbstractSequence[float]) -> Any:
        """Begin a sequence and return its state."""

    def step(self, states: AbstractSequence[Any], images: AbstractSequence[np.ndarray]) -> AbstractSequence[BoxResult]:
        """Follow each target into its next frame; what is new in a state replaces its attributes."""


TrackerFactory = Callable[[str], Tracker]
"""Makes a tracker on a device; must be picklable to run in several processes."""


@dataclass(frozen=True)
class Assignment:
    """To a worker: a sequence to track; ``alone`` if no other may be tracked in the same batch."""

    sequence: Sequence
    alone: bool = False


@dataclass(frozen=True)
class Ready:
    """To the host: the tracker is made, on this device (its name for the manifest)."""

    device: str


@dataclass(frozen=True)
class Request:
    """To the host: there is room for a sequence.

    Attributes:
        live: how many sequences the worker is tracking.
        longest: frames that are left of the longest of them.
    """

    live: int = 0
    longest: int = 0


@dataclass(frozen=True)
class Outcome:
    """To the host: what became of a sequence.

    Attributes:
        sequence: its name.
        frames: number of frames that were tracked.
        seconds: its share of the time spent in the tracker, without reading images.
        error: why it failed, in one line; empty if it did not.
        details: traceback of the failure, if there is one.
        again: it failed together with others, and none of them is known to be the cause: it deserves a second attempt.
        shared: another run, which shares the folder, has made the result.
    """

    sequence: str
    frames: int = 0
    seconds: float = 0.0
    error: str = ""
    details: str = ""
    again: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Failure:
    """To the host: this worker cannot make its tracker, or cannot go on with it, and ends.

    Attributes:
        error: the reason, in one line.
        details: traceback.
        mistake: type of the error if the user can fix it, so that no other worker need try.
    """

    error: str
    details: str
    mistake: type[SeqTrackError] | None = None


Message = int | Ready | Request | Outcome | Failure
"""From a worker to its host; a number counts tracked frames, and 0 is a heartbeat."""
Report = Callable[[int | Outcome], None]
"""Takes progress: a number of frames (below 0: they are tracked again), or what became of a sequence."""


class Link(Protocol):
    """A worker's connection with its host."""

    def send(self, message: Message) -> None:
        """Tell the host."""

    def ask(self, request: Request) -> Assignment | None:
        """The next sequence; None if there is none for now."""

    def check(self) -> None:
        """Raise a ``BaseException`` if the host wants no more."""
