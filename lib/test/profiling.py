"""How long a frame takes, and where the time goes."""

import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lib.test.tracker.engine import SeqTrackEngine, TrackState

FRAME_SIZE = (1280, 720)
BOX_XYWH = (600.0, 320.0, 90.0, 70.0)


@dataclass(frozen=True)
class Latency:
    """Time of one stage, in milliseconds.

    Attributes:
        median: half of the frames were faster.
        p90: nine in ten frames were faster.
    """

    median: float
    p90: float

    @staticmethod
    def of(seconds: Sequence[float]) -> "Latency":
        """Summarise measurements."""
        return Latency(1000 * statistics.median(seconds), 1000 * float(np.quantile(seconds, 0.9)))


def measure_latency(
    engine: SeqTrackEngine,
    *,
    batch_size: int,
    frames: int,
    warm_up: int,
    on_first: Callable[[float], None] = lambda seconds: None,
) -> dict[str, Latency]:
    """Track noise, frame after frame, and time the stages of a step.

    Args:
        engine: the tracker.
        batch_size: sequences at once.
        frames: how many steps to measure.
        warm_up: how many steps come before; the first may compile.
        on_first: called after the first step with its duration in seconds.

    Returns:
        ``crop`` (cut, resize), ``encode`` (upload, normalize, encoder), ``decode`` (four tokens, transfer) and ``post``
        (boxes) each waited for; and ``total``, a whole step as users run it.
        A compiled or captured step cannot be taken apart: it has ``network`` in place of ``encode`` and ``decode``.
    """
    width, height = FRAME_SIZE
    images = [np.random.RandomState(seed).randint(0, 256, (height, width, 3), np.uint8) for seed in range(batch_size)]
    seconds: dict[str, list[float]] = {}
    for number in range(-warm_up, frames):
        begin = time.perf_counter()
        states = [engine.start(image, BOX_XYWH) for image in images]
        stages = _time_stages(engine, states, images)
        stages["total"] = _timed(engine.device, lambda states=states: engine.step(states, images))[1]
        if number >= 0:
            for name, value in stages.items():
                seconds.setdefault(name, []).append(value)
        if number == -warm_up:
            on_first(time.perf_counter() - begin)
    return {name: Latency.of(values) for name, values in seconds.items()}


@torch.inference_mode()
def _time_stages(engine: SeqTrackEngine, states: list[TrackState], images: list[np.ndarray]) -> dict[str, float]:
    """Seconds of each stage of one step; the states stay as they are."""
    device, reader = engine.device, engine.reader
    (crops, factors), crop = _timed(device, lambda: engine.crop(states, images))
    templates, stacked = torch.stack([state.templates for state in states]), torch.from_numpy(np.stack(crops))
    if reader.is_whole:
        (tokens, _), network = _timed(device, lambda: reader(templates, stacked))
        stages = {"network": network}
    else:
        needed, encode = _timed(device, lambda: reader.encode(templates, reader.preprocess.upload(stacked)))
        packed, decode = _timed(device, lambda: reader.decode(needed).cpu())
        tokens = packed[:, :4].long()
        stages = {"encode": encode, "decode": decode}
    _, post = _timed(device, lambda: engine._boxes_in_images(tokens, factors, states, images))
    return {"crop": crop, **stages, "post": post}


def _timed(device: torch.device, work: Callable):
    """Result of ``work``, and the seconds until the device has done it."""
    begin = time.perf_counter()
    result = work()
    synchronize(device)
    return result, time.perf_counter() - begin


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def peak_memory(device: torch.device) -> int:
    """Most bytes that were in use so far: of the device on CUDA, else of the whole process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes on Linux
