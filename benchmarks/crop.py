"""Milliseconds and memory of a search crop against the plain way (pad to the whole square, then resize), in one run.

The target fills a share of the frame's sides and is in its middle; the two ways take turns. Pixels are compared, too.

    python benchmarks/crop.py
    python benchmarks/crop.py --size 384 --factor 4

Exit code 1 if a pixel differs from the plain way.
"""

import argparse
import signal
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import cv2
import numpy as np

from lib.utils.cli import ScriptParser, run_script
from lib.utils.crop import crop_side, crop_window, sample_target

FRAMES = {"720p": (1280, 720), "4K": (3840, 2160), "8K": (7680, 4320)}
SHARES = (0.1, 0.3, 1.0)


def plain_crop(
    image: np.ndarray,
    box_xywh: Sequence[float],
    factor: float,
    size: int,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """The crop of ``lib.utils.crop.sample_target`` as the published code makes it."""
    side = crop_side(box_xywh, factor)
    left, top = crop_window(box_xywh, side)
    height, width = image.shape[:2]
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = (min(low + side, end) - (low + side >= end) for low, end in ((left, width), (top, height)))
    if x1 <= x0 or y1 <= y0:
        return np.zeros((size, size, 3), np.uint8)
    patch = image[y0:y1, x0:x1] if prepare is None else prepare(image[y0:y1, x0:x1])
    square = cv2.copyMakeBorder(patch, y0 - top, top + side - y1, x0 - left, left + side - x1, cv2.BORDER_CONSTANT)
    return cv2.resize(square, (size, size))


def cost(make: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median milliseconds of processor time, and megabytes at the peak."""
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        make()
        seconds.append(time.process_time() - begin)
    tracemalloc.start()
    make()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return 1000 * statistics.median(seconds), peak / 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 1 if a pixel differs from the plain way."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=256, help="side of the crop in pixels (default: 256)")
    parser.add_argument("--factor", type=float, default=4.0, help="side of the region over sqrt(w h) (default: 4)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", nargs="+", choices=FRAMES, default=list(FRAMES))
    args = parser.parse_args(argv)
    cv2.setNumThreads(0)
    print("| frame | target | plain: ms | MB | ours: ms | MB | times plain | pixels equal |")
    print("|---|---|---|---|---|---|---|---|")
    same = True
    for name in args.frames:
        width, height = FRAMES[name]
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        for share in SHARES:
            w, h = share * width, share * height
            given = image, [0.5 * (width - w), 0.5 * (height - h), w, h], args.factor, args.size
            equal = np.array_equal(plain_crop(*given), sample_target(*given)[0])
            same &= equal
            plain, ours = (cost(partial(make, *given), args.repeats) for make in (plain_crop, sample_target))
            row = [name, f"{w:.0f} x {h:.0f}", *(f"{value:.2f}" for value in (*plain, *ours))]
            print("| " + " | ".join([*row, f"{plain[0] / ours[0]:.2f}", "yes" if equal else "NO"]) + " |", flush=True)
    return int(not same)


if __name__ == "__main__":
    sys.exit(run_script(main))
