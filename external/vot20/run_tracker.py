"""The program that the VOT toolkit starts: SeqTrack, with Alpha-Refine where masks are wanted.

The entries of ``trackers.ini`` say ``from external.vot20.run_tracker import run; run('seqtrack_b256', masks=True)``.
"""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from lib.test.vot20.seqtrack_vot20 import Segmenter, VotTracker, load_vot_tracker, run_vot


def load(
    config: str | Path,
    *,
    masks: bool = False,
    checkpoint: str | Path | None = None,
    ar_checkpoint: str | Path | None = None,
    save_dir: str | Path | None = None,
    device: str = "auto",
    dtype: str = "float32",
) -> VotTracker:
    """Load the tracker of an experiment.

    Args:
        config: name of an experiment, or path of its YAML file.
        masks: report masks, made by Alpha-Refine, instead of boxes.
        checkpoint: weights of SeqTrack; see ``lib.test.vot20.seqtrack_vot20.load_vot_tracker``.
        ar_checkpoint: weights of Alpha-Refine, a file or a folder; by default as external/AR/README.md says.
        save_dir: where ``checkpoints/`` is.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:<index>`` or ``mps``.
        dtype: of SeqTrack; Alpha-Refine is always float32.

    Raises:
        CheckpointError: if weights are missing, damaged, or those of another network.
        InputError: if there is no such device.
    """

    def make_segmenter() -> Segmenter:
        from external.AR import AlphaRefine  # boxes need neither this import nor its time

        return AlphaRefine(ar_checkpoint, device)

    return load_vot_tracker(
        config,
        make_segmenter if masks else None,
        checkpoint=checkpoint,
        save_dir=save_dir,
        device=device,
        dtype=dtype,
    )


def run(config: str | Path, **options: Any) -> None:
    """Serve the toolkit, then end the process; the arguments are those of :func:`load`.

    The exit code is 0, 2 after a mistake of the user, or 1 after a crash.
    """
    sys.exit(run_vot(partial(load, config, **options)))
