"""What makes a sequence easy or hard, as numbers."""

from collections.abc import Mapping
from dataclasses import make_dataclass

# The ranges from which one sequence draws. Lengths are shares of the shorter image side, times are frames.
_RANGES = {  # easy, medium, hard
    "target_size": ((0.2, 0.4), (0.15, 0.36), (0.1, 0.32)),  # square root of the target's box area at the start
    "zoom_out": (0.85, 0.65, 0.5),  # smallest later size relative to the start
    "zoom_in": (1.2, 1.5, 1.9),  # largest later size relative to the start
    "period": ((30, 50), (18, 34), (10, 22)),  # frames from one way-point to the next; small is fast
    "reach": (0.35, 0.5, 0.6),  # longest way from one way-point to the next
    "turn": (0.15, 0.5, 1.0),  # share of the rotation that the kind of figure allows
    "aspect": (0.05, 0.15, 0.3),  # largest change of the aspect ratio, 0.2 is 20 %
    "flip": (0.0, 0.2, 0.4),  # chance that the figure turns around, by narrowing and mirroring
    "jolts": ((0, 0), (0, 0.8), (0, 2.5)),  # sudden displacements per 60 frames
    "pan": (0.2, 0.5, 1.0),  # reach of the camera
    "camera_zoom": (0.03, 0.12, 0.2),  # largest change of the camera's zoom
    "roll": (0, 40, 120),  # largest camera roll, 1/4096 turn
    "shake": (0.0, 0.005, 0.015),  # hand shake
    "light": (0.08, 0.2, 0.4),  # largest relative change of brightness
    "flicker": ((0, 0), (0, 0), (0, 2)),  # sudden changes of light per 60 frames
    "tint": (0.02, 0.06, 0.12),  # largest relative change of a color channel
    "shutter": ((0.0, 0.3), (0.1, 0.7), (0.2, 1.0)),  # share of the frame time that it is open: motion blur
    "occlusions": ((0, 0), (0, 1.6), (0.6, 2.6)),  # obstacles per 60 frames that cross the target's way
    "obstacles": ((0, 0), (0, 1), (0, 2)),  # that stand still in the scene
    "twins": ((0, 0), (0, 1), (0, 2)),  # distractors that look like the target and pass behind it
    "front_twins": ((0, 0), (0, 0), (0, 1)),  # distractors that may pass before it
    "bystanders": ((0, 1), (0, 2), (0, 2)),  # other moving figures behind it
    "passers": ((0, 0), (0, 1), (0, 1)),  # other moving figures before it
    "exits": ((0, 0), (0, 0.7), (0, 1.2)),  # times per 60 frames that the target leaves the image and comes back
    "noise": ((0, 2), (0, 5), (0, 10)),  # sensor noise, grey levels (sigma)
    "defocus": (0.05, 0.15, 0.3),  # chance of an unsharp sequence
    "quality": ((80, 95), (55, 95), (30, 90)),  # JPEG quality
}

Preset = make_dataclass("Preset", _RANGES, frozen=True)
"""The ranges of one difficulty."""
PRESETS: Mapping[str, Preset] = {
    name: Preset(*values)
    for name, values in zip(("easy", "medium", "hard"), zip(*_RANGES.values(), strict=True), strict=True)
}
DIFFICULTIES = (*PRESETS, "mixed")
"""Names of the presets; ``mixed`` draws one of them for each sequence."""
