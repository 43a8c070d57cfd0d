"""The parts that need a display: choosing the target with the mouse, and watching."""

import os
import subprocess
import sys
from functools import lru_cache

import cv2
import numpy as np

from lib.utils.errors import InputError

_STOP_KEYS = (27, ord("q"))


@lru_cache(maxsize=1)
def has_display() -> bool:
    """Whether OpenCV can open windows here; asked once, of another process.

    Where a display is named but not there, the window library ends the process that asks.
    """
    if not (sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    code = "import cv2; cv2.namedWindow('test', cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
    try:
        return (
            subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False).returncode == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False


def select_box(image: np.ndarray) -> list[float]:
    """Let the user draw the target's box.

    Args:
        image: (H, W, 3) uint8 RGB.

    Returns:
        ``[x, y, w, h]`` in pixels.

    Raises:
        InputError: if there is no display, OpenCV comes without windows, or nothing was drawn.
    """
    if not has_display():
        raise InputError("without a display the target must be given: --init_box x,y,w,h")
    title = "draw a box around the target, then press Enter"
    try:
        box = cv2.selectROI(title, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), True, False)
        cv2.destroyWindow(title)
    except cv2.error as error:
        raise InputError("OpenCV cannot open a window here; give the target with --init_box x,y,w,h") from error
    if box[2] <= 0 or box[3] <= 0:
        raise InputError("no box was drawn")
    return [float(value) for value in box]


class Preview:
    """A window that shows the annotated frames.

    Raises:
        InputError: if there is no display.
    """

    TITLE = "SeqTrack (q ends)"

    def __init__(self) -> None:
        if not has_display():
            raise InputError("--show needs a display")

    def show(self, image: np.ndarray) -> bool:
        """Show a frame, (H, W, 3) uint8 RGB; False once the user asks to stop (q or Esc)."""
        try:
            cv2.imshow(self.TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            return cv2.waitKey(1) & 0xFF not in _STOP_KEYS
        except cv2.error as error:
            raise InputError("--show: OpenCV cannot open a window here") from error
