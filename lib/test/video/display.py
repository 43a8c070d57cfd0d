"""What is drawn on a frame, and the parts that need a display: choosing the target with the mouse, and watching."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache

import cv2
import numpy as np

from lib.test.tracker.lost import Status
from lib.test.video.targets import Seen
from lib.utils.errors import InputError

BOX_COLOR = (64, 224, 120)
MASK_COLOR = (255, 176, 32)
TARGET_COLORS = (
    BOX_COLOR,
    (255, 176, 32),
    (80, 170, 255),
    (255, 96, 96),
    (200, 120, 255),
    (250, 240, 90),
    (0, 230, 230),
)
STATE_COLORS: dict[Status | None, "Color"] = {
    None: BOX_COLOR,
    "tracking": BOX_COLOR,
    "uncertain": (255, 190, 40),
    "lost": (255, 84, 84),
}
BAR_COLOR = (96, 100, 108)
WHITE, PALE, DARK = (255, 255, 255), (245, 245, 245), (16, 18, 22)
FONT = cv2.FONT_HERSHEY_SIMPLEX
MAX_CONFIDENCE = 40.0
_SUBPIXEL_BITS = 3
_STOP_KEYS = (27, ord("q"))

Color = tuple[int, int, int]
"""RGB."""


def draw_overlay(image: np.ndarray, target: Seen | None, frame: int, mask: np.ndarray | None = None) -> np.ndarray:
    """Return a copy of a frame with the tracker's answer drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        target: None before it comes.
        frame: number of the frame, from 0.
        mask: (H, W) uint8, not 0 on the target.
    """
    canvas = np.ascontiguousarray(image).copy()
    scale = min(canvas.shape[:2]) / 480
    if mask is not None:
        _draw_mask(canvas, mask, scale)
    if target is not None:
        _draw_target(canvas, target, scale, STATE_COLORS[target.state])
    _draw_label(canvas, target, frame, scale)
    return canvas


def draw_targets(image: np.ndarray, targets: Mapping[int, Seen]) -> np.ndarray:
    """Return a copy of a frame with the boxes of several targets, each in a color of its own with its number.

    Args:
        image: (H, W, 3) uint8 RGB.
        targets: by their numbers.
    """
    canvas = np.ascontiguousarray(image).copy()
    scale = min(canvas.shape[:2]) / 480
    for id, target in targets.items():
        color = TARGET_COLORS[id % len(TARGET_COLORS)]
        place = _draw_target(canvas, target, scale, color)
        parts: list[tuple[str, Color, Color]] = [(f"#{id}", color, DARK)]
        if target.state in ("uncertain", "lost"):
            parts.append((target.state, DARK, STATE_COLORS[target.state]))
        if target.confidence is not None:
            parts.append((f"{target.confidence:.0f}" if target.score is None else f"{target.score:.2f}", color, DARK))
        _draw_tag(canvas, parts, place, scale)
    return canvas


def _draw_tag(
    canvas: np.ndarray, parts: Sequence[tuple[str, "Color", "Color"]], place: Sequence[float], scale: float
) -> None:
    """Write texts, each in a color on a ground, above a box, or in it at the edge of the image."""
    size, thickness = _text_size(scale)
    pad = max(2, round(3 * scale))
    widths = [cv2.getTextSize(text, FONT, size, thickness)[0][0] + 2 * pad for text, *_ in parts]
    height = cv2.getTextSize("#0", FONT, size, thickness)[0][1] + 2 * pad
    left = int(np.clip(round(place[0]), 0, max(0, canvas.shape[1] - sum(widths))))
    bottom = int(np.clip(round(place[1]), height, canvas.shape[0]))
    for (text, color, ground), width in zip(parts, widths, strict=True):
        cv2.rectangle(canvas, (left, bottom - height), (left + width, bottom), ground, cv2.FILLED)
        cv2.putText(canvas, text, (left + pad, bottom - pad), FONT, size, color, thickness, cv2.LINE_AA)
        left += width


def _text_size(scale: float) -> tuple[float, int]:
    """Size of the letters and thickness of their lines."""
    return max(0.32, 0.5 * scale), max(1, round(scale))


def _draw_target(canvas: np.ndarray, target: Seen, scale: float, color: "Color") -> Sequence[float]:
    """Draw a target's box and return what was drawn: of a lost one, in dashes, where it was last seen."""
    if target.state != "lost":
        _draw_smooth_box(canvas, target.box_xywh, scale, color)
        return target.box_xywh
    box = target.box_xywh if target.sure_xywh is None else target.sure_xywh
    draw_box(canvas, box, color, max(0, round(0.6 * scale)), dashes=(4, 3))
    return box


def _draw_smooth_box(canvas: np.ndarray, box_xywh: Sequence[float], scale: float, color: "Color") -> None:
    """A thin bright line on a dark seam, so that it shows on any ground, at fractions of a pixel: it does not jump."""
    x, y, w, h = box_xywh
    one = 1 << _SUBPIXEL_BITS
    corners = [(round(cx * one), round(cy * one)) for cx, cy in ((x, y), (x + w, y + h))]
    line = max(1, round(1.6 * scale))
    for shade, thickness in ((DARK, line + 2), (color, line)):
        cv2.rectangle(canvas, *corners, shade, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def draw_box(
    canvas: np.ndarray, box_xywh: Sequence[float], color: Color, half: int, dashes: Sequence[float] = ()
) -> None:
    """Draw a box, whose corners may be anywhere, line by line; see ``draw_line``."""
    height, width = canvas.shape[:2]
    x, y, w, h = box_xywh
    # Far outside a line is not seen, and its dashes cost time.
    left, right = np.clip((x, x + w), -width, 2 * width)
    top, bottom = np.clip((y, y + h), -height, 2 * height)
    corners = np.rint([(left, top), (right, top), (right, bottom), (left, bottom)])
    for ends in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        draw_line(canvas, np.array(ends), color, half, dashes)


def draw_line(canvas: np.ndarray, ends: np.ndarray, color: Color, half: int, dashes: Sequence[float] = ()) -> None:
    """Draw a line on a seam of the opposite brightness, so that it shows on any ground.

    Args:
        canvas: (H, W, 3) uint8.
        ends: (2, 2) x, y in pixels, of a level or upright line.
        color: of the line.
        half: of its width, which is ``2 * half + 1`` pixels.
        dashes: lengths drawn and left out in turn, in line widths; none for a solid line.
    """
    seam = DARK if sum(color) > 255 else WHITE
    gaps = np.arange(len(dashes)) % 2  # longer, since the seams reach into them
    pieces = _dashes(ends, (2 * half + 2) * (np.array(dashes) + gaps)) if dashes else [ends]
    for shade, around in ((seam, half + 1), (color, half)):
        for piece in np.rint(pieces).astype(int):
            left, top = np.maximum(piece.min(axis=0) - around, 0)
            right, bottom = np.maximum(piece.max(axis=0) + around + 1, 0)
            canvas[top:bottom, left:right] = shade


def _dashes(ends: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    """The drawn parts of a line, each (2, 2); ``lengths``: pixels drawn and left out in turn."""
    whole = float(np.hypot(*(ends[1] - ends[0])))
    if whole == 0:
        return [ends]
    marks = np.cumsum([0.0, *np.tile(lengths, int(whole / lengths.sum()) + 1)])
    parts = [(begin, min(end, whole)) for begin, end in zip(marks[:-1:2], marks[1::2], strict=True) if begin < whole]
    return [ends[0] + np.array(part)[:, None] / whole * (ends[1] - ends[0]) for part in parts]


def _draw_mask(canvas: np.ndarray, mask: np.ndarray, scale: float) -> None:
    """Tint the target and outline it."""
    inside = mask != 0
    canvas[inside] = (0.6 * canvas[inside] + 0.4 * np.array(MASK_COLOR)).astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, outlines, -1, MASK_COLOR, max(1, round(1.5 * scale)), cv2.LINE_AA)


def _draw_label(canvas: np.ndarray, target: Seen | None, frame: int, scale: float) -> None:
    """Write frame number, state and score on a shaded strip in the top left corner, with a bar below the text.

    Without lost and found it is the confidence.
    """
    size, thickness = _text_size(scale)
    text, widest, share = "no target", "00000   conf 00.0", 0.0
    if target is not None and target.score is not None:
        text, widest, share = f"{target.state} {target.score:.2f}", "00000   uncertain 0.00", target.score
    elif target is not None and target.confidence is not None:
        text, share = f"conf {target.confidence:4.1f}", target.confidence / MAX_CONFIDENCE
    if target is not None and target.confidence is None:
        text = "init"
    # The strip is as wide as the widest text of its kind: it does not twitch from frame to frame.
    (text_width, text_height), _ = cv2.getTextSize(widest, FONT, size, thickness)
    pad = max(3, round(7 * scale))
    bar = max(2, round(3 * scale))
    width, height = text_width + 2 * pad, text_height + 2 * pad + bar
    strip = canvas[:height, :width]
    strip[:] = cv2.addWeighted(strip, 0.35, np.full_like(strip, DARK), 0.65, 0)
    color = STATE_COLORS[target.state if target is not None else None]
    place = (pad, pad + text_height)
    cv2.putText(canvas, f"{frame:05d}", place, FONT, size, PALE, thickness, cv2.LINE_AA)
    left = pad + cv2.getTextSize(f"{frame:05d}   ", FONT, size, thickness)[0][0]
    shade = PALE if color == BOX_COLOR else color
    cv2.putText(canvas, text, (left, pad + text_height), FONT, size, shade, thickness, cv2.LINE_AA)
    strip[-bar:] = BAR_COLOR
    share = min(max(0.0, share), 1.0)  # NaN counts as 0
    strip[-bar:, : round(share * strip.shape[1])] = color


@lru_cache(maxsize=1)
def has_display() -> bool:
    """Whether OpenCV can open windows here; asked once, of another process.

    Where a display is named but not there, the window library ends the process that asks.
    """
    if not (sys.platform in ("win32", "darwin") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return False
    code = "import cv2; cv2.namedWindow('test', cv2.WINDOW_NORMAL); cv2.destroyAllWindows()"
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


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


def show_frame(image: np.ndarray) -> bool:
    """Show a frame, (H, W, 3) uint8 RGB, in a window; False once the user asks to stop (q or Esc).

    Raises:
        InputError: if there is no display.
    """
    try:
        cv2.imshow("SeqTrack (q ends)", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        return cv2.waitKey(1) & 0xFF not in _STOP_KEYS
    except cv2.error as error:
        raise InputError("--show: OpenCV cannot open a window here") from error
