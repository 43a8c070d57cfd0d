"""Check and measure on a GPU what a CPU cannot show.

    python -m benchmarks.gpu parity graphs                 # each of these parts takes less than 10 minutes
    python -m benchmarks.gpu latency training
    python -m benchmarks.gpu overlap evaluation kernels
    python -m benchmarks.gpu compile
    python -m benchmarks.gpu --dry                         # the script itself, with a tiny network on the CPU

Prints one line for each fact, ``section | what | value | expected | ok or LOOK``, then those to look at. --json adds
the facts to a file, in which those of earlier parts stay; --write_docs fills the tables of docs/performance.md from it.
Needs PyTorch, timm, OpenCV and easydict; simplejpeg is not needed. Exit code 1 if there is something to look at.
"""

import argparse
import collections
import dataclasses
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch

from benchmarks.gpu_report import Report, add_to_json, describe, write_docs
from benchmarks.networks import fill_with_seeded_weights, seeded_images
from lib.config.paths import PROJECT_ROOT
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.precision import prepare_for_tracking
from lib.synthetic import SyntheticSequence
from lib.synthetic.layouts import write_got10k
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.profiling import synchronize
from lib.test.tracker.engine import SeqTrackEngine
from lib.train.actors.seqtrack import SeqTrackActor
from lib.train.data.batch import TrainingBatch
from lib.train.optimization import build_optimizer
from lib.train.trainers.step import OptimizationStep
from lib.utils.cli import ScriptParser, run_script, user_path

BOX = [600.0, 320.0, 90.0, 70.0]
DOCS = PROJECT_ROOT / "docs" / "performance.md"
WEIGHTS = PROJECT_ROOT / "data" / "demo" / "seqtrack_demo.pth.tar"
CPU = torch.device("cpu")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
AMP = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Bench(Report):
    """A report with the networks to measure and a clock."""

    def config(self, name: str) -> Any:
        """Configuration of an experiment."""
        if not self.dry:
            return load_config(name)
        small = {"MODEL.ENCODER.TYPE": "vit_test_patch16", "MODEL.DECODER.DEC_LAYERS": 1}
        return load_config("seqtrack_demo", small | {"MODEL.ENCODER.PRETRAIN_TYPE": "scratch"})

    def engine(self, name: str, dtype: str, device: torch.device | None = None, **options: Any) -> SeqTrackEngine:
        """Tracker with seeded weights."""
        cfg, device = self.config(name), device or self.device
        params = parameters_from_config(cfg, checkpoint=None, device=str(device), dtype=dtype)
        network = prepare_for_tracking(fill_with_seeded_weights(build_seqtrack(cfg)), dtype, device)
        return SeqTrackEngine(dataclasses.replace(params, **options), network)

    def milliseconds(self, work: Callable[[], object], repeats: int = 20) -> float:
        """Median time of ``work``, waited for."""
        seconds = []
        for number in range(-1 if self.dry else -3, 1 if self.dry else repeats):
            synchronize(self.device)
            begin = time.perf_counter()
            work()
            synchronize(self.device)
            if number >= 0:
                seconds.append(time.perf_counter() - begin)
        return 1000 * statistics.median(seconds)


def read_tokens(engine: SeqTrackEngine, images: Sequence, boxes: Sequence, batch: int = 1) -> np.ndarray:
    """(F, B, 4) tokens; each frame starts from a given box, so that differences do not add up."""
    states = [engine.start(images[0], boxes[0]) for _ in range(batch)]
    tokens = []
    for image, box in zip(images[1:], boxes[:-1], strict=True):
        for state in states:
            state.box_xywh, state.frame = list(box), 0
        tokens.append([result.tokens for result in engine.step(states, [image] * batch)])
    return np.array(tokens)


def repeated_step(engine: SeqTrackEngine, batch: int) -> Callable[[], object]:
    """A step of ``batch`` sequences that each time starts from one box: those of seeded weights wander off."""
    images = seeded_images(batch)
    states = [engine.start(image, BOX) for image in images]

    def step() -> object:
        for state in states:
            state.box_xywh, state.frame = list(BOX), 0
        return engine.step(states, images)

    return step


def parity(report: Bench) -> None:
    """Tokens of the bundled weights against the CPU's float32, and of seeded B256."""
    cfg, frames = load_config("seqtrack_demo"), 3 if report.dry else 24
    video = SyntheticSequence(3, num_frames=frames, size=(320, 240), split="bench16")
    images, boxes = [video.frame(index) for index in range(frames)], np.maximum(video.boxes_xywh, 4).tolist()

    def track(device: torch.device, dtype: str) -> np.ndarray:
        params = parameters_from_config(cfg, checkpoint=WEIGHTS, device=str(device), dtype=dtype)
        return read_tokens(SeqTrackEngine(params), images, boxes)

    expected = track(CPU, "float32")
    for dtype, least in (("float32", 0.99), ("tf32", 0.9), ("bfloat16", 0.85), ("float16", 0.9)):
        difference = track(report.device, dtype) - expected
        equal, bias = float((difference == 0).mean()), float(difference.mean())
        report.fact(f"bundled weights, {dtype}: share of equal tokens", equal, f"at least {least}", equal >= least)
        report.fact(f"bundled weights, {dtype}: bias in bins", bias, "within 0.15", abs(bias) < 0.15)
    images, boxes = seeded_images(3), [BOX] * 3
    expected = read_tokens(report.engine("seqtrack_b256", "float32", CPU), images, boxes)
    for batch in (1, 4):
        got = read_tokens(report.engine("seqtrack_b256", "float32"), images, boxes, batch)
        equal = float((got == expected).mean())
        what = f"B256, seeded, float32, batch {batch}: share of equal tokens"
        report.fact(what, equal, "at least 0.95", equal >= 0.95)


def graphs(report: Bench) -> None:
    """Captured steps give the tokens of eager ones, and an eager step waits for nothing."""
    images, boxes = seeded_images(3), [BOX] * 3
    for dtype in ("float32", "bfloat16"):
        eager = report.engine("seqtrack_b256", dtype)
        captured = report.engine("seqtrack_b256", dtype, cuda_graphs=True)
        for batch in (1, 3) if report.dry else (1, 3, 64, 70):
            pair = [read_tokens(engine, images, boxes, batch) for engine in (eager, captured)]
            equal = float((pair[0] == pair[1]).mean())
            report.fact(f"{dtype}, batch {batch}: tokens equal to eager ones", equal, "at least 0.95", equal >= 0.95)
        is_captured = captured.reader.is_captured
        report.fact(f"{dtype}: still captured", is_captured, "True", report.dry or is_captured)
    if report.dry:
        return
    state = eager.start(images[0], BOX)
    crops = eager.preprocess.upload(torch.zeros(1, eager.params.search_size, eager.params.search_size, 3).byte())
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.inference_mode():
            eager.reader.step(state.templates[None], crops)
        report.fact("an eager step waits for nothing", True, "True", True)
    except RuntimeError as error:
        report.fact("an eager step waits for nothing", str(error)[:80], "True", False)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def latency(report: Bench) -> None:
    """Whole frames, by precision and batch."""
    plan = [("seqtrack_b256", dtype, False, (1, 8, 64)) for dtype in ("float32", "tf32", "bfloat16")]
    plan += [("seqtrack_b256", dtype, True, (1, 8, 64)) for dtype in ("tf32", "bfloat16")]
    plan += [("seqtrack_l384", "bfloat16", captured, (1, 16)) for captured in (False, True)]
    for name, dtype, captured, batches in plan:
        if not report.dry:
            torch.cuda.reset_peak_memory_stats()
        engine = report.engine(name, dtype, cuda_graphs=captured)
        label = f"{name} {dtype}{' captured' if captured else ''}"
        sizes = (1, 2) if report.dry else batches
        ms = {batch: report.milliseconds(repeated_step(engine, batch)) for batch in sizes}
        goals = captured and "b256" in name and dtype == "bfloat16" and not report.dry
        expected, ok = ("below 3 at batch 1", ms[1] < 3) if goals else ("", None)
        label += ", batch " + ", ".join(str(batch) for batch in ms)
        report.fact(f"{label}: ms a step", ", ".join(f"{value:.2f}" for value in ms.values()), expected, ok)
        expected, ok = ("above 1500 at batch 64", ms[64] < 64 / 1.5) if goals else ("", None)
        shown = ", ".join(f"{1000 * batch / value:.0f}" for batch, value in ms.items())
        report.fact(f"{label}: frames/s", shown, expected, ok)
        if not report.dry:
            report.fact(f"{label}: peak memory, MiB", torch.cuda.max_memory_allocated() >> 20)


def make_step(report: Bench, amp: torch.dtype | None, compiled: bool = False) -> tuple[OptimizationStep, TrainingBatch]:
    """A training step of B256 with 16 seeded samples."""
    cfg, batch, pixels = report.config("seqtrack_b256"), 2 if report.dry else 16, torch.Generator().manual_seed(1)
    network = build_seqtrack(cfg).to(report.device)
    optimizer = build_optimizer(network, cfg)
    if compiled:
        network.compile()
    actor = SeqTrackActor(network, network.vocabulary, mean=cfg.DATA.MEAN, std=cfg.DATA.STD).to(report.device)
    step = OptimizationStep(actor, optimizer, device=report.device, clip_norm=cfg.TRAIN.GRAD_CLIP_NORM, amp_dtype=amp)
    sets = []
    for count, size in ((cfg.DATA.TEMPLATE.NUMBER, cfg.DATA.TEMPLATE.SIZE), (1, cfg.DATA.SEARCH.SIZE)):
        crops = torch.randint(0, 256, (batch, count, size, size, 3), generator=pixels, dtype=torch.uint8)
        sets += [crops, torch.full((batch, count, 4), 0.3), torch.full((batch, count), 1 / 255)]
    made = TrainingBatch(*sets)
    return step, made if report.dry else made.pin_memory()


def training(report: Bench) -> None:
    """Training steps by precision: time, memory, waits."""
    for dtype in PRECISIONS:
        torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        if not report.dry:
            torch.cuda.reset_peak_memory_stats()
        step, batch = make_step(report, None if report.dry and dtype == "float16" else AMP[dtype])
        ms = report.milliseconds(lambda: step.train(batch), 10)  # noqa: B023
        finite = bool(np.isfinite(step.train(batch).loss))
        report.fact(f"B256, {dtype}: ms a step of {len(batch)} samples", ms, "finite loss", finite)
        report.fact(f"B256, {dtype}: samples/s", 1000 * len(batch) / ms)
        if report.dry:
            continue
        report.fact(f"B256, {dtype}: peak memory, GiB", torch.cuda.max_memory_allocated() / 2**30)
        if dtype == "float32":
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                step.train(batch)
                torch.cuda.set_sync_debug_mode("default")
            places = [f"{Path(w.filename).name}:{w.lineno}" for w in seen if "called a synchronizing" in str(w.message)]
            report.fact("waits of a step", f"{len(places)} {places}", "1", len(places) <= 1)
            fused = step.optimizer.param_groups[0].get("fused")
            report.fact("one fused kernel updates the weights", fused, "True", bool(fused))
    torch.backends.cuda.matmul.allow_tf32 = False


def overlap(report: Bench) -> None:
    """The training command on fabricated JPEG files with loader processes: does it start, and what does it wait for?"""
    name, count, size, processes = "seqtrack_b256", 32, (1280, 720), 16
    own = ["TRAIN.AMP=true", "TRAIN.BATCH_SIZE=16", "DATA.TRAIN.SAMPLE_PER_EPOCH=1600"]
    if report.dry:
        name, count, size, processes = "seqtrack_demo", 2, (160, 120), 0
        own = ["MODEL.ENCODER.TYPE=vit_test_patch16", "TRAIN.WITHOUT_FILES=true", "TRAIN.PRINT_INTERVAL=1"]
        own += ["TRAIN.BATCH_SIZE=2", "DATA.TRAIN.SAMPLE_PER_EPOCH=4"]
    own += ["DATA.TRAIN.DATASETS_NAME=['GOT10K_train_full']", "DATA.TRAIN.DATASETS_RATIO=[1]", "TRAIN.EPOCH=1"]
    own += ["MODEL.ENCODER.PRETRAIN_TYPE=scratch", f"TRAIN.NUM_WORKER={processes}"]
    with tempfile.TemporaryDirectory() as folder:
        videos = [SyntheticSequence(number, num_frames=24, size=size, difficulty="hard") for number in range(count)]
        root = write_got10k(Path(folder, "got10k"), "train", videos, workers=processes).folder
        sizes = [path.stat().st_size for path in root.rglob("*.jpg")]
        report.fact(
            f"mean size of {len(sizes)} JPEG files of {size[0]} x {size[1]}, KiB", statistics.mean(sizes) / 1024
        )
        command = [sys.executable, str(PROJECT_ROOT / "lib/train/run_training.py"), "--config", name]
        command += ["--save_dir", folder, "--data_dir", folder, "--device", "cpu" if report.dry else "auto"]
        command += ["--override", *own]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    report.fact("exit code of a training", done.returncode, "0", done.returncode == 0)
    for line in [line for line in lines if "samples/s" in line or "error" in line.lower()][-2:]:
        report.fact(line[-160:].replace("|", "/"), "")


def evaluation(report: Bench) -> None:
    """Frames per second of a benchmark from files to results, with CUDA graphs as in tracking/test.py."""
    size = ["--sequences", "2", "--frames", "3"] if report.dry else ["--sequences", "64", "--frames", "60"]
    batches = ["1", "2"] if report.dry else ["1", "16", "64"]
    config = "seqtrack_demo" if report.dry else "seqtrack_b256"
    for dtype in ("float32",) if report.dry else ("tf32", "bfloat16"):
        command = [sys.executable, "-m", "benchmarks.evaluation", "--skip", "analysis", "--config", config, *size]
        command += ["--batch_sizes", *batches, "--device", str(report.device), "--dtype", dtype]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=PROJECT_ROOT, check=False)
        report.fact(f"{dtype}: exit code", done.returncode, "0", done.returncode == 0)
        for line in done.stdout.splitlines():
            report.fact(f"{dtype}: {line.strip()}", "")


def kernels(report: Bench) -> None:
    """What a frame runs on the GPU: number of kernels, share of the time it is busy, kernels of attention."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([] if report.dry else [ProfilerActivity.CUDA])
    for dtype in ("float32", "bfloat16"):
        engine = report.engine("seqtrack_b256", dtype)
        for batch in (1,) if report.dry else (1, 64):
            step = repeated_step(engine, batch)
            wall = report.milliseconds(step, 5)
            with profile(activities=activities) as seen:
                step()
                synchronize(report.device)
            events = [event for event in seen.events() if event.device_type == torch.autograd.DeviceType.CUDA]
            busy = sum(event.time_range.elapsed_us() for event in events) / 1000
            report.fact(f"{dtype}, batch {batch}: kernels", len(events), "312 (float32) or 336, and copies")
            report.fact(f"{dtype}, batch {batch}: share of the time that the GPU is busy", busy / wall)
            words = ("flash", "fmha", "attention", "cudnn")
            named = collections.Counter(e.name[:60] for e in events if any(word in e.name.lower() for word in words))
            for name, count in named.most_common(2):
                report.fact(f"{dtype}, batch {batch}: {name}", count, "flash (bfloat16), fmha (float32)")


def compile(report: Bench) -> None:
    """Compiled steps of the tracker and of training: time to compile, time of a step, tokens."""
    images, boxes = seeded_images(3), [BOX] * 3
    eager = report.engine("seqtrack_b256", "bfloat16")
    for batch in (1,) if report.dry else (1, 64):
        begin = time.perf_counter()
        engine = report.engine("seqtrack_b256", "bfloat16", compile=True)
        got = read_tokens(engine, images, boxes, batch)
        report.fact(f"batch {batch}: seconds until the first frames", time.perf_counter() - begin)
        equal = float((got == read_tokens(eager, images, boxes, batch)).mean())
        report.fact(f"batch {batch}: tokens equal to eager ones", equal, "at least 0.8", equal >= 0.8)
        report.fact(f"batch {batch}: ms a step", report.milliseconds(repeated_step(engine, batch)))
    if not report.dry:
        step, made = make_step(report, torch.bfloat16, compiled=True)
        begin = time.perf_counter()
        step.train(made)
        report.fact("training, bfloat16: seconds until the first step", time.perf_counter() - begin)
        report.fact("training, bfloat16: ms a step", report.milliseconds(lambda: step.train(made), 10))


PARTS = {part.__name__: part for part in (parity, graphs, latency, training, overlap, evaluation, kernels, compile)}


def run_part(report: Bench, name: str) -> None:
    """Run a part; one that fails is a fact to look at, and the next one runs."""
    report.section = name
    begin = time.perf_counter()
    try:
        PARTS[name](report)
    except Exception as error:
        report.fact(f"ended by {type(error).__name__}", " ".join(str(error).split())[:200], "no error", False)
    report.fact("seconds", time.perf_counter() - begin, "below 600")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--dry", action="store_true", help="run the script itself, on a CPU with a tiny network")
    parser.add_argument("--json", type=user_path, help="add the facts to this file")
    parser.add_argument("--write_docs", action="store_true", help="fill docs/performance.md from the facts of --json")
    parser.add_argument("--docs", type=user_path, default=DOCS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    unknown = [name for name in args.parts if name not in PARTS]
    if unknown:
        parser.error(f"no such part: {unknown[0]}; known: {', '.join(PARTS)}")
    if args.write_docs and args.dry and args.docs == DOCS:
        parser.error("--write_docs does not go with --dry")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; 1 if there is something to look at."""
    args = parse_args(argv)
    report = Bench(args.dry)
    for name in args.parts or PARTS:
        run_part(report, name)
    facts = add_to_json(args.json, report) if args.json else report.facts
    if args.write_docs:
        write_docs(args.docs, describe(report), facts)
    return report.print_summary()


if __name__ == "__main__":
    sys.exit(run_script(main))
