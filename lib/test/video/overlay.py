"""What is drawn on a frame: the box, and a small label with frame number and confidence."""

from collections.abc import Sequence

import cv2
import numpy as np

BOX_COLOUR = (64, 224, 120)
MASK_COLOUR = (255, 176, 32)
TEXT_COLOUR = (245, 245, 245)
SHADE_COLOUR = (16, 18, 22)
BAR_COLOUR = (96, 100, 108)
FONT = cv2.FONT_HERSHEY_SIMPLEX
MAX_CONFIDENCE = 40.0
_SUBPIXEL_BITS = 3


def draw_overlay(
    image: np.ndarray, box_xywh: Sequence[float], confidence: float | None, frame: int, mask: np.ndarray | None = None
) -> np.ndarray:
    """Return a copy of a frame with the tracker's answer drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_xywh: in pixels.
        confidence: 0 to 40; None on the first frame, whose box was given.
        frame: number of the frame, from 0.
        mask: (H, W) uint8, not 0 on the target.
    """
    canvas = np.ascontiguousarray(image).copy()
    scale = min(canvas.shape[:2]) / 480
    if mask is not None:
        _draw_mask(canvas, mask, scale)
    _draw_box(canvas, box_xywh, scale)
    _draw_label(canvas, confidence, frame, scale)
    return canvas


def _draw_box(canvas: np.ndarray, box_xywh: Sequence[float], scale: float) -> None:
    """Draw the box as a thin bright line on a dark seam, so that it shows on any ground."""
    x, y, w, h = box_xywh
    one = 1 << _SUBPIXEL_BITS
    corners = [(round(cx * one), round(cy * one)) for cx, cy in ((x, y), (x + w, y + h))]
    line = max(1, round(1.6 * scale))
    for color, thickness in ((SHADE_COLOUR, line + 2), (BOX_COLOUR, line)):
        cv2.rectangle(canvas, *corners, color, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)


def _draw_mask(canvas: np.ndarray, mask: np.ndarray, scale: float) -> None:
    """Tint the target and outline it."""
    inside = mask != 0
    canvas[inside] = (0.6 * canvas[inside] + 0.4 * np.array(MASK_COLOUR)).astype(np.uint8)
    outlines, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, outlines, -1, MASK_COLOUR, max(1, round(1.5 * scale)), cv2.LINE_AA)


def _draw_label(canvas: np.ndarray, confidence: float | None, frame: int, scale: float) -> None:
    """Write frame number and confidence on a shaded strip in the top left corner, with a bar below the text."""
    text = f"{frame:05d}   " + ("init" if confidence is None else f"conf {confidence:4.1f}")
    size = max(0.32, 0.5 * scale)
    thickness = max(1, round(scale))
    # The strip is as wide as the widest text of its kind: it does not twitch from frame to frame.
    (text_width, text_height), _ = cv2.getTextSize("00000   conf 00.0", FONT, size, thickness)
    pad = max(3, round(7 * scale))
    bar = max(2, round(3 * scale))
    width, height = text_width + 2 * pad, text_height + 2 * pad + bar
    strip = canvas[:height, :width]
    shade = np.full_like(strip, SHADE_COLOUR)
    strip[:] = cv2.addWeighted(strip, 0.35, shade, 0.65, 0)
    cv2.putText(canvas, text, (pad, pad + text_height), FONT, size, TEXT_COLOUR, thickness, cv2.LINE_AA)
    share = min(max(0.0, confidence / MAX_CONFIDENCE), 1.0) if confidence is not None else 0.0  # NaN counts as 0
    strip[-bar:] = BAR_COLOUR
    strip[-bar:, : round(share * strip.shape[1])] = BOX_COLOUR
