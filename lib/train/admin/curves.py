"""Reading the curves of a run back, from its log or its TensorBoard events, and comparing two runs."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lib.utils.errors import InputError

Curves = dict[str, dict[int, float]]
"""Values by step by name of the curve."""

_NUMBER = r"([-+.\w]+)"
_TRAIN = re.compile(rf"\[train: (\d+), (\d+)/(\d+)\] loss {_NUMBER}, IoU {_NUMBER}, lr ([^,]+), {_NUMBER} samples/s")
_VAL = re.compile(rf"\[val: (\d+)\] loss {_NUMBER}, IoU {_NUMBER}")


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
        path: a log (``logs/seqtrack-<config>.log``) or a folder of TensorBoard events. Where a resumed run went over a
            step again, the later value counts.

    Raises:
        InputError: if there is nothing of the kind.
    """
    if path.is_dir():
        curves = _read_events(path)
    elif path.is_file():
        curves = parse_log(path.read_text(encoding="utf-8", errors="replace"))
    else:
        raise InputError(f"{path}: no such log, or folder of TensorBoard events")
    if not curves:
        raise InputError(f"{path}: holds no curves of a training")
    return curves


def parse_log(text: str) -> Curves:
    """Curves in the text of a log."""
    curves: Curves = {}
    steps = 0
    for line in text.splitlines():
        if match := _TRAIN.search(line):
            epoch, number, steps = (int(match[group]) for group in (1, 2, 3))
            values = {"Loss/total": match[4], "IoU": match[5], "Speed/samples_per_second": match[7]}
            values |= {f"LearningRate/group{index}": rate for index, rate in enumerate(match[6].split("/"))}
            _put(curves, "train", (epoch - 1) * steps + number, values)
        elif match := _VAL.search(line):
            _put(curves, "val", int(match[1]) * steps, {"Loss/total": match[2], "IoU": match[3]})
    return curves


def _put(curves: Curves, split: str, step: int, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        curves.setdefault(f"{split}/{name}", {})[step] = float(value)


def _read_events(folder: Path) -> Curves:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # slow to import

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: {point.step: point.value for point in events.Scalars(name)} for name in names}


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
    """The manifest that the last start of a run wrote beside its log, ``None`` if there is none."""
    found = sorted(log.parent.glob(f"{log.stem}-[0-9]*-[0-9]*-[0-9]*.json")) if log.is_file() else []
    return json.loads(found[-1].read_text(encoding="utf-8-sig")) if found else None
