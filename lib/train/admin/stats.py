"""Running statistics of an epoch."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


@dataclass
class RunningMean:
    """Mean of values with weights."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add a value."""
        self.total += value * weight
        self.weight += weight

    @property
    def mean(self) -> float:
        """The mean so far, NaN before the first value."""
        return self.total / self.weight if self.weight else float("nan")


@dataclass
class Window:
    """Means over a stretch of steps, and where its time went.

    Attributes:
        means: running means by name.
        samples: samples seen.
        waited: seconds spent waiting for data.
        started: when the stretch began, in seconds of ``time.perf_counter``.
    """

    means: dict[str, RunningMean] = field(default_factory=dict)
    samples: int = 0
    waited: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, values: Mapping[str, float], samples: int) -> None:
        """Add the values of a batch, weighted by its number of samples."""
        for name, value in values.items():
            self.means.setdefault(name, RunningMean()).add(value, samples)
        self.samples += samples

    @property
    def elapsed(self) -> float:
        """Seconds since the stretch began."""
        return time.perf_counter() - self.started

    @property
    def samples_per_second(self) -> float:
        """Throughput."""
        return self.samples / max(self.elapsed, 1e-9)

    @property
    def wait_share(self) -> float:
        """Part of the time spent waiting for data, 0 to 1; near 1 the disk or the workers are the limit."""
        return min(self.waited / max(self.elapsed, 1e-9), 1.0)

    def as_dict(self) -> dict[str, float]:
        """The means by name, as plain numbers."""
        return {name: mean.mean for name, mean in self.means.items()}

    def state_dict(self) -> dict[str, list[float]]:
        """The means as plain values: total and weight by name. Times belong to the process and are left out."""
        return {name: [mean.total, mean.weight] for name, mean in self.means.items()}

    def load_state_dict(self, state: Mapping[str, Sequence[float]]) -> None:
        """Restore the means from ``state_dict``."""
        self.means = {name: RunningMean(*values) for name, values in state.items()}


class EpochStats:
    """Statistics of an epoch so far (``whole``) and since the last line of the log (``recent``)."""

    def __init__(self) -> None:
        self.whole = Window()
        self.recent = Window()

    def add(self, values: Mapping[str, float], samples: int) -> None:
        """Add the values of a batch."""
        self.whole.add(values, samples)
        self.recent.add(values, samples)

    def start_clock(self) -> None:
        """Begin to measure time, now that the loop runs."""
        now = time.perf_counter()
        self.whole.started = self.recent.started = now

    def start_interval(self) -> None:
        """Begin a new ``recent``."""
        self.recent = Window()

    def state_dict(self) -> dict[str, dict[str, list[float]]]:
        """Both stretches as plain values."""
        return {"whole": self.whole.state_dict(), "recent": self.recent.state_dict()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, Sequence[float]]]) -> None:
        """Restore both stretches from ``state_dict``."""
        self.whole.load_state_dict(state["whole"])
        self.recent.load_state_dict(state["recent"])

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Pass batches on and count the time spent waiting for them."""
        iterator = iter(batches)
        while True:
            before = time.perf_counter()
            batch = next(iterator, None)
            if batch is None:
                return
            waited = time.perf_counter() - before
            self.whole.waited += waited
            self.recent.waited += waited
            yield batch
