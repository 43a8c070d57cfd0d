"""Reads the curves of runs, from logs or TensorBoard events, and compares runs."""

import contextlib
import glob
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lib.utils.errors import InputError, printable

Curves = dict[str, dict[int, float]]
"""Values by step by name of the curve."""

_COUNT, _NUMBER = r"(\d{1,9})", r"([-+.\w]{1,30})"
_SCORES = rf"loss {_NUMBER}, IoU {_NUMBER}"
_TRAIN = re.compile(
    rf"\[train: {_COUNT}, {_COUNT}/{_COUNT}\] {_SCORES}, lr ([^,]{{1,99}}), {_NUMBER} samples/s", re.ASCII
)
_VAL = re.compile(rf"\[val: {_COUNT}\] {_SCORES}", re.ASCII)

_MANIFEST = re.compile(r" manifest: .*?([^/\\]+\.json)$", re.M)

_GROUPS = {"group0": "decoder", "group1": "encoder"}
"""What the parameter groups of ``build_optimizer`` hold; events number them, as in the published code."""


class Difference(NamedTuple):
    """How far two runs are apart in one curve, over the steps that both have.

    Attributes:
        name: of the curve.
        steps: number of common steps.
        last: values of both at the last common step.
        mean: mean absolute difference.
        largest: largest absolute difference.
        largest_at: its step.
        first_at: first step where they differ at all, ``None`` if nowhere.
    """

    name: str
    steps: int
    last: tuple[float, float]
    mean: float
    largest: float
    largest_at: int
    first_at: int | None


def read_curves(path: Path) -> Curves:
    """Read the curves of a run.

    Args:
        path: a log (``logs/seqtrack-<config>.log``), or TensorBoard events: a file or a folder of them. Where a
            run went on from an earlier step, or began again, the later values count, and none of those after it.

    Raises:
        InputError: if there is nothing of the kind.
    """
    if path.is_dir() or (is_event_file(path) and path.is_file()):
        curves = _read_events(path)
    elif path.is_file():
        curves = parse_log(path.read_text(encoding="utf-8-sig", errors="replace"))
    else:
        raise InputError(f"{path}: no such log, and no TensorBoard events")
    if not curves:
        raise InputError(f"{path}: holds no curves of a training (it may have ended before step TRAIN.PRINT_INTERVAL)")
    return curves


def is_event_file(path: Path) -> bool:
    """Whether a path is named as TensorBoard names files of events."""
    return ".tfevents." in path.name


def parse_log(text: str) -> Curves:
    """Curves in the text of a log; lines that are damaged count as absent."""
    curves: Curves = {}
    steps = 0
    for line in text.splitlines():
        if match := _TRAIN.search(line):
            epoch, number, steps = (int(match[group]) for group in (1, 2, 3))
            values = {"Loss/total": match[4], "IoU": match[5], "Speed/samples_per_second": match[7]}
            values |= {f"LearningRate/group{index}": rate for index, rate in enumerate(match[6].split("/"))}
            _put(curves, "train", (epoch - 1) * steps + number, values)
        elif steps and (match := _VAL.search(line)):
            _put(curves, "val", int(match[1]) * steps, {"Loss/total": match[2], "IoU": match[3]})
    return curves


def _put(curves: Curves, split: str, step: int, values: Mapping[str, str]) -> None:
    with contextlib.suppress(ValueError):  # a damaged line
        for name, value in {name: float(value) for name, value in values.items()}.items():
            _append(curves.setdefault(_curve_name(f"{split}/{name}"), {}), step, value)


def _append(curve: dict[int, float], step: int, value: float) -> None:
    """Add a value; where a run starts again from an earlier step, what an earlier start wrote from there on goes."""
    if curve and step <= next(reversed(curve)):
        for later in [known for known in curve if known >= step]:
            del curve[later]
    curve[step] = value


def _curve_name(tag: str) -> str:
    """Name of a curve, with the parameter group by what it holds."""
    head, _, group = tag.rpartition("/")
    return f"{head}/{_GROUPS[group]}" if head.endswith("LearningRate") and group in _GROUPS else tag


def _read_events(path: Path) -> Curves:
    from google.protobuf.message import DecodeError
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import

    events = EventAccumulator(str(path), size_guidance={"scalars": 0})
    try:
        events.Reload()
    except (DecodeError, ValueError) as error:
        raise InputError(f"{path}: damaged TensorBoard events: {error}") from error
    tags = events.Tags()["scalars"]
    curves: Curves = {}
    for tag in tags:
        curve = curves.setdefault(_curve_name(tag), {})
        for point in events.Scalars(tag):
            _append(curve, point.step, point.value)
    return curves


def compare(first: Curves, second: Curves) -> list[Difference]:
    """Differences of the curves that both runs have, by name."""
    found = []
    for name in sorted(first.keys() & second.keys()):
        steps = sorted(first[name].keys() & second[name].keys())
        if not steps:
            continue
        pairs = [(first[name][step], second[name][step]) for step in steps]
        gaps = [0.0 if a == b or (math.isnan(a) and math.isnan(b)) else abs(a - b) for a, b in pairs]
        largest = max(range(len(gaps)), key=lambda index: math.inf if math.isnan(gaps[index]) else gaps[index])
        first_at = next((step for step, gap in zip(steps, gaps, strict=True) if gap != 0), None)
        mean = sum(gaps) / len(gaps)
        found.append(Difference(name, len(steps), pairs[-1], mean, gaps[largest], steps[largest], first_at))
    return found


def newest_manifest(log: Path) -> dict[str, Any] | None:
    """The manifest that the last start of a run wrote next to its log, ``None`` if there is none.

    Raises:
        InputError: if it is damaged.
    """
    if not log.is_file():
        return None
    pattern = f"{glob.escape(log.stem)}-[0-9]*-[0-9]*-[0-9]*.json"
    starts = _MANIFEST.findall(log.read_text(encoding="utf-8", errors="replace"))
    # The log has them in order, the clock in their names may have been set back.
    path = max(log.parent.glob(pattern), key=lambda path: (path.name in starts[-1:], path.name), default=None)
    if path is None:
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8-sig"))
        if not isinstance(manifest, dict) or not all(isinstance(manifest[key], dict) for key in ("versions", "config")):
            raise ValueError("expected what tracking/train.py writes")
    except (ValueError, KeyError, RecursionError) as error:
        raise InputError(
            f"{path}: damaged manifest: {printable(repr(error))}; remove it to compare the rest"
        ) from error
    return manifest
