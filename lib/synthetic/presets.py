"""What makes a sequence easy or hard, as numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Preset:
    """Ranges from which one sequence draws. Lengths are shares of the shorter image side, times are frames.

    Attributes:
        target_size: square root of the target's box area at the start.
        zoom_out: smallest later size relative to the start.
        zoom_in: largest later size relative to the start.
        period: frames from one way-point to the next; small is fast.
        reach: longest way from one way-point to the next.
        turn: share of the rotation that the kind of figure allows.
        aspect: largest change of the aspect ratio, 0.2 is 20 %.
        flip: chance that the figure turns around, by narrowing and mirroring.
        jolts: sudden displacements per 60 frames.
        pan: reach of the camera.
        camera_zoom: largest change of the camera's zoom.
        roll: largest camera roll, 1/4096 turn.
        shake: hand shake.
        light: largest relative change of brightness.
        flicker: sudden changes of light per 60 frames.
        tint: largest relative change of a color channel.
        shutter: share of the frame time that the shutter is open; motion blur grows with it.
        occlusions: obstacles per 60 frames that cross the target's way.
        obstacles: that stand still in the scene.
        twins: distractors that look like the target and pass behind it.
        front_twins: distractors that may pass before it.
        bystanders: other moving figures behind it.
        passers: other moving figures before it.
        exits: times per 60 frames that the target leaves the image and comes back.
        noise: sensor noise, grey levels (sigma).
        defocus: chance of an unsharp sequence.
        quality: JPEG quality.
    """

    target_size: Range
    zoom_out: float
    zoom_in: float
    period: Range
    reach: float
    turn: float
    aspect: float
    flip: float
    jolts: Range
    pan: float
    camera_zoom: float
    roll: int
    shake: float
    light: float
    flicker: Range
    tint: float
    shutter: Range
    occlusions: Range
    obstacles: tuple[int, int]
    twins: tuple[int, int]
    front_twins: tuple[int, int]
    bystanders: tuple[int, int]
    passers: tuple[int, int]
    exits: Range
    noise: Range
    defocus: float
    quality: tuple[int, int]


_EASY = Preset(
    target_size=(0.2, 0.4),
    zoom_out=0.85,
    zoom_in=1.2,
    period=(30, 50),
    reach=0.35,
    turn=0.15,
    aspect=0.05,
    flip=0.0,
    jolts=(0, 0),
    pan=0.2,
    camera_zoom=0.03,
    roll=0,
    shake=0.0,
    light=0.08,
    flicker=(0, 0),
    tint=0.02,
    shutter=(0.0, 0.3),
    occlusions=(0, 0),
    obstacles=(0, 0),
    twins=(0, 0),
    front_twins=(0, 0),
    bystanders=(0, 1),
    passers=(0, 0),
    exits=(0, 0),
    noise=(0, 2),
    defocus=0.05,
    quality=(80, 95),
)
_MEDIUM = Preset(
    target_size=(0.15, 0.36),
    zoom_out=0.65,
    zoom_in=1.5,
    period=(18, 34),
    reach=0.5,
    turn=0.5,
    aspect=0.15,
    flip=0.2,
    jolts=(0, 0.8),
    pan=0.5,
    camera_zoom=0.12,
    roll=40,
    shake=0.005,
    light=0.2,
    flicker=(0, 0),
    tint=0.06,
    shutter=(0.1, 0.7),
    occlusions=(0, 1.6),
    obstacles=(0, 1),
    twins=(0, 1),
    front_twins=(0, 0),
    bystanders=(0, 2),
    passers=(0, 1),
    exits=(0, 0.7),
    noise=(0, 5),
    defocus=0.15,
    quality=(55, 95),
)
_HARD = Preset(
    target_size=(0.1, 0.32),
    zoom_out=0.5,
    zoom_in=1.9,
    period=(10, 22),
    reach=0.6,
    turn=1.0,
    aspect=0.3,
    flip=0.4,
    jolts=(0, 2.5),
    pan=1.0,
    camera_zoom=0.2,
    roll=120,
    shake=0.015,
    light=0.4,
    flicker=(0, 2),
    tint=0.12,
    shutter=(0.2, 1.0),
    occlusions=(0.6, 2.6),
    obstacles=(0, 2),
    twins=(0, 2),
    front_twins=(0, 1),
    bystanders=(0, 2),
    passers=(0, 1),
    exits=(0, 1.2),
    noise=(0, 10),
    defocus=0.3,
    quality=(30, 90),
)

PRESETS: Mapping[str, Preset] = {"easy": _EASY, "medium": _MEDIUM, "hard": _HARD}
DIFFICULTIES = (*PRESETS, "mixed")
"""Names of the presets; ``mixed`` draws one of them for each sequence."""
