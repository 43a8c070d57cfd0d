"""Compare the curves of trainings, and what they were started with.

    python tracking/compare_runs.py a/logs/seqtrack-seqtrack_b256.log b/logs/seqtrack-seqtrack_b256.log --plot out.png

Each run is given by its log, or by its TensorBoard events, which hold more digits: their folder
(tensorboard/train/seqtrack/<config>), or one file of it. All runs are compared with the first one. Exit code 1 means
that a loss or an IoU differs by more than --tolerance.
"""

import argparse
import math
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

from lib.train.trainers.checkpoints import config_differences
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.errors import InputError, printable
from tracking.curves import Curves, Difference, compare, is_event_file, newest_manifest, read_curves

MAX_PLOTS = 24
"""Curves in a plot; a run of ours has about a dozen."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=user_path, nargs="+", metavar="run", help="log, or TensorBoard events")
    parser.add_argument("--plot", type=user_path, help="image to write (.png, .pdf, .svg): loss, IoU and other curves")
    parser.add_argument("--tolerance", type=float, help="exit with 1 if a loss or an IoU differs by more than this")
    return parser.parse_args(argv)


def run_labels(paths: Sequence[Path]) -> list[str]:
    """A name for each run, each one once: of the experiment, then the folder that tells it apart, then a number."""
    paths = [path.absolute().parent if is_event_file(path) else path for path in paths]
    names = [path.stem.removeprefix("seqtrack-") if path.suffix == ".log" else path.name for path in paths]
    parts = [path.absolute().parts for path in paths]
    labels: list[str] = []
    for name, own in zip(names, parts, strict=True):
        same = [other for other_name, other in zip(names, parts, strict=True) if other_name == name]
        apart = next((level for level, folders in enumerate(zip(*same, strict=False)) if len(set(folders)) > 1), None)
        label = printable(name if apart is None else f"{name} ({own[apart]})", 60)
        repeated = sum(earlier.partition(" #")[0] == label for earlier in labels)
        labels.append(f"{label} #{repeated + 1}" if repeated else label)
    return labels


def table(first: str, differences: Mapping[str, Sequence[Difference]]) -> str:
    """One line for each curve and run; of the first run, the value at the last step it shares with the second one."""
    wide = max(len(label) for label in (first, *differences))
    head = f"{'curve':32s} {'run':{wide}s} {'steps':>6s} {'last':>10s} {'mean diff':>10s} {'max diff':>10s}  at step"
    lines, names = [head], sorted({row.name for rows in differences.values() for row in rows})
    for name in names:
        rows = {label: row for label, rows in differences.items() for row in rows if row.name == name}
        row = next(iter(rows.values()))
        lines.append(f"{printable(name, 60):32s} {first:{wide}s} {row.steps:6d} {row.last[0]:10.4g}")
        for label, row in rows.items():
            at = "equal throughout" if row.first_at is None else f"{row.largest_at} (apart from {row.first_at} on)"
            values = " ".join(f"{value:10.4g}" for value in (row.last[1], row.mean, row.largest))
            lines.append(f"{'':32s} {label:{wide}s} {row.steps:6d} {values}  {at}")
    return "\n".join(lines)


def start_differences(first: Path, second: Path) -> list[str]:
    """Differences between the manifests of two runs, if both have one."""
    old, new = newest_manifest(first), newest_manifest(second)
    if old is None or new is None:
        return []
    pairs = [(key, old.get(key), new.get(key)) for key in ("revision", "world_size", "device")]
    names = sorted(old["versions"].keys() | new["versions"].keys())
    pairs += [(name, old["versions"].get(name), new["versions"].get(name)) for name in names]
    try:
        lines = [f"{name}: {before} | {after}" for name, before, after in pairs if before != after]
        return lines + config_differences(old["config"], new["config"])
    except RecursionError as error:
        raise InputError(f"{first} or {second}: the manifest of the run is nested too deeply") from error


def plot(runs: Mapping[str, Curves], path: Path) -> None:
    """Draw the curves that at least two runs have, each run in a color and a dash pattern of its own."""
    from matplotlib import rc_context

    from lib.test.analysis.style import PAPER, SCREEN, dash_pattern, line_styles, new_figure, save_figure

    counts = Counter(name for curves in runs.values() for name in curves)
    names = sorted(name for name, count in counts.items() if count > 1)[:MAX_PLOTS]
    with rc_context(dict(SCREEN.rc)):
        figure = new_figure(9, 0.6 + 0.2 * len(runs) + 2.2 * len(names), layout="constrained")
        axes = figure.subplots(len(names), 1, squeeze=False)
        lines, looks = {}, line_styles(runs, PAPER)  # curves that are equal are told apart by their dashes
        for axis, name in zip(axes[:, 0], names, strict=True):
            for label, curves in runs.items():
                points = sorted(curves.get(name, {}).items())
                steps, values = [float(step) for step, _ in points], [drawable(value) for _, value in points]
                color, dashes = looks[label]
                look = {"color": color, "linestyle": dash_pattern(dashes), "linewidth": 1}
                (lines[label],) = axis.plot(steps, values, marker="." * (len(points) < 30), **look)
            axis.set_title(printable(name, 60), fontsize=9)
            axis.grid(alpha=0.3)
        axes[-1, 0].set_xlabel("step")
        figure.legend(lines.values(), [f" {label}" for label in lines], loc="outside upper left", fontsize=8)
    save_figure(figure, path, SCREEN, dpi=110)


def drawable(value: float) -> float:
    """A value as a plot can show it: NaN, a gap, for what is not finite or absurdly large."""
    return value if abs(value) < 1e30 else math.nan


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    if len(args.runs) < 2:
        raise InputError(f"{args.runs[0]}: nothing to compare it with, give two runs or more")
    if args.plot and args.plot.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {args.plot}: expected a name that ends in .png, .pdf or .svg")
    if args.tolerance is not None and not 0 <= args.tolerance < math.inf:
        raise InputError(f"--tolerance {args.tolerance}: expected a number from 0 on")
    runs = dict(zip(run_labels(args.runs), map(read_curves, args.runs), strict=True))
    first, *others = runs
    differences = {label: compare(runs[first], runs[label]) for label in others}
    for path, rows in zip(args.runs[1:], differences.values(), strict=True):
        if not rows:
            raise InputError(f"{args.runs[0]} and {path}: no step is in both")
    starts = {label: start_differences(args.runs[0], path) for label, path in zip(others, args.runs[1:], strict=True)}
    print(table(first, differences))
    for label, lines in starts.items():
        for line in lines:
            print(f"{label}: {printable(line, 300)}")
    if args.plot:
        plot(runs, args.plot)
        print(f"plot: {args.plot}")
    scores = [row for rows in differences.values() for row in rows if row.name.endswith(("Loss/total", "IoU"))]
    return int(args.tolerance is not None and any(not row.largest <= args.tolerance for row in scores))


if __name__ == "__main__":
    sys.exit(run_script(main))
