"""Running a tracker over a benchmark and keeping account of what happened."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from lib.test.evaluation.data import SequenceList
from lib.test.evaluation.loop import Outcome, Report, TrackerFactory, attempt
from lib.test.evaluation.pool import run_in_workers
from lib.test.evaluation.results import ResultFolder

logger = logging.getLogger(__name__)


@dataclass
class RunSummary:
    """What a run over a benchmark did.

    Attributes:
        present: sequences whose result was there already.
        outcomes: the others, in the order in which they ended.
        wall_seconds: duration of the whole run, with making the trackers and reading images.
    """

    present: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    wall_seconds: float = 0.0

    @property
    def failed(self) -> list[Outcome]:
        """Sequences without a result."""
        return [outcome for outcome in self.outcomes if outcome.error]

    @property
    def frames(self) -> int:
        """Frames of the sequences that were tracked to their end in this run."""
        return sum(outcome.frames for outcome in self.outcomes if not outcome.error)

    def lines(self) -> list[str]:
        """The summary as text."""
        done = len(self.outcomes) - len(self.failed)
        total = len(self.present) + len(self.outcomes)
        lines = [f"{total} sequences: {done} tracked, {len(self.present)} there already, {len(self.failed)} failed"]
        seconds = sum(outcome.seconds for outcome in self.outcomes if not outcome.error)
        if self.frames and seconds and self.wall_seconds:
            lines.append(
                f"{self.frames} frames: {self.frames / seconds:.1f} frames/s in one tracker, "
                f"{self.frames / self.wall_seconds:.1f} frames/s end to end over all processes"
            )
        return lines + [f"FAILED {outcome.sequence}: {outcome.error}" for outcome in self.failed]


class _Account:
    """Hears of progress, keeps the outcomes and moves the bar."""

    def __init__(self, sequences: SequenceList, summary: RunSummary) -> None:
        self._length = {sequence.name: len(sequence.frames) for sequence in sequences}
        self._summary = summary
        # Without a terminal, a line now and then instead of a bar that is drawn over itself.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=sequences.num_frames, unit="frame", desc="tracking", mininterval=interval, smoothing=0.1)

    def __call__(self, news: int | Outcome) -> None:
        if isinstance(news, int):
            self._bar.update(news)
            return
        self._summary.outcomes.append(news)
        if news.error:
            logger.error("sequence %s failed: %s%s", news.sequence, news.error, news.details and "\n" + news.details)
            self._bar.total -= self._length[news.sequence] - news.frames
        failed = f", {len(self._summary.failed)} failed" if self._summary.failed else ""
        self._bar.set_postfix_str(f"{len(self._summary.outcomes)}/{len(self._length)} sequences{failed}", refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def run_benchmark(
    sequences: SequenceList,
    factory: TrackerFactory,
    folder: ResultFolder,
    *,
    devices: list[str],
    overwrite: bool = False,
    on_ready: Callable[[], None] = lambda: None,
) -> RunSummary:
    """Track every sequence whose result is not complete, the longest first.

    Args:
        sequences: a benchmark.
        factory: makes a tracker on a device; with several devices it must be picklable.
        folder: where the results go, and where complete ones are left as they are.
        devices: one entry per process; a single entry means this process.
        overwrite: track all sequences, whatever is there.
        on_ready: called once in this process, when the first tracker is made and before anything is written.

    Raises:
        SeqTrackError: if the tracker cannot be made.
        KeyboardInterrupt: on Ctrl-C, when all processes have ended; only whole result files are there.
    """
    summary, start = RunSummary(), time.perf_counter()
    pending = SequenceList()
    for sequence in sequences:
        if not overwrite and folder.is_complete(sequence.name, len(sequence.frames)):
            summary.present.append(sequence.name)
        else:
            pending.append(sequence)
    pending.sort(key=lambda sequence: -len(sequence.frames))
    if pending:
        account = _Account(pending, summary)
        try:
            if min(len(devices), len(pending)) > 1:
                run_in_workers(pending, factory, folder, devices[: len(pending)], account, on_ready)
            else:
                _run_here(pending, factory, folder, devices[0], account, on_ready)
        finally:
            account.close()
    summary.wall_seconds = time.perf_counter() - start
    return summary


def _run_here(
    sequences: SequenceList,
    factory: TrackerFactory,
    folder: ResultFolder,
    device: str,
    report: Report,
    on_ready: Callable[[], None],
) -> None:
    tracker = factory(device)
    on_ready()
    for sequence in sequences:
        attempt(tracker, sequence, folder, report)
