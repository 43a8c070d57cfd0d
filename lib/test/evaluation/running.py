"""Running a tracker over a benchmark and keeping account of what happened."""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

from lib.data.annotations import read_boxes
from lib.data.sequence import Sequence, SequenceList, check_distinct, check_name
from lib.test.evaluation.pool import WorkerHost
from lib.test.evaluation.protocol import Outcome, TrackerFactory
from lib.test.evaluation.results import ResultFolder, to_integers
from lib.test.evaluation.shared import Dispatcher, Progress, Ranks
from lib.test.evaluation.worker import WorkerSettings
from lib.utils.errors import DataError, InputError, SeqTrackError, printable
from lib.utils.launch import available_cores

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


class _Collector:
    """Takes the progress of all ranks: keeps the outcomes and moves the bar."""

    def __init__(self, sequences: SequenceList, summary: RunSummary) -> None:
        self._length = {sequence.name: len(sequence.frames) for sequence in sequences}
        self._summary = summary
        self._unreadable = len(summary.outcomes)
        # Without a terminal, a line now and then instead of a bar that is drawn over itself.
        interval = 0.1 if sys.stderr.isatty() else 10.0
        self.bar = tqdm(total=sequences.num_frames, unit="frame", desc="tracking", mininterval=interval, smoothing=0.1)

    def __call__(self, message: int | Outcome) -> None:
        if isinstance(message, int):
            self.bar.update(message)
            return
        if message.sequence not in self._length:  # of ranks that the launcher has restarted since
            return
        if message.shared:
            self._summary.present.append(message.sequence)
            self.bar.update(message.frames)
            return
        self._summary.outcomes.append(message)
        if message.error:
            log_failure(message)
            self.bar.total -= self._length[message.sequence] - message.frames
        failed = f", {len(self._summary.failed)} failed" if self._summary.failed else ""
        done = len(self._summary.outcomes) - self._unreadable
        self.bar.set_postfix_str(f"{done}/{len(self._length)} sequences{failed}", refresh=False)


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
    on_ready: Callable[[str], None] = lambda device: None,
    ranks: Ranks | None = None,
) -> RunSummary:
    """Track every sequence whose result is not complete, the longest first.

    Args:
        sequences: a benchmark, the same on all ranks.
        factory: makes a tracker on a device; with several processes it must be picklable.
        folder: where the results go, and where complete ones are left as they are; seen by all ranks.
        devices: one entry per process; a single entry means this process, if it is the only rank.
        batch_size: sequences that a process tracks at once, in lock-step.
        overwrite: track all sequences, whatever is there.
        on_ready: called once, on rank 0, with the name of its device, when its first tracker is made and before
            any rank writes anything.
        ranks: this process among those that were launched (``shared.join_ranks``); by default it is alone.

    Returns:
        What all ranks did, on rank 0; an empty summary on the others.

    Raises:
        DataError: if there is no sequence, or two would share a result file.
        SeqTrackError: if the tracker cannot be made.
        KeyboardInterrupt: on Ctrl-C, when all processes have ended; only whole result files are there.
    """
    start = time.perf_counter()
    ranks = Ranks() if ranks is None else ranks
    pending, summary = _find_work(sequences, folder, ranks, overwrite)
    threads = max(1, available_cores() // (len(devices) * ranks.local_world_size))
    settings = WorkerSettings(factory, folder, batch_size, threads)
    try:
        if pending:
            _track(pending, settings, devices, on_ready, ranks, summary, overwrite)
    except KeyboardInterrupt:
        if ranks.rank == 0:
            left = len(find_pending(pending, folder, overwrite=False))
            logger.warning("interrupted: %d of %d sequences have no result yet", left, len(sequences))
        raise
    if ranks.rank == 0:
        check_results(sequences, folder, summary)
    summary.wall_seconds = time.perf_counter() - start
    return summary


def _find_work(
    sequences: SequenceList, folder: ResultFolder, ranks: Ranks, overwrite: bool
) -> tuple[SequenceList, RunSummary]:
    """What rank 0 finds to track, and on rank 0 a summary of what is there already or cannot be read."""
    for name in check_distinct(sequences):
        check_name(name)
    summary = RunSummary()
    if ranks.rank == 0:
        folder.remove_leftovers()
    names = ranks.decide("pending", lambda: find_pending(sequences, folder, overwrite))
    if unseen := set(names).difference(sequences.names):
        raise DataError(f"rank {ranks.rank} does not see sequence {min(unseen)}, which rank 0 sees")
    if ranks.rank == 0:
        summary.present = [name for name in sequences.names if name not in set(names)]
        summary.outcomes = [Outcome(name, error=error) for name, error in sequences.failures.items()]
        for outcome in summary.outcomes:
            log_failure(outcome)
    return sequences.select(names), summary


def _track(
    sequences: SequenceList,
    settings: WorkerSettings,
    devices: list[str],
    on_ready: Callable[[str], None],
    ranks: Ranks,
    summary: RunSummary,
    overwrite: bool,
) -> None:
    """Do this rank's part of a run; returns when nothing is left for any rank."""
    devices = devices[: len(sequences)]
    collector = _Collector(sequences, summary) if ranks.rank == 0 else None
    progress = Progress(ranks, collector)
    workers = len(devices) * ranks.world_size
    options = {"overwrite": overwrite, "workers": workers}
    dispatcher = Dispatcher(sequences, ranks.store, settings.folder, progress.report, **options)
    # Rank 0 prepares the result folder before any rank writes to it.
    host = WorkerHost(dispatcher, settings, progress, lambda device: ranks.decide("begin", lambda: on_ready(device)))
    try:
        # A rank of several looks after a worker instead of tracking itself: torchrun would end all for one.
        host.run(devices, here=workers == 1)
        if ranks.world_size > 1 and ranks.rank == 0 and not host.is_ready:
            raise SeqTrackError("no worker of rank 0 could make its tracker; its messages stand above")
        progress.finish()
    finally:
        dispatcher.close()
        if collector:
            collector.bar.close()


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
