"""Experiments for the VOT toolkits 0.8.0 to 0.9.0 in the place of their own, which crash; they run under 0.7.4 too.

Those versions hand an object's status over where a region is expected, count frames of a part as frames of the whole
sequence, their real-time wrapper passes None for "no new objects", which the TraX runtime refuses, and it cannot run a
whole sequence, which their unsupervised experiment asks for. ``MultiStart`` starts from the experiment of the toolkit,
so that the analyses accept it, and drives the tracker itself; ``RealTime`` mends the wrapper.

A stack file names them by ``type: external.vot20.multistart.MultiStart``; the folder of the project has to be on the
PYTHONPATH of the program ``vot``. The toolkit alone imports them (GPL-3.0); nothing else in this project does.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

from vot.dataset.proxy import FrameMapSequence
from vot.experiment.multirun import UnsupervisedExperiment
from vot.experiment.multistart import MultiStartExperiment, find_anchors
from vot.region import Special
from vot.tracker import TrackerRuntime, Trajectory


class MultiStart(MultiStartExperiment):
    """Runs a tracker from every anchor of a sequence to the end that its sign says."""

    def execute(
        self, tracker: Any, sequence: Any, force: bool = False, callback: Callable[[float], None] | None = None
    ) -> None:
        """Write one trajectory for each anchor; those that exist are kept unless ``force``.

        Raises:
            RuntimeError: if the sequence has no anchor.
        """
        forward, backward = find_anchors(sequence, self.anchor)
        parts = {index: range(index, len(sequence)) for index in forward}
        parts |= {index: range(index, -1, -1) for index in backward}
        if not parts:
            raise RuntimeError(f"sequence {sequence.name} has no anchors")
        results = self.results(tracker, sequence)
        with self._get_runtime(tracker, sequence) as runtime:
            _accept_none(runtime)
            for done, (index, frames) in enumerate(parts.items(), start=1):
                name = f"{sequence.name}_{index:08d}"
                if force or not Trajectory.exists(results, name):
                    part = FrameMapSequence(sequence, list(frames))
                    self._follow(runtime, part).write(results, name)
                if callback is not None:
                    callback(done / len(parts))

    def _follow(self, runtime: Any, part: Any) -> Trajectory:
        """Track one part, in which frame 0 is the anchor."""
        trajectory = Trajectory(len(part))
        _, seconds = runtime.initialize(part.frame(0), _listed(self._get_initialization(part, 0)))
        trajectory.set(0, Special(Trajectory.INITIALIZATION), {"time": seconds})
        for index in range(1, len(part)):
            answer, seconds = runtime.update(part.frame(index), [])
            status = _listed(answer)[0]
            trajectory.set(index, status.region, {**status.properties, "time": seconds})
        return trajectory


class RealTime(UnsupervisedExperiment):
    """The unsupervised experiment against the clock, with one target or several."""

    def _get_runtime(self, *arguments: Any, **options: Any) -> Any:
        runtime = super()._get_runtime(*arguments, **options)
        if hasattr(TrackerRuntime, "run"):
            from vot.tracker import OnlineTrackerRuntime

            _accept_none(runtime)
            runtime.run = MethodType(OnlineTrackerRuntime.run, runtime)  # by initialize and update of the wrapper
        return runtime


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _accept_none(runtime: Any) -> None:
    """Let the runtime behind a real-time wrapper take None for "no new objects"."""
    inner = getattr(runtime, "_runtime", None)
    if inner is not None:
        update = inner.update
        inner.update = lambda frame, new=None, *rest: update(frame, new or [], *rest)
