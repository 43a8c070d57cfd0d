"""Batches in order, made by worker processes that hold no state.

The parent sends each worker the keys ``(epoch, index)`` of a batch and the worker derives everything else from them, so
the samples do not depend on the number of workers, and workers stay alive from epoch to epoch.
"""

import contextlib
import resource
import signal
from collections.abc import Iterator, Sequence
from types import FrameType

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from lib.train.data.batch import TrainingBatch, collate
from lib.train.data.sampler import SampleKey, TrackingSampler, TrainingSample
from lib.utils.child import kill_children_at_exit, watch_parent
from lib.utils.errors import ConfigError, DataError, SeqTrackError

BATCH_TIMEOUT = 600
"""Seconds without a batch after which the workers count as stuck, on a disk that does not answer for example."""


class EpochKeys(Sampler[list[SampleKey]]):
    """The keys of each batch of one epoch, for one rank.

    Step *k* of all ranks together covers the samples ``k * G .. (k + 1) * G - 1`` with
    ``G = batch_size * world_size * accumulate``, however the three share it: *W* ranks, or *W* parts one after the
    other, see in one step what one process with *W* times the batch sees. Samples that do not fill a step are left out
    (as published).

    Args:
        num_samples: samples of an epoch, over all ranks.
        batch_size: samples in a batch of this rank.
        rank: of this process.
        world_size: number of processes.
        accumulate: batches of this rank in a step.

    Raises:
        ConfigError: if an epoch holds not even one step.
    """

    def __init__(
        self, num_samples: int, batch_size: int, rank: int = 0, world_size: int = 1, accumulate: int = 1
    ) -> None:
        self.samples_per_step = batch_size * world_size * accumulate
        self.steps = num_samples // self.samples_per_step
        if self.steps < 1:
            raise ConfigError(
                f"SAMPLE_PER_EPOCH {num_samples} does not fill one step of "
                f"BATCH_SIZE {batch_size} x {world_size} process(es)"
                f"{f' x {accumulate} batches' if accumulate > 1 else ''}"
            )
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.accumulate = accumulate
        self.epoch = 0
        self.first_step = 0

    def start_at(self, epoch: int, step: int = 0) -> None:
        """Choose what the next iteration gives: ``epoch`` from ``step`` (counted from 0) on."""
        self.epoch, self.first_step = epoch, step

    def __len__(self) -> int:
        """Number of batches the next iteration gives."""
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[SampleKey]]:
        """Give the keys of one batch after the other."""
        for part in range(self.first_step * self.accumulate, self.steps * self.accumulate):
            first = (part * self.world_size + self.rank) * self.batch_size
            yield [SampleKey(self.epoch, index) for index in range(first, first + self.batch_size)]


def batches_per_step(global_batch: int, batch_size: int, world_size: int) -> int:
    """Batches that each process takes for one step, so that all together reach a declared number of samples.

    Args:
        global_batch: TRAIN.GLOBAL_BATCH; 0 declares nothing: one batch of each process is a step.
        batch_size: TRAIN.BATCH_SIZE, samples that one process takes at once.
        world_size: number of processes.

    Raises:
        ConfigError: if the numbers do not divide.
    """
    if global_batch == 0:
        return 1
    at_once = batch_size * world_size
    if global_batch % at_once:
        raise ConfigError(
            f"TRAIN.GLOBAL_BATCH: {global_batch} is not a multiple of TRAIN.BATCH_SIZE {batch_size} x {world_size} "
            "process(es)"
        )
    return global_batch // at_once


class SampleSource(Dataset):
    """A sampler as a map from keys to samples; an error of the data is a value, so that it crosses processes whole."""

    def __init__(self, sampler: TrackingSampler) -> None:
        self.sampler = sampler

    def __getitem__(self, key: SampleKey) -> TrainingSample | SeqTrackError:
        """Make one sample."""
        try:
            return self.sampler.sample(key)
        except SeqTrackError as error:
            return type(error)(f"sample {key.index} of epoch {key.epoch}: {error}")


def collate_or_error(samples: Sequence[TrainingSample | SeqTrackError]) -> TrainingBatch | SeqTrackError:
    """Stack samples, or pass on the first error among them; in a worker the batch is put into shared memory."""
    for sample in samples:
        if isinstance(sample, SeqTrackError):
            return sample
    batch = collate(samples)
    if get_worker_info() is None:
        return batch
    try:
        # The queue would do it in a thread of its own, where an error is printed and the batch is lost.
        return batch.share_memory()
    except (RuntimeError, OSError) as error:
        reason = str(error).splitlines()[0]
        return DataError(
            f"a loader worker cannot share a batch: {reason} (a larger /dev/shm, such as docker's --shm-size, or fewer "
            "workers with TRAIN.NUM_WORKER, may help)"
        )


def _start_worker(worker: int) -> None:
    # One thread per worker: the processes are the parallelism, and OpenCV's pool does not survive a fork.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    # Ctrl-C and a scheduler's SIGTERM reach all processes at once, and the trainer needs the workers for its last step.
    # It ends them with a signal that cannot be ignored, and they end themselves when it is gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watch_parent()


FILES_PER_WORKER = 64
"""Open files that a worker may cost: its pipes, and one for each tensor of the batches that are under way."""


def _raise_file_limit(num_workers: int) -> None:
    """Allow as many open files as the workers may need.

    Raises:
        ConfigError: if the system does not allow so many.
    """
    needed = 128 + FILES_PER_WORKER * num_workers
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"TRAIN.NUM_WORKER: {num_workers} workers may need {needed} open files, the limit is {hard}: raise it "
            "(ulimit -n) or take fewer workers"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


class _WorkerDeaths:
    """Notes that a worker has ended.

    PyTorch's handler of SIGCHLD raises wherever the main thread happens to be: in the optimizer, in a destructor, while
    a checkpoint is written. Here the error waits until the next batch is asked for, or ends that wait.
    """

    def __init__(self) -> None:
        self.error: RuntimeError | None = None
        self.waiting = False
        self._previous: signal.Handlers | None = None

    def listen(self) -> None:
        """Take the place of PyTorch's handler; called once workers have been started, which sets it."""
        handler = signal.getsignal(signal.SIGCHLD)
        if callable(handler) and handler != self._note:
            with contextlib.suppress(ValueError):  # not in the main thread: PyTorch has set no handler either
                self._previous = handler
                signal.signal(signal.SIGCHLD, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        try:
            self._previous(number, frame)
        except RuntimeError as error:
            self.error = error
            if self.waiting:
                raise

    @contextlib.contextmanager
    def raising(self) -> Iterator[None]:
        """Raise within the block what has been noted, before it or during it."""
        self.waiting = True
        try:
            if self.error is not None:
                raise self.error
            yield
        finally:
            self.waiting, self.error = False, None


_deaths = _WorkerDeaths()


class TrainingLoader:
    """Iterates over the batches of an epoch.

    Workers live as long as the loader and do not outlive this process, however it ends.

    Args:
        sampler: makes samples.
        keys: which samples, in which order.
        num_workers: worker processes; 0 makes samples in this process.
        pin_memory: put batches into page-locked memory, for a CUDA device.

    Raises:
        ConfigError: if the system does not allow as many open files as the workers need.
    """

    def __init__(
        self, sampler: TrackingSampler, keys: EpochKeys, *, num_workers: int = 0, pin_memory: bool = False
    ) -> None:
        self.keys = keys
        if num_workers:
            _raise_file_limit(num_workers)
            kill_children_at_exit()
        self._loader = DataLoader(
            SampleSource(sampler),
            batch_sampler=keys,
            num_workers=num_workers,
            collate_fn=collate_or_error,
            pin_memory=pin_memory,
            worker_init_fn=_start_worker,
            persistent_workers=num_workers > 0,
            timeout=BATCH_TIMEOUT if num_workers else 0,
            # Iterating draws a number; it must not be one of the dropout's, or results depend on the number of workers.
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Number of steps of a whole epoch; each is ``keys.accumulate`` batches."""
        return self.keys.steps

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[TrainingBatch]:
        """Give the batches of an epoch.

        Args:
            epoch: number of the epoch.
            first_step: steps to leave out at its start.

        Raises:
            DataError: if a sample cannot be made (the message names the sample and the cause), or if a worker is killed
                or gives no batch for ``BATCH_TIMEOUT`` seconds.
            ConfigError: if the workers cannot be started.
        """
        self.keys.start_at(epoch, first_step)
        batches = None
        while True:
            try:
                with _deaths.raising():
                    if batches is None:
                        batches = self._start()
                    batch = next(batches, None)
            except (RuntimeError, OSError, EOFError) as error:
                if not self._is_of_workers(error):
                    raise
                self.close()
                reason = " ".join(str(error).split()) or type(error).__name__
                what = reason if isinstance(error, RuntimeError) else f"the connection to a worker was lost: {reason}"
                raise DataError(
                    f"loading of epoch {epoch} broke off: {what} "
                    "(a worker that is killed has often run out of memory: take fewer with TRAIN.NUM_WORKER; one that "
                    "is stuck waits for the disk)"
                ) from error
            if batch is None:
                return
            if isinstance(batch, SeqTrackError):
                raise batch
            yield batch

    def _start(self) -> Iterator[TrainingBatch | SeqTrackError]:
        try:
            batches = iter(self._loader)
        except OSError as error:
            number = self._loader.num_workers
            raise ConfigError(f"TRAIN.NUM_WORKER: {number} loader workers cannot be started: {error}") from error
        _deaths.listen()
        return batches

    def _is_of_workers(self, error: BaseException) -> bool:
        """Whether workers or the way to them have broken, rather than the code that runs in one or here."""
        if not self._loader.num_workers or (str(error).startswith("Caught ") and "pin memory thread" not in str(error)):
            return False
        texts = ("DataLoader ", "Pin memory thread", "Too many open files", "unable to ", "received ")
        return not isinstance(error, RuntimeError) or str(error).startswith(texts)

    def close(self) -> None:
        """End the workers at once; the loader gives no more batches."""
        batches = getattr(self._loader, "_iterator", None)  # the DataLoader has no public way
        for worker in getattr(batches, "_workers", ()):
            with contextlib.suppress(RuntimeError):  # PyTorch's handler complains of each
                worker.kill()
                worker.join(timeout=5)
        for queue in getattr(batches, "_index_queues", ()):
            queue.cancel_join_thread()  # what is under way to a worker that has ended is never taken
        _deaths.error = None
