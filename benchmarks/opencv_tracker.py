"""Run one of OpenCV's trackers over folders of frames; called by ``against_opencv.py``, maybe by another Python.

    python benchmarks/opencv_tracker.py CSRT 2 FOLDER [FOLDER ...]

Needs OpenCV and NumPy only, so that it runs where the package opencv-contrib-python is. Each folder holds numbered JPEG
frames and ``groundtruth.txt``, whose first line is the box to start from. Prints one JSON object: for each folder the
boxes of all frames and the seconds that each took, the first one with the start; and the most memory held, in MiB.
"""

import json
import sys
import time
from pathlib import Path

import cv2


def make_tracker(name: str) -> "cv2.Tracker":
    """A fresh tracker; newer releases have some of them in a module of their own."""
    for module in (cv2, getattr(cv2, "legacy", None)):
        factory = getattr(module, f"Tracker{name}_create", None)
        if factory is not None:
            return factory()
    sys.exit(f"OpenCV {cv2.__version__} has no tracker {name}: install opencv-contrib-python")


def track(name: str, folder: Path) -> dict:
    """Boxes [x, y, w, h] of all frames, and the seconds that the tracker took for each."""
    frames = [cv2.imread(str(path)) for path in sorted(folder.glob("*.jpg"))]
    box = tuple(round(float(value)) for value in (folder / "groundtruth.txt").read_text().split()[0].split(","))
    boxes = [list(box)]
    start = time.perf_counter()
    tracker = make_tracker(name)
    tracker.init(frames[0], box)
    seconds = [time.perf_counter() - start]
    for frame in frames[1:]:
        start = time.perf_counter()
        found, update = tracker.update(frame)
        seconds.append(time.perf_counter() - start)
        boxes.append([float(value) for value in update] if found else boxes[-1])  # a lost target stays where it was
    return {"boxes": boxes, "seconds": seconds}


def peak_memory() -> float:
    """The most memory this process has held, in MiB; NaN where the system does not tell (other than Linux).

    Not ``ru_maxrss``, which begins with what the process that started this one held.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Read the command line, track, print."""
    name, threads, *folders = sys.argv[1:]
    cv2.setNumThreads(int(threads))
    videos = {folder: track(name, Path(folder)) for folder in folders}
    json.dump({"videos": videos, "memory": peak_memory()}, sys.stdout)


if __name__ == "__main__":
    main()
