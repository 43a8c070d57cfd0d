"""SeqTrack as a library: follow an object, given its box in the first frame, through the frames of your own program.

    import seqtrack

    tracker = seqtrack.load("seqtrack_demo")  # bundled weights; or a published name and checkpoint=FILE
    tracker.init(frame, (295, 12, 300, 227))  # (H, W, 3) uint8 RGB; x, y, width, height in pixels
    result = tracker.update(next_frame)  # result.box, result.score, result.lost

Reference: docs/library.md. PyTorch is imported by the first call that needs it, not by ``import seqtrack``.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqtrack.hub import SeqTrack


def _check_lib() -> None:
    """Raise ImportError if ``import lib`` finds another package than the one that comes with this one."""
    own = Path(__file__).resolve().parents[1] / "lib" / "__init__.py"
    try:
        spec = importlib.util.find_spec("lib")
    except ValueError:  # a module without a specification
        spec = None
    found = spec.origin if spec is not None else None
    if found is None or Path(found).resolve() != own:
        raise ImportError(f"seqtrack needs its own package 'lib' ({own.parent}), but Python finds {found or 'none'}")


_check_lib()

from lib.test.tracker.lost import LostOptions  # noqa: E402
from lib.utils.errors import CheckpointError, ConfigError, DataError, InputError, SeqTrackError  # noqa: E402
from seqtrack.frames import Color, Frame  # noqa: E402
from seqtrack.multi import MultiTracker, TargetId, VideoId  # noqa: E402
from seqtrack.tracking import Box, Result, State, Tracker, available, load, track_video  # noqa: E402

__all__ = [
    "Box",
    "CheckpointError",
    "Color",
    "ConfigError",
    "DataError",
    "Frame",
    "InputError",
    "LostOptions",
    "MultiTracker",
    "Result",
    "SeqTrack",
    "SeqTrackError",
    "State",
    "TargetId",
    "Tracker",
    "VideoId",
    "available",
    "load",
    "track_video",
]


def __getattr__(name: str) -> Any:
    if name == "SeqTrack":  # needs PyTorch and the extra `hub`
        from seqtrack.hub import SeqTrack

        return SeqTrack
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
