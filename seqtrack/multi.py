"""Many targets, in one video or in several: all of them are one batch of the network."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from lib.utils.errors import InputError, printable
from seqtrack.frames import Frame, Image, check_size, to_rgb
from seqtrack.tracking import Box, Result, Tracker, load, place_target

if TYPE_CHECKING:
    from lib.test.tracker.lost import Target

TargetId: TypeAlias = int | str
VideoId: TypeAlias = Hashable


@dataclass
class _Entry:
    target: "Target"
    video: VideoId
    size: tuple[int, int]


class MultiTracker:
    """Follows any number of targets with one network; every :meth:`update` is one batch.

    The boxes are those that separate trackers give (float32).

    Args:
        model: what :func:`seqtrack.load` takes as ``name``; or a tracker, whose network and settings are shared.
        checkpoint: as for :func:`seqtrack.load`; not with a tracker.
        options: further options of :func:`seqtrack.load`; not with a tracker.

    Attributes:
        on_lost: called with the id and the result when a target becomes lost; None calls nothing.
    """

    def __init__(
        self, model: str | Path | Tracker = "seqtrack_demo", checkpoint: str | Path | None = None, **options: Any
    ) -> None:
        if not isinstance(model, Tracker):
            model = load(model, checkpoint, **options)
        elif checkpoint is not None or options:
            given = ", ".join([*options, *(["checkpoint"] if checkpoint is not None else [])])
            raise InputError(f"a tracker that is loaded takes no options, got {given}")
        self._model = model._model
        self._targets: dict[TargetId, _Entry] = {}
        self._next_id = 0
        self.on_lost: Callable[[TargetId, Result], object] | None = None

    def __len__(self) -> int:
        """Number of targets."""
        return len(self._targets)

    def __iter__(self) -> Iterator[TargetId]:
        """The ids of the targets, oldest first."""
        return iter(tuple(self._targets))

    def __contains__(self, id: object) -> bool:
        return id in self._targets

    def add(self, frame: Frame, box: Box, id: TargetId | None = None, *, video: VideoId = None) -> TargetId:
        """Begin to follow a target; the next frame of its video is the first one to be tracked.

        Args:
            frame: (H, W, 3) uint8 NumPy array or torch tensor, or a PIL image.
            box: the target in it: x, y, width, height in pixels.
            id: its id, a number or a text; by default the smallest number that was never one here, from 0 on.
            video: which video it is in, where there are several: any name or number of your choice.

        Returns:
            The id, which stays the same until :meth:`remove`.

        Raises:
            InputError: if the id is taken, or the frame or the box cannot be used; nothing has changed then.
        """
        if id is None:
            id = self._next_id
        elif isinstance(id, bool) or not isinstance(id, (int, str)):
            raise InputError(f"an id must be a number or a text, got {_shown(id)}")
        elif id in self._targets:
            raise InputError(f"there is a target with the id {_shown(id)} already")
        image = to_rgb(frame, self._model.color)
        size = self._sizes().get(video, image.shape[:2])
        check_size(image, size, "name a video of its own")
        self._targets[id] = _Entry(self._model.start(image, box), video, size)
        if isinstance(id, int):
            self._next_id = max(self._next_id, id + 1)
        return id

    def remove(self, id: TargetId) -> None:
        """Stop following a target.

        Raises:
            InputError: if there is none with that id.
        """
        self._find(id)
        del self._targets[id]

    def reinit(self, id: TargetId, frame: Frame, box: Box) -> None:
        """Say where a target is in the last frame of its video; see :meth:`Tracker.reinit`.

        Raises:
            InputError: if there is none with that id, or the frame or the box cannot be used.
        """
        entry = self._find(id)
        image = to_rgb(frame, self._model.color)
        check_size(image, entry.size, "name a video of its own")
        place_target(entry.target, image, box)

    def _find(self, id: TargetId) -> _Entry:
        if id not in self._targets:
            known = ", ".join(map(_shown, self._targets)) or "none"
            raise InputError(f"no target has the id {_shown(id)}; known: {printable(known, 200)}")
        return self._targets[id]

    def update(self, frame: Frame | Mapping[Any, Frame]) -> dict[TargetId, Result]:
        """Follow the targets into the next frame of their video.

        Args:
            frame: the next frame; or with several videos the next frame of each by its name, ``{video: frame}``.
                Videos that have none this time are left out, and their targets wait.

        Returns:
            ``{id: result}`` for the targets of the videos given, in the order in which they were added.

        Raises:
            InputError: if a frame cannot be used; no target has moved then.
        """
        frames = cast(Mapping[Any, Frame], frame if isinstance(frame, Mapping) else {None: frame})
        sizes = self._sizes()
        if None in frames and sizes and None not in sizes:
            known = ", ".join(map(_shown, sizes))
            raise InputError(f"the targets are in videos with names: give update {{video: frame}}; known: {known}")
        images: dict[Any, Image] = {}
        for video, given in frames.items():  # each one is converted once, however many targets it has
            images[video] = to_rgb(given, self._model.color)
            check_size(images[video], sizes.get(video, images[video].shape[:2]), "name a video of its own")
        chosen = {id: entry for id, entry in self._targets.items() if entry.video in images}
        targets = [entry.target for entry in chosen.values()]
        were_lost = [target.status == "lost" for target in targets]
        found = self._model.step(targets, [images[entry.video] for entry in chosen.values()])
        results = dict(zip(chosen, found, strict=True))
        for (id, result), was_lost in zip(results.items(), were_lost, strict=True):
            if result.lost and not was_lost and self.on_lost is not None:
                self.on_lost(id, result)
        return results

    def _sizes(self) -> dict[VideoId, tuple[int, int]]:
        """(height, width) of the videos that have targets."""
        return {entry.video: entry.size for entry in self._targets.values()}


def _shown(value: object) -> str:
    return printable(repr(value), 60)
