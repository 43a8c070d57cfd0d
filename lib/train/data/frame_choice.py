"""Which frames of a video become templates and which become search frames: one function per sampler mode.

The modes, and the order in which they draw random numbers, are those of the published SeqTrack (inherited from STARK
and PyTracking). The generators are arguments.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from lib.data.base import SequenceInfo
from lib.utils.errors import ConfigError, DataError, lookup
from lib.utils.seed import SampleRng

GAP_STEP = 5
"""Frames by which a search for frames is widened after it found none."""
MAX_FRAME_DRAWS = 10_000


@dataclass(frozen=True)
class FrameChoice:
    """Frame numbers of one sample, ``template`` (T) and ``search`` (S)."""

    template: list[int]
    search: list[int]


@dataclass(frozen=True)
class FramePolicy:
    """How many frames a sample has and how far apart they may be.

    Attributes:
        num_template: T, template frames per sample.
        num_search: S, search frames per sample.
        gaps: largest distances in frames; ``order`` and ``causal`` use the first, ``trident`` and ``stark`` draw one
            extra template per entry.
    """

    num_template: int
    num_search: int
    gaps: tuple[int, ...]


def draw_frames(
    rng: SampleRng, flags: np.ndarray, count: int, first: int | None = None, end: int | None = None
) -> list[int] | None:
    """Draw frame numbers with replacement among those whose flag is set.

    Args:
        rng: draws ``count`` numbers from its Python generator, none if there is nothing to choose from.
        flags: (F,) bool.
        count: how many.
        first: first frame allowed, cut to the sequence.
        end: one past the last frame allowed, cut to the sequence.

    Returns:
        ``count`` frame numbers, or ``None`` if no flag is set in the range.
    """
    if count == 0:
        return []
    first = max(first or 0, 0)
    end = len(flags) if end is None else min(end, len(flags))
    candidates = (np.flatnonzero(flags[first:end]) + first).tolist() if first < end else []
    return rng.python.choices(candidates, k=count) if candidates else None


def order_frames(rng: SampleRng, info: SequenceInfo, policy: FramePolicy) -> FrameChoice:
    """Frames around a random one, in time order or its reverse: the templates precede the search frames (default)."""
    gap = policy.gaps[0]
    for _ in range(MAX_FRAME_DRAWS):
        base = _draw_one(rng, info.visible)
        # Faithful: the upper end is exclusive, so `gap` frames later is out of reach while `gap` earlier is not.
        ids = draw_frames(rng, info.visible, policy.num_template + policy.num_search, base - gap, base + gap)
        if ids is not None:
            backwards = torch.rand(1, generator=rng.torch).item() < 0.5
            ids.sort(reverse=backwards)
            return FrameChoice(ids[: policy.num_template], ids[policy.num_template :])
        gap += GAP_STEP
    raise _no_frames("order")


def causal_frames(rng: SampleRng, info: SequenceInfo, policy: FramePolicy) -> FrameChoice:
    """A first template, further templates before it and search frames after it."""
    gap = policy.gaps[0]
    for _ in range(MAX_FRAME_DRAWS):
        base = draw_frames(rng, info.visible, 1, policy.num_template - 1, len(info) - policy.num_search)
        if base is not None:
            earlier = draw_frames(rng, info.visible, policy.num_template - 1, base[0] - gap, base[0])
            if earlier is not None:
                search = draw_frames(rng, info.visible, policy.num_search, base[0] + 1, base[0] + gap)
                if search is not None:
                    return FrameChoice(base + earlier, search)
        gap += GAP_STEP
    raise _no_frames("causal")


def trident_frames(rng: SampleRng, info: SequenceInfo, policy: FramePolicy) -> FrameChoice:
    """Independent first template and search frame, and one template near the search frame for each gap."""
    return _near_search(rng, info, policy, info.visible)


def trident_pro_frames(rng: SampleRng, info: SequenceInfo, policy: FramePolicy) -> FrameChoice:
    """As ``trident``, but the target need not be visible in the extra templates."""
    return _near_search(rng, info, policy, np.ones(len(info), dtype=bool))


def stark_frames(rng: SampleRng, info: SequenceInfo, policy: FramePolicy) -> FrameChoice:
    """As ``trident``, but the extra templates need a box and no visible target."""
    return _near_search(rng, info, policy, info.valid)


def _near_search(rng: SampleRng, info: SequenceInfo, policy: FramePolicy, allowed: np.ndarray) -> FrameChoice:
    for _ in range(MAX_FRAME_DRAWS):
        template, search = _draw_one(rng, info.visible), _draw_one(rng, info.visible)
        extra = []
        for gap in policy.gaps:
            window = (search, search + gap) if template >= search else (search - gap, search)
            # Every gap draws, even after one has failed: the published generator moves on all the same.
            extra.append(draw_frames(rng, allowed, 1, *window))
        if all(ids is not None for ids in extra):
            return FrameChoice([template, *(ids[0] for ids in extra)], [search])
    raise _no_frames("trident")


def _draw_one(rng: SampleRng, flags: np.ndarray) -> int:
    ids = draw_frames(rng, flags, 1)
    if ids is None:
        raise DataError("a sequence without a single visible frame was drawn")
    return ids[0]


def _no_frames(mode: str) -> DataError:
    return DataError(f"sampler mode {mode!r}: no frames in {MAX_FRAME_DRAWS} draws; check DATA.MAX_SAMPLE_INTERVAL")


FrameMode = Callable[[SampleRng, SequenceInfo, FramePolicy], FrameChoice]

FRAME_MODES: dict[str, FrameMode] = {
    "causal": causal_frames,
    "order": order_frames,
    "stark": stark_frames,
    "trident": trident_frames,
    "trident_pro": trident_pro_frames,
}


def frame_mode(name: str, policy: FramePolicy) -> FrameMode:
    """The function of a sampler mode, checked against the numbers it will be called with.

    Raises:
        ConfigError: if the mode is unknown or cannot serve the policy.
    """
    mode = lookup(FRAME_MODES, name, "DATA.SAMPLER_MODE")
    if not policy.gaps or min(policy.gaps) < 1:
        raise ConfigError(f"DATA.MAX_SAMPLE_INTERVAL: expected at least 1 frame, got {list(policy.gaps)}")
    if name in ("causal", "order"):
        if len(policy.gaps) != 1:
            raise ConfigError(f"DATA.MAX_SAMPLE_INTERVAL: mode {name!r} takes one number, got {list(policy.gaps)}")
    elif (policy.num_template, policy.num_search) != (1 + len(policy.gaps), 1):
        # The published sampler silently drops surplus templates; here the numbers have to agree.
        raise ConfigError(
            f"DATA.SAMPLER_MODE {name!r} with {len(policy.gaps)} sample interval(s) makes "
            f"{1 + len(policy.gaps)} templates and 1 search frame; "
            f"the configuration asks for {policy.num_template} and {policy.num_search}"
        )
    return mode
