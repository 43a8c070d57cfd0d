"""Compare the curves of two trainings, and what they were started with.

    python tracking/compare_runs.py a/logs/seqtrack-seqtrack_b256.log b/logs/seqtrack-seqtrack_b256.log --plot out.png

Each run is given by its log, or by the folder of its TensorBoard events (tensorboard/train/seqtrack/<config>), which
holds more digits. Exit code 1 means that they differ by more than --tolerance.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed

from lib.train.admin.curves import Curves, Difference, compare, newest_manifest, read_curves
from lib.train.trainers.checkpoints import config_differences
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.files import atomic_path


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path, help="log, or folder of TensorBoard events")
    parser.add_argument("second", type=Path, help="likewise")
    parser.add_argument("--plot", type=Path, help="picture to write: loss, IoU and the other curves of both runs")
    parser.add_argument("--tolerance", type=float, help="exit with 1 if a loss or an IoU differs by more than this")
    return parser.parse_args(argv)


def table(differences: Sequence[Difference]) -> str:
    """One line for each curve."""
    lines = [
        f"{'curve':32s} {'steps':>6s} {'first':>10s} {'second':>10s} {'mean diff':>10s} {'max diff':>10s}  at step"
    ]
    for row in differences:
        at = "equal throughout" if row.first_at is None else f"{row.largest_at} (apart from {row.first_at} on)"
        values = " ".join(f"{value:10.4g}" for value in (*row.last, row.mean, row.largest))
        lines.append(f"{row.name:32s} {row.steps:6d} {values}  {at}")
    return "\n".join(lines)


def start_differences(first: Path, second: Path) -> list[str]:
    """What the manifests beside two logs say differently."""
    manifests = [newest_manifest(path) for path in (first, second)]
    if None in manifests:
        return []
    old, new = manifests
    lines = [f"{key}: {old[key]} | {new[key]}" for key in ("revision", "world_size", "device") if old[key] != new[key]]
    names = sorted(old["versions"].keys() | new["versions"].keys())
    pairs = [(name, old["versions"].get(name), new["versions"].get(name)) for name in names]
    lines += [f"{name}: {before} | {after}" for name, before, after in pairs if before != after]
    return lines + config_differences(old["config"], new["config"])


def plot(first: Curves, second: Curves, labels: Sequence[str], path: Path) -> None:
    """Draw the curves that both runs have."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted(first.keys() & second.keys())
    figure, axes = pyplot.subplots(len(names), 1, figsize=(9, 2.6 * len(names)), squeeze=False, layout="constrained")
    for axis, name in zip(axes[:, 0], names, strict=True):
        for curves, label, style in zip((first, second), labels, ("-", "--"), strict=True):
            points = sorted(curves[name].items())
            axis.plot(*zip(*points, strict=True), style, label=label, linewidth=1)
        axis.set_title(name, fontsize=9)
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    axes[-1, 0].set_xlabel("step")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    args = parse_args(argv)
    if args.plot and args.plot.suffix not in (".png", ".pdf", ".svg"):
        raise InputError(f"--plot {args.plot}: expected a name that ends in .png, .pdf or .svg")
    first, second = read_curves(args.first), read_curves(args.second)
    differences = compare(first, second)
    if not differences:
        raise InputError(f"{args.first} and {args.second}: no step is in both")
    print(table(differences))
    for line in start_differences(args.first, args.second):
        print(line)
    if args.plot:
        plot(first, second, (str(args.first), str(args.second)), args.plot)
        print(f"plot: {args.plot}")
    scores = [row for row in differences if row.name.endswith(("Loss/total", "IoU"))]
    return int(args.tolerance is not None and any(not row.largest <= args.tolerance for row in scores))


if __name__ == "__main__":
    sys.exit(run_script(main))
