"""The checkpoints of a run: naming, keeping the newest, finding where to go on, refusing other experiments'."""

import logging
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.utils.checkpoint import load_checkpoint, save_checkpoint
from lib.utils.errors import CheckpointError

logger = logging.getLogger(__name__)

_NAME = re.compile(r"SEQTRACK_ep(\d{4,})\.pth\.tar")

FREE_OPTIONS = (
    "TEST",
    "DATA.VAL",
    "TRAIN.EPOCH",
    "TRAIN.NUM_WORKER",
    "TRAIN.PRINT_INTERVAL",
    "TRAIN.VAL_EPOCH_INTERVAL",
    "TRAIN.SAVE_EVERY",
    "TRAIN.KEEP_CHECKPOINTS",
    "MODEL.ENCODER.PRETRAIN_TYPE",
    "MODEL.ENCODER.USE_CHECKPOINT",
)
"""Options that may change between a run and its continuation: they have no say in the weights from there on."""


class CheckpointStore:
    """Checkpoints of one experiment in one folder.

    Args:
        folder: where ``SEQTRACK_ep%04d.pth.tar`` lie.
        keep: number of newest ones kept; 0 keeps all.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep

    def path(self, epoch: int) -> Path:
        """File of the checkpoint after ``epoch``."""
        return self.folder / f"SEQTRACK_ep{epoch:04d}.pth.tar"

    def epochs(self) -> dict[int, Path]:
        """Checkpoints on disk by epoch, oldest first."""
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        found = [(int(match[1]), path) for path in files if (match := _NAME.fullmatch(path.name))]
        return dict(sorted(found))

    def latest(self) -> Path | None:
        """The newest checkpoint, or ``None``."""
        return next(reversed(self.epochs().values()), None)

    def save(self, state: Mapping[str, Any], epoch: int) -> Path:
        """Write the checkpoint of an epoch, then remove those that are older than the newest ``keep``."""
        path = self.path(epoch)
        save_checkpoint(state, path)
        if self.keep > 0:
            older = [old for number, old in self.epochs().items() if number <= epoch]
            for old in older[: -self.keep]:
                old.unlink()
        return path

    def set_aside(self) -> Path | None:
        """Move checkpoints of an earlier run into a folder beside them, so that a fresh run mixes with nothing."""
        earlier = self.epochs()
        if not earlier:
            return None
        number = 1
        while (target := self.folder / f"earlier_{number:02d}").exists():
            number += 1
        target.mkdir()
        for path in earlier.values():
            path.rename(target / path.name)
        return target


def find_resume_point(store: CheckpointStore, resume: str) -> Path | None:
    """Decide where training goes on, and say so in the log.

    Args:
        store: checkpoints of the experiment.
        resume: ``auto`` (the newest one, if any), ``never``, or the path of a checkpoint.

    Returns:
        The checkpoint to continue from, ``None`` to start afresh.
    """
    if resume == "never":
        moved = store.set_aside()
        logger.info("starting afresh (--resume never)%s", f"; earlier checkpoints moved to {moved}" if moved else "")
        return None
    path = store.latest() if resume == "auto" else Path(resume)
    if path is None:
        logger.info("starting afresh: no checkpoint in %s", store.folder)
    else:
        logger.info("resuming from %s (--resume %s)", path, "auto" if resume == "auto" else "PATH")
    return path


def load_resume_state(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """Read a checkpoint to continue from.

    Args:
        path: the file.
        config: the configuration of the run that continues.

    Raises:
        CheckpointError: if it holds weights only, or was made with another configuration; the message
            says what differs.
    """
    state = load_checkpoint(path)
    needed = ("epoch", "net", "optimizer", "scheduler", "scaler", "rng", "config")
    missing = [key for key in needed if key not in state]
    if missing:
        raise CheckpointError(
            f"{path}: training cannot go on from it, it has no {', '.join(missing)}; --resume never starts afresh"
        )
    changed = config_differences(state["config"], config)
    if changed:
        raise CheckpointError(
            f"{path}: made with another configuration: {'; '.join(changed[:5])}"
            f"{f' and {len(changed) - 5} more' if len(changed) > 5 else ''}; --resume never starts afresh"
        )
    return state


def config_differences(saved: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Options that differ in a way that matters, each as ``KEY: saved value, now value``."""
    before, after = _flatten(saved), _flatten(current)
    absent = "absent"
    return [
        f"{key} was {before.get(key, absent)}, is {after.get(key, absent)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, absent) != after.get(key, absent)
        and not any(f"{key}.".startswith(f"{free}.") for free in FREE_OPTIONS)
    ]


def _flatten(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def plain_config(section: Any) -> Any:
    """A configuration as plain dictionaries and lists, fit for a checkpoint."""
    if isinstance(section, Mapping):
        return {str(key): plain_config(value) for key, value in section.items()}
    return [plain_config(item) for item in section] if isinstance(section, list | tuple) else section


def rng_state() -> dict[str, Any]:
    """State of the global generators (dropout, stochastic depth) as tensors and plain values."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(keys.astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Put the global generators back where ``rng_state`` saw them."""
    version, values, gauss = state["python"]
    random.setstate((version, tuple(values), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
