"""Running a tracker over a benchmark and keeping account of what happened."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from lib.data.annotations import read_boxes
from lib.data.sequence import Sequence, SequenceList, check_distinct, check_name
from lib.test.evaluation.loop import Assignment, Outcome, SequenceRunner, TrackerFactory
from lib.test.evaluation.pool import MAX_READERS, WorkerPool, WorkerSettings, available_cores
from lib.test.evaluation.results import ResultFolder, to_integers
from lib.test.evaluation.shared import (
    POLL_SECONDS,
    Dispatcher,
    MemoryStore,
    News,
    Place,
    SharedQueue,
    Wait,
    decide,
)
from lib.utils.errors import DataError, InputError, SeqTrackError
from lib.utils.text import printable

logger = logging.getLogger(__name__)


@dataclass
class RunSummary:
    """What a run over a benchmark did.

    Attributes:
        present: sequences whose result was there already, or was made by another run in the meantime.
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
                f"{self.frames} frames: {self.frames / seconds:.1f} frames/s in one tracker (without reading images), "
                f"{self.frames / self.wall_seconds:.1f} frames/s end to end over all processes"
            )
        return lines + [f"FAILED {printable(outcome.sequence)}: {outcome.error}" for outcome in self.failed]


class _Account:
    """Hears of progress, keeps the outcomes and moves the bar."""

    def __init__(self, sequences: SequenceList, summary: RunSummary) -> None:
        self._length = {sequence.name: len(sequence.frames) for sequence in sequences}
        self._summary = summary
        self._unreadable = len(summary.outcomes)
        # Without a terminal, a line now and then instead of a bar that is drawn over itself.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=sequences.num_frames, unit="frame", desc="tracking", mininterval=interval, smoothing=0.1)

    def __call__(self, news: int | Outcome) -> None:
        if isinstance(news, int):
            self._bar.update(news)
            return
        if news.sequence not in self._length:  # of ranks that the launcher has restarted since
            return
        if news.shared:
            self._summary.present.append(news.sequence)
            self._bar.update(news.frames)
            return
        self._summary.outcomes.append(news)
        if news.error:
            log_failure(news)
            self._bar.total -= self._length[news.sequence] - news.frames
        failed = f", {len(self._summary.failed)} failed" if self._summary.failed else ""
        done = len(self._summary.outcomes) - self._unreadable
        self._bar.set_postfix_str(f"{done}/{len(self._length)} sequences{failed}", refresh=False)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def log_failure(outcome: Outcome) -> None:
    """One line on the terminal; the traceback goes to the log file."""
    details = {"details": outcome.details}
    logger.error("sequence %s failed: %s", outcome.sequence, outcome.error, extra=details)


def find_pending(sequences: SequenceList, folder: ResultFolder, overwrite: bool) -> list[str]:
    """Names of the sequences that have no complete result (or all of them), the longest first.

    Raises:
        InputError: if a result starts with another box, so that it is of another dataset of this name.
    """
    wanted = []
    for sequence in sequences:
        if not overwrite and _is_of_other_data(sequence, folder):
            raise InputError(
                f"{folder.boxes_path(sequence.name)}: starts with another box than sequence {sequence.name}: a result "
                "of another dataset of this name? Use --overwrite to replace the results, or another --save_dir"
            )
        if overwrite or not folder.is_complete(sequence.name, len(sequence.frames)):
            wanted.append(sequence)
    return [sequence.name for sequence in sorted(wanted, key=lambda sequence: -len(sequence.frames))]


def _is_of_other_data(sequence: Sequence, folder: ResultFolder) -> bool:
    """Whether there is a whole result (damaged ones are made again) that starts with another box than the sequence."""
    try:
        boxes = read_boxes(folder.boxes_path(sequence.name), allow_nan=False)
    except DataError:
        return False
    other = (boxes[:1] != to_integers(sequence.ground_truth_rect[:1])).any()
    return bool(other) and folder.is_complete(sequence.name, len(boxes))


def run_benchmark(
    sequences: SequenceList,
    factory: TrackerFactory,
    folder: ResultFolder,
    *,
    devices: list[str],
    batch_size: int = 1,
    overwrite: bool = False,
    on_ready: Callable[[], None] = lambda: None,
    place: Place | None = None,
) -> RunSummary:
    """Track every sequence whose result is not complete, the longest first.

    Args:
        sequences: a benchmark, the same on all ranks.
        factory: makes a tracker on a device; with several processes it must be picklable.
        folder: where the results go, and where complete ones are left as they are; seen by all ranks.
        devices: one entry per process; a single entry means this process, if it is the only rank.
        batch_size: sequences that a process tracks at once, in lock-step.
        overwrite: track all sequences, whatever is there.
        on_ready: called once, on rank 0, when its first tracker is made and before any rank writes anything.
        place: of this process among the ranks (``shared.find_place``); by default it is alone.

    Returns:
        What all ranks did, on rank 0; an empty summary on the others.

    Raises:
        DataError: if there is no sequence, or two would share a result file.
        SeqTrackError: if the tracker cannot be made.
        KeyboardInterrupt: on Ctrl-C, when all processes have ended; only whole result files are there.
    """
    summary, start = RunSummary(), time.perf_counter()
    for name in check_distinct(sequences):
        check_name(name)
    place = Place(MemoryStore()) if place is None else place
    is_first = place.rank == 0
    if is_first:
        folder.remove_leftovers()
    names = decide(place, "pending", lambda: find_pending(sequences, folder, overwrite))
    if unseen := set(names).difference(sequences.names):
        raise DataError(f"rank {place.rank} does not see sequence {min(unseen)}, which rank 0 sees")
    pending = sequences.select(names)
    if is_first:
        summary.present = [name for name in sequences.names if name not in set(names)]
        summary.outcomes = [Outcome(name, error=error) for name, error in sequences.failures.items()]
        for outcome in summary.outcomes:
            log_failure(outcome)
    try:
        if pending:
            _Run(pending, factory, folder, devices, batch_size, on_ready, place, summary, overwrite).run()
    except KeyboardInterrupt:
        if is_first:
            left = len(find_pending(pending, folder, overwrite=False))
            logger.warning("interrupted: %d of %d sequences have no result yet", left, len(sequences))
        raise
    if is_first:
        check_results(sequences, folder, summary)
    summary.wall_seconds = time.perf_counter() - start
    return summary


def check_results(sequences: SequenceList, folder: ResultFolder, summary: RunSummary) -> None:
    """Count the files at the end of a run; what has none has failed, whatever was reported."""
    failed = {outcome.sequence for outcome in summary.failed}
    tracked = {outcome.sequence for outcome in summary.outcomes}
    for sequence in sequences:
        name = sequence.name
        if name in failed or folder.is_complete(name, len(sequence.frames)):
            continue
        is_known = name in tracked or name in summary.present
        error = "its result is gone at the end of the run" if is_known else "not tracked: no worker is left"
        summary.present = [other for other in summary.present if other != name]
        summary.outcomes = [outcome for outcome in summary.outcomes if outcome.sequence != name]
        summary.outcomes.append(Outcome(name, error=error))
        log_failure(summary.outcomes[-1])


class _Run:
    """One rank's part of a run."""

    def __init__(
        self,
        sequences: SequenceList,
        factory: TrackerFactory,
        folder: ResultFolder,
        devices: list[str],
        batch_size: int,
        on_ready: Callable[[], None],
        place: Place,
        summary: RunSummary,
        overwrite: bool,
    ) -> None:
        self._sequences = sequences
        self._devices = devices
        self._place = place
        self._on_ready = on_ready
        self._news = News(place)
        queue = SharedQueue(place.store, len(sequences))
        self._dispatcher = Dispatcher(sequences, queue, folder, self._report, overwrite)
        self._account = _Account(sequences, summary) if place.rank == 0 else None
        processes = len(devices) * place.local_world
        threads = max(1, available_cores() // processes)
        self._settings = WorkerSettings(factory, folder, batch_size, threads)

    def run(self) -> None:
        """Track until nothing is left for any rank."""
        try:
            # A rank of several looks after a worker instead of tracking itself: torchrun would end all for one.
            if self._place.world > 1 or min(len(self._devices), len(self._sequences)) > 1:
                self._run_in_workers()
            else:
                self._run_here()
            self._news.finish()
            while self._account and not self._news.all_finished():
                self._listen()
                time.sleep(POLL_SECONDS)
            self._listen()
        finally:
            self._dispatcher.close()
            if self._account:
                self._account.close()

    def _report(self, news: int | Outcome) -> None:
        self._news.post(news)
        self._listen()

    def _listen(self) -> None:
        """Show that this rank is alive; rank 0 also takes note of what happened anywhere."""
        self._news.beat()
        if self._account:
            for news in self._news.poll():
                self._account(news)

    def _begin(self) -> None:
        """Let rank 0 prepare the result folder before any rank writes to it."""
        decide(self._place, "begin", self._on_ready)

    def _run_in_workers(self) -> None:
        pool = WorkerPool(self._dispatcher, self._settings, self._report, on_ready=self._begin, idle=self._listen)
        pool.run(self._devices[: len(self._sequences)])
        if self._place.world > 1 and self._place.rank == 0 and not pool.is_ready:
            raise SeqTrackError("no worker of rank 0 could make its tracker; its messages stand above")

    def _run_here(self) -> None:
        tracker = self._settings.factory(self._devices[0])
        readers = min(self._settings.threads, MAX_READERS)

        def next_sequence(live: int) -> Assignment | None:
            while (given := self._dispatcher.next(live)) is Wait.WAIT:
                self._listen()
                time.sleep(POLL_SECONDS)
            return given

        def report(news: int | Outcome) -> None:
            if isinstance(news, int):
                self._report(news)
            else:
                self._dispatcher.settle(news)

        runner = SequenceRunner(
            tracker, self._settings.folder, report, batch_size=self._settings.batch_size, readers=readers
        )
        self._begin()
        runner.run(next_sequence)
