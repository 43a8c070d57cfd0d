"""The checkpoints of a run: naming, keeping the newest, finding where to go on, refusing other experiments'."""

import contextlib
import copy
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from lib.config.paths import BEST_NAME
from lib.config.seqtrack.config import saved_options
from lib.train.distributed import UNINTERRUPTED
from lib.train.trainers.resume_state import check_plain_state
from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError
from lib.utils.files import atomic_path

logger = logging.getLogger(__name__)

_NAME = re.compile(r"SEQTRACK_ep(\d{4,})(?:_step(\d{6,}))?\.pth\.tar")
_WRITE_ERRORS = ("PytorchStreamWriter", "inline_container", "iostream error")
"""What a RuntimeError of ``torch.save`` says where the file cannot be written, by where the disk is full."""

FREE_OPTIONS = (
    "TEST",
    "DATA.VAL",
    "DATA.BAD_SAMPLES",
    "DATA.MAX_BAD_SAMPLES",
    "DATA.SYNTHETIC.CACHE",
    "TRAIN.EPOCH",
    "TRAIN.NUM_WORKER",
    "TRAIN.PRINT_INTERVAL",
    "TRAIN.VAL_EPOCH_INTERVAL",
    "TRAIN.VAL_IMAGE_INTERVAL",
    "TRAIN.SAVE_EVERY",
    "TRAIN.SAVE_EVERY_STEPS",
    "TRAIN.KEEP_CHECKPOINTS",
    "TRAIN.KEEP_EVERY",
    "TRAIN.COMPILE",
    "TRAIN.TF32",
    "TRAIN.ALLOW_MISSING_FILES",
    # How a step's samples are shared out; their number is compared by itself.
    "TRAIN.BATCH_SIZE",
    "TRAIN.GLOBAL_BATCH",
    "TRAIN.BEST_METRIC",
    "TRAIN.PATIENCE",
    "MODEL.INIT",
    "MODEL.ENCODER.PRETRAIN_TYPE",
    "MODEL.ENCODER.USE_CHECKPOINT",
)
"""Options that may change between a run and its continuation: they have no say in the weights from there on."""


class CheckpointStore:
    """Checkpoints of one experiment in one folder.

    After each epoch ``SEQTRACK_ep%04d.pth.tar`` is written. Inside epoch *e* a run may write
    ``SEQTRACK_ep<e>_step<steps done in it>.pth.tar``; the newest one is kept until the epoch is complete.

    Args:
        folder: where they are.
        keep: number of newest epochs kept; 0 keeps all.
        keep_every: epochs divisible by this are kept for good; 0 keeps none.
    """

    def __init__(self, folder: Path, keep: int = 3, keep_every: int = 0) -> None:
        self.folder = folder
        self.keep = keep
        self.keep_every = keep_every
        self._writer = ThreadPoolExecutor(1, "write checkpoint")  # the interpreter's end waits for it
        self._writing: Future[Path] | None = None

    def path(self, epoch: int, step: int = 0) -> Path:
        """File of the checkpoint after ``epoch``, or after ``step`` steps of the epoch that follows it."""
        name = f"SEQTRACK_ep{epoch + 1:04d}_step{step:06d}" if step else f"SEQTRACK_ep{epoch:04d}"
        return self.folder / f"{name}.pth.tar"

    @property
    def best_path(self) -> Path:
        """File of the best checkpoint so far."""
        return self.folder / BEST_NAME

    def _found(self) -> dict[tuple[int, int], Path]:
        """Checkpoints on disk by epochs done and steps done after them, oldest first."""
        found = {}
        for path in self.folder.iterdir() if self.folder.is_dir() else ():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                inside = match[2] is not None
                found[int(match[1]) - inside, int(match[2] or 0)] = path
        return dict(sorted(found.items()))

    def epochs(self) -> dict[int, Path]:
        """Checkpoints of whole epochs on disk, oldest first."""
        return {epoch: path for (epoch, step), path in self._found().items() if step == 0}

    def latest(self) -> Path | None:
        """The newest checkpoint, or ``None``."""
        return next(reversed(self._found().values()), None)

    def save(self, state: Mapping[str, Any], epoch: int, step: int = 0, is_best: bool = False) -> Path:
        """Write a checkpoint, then remove those that it makes superfluous.

        Args:
            state: what is saved.
            epoch: epochs done.
            step: steps done in the epoch after them.
            is_best: whether it also becomes ``best_path``, where it outlives its epoch.

        Raises:
            CheckpointError: if it cannot be written, such as on a full disk; earlier ones stay as they are.
        """
        path = self.path(epoch, step)
        try:
            save_checkpoint(state, path)
            if is_best:
                link_or_copy(path, self.best_path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as either
            if isinstance(error, RuntimeError) and not any(text in str(error) for text in _WRITE_ERRORS):
                raise
            reason = " ".join(str(error).split())[:200]
            reason = reason if isinstance(error, OSError) else f"is the disk full? {reason}"
            raise CheckpointError(f"{path}: cannot be written: {reason}; earlier checkpoints are untouched") from error
        for place, old in self._found().items():
            if place[1] and place < (epoch, step):
                old.unlink(missing_ok=True)
        if self.keep > 0:
            mine = [(number, old) for number, old in self.epochs().items() if number <= epoch]
            for number, old in mine[: -self.keep]:
                if not (self.keep_every and number % self.keep_every == 0):
                    old.unlink(missing_ok=True)
        logger.info("saved %s", path)
        return path

    def save_in_background(self, state: Mapping[str, Any], epoch: int, step: int = 0, is_best: bool = False) -> None:
        """As ``save``, from a copy in the memory of the CPU, while the training goes on.

        Raises:
            CheckpointError: if the one before could not be written.
        """
        self.wait()
        self._writing = self._writer.submit(self._save_uninterrupted, _copy_to_cpu(state), epoch, step, is_best)

    def _save_uninterrupted(self, state: Mapping[str, Any], epoch: int, step: int, is_best: bool) -> Path:
        with UNINTERRUPTED:
            return self.save(state, epoch, step, is_best)

    def check(self) -> None:
        """Raise CheckpointError if the checkpoint in the background could not be written; waits for nothing."""
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the checkpoint in the background. Raises CheckpointError if it could not be written."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    @contextlib.contextmanager
    def finishing(self) -> Iterator[None]:
        """Wait for the checkpoint in the background at the end of the block; after another error it is only logged."""
        try:
            yield
        except BaseException:  # also Ctrl-C, since the folder must not be given up before
            try:
                self.wait()
            except CheckpointError as error:
                logger.error("%s", error)
            raise
        self.wait()

    def remove_leftovers(self) -> None:
        """Remove halves of checkpoints that a killed run was writing."""
        for path in self.folder.glob(".SEQTRACK_*.tar") if self.folder.is_dir() else ():
            path.unlink(missing_ok=True)
            logger.info("removed %s, which an earlier run did not finish writing", path)

    def set_aside(self) -> Path | None:
        """Move checkpoints of an earlier run into a folder beside them, so that a fresh run mixes with nothing."""
        earlier = [*self._found().values(), *filter(Path.is_file, (self.best_path,))]
        if not earlier:
            return None
        number = 1
        while (target := self.folder / f"earlier_{number:02d}").exists():
            number += 1
        target.mkdir()
        for path in earlier:
            path.rename(target / path.name)
        return target


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or a copy where the disk knows no links; ``target`` is replaced whole."""
    with atomic_path(target) as temporary:
        try:
            temporary.unlink(missing_ok=True)
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _copy_to_cpu(value: Any) -> Any:
    """A copy of nested tensors and plain values that later steps do not change."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        copied = copy.copy(value)
        copied.update({key: _copy_to_cpu(item) for key, item in value.items()})
        return copied
    return type(value)(map(_copy_to_cpu, value)) if isinstance(value, list | tuple) else value


def find_resume_point(store: CheckpointStore, resume: str) -> Path | None:
    """Decide where training goes on, and say so in the log.

    Args:
        store: checkpoints of the experiment.
        resume: ``auto`` (the newest one, if any), ``never``, or the path of a checkpoint.

    Returns:
        The checkpoint to continue from, ``None`` to start afresh.
    """
    if resume == "never":
        logger.info("starting afresh (--resume never); earlier checkpoints are moved away after the first step")
        return None
    path = store.latest() if resume == "auto" else Path(resume)
    if path is None:
        logger.info("starting afresh: no checkpoint in %s", store.folder)
    else:
        logger.info("resuming from %s (--resume %s)", path, "auto" if resume == "auto" else "PATH")
    return path


def load_resume_state(path: Path, config: Mapping[str, Any], samples_per_step: int) -> dict[str, Any]:
    """Read a checkpoint to continue from.

    Args:
        path: the file.
        config: the configuration of the run that continues.
        samples_per_step: samples of a step, over all processes, of the run that continues.

    Raises:
        CheckpointError: if it holds weights only or something else than it should, or was made with another
            configuration or number of samples in a step; the message says what.
    """
    state = load_checkpoint(path)
    check_plain_state(state, path)
    changed = config_differences(state["config"], config)
    if changed:
        raise CheckpointError(
            f"{path}: made with another configuration: {'; '.join(changed[:5])}"
            f"{f' and {len(changed) - 5} more' if len(changed) > 5 else ''}; --resume never starts afresh"
        )
    started, given = (saved_options(one).get("MODEL.INIT") or "" for one in (state["config"], config))
    if given not in ("", started):
        logger.warning("MODEL.INIT: %s is not used: the run that goes on started from %s", given, started or "no such")
    if state["samples_per_step"] != samples_per_step:
        raise CheckpointError(
            f"{path}: made with {state['samples_per_step']} samples in a step, over all processes; now it would be "
            f"{samples_per_step}: set TRAIN.GLOBAL_BATCH to {state['samples_per_step']}, or start as many processes "
            "as before; --resume never starts afresh"
        )
    return state


def config_differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Options that differ in a way that matters, each as ``KEY was saved value, is value``.

    An option that one of them does not know is younger than it; it was made as the default says.
    """
    before, after, absent = saved_options(saved), saved_options(current), "absent"
    return [
        f"{key} was {before.get(key, absent)}, is {after.get(key, absent)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent)
        and not any(f"{key}.".startswith(f"{option}.") for option in FREE_OPTIONS)
    ]


def plain_config(section: Any) -> Any:
    """A configuration as plain dictionaries and lists, fit for a checkpoint."""
    if isinstance(section, Mapping):
        return {str(key): plain_config(value) for key, value in section.items()}
    return [plain_config(item) for item in section] if isinstance(section, list | tuple) else section
