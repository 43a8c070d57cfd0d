"""``torch.hub.load(repo, "seqtrack_b256", checkpoint="FILE")`` gives a tracker; nothing is downloaded."""

from functools import partial as _partial
from pathlib import Path as _Path

import seqtrack as _seqtrack

dependencies = ["torch", "torchvision", "timm", "numpy", "cv2", "yaml", "easydict", "safetensors"]


def tracker(name: str = "seqtrack_demo", checkpoint: str | _Path | None = None, **options) -> _seqtrack.Tracker:
    """Tracker of an experiment; takes what ``seqtrack.load`` takes.

    Raises:
        SeqTrackError: as ``seqtrack.load``.
    """
    return _seqtrack.load(name, checkpoint, **options)


for _name in _seqtrack.available():  # each experiment is an entry point of its own
    globals()[_name] = _partial(tracker, _name)
    globals()[_name].__doc__ = f"Tracker of the experiment {_name}; takes what ``seqtrack.load`` takes but the name."
del _name
