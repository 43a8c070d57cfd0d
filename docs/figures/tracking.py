"""Draw the animation at the top of the README: the bundled tracker loses a hidden target and finds it again.

``python docs/figures/tracking.py`` writes tracking.gif beside this file, from a rendered video that nothing was trained
on. The box is green, orange while the tracker is uncertain and red while the target is lost; the bar is the score.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # this checkout, whatever is installed

import cv2
import numpy as np
from PIL import Image

import seqtrack
from lib.synthetic import SyntheticSequence

SEED = 3
FRAMES = range(0, 94, 2)  # that are shown
COLORS = {"tracking": (40, 220, 60), "uncertain": (255, 165, 0), "lost": (235, 40, 40)}


def draw(frame: np.ndarray, result: seqtrack.Result) -> np.ndarray:
    """A copy of a frame (H, W, 3) with the box, the state and the score."""
    shown, color = frame.copy(), COLORS[result.state]
    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in result.corners())
    if not result.lost:
        cv2.rectangle(shown, (x1, y1), (x2, y2), color, 2)
    cv2.rectangle(shown, (0, height - 14), (width, height), (20, 20, 20), -1)
    cv2.rectangle(shown, (80, height - 10), (80 + round(result.score * (width - 90)), height - 5), color, -1)
    cv2.putText(shown, result.state, (6, height - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.4, color, 1, cv2.LINE_AA)
    return shown


def render(seed: int = SEED, frames: Sequence[int] = FRAMES) -> list[np.ndarray]:
    """The frames of the figure, (240, 320, 3) uint8 RGB."""
    video = SyntheticSequence(seed, num_frames=100, size=(320, 240), difficulty="medium", split="picture")
    tracker = seqtrack.load(device="cpu", lost=seqtrack.LostOptions(search=True))
    tracker.init(video.frame(0), video.boxes_xywh[0])
    first = seqtrack.Result(tuple(video.boxes_xywh[0].tolist()), 1.0, 40.0)
    shown = [draw(video.frame(0), first)]
    for index in range(1, max(frames) + 1):
        frame = video.frame(index)
        result = tracker.update(frame)
        if index in frames:
            shown.append(draw(frame, result))
    return shown


def save(shown: Sequence[np.ndarray], path: Path) -> None:
    """Write an animation that repeats, 12 frames a second."""
    palette = Image.fromarray(np.concatenate(shown[:: max(1, len(shown) // 8)])).quantize(96)
    frames = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in shown]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=80, loop=0, optimize=True)


if __name__ == "__main__":
    save(render(), Path(__file__).resolve().parent / "tracking.gif")
