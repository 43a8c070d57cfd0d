"""Backends beside each other: are their tokens equal, how accurate are their precisions, and how fast.

    python benchmarks/export.py                                # the bundled tracker: --parity and --speed
    python benchmarks/export.py --parity --configs seqtrack_b256 --inputs 20
    python benchmarks/export.py --speed --configs seqtrack_demo seqtrack_b256
    python benchmarks/export.py --accuracy --sequences 20      # AUC on rendered sequences, bundled tracker

The bundled tracker has its trained weights, the published networks have seeded ones. Versions take turns, frame by
frame; besides the wall time there is the CPU time of the process, which says more where other programs are running.
"""

import argparse
import dataclasses
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

from benchmarks.networks import fill_with_seeded_weights, seeded_images
from lib.config.paths import bundled_checkpoint
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.synthetic import SyntheticSequence
from lib.test.analysis.metrics import score_sequence, summarise
from lib.test.parameter.seqtrack import TrackerParams, parameters_from_config
from lib.test.tracker.backends import PRECISIONS
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.formats import NEAR, export
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import ScriptParser, check_ranges, run_script

FIRST_SEED = 1000
BOX_XYWH = (600.0, 320.0, 90.0, 70.0)
REST_SECONDS = 0.1  # between two versions: by then the threads of the one before no longer wait for more work
COMPARED = 4  # every so many frames of a sequence tokens are compared
VERSIONS = {
    "torch float32": ("torch", "float32"),
    "torch bfloat16": ("torch", "bfloat16"),
    "torch int8": ("torch", "int8"),
    **{f"{backend} {dtype}": (backend, dtype) for backend, dtypes in PRECISIONS.items() for dtype in dtypes},
}
"""Backend and precision by the name of a row."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["seqtrack_demo"], help="experiments (default: seqtrack_demo)")
    parser.add_argument("--versions", nargs="+", default=[*VERSIONS], choices=VERSIONS, help="default: all")
    parser.add_argument("--parity", action="store_true", help="compare the tokens of float32")
    parser.add_argument("--accuracy", action="store_true", help="track rendered sequences")
    parser.add_argument("--speed", action="store_true", help="time whole frames of 1280 x 720")
    parser.add_argument("--inputs", type=int, default=20, help="frames of the parity check, in fives (default: 20)")
    parser.add_argument("--sequences", type=int, default=20, help="rendered sequences of 60 frames (default: 20)")
    parser.add_argument("--repeats", type=int, default=10, help="frames that are timed (default: 10)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of every backend")
    args = parser.parse_args(argv)
    check_ranges(args, {"inputs": (5, 1000), "sequences": (1, 1000), "repeats": (1, 1000), "threads": (1, 1024)})
    return args


@contextmanager
def engines(config: str, versions: Sequence[str]) -> Iterator[dict[str, SeqTrackEngine]]:
    """Engines by version, all with the same weights; each precision is exported once, as ONNX, for both runtimes."""
    cfg = load_config(config)
    with tempfile.TemporaryDirectory(prefix="seqtrack-") as folder:
        checkpoint = bundled_checkpoint(config)
        if not checkpoint.is_file():
            checkpoint = Path(folder, "seeded.pth.tar")
            save_checkpoint({"net": fill_with_seeded_weights(build_seqtrack(cfg)).state_dict()}, checkpoint)
        params = parameters_from_config(cfg, checkpoint=checkpoint, device="cpu")
        made = {}
        for version in versions:
            backend, dtype = VERSIONS[version]
            file = checkpoint
            if backend != "torch":
                file = Path(folder, "int8" if dtype == "int8" else "float32", "step.onnx")
                if not file.exists():
                    export(params, file.parent, config=config, precision=file.parent.name, progress=note)
            made[version] = make_engine(dataclasses.replace(params, backend=backend, dtype=dtype, checkpoint=file))
        yield made


def make_engine(params: TrackerParams) -> SeqTrackEngine:
    """Engine of a version; says how long it takes to load."""
    start = time.perf_counter()
    engine = SeqTrackEngine(params)
    note(f"{params.backend} {params.dtype}: loaded in {time.perf_counter() - start:.1f} s")
    return engine


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def check_parity(config: str, count: int) -> bool:
    """Print how many tokens of float32 are equal to PyTorch's, in batches of 1 and 4."""
    versions = [version for version, (_, dtype) in VERSIONS.items() if dtype == "float32"]
    images = seeded_images(count + 1)
    sizes = [1] * (count // 5) + [4] * (count // 5)
    tokens: dict[str, list[np.ndarray]] = {version: [] for version in versions}
    with engines(config, versions) as made:
        for version, engine in made.items():
            begin = 1
            for size in sizes:
                states = [engine.start(images[0], BOX_XYWH) for _ in range(size)]
                results = engine.step(states, images[begin : begin + size])
                tokens[version] += [result.tokens for result in results]
                begin += size
    first = np.stack(tokens[versions[0]])
    equal = {version: int((np.stack(tokens[version]) == first).sum()) for version in versions[1:]}
    shown = [f"{found} of {first.size}" for found in equal.values()]
    print(f"| {config} | {len(first)} | {len(np.unique(first, axis=0))} | {' | '.join(shown)} |", flush=True)
    return all(found == first.size for found in equal.values())


def measure_speed(config: str, versions: Sequence[str], repeats: int) -> None:
    """Print the medians of whole frames: cut, resized, tracked and mapped back."""
    images = seeded_images(4)
    seconds: dict[str, list[tuple[float, float]]] = {version: [] for version in versions}
    with engines(config, versions) as made:
        states = {version: engine.start(images[0], BOX_XYWH) for version, engine in made.items()}
        for number in range(-2, repeats):
            for version, engine in made.items():
                time.sleep(REST_SECONDS)
                for _ in range(2):  # the first one brings the weights into the caches, and its threads awake
                    state = dataclasses.replace(states[version], box_xywh=list(BOX_XYWH))
                    wall, cpu = time.perf_counter(), time.process_time()
                    engine.step([state], [images[number % 4]])
                    spent = time.perf_counter() - wall, time.process_time() - cpu
                if number >= 0:
                    seconds[version].append(spent)
    medians = {version: 1000 * np.median(values, axis=0) for version, values in seconds.items()}
    base = medians[versions[0]]
    for version, (wall, cpu) in medians.items():
        columns = f"{wall:.1f} | {base[0] / wall:.2f} | {cpu:.1f} | {base[1] / cpu:.2f}"
        print(f"| {config} | {version} | {columns} |", flush=True)


def measure_accuracy(config: str, versions: Sequence[str], sequences: int) -> None:
    """Print the AUC of each version on rendered sequences, and how far its tokens are from the first one's.

    Tokens are compared where both look at the same crops: along the boxes and templates of the first version.
    """
    scores: dict[str, list] = {version: [] for version in versions}
    away: dict[str, list[np.ndarray]] = {version: [] for version in versions}
    with engines(config, versions) as made:
        for seed in range(FIRST_SEED, FIRST_SEED + sequences):
            sequence = SyntheticSequence(seed, difficulty="mixed", split="val")
            frames = [sequence.frame(index) for index in range(sequence.num_frames)]
            truth = np.asarray(sequence.boxes_xywh, dtype=np.float64)
            states = {version: engine.start(frames[0], truth[0]) for version, engine in made.items()}
            boxes: dict[str, list] = {version: [truth[0]] for version in versions}
            for number, frame in enumerate(frames[1:]):
                common = states[versions[0]]
                for version, engine in made.items() if number % COMPARED == 0 else ():
                    away[version].append(engine.step([dataclasses.replace(common)], [frame])[0].tokens)
                for version, engine in made.items():
                    boxes[version].append(engine.step([states[version]], [frame])[0].box_xywh)
            visible = sequence.visible_fraction > 0
            for version in versions:
                scores[version].append(score_sequence(np.array(boxes[version]), truth, target_visible=visible))
            note(f"sequence {seed}")
    first = np.stack(away[versions[0]])
    base = summarise(scores[versions[0]])["AUC"]
    for version in versions:
        distance = np.abs(np.stack(away[version]) - first)
        auc = summarise(scores[version])["AUC"]
        shares = f"{100 * (distance == 0).mean():.1f} | {100 * (distance <= NEAR).mean():.1f}"
        print(f"| {config} | {version} | {auc:.2f} | {auc - base:+.2f} | {shares} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 1 if a token of float32 differs."""
    args = parse_args(argv)
    torch.set_num_threads(args.threads)
    if not (args.parity or args.accuracy or args.speed):
        args.parity = args.speed = True
    equal = True
    if args.parity:
        print("| network | frames | different boxes | equal tokens: onnxruntime | openvino |\n|---|---|---|---|---|")
        equal = all([check_parity(config, args.inputs) for config in args.configs])
    if args.accuracy:
        print("| network | version | AUC | difference | equal tokens % | within 2 bins % |\n|---|---|---|---|---|---|")
        for config in args.configs:
            measure_accuracy(config, args.versions, args.sequences)
    if args.speed:
        print("| network | version | ms wall | times the first | ms CPU | times the first |\n|---|---|---|---|---|---|")
        for config in args.configs:
            measure_speed(config, args.versions, args.repeats)
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(run_script(main))
