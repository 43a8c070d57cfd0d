"""How long a training set of TrackingNet's size takes to open, and what it costs in memory.

Fabricates a tree in the layout of TrackingNet (annotations only; frames are empty files), then measures in one run:

* plain: parse every text file and keep one object per sequence, as most code of the family does;
* first start: parse every text file into the index;
* next start: list the annotation files, look at their sizes and times, map the index;
* memory that a worker process adds when it has read every sequence, with the plain list and with the index.

    python -m benchmarks.dataset_index                     # 30 000 sequences of 470 frames, some minutes
    python -m benchmarks.dataset_index --sequences 2000    # a quick look
"""

import argparse
import multiprocessing
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np

from lib.data.trackingnet import NUM_PARTS, TrackingNet
from lib.utils.cli import ScriptParser, run_script, user_path
from lib.utils.storage import DirectoryStorage


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=int, default=30_000)
    parser.add_argument("--frames", type=int, default=470, help="per sequence; TrackingNet has 470 on average")
    parser.add_argument("--keep", type=user_path, help="fabricate here and leave it there for another run")
    return parser.parse_args(argv)


def fabricate(root: Path, sequences: int, frames: int) -> None:
    """Write annotations, and empty files as first frames."""
    boxes = np.random.RandomState(0).randint(1, 900, (frames + 1000, 4))
    lines = ["{},{},{},{}\n".format(*box) for box in boxes.tolist()]
    for number in range(sequences):
        part = root / f"TRAIN_{number % NUM_PARTS}"
        if number < NUM_PARTS:
            (part / "anno").mkdir(parents=True)
        (part / "anno" / f"v{number:05d}.txt").write_text("".join(lines[number % 1000 :][:frames]))
        folder = part / "frames" / f"v{number:05d}"
        folder.mkdir(parents=True)
        (folder / "0.jpg").touch()


def read_plain(root: Path) -> list[dict[str, np.ndarray]]:
    """Parse every file, keep an object per sequence."""
    infos = []
    for part in range(NUM_PARTS):
        for file in sorted((root / f"TRAIN_{part}" / "anno").iterdir()):
            rows = [list(map(float, line.split(","))) for line in file.read_text().splitlines()]
            boxes = np.array(rows, dtype=np.float32)
            valid = (boxes[:, 2:] > 0).all(axis=1)
            infos.append({"bbox": boxes, "valid": valid, "visible": valid})
    return infos


def timed(function: Callable[[], object]) -> tuple[float, object]:
    """Seconds that a call takes, and its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def private_megabytes() -> float:
    """Memory that belongs to this process alone."""
    kilobytes = 0
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith(("Private_Clean", "Private_Dirty")):
            kilobytes += int(line.split()[1])
    return kilobytes / 1024


def read_every_sequence(data: TrackingNet | list[dict[str, np.ndarray]], answers: multiprocessing.Queue) -> None:
    """What a worker does over an epoch, reduced to the annotations."""
    before = private_megabytes()
    for i in range(len(data)):
        visible = data.sequence_info(i).visible if isinstance(data, TrackingNet) else data[i]["visible"]
        visible.sum()
    answers.put(private_megabytes() - before)


def worker_megabytes(data: object, method: str) -> float:
    """Private memory that reading everything adds in a worker (with ``spawn``, after it has received the data)."""
    context = multiprocessing.get_context(method)
    answers = context.Queue()
    worker = context.Process(target=read_every_sequence, args=(data, answers))
    worker.start()
    grown = answers.get()
    worker.join()
    return grown


def measure(root: Path, cache: Path) -> None:
    """Print the comparison."""
    open_dataset = lambda: TrackingNet(DirectoryStorage(root), cache_dir=cache)  # noqa: E731
    plain_s, infos = timed(lambda: read_plain(root))
    first_s, _ = timed(open_dataset)
    next_s, dataset = min((timed(open_dataset) for _ in range(3)), key=lambda pair: pair[0])
    for i in range(0, len(infos), 997):
        np.testing.assert_array_equal(infos[i]["bbox"], dataset.sequence_info(i).boxes_xywh)
    (index_file,) = cache.iterdir()
    print(
        f"{len(dataset)} sequences, {dataset.index.num_frames} boxes; index {index_file.stat().st_size / 2**20:.0f} MiB"
    )
    print(f"plain parsing of all files   {plain_s:8.2f} s")
    print(f"first start (makes the index){first_s:8.2f} s   {plain_s / first_s:6.2f}x faster")
    print(f"next start                   {next_s:8.2f} s   {plain_s / next_s:6.1f}x faster")
    if sys.platform == "linux":
        for name, data in (("plain list", infos), ("index", dataset)):
            print(f"private memory per forked worker, {name}: {worker_megabytes(data, 'fork'):.1f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """Fabricate and measure."""
    args = parse_args(argv)
    work = Path(tempfile.mkdtemp(prefix="dataset_index_"))
    root = args.keep or work / "data"
    try:
        if not root.is_dir():
            seconds, _ = timed(lambda: fabricate(root, args.sequences, args.frames))
            print(f"fabricated in {seconds:.0f} s")
        measure(root, work / "cache")
    finally:
        shutil.rmtree(work)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
