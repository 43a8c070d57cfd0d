"""Training samples per second and core against a plain pipeline (benchmarks/plain_training.py), in one run.

Sequences of 1280 x 720 JPEG frames are fabricated in the layout of LaSOT. The pipelines take turns on the same
batches, in one process with one thread, so that a busy machine slows all of them; ratios are medians over batches, of
processor time. All make the same samples, which is checked, except that reduced decoding changes pixels a little: by
how much is shown below the table.

Decoding takes most of the time, and the longer the larger the files are, so a ratio belongs to a size of files. The
first two sizes are those of real frames of 1280 x 720 (60 to 150 KiB; the 3.5 million frames of LaSOT fill 227 GB, 63
KiB each over all its frame sizes); the last is that of textured frames at JPEG quality 90, the hard case. The quality
of the fabricated files is chosen so that they have the size.

    python benchmarks/loader.py
    python benchmarks/loader.py --kib 100 --config seqtrack_b384 --batches 24
    python benchmarks/loader.py --target_sides 160 220 300     # larger targets: more frames can be reduced
    python benchmarks/loader.py --decoders                     # the decoders alone, too

Exit code 1 if a sample differs from the plain one.
"""

import argparse
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import cv2
import numpy as np
import torch
from easydict import EasyDict
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.plain_training import PlainSampler, collate_plain
from lib.config.seqtrack.config import load_config
from lib.data.lasot import Lasot
from lib.synthetic import SyntheticSequence
from lib.train.data.batch import TrainingBatch, collate
from lib.train.data.frame_choice import FramePolicy
from lib.train.data.processing import Augmentation
from lib.train.data.sampler import SampleKey, TrackingSampler
from lib.train.data.transforms import normalize_crops
from lib.train.train_script import build_processing
from lib.utils.cli import ScriptParser, run_script
from lib.utils.crop import sample_reduced, sample_target
from lib.utils.image_io import EncodedImage, decode_image, encode_image
from lib.utils.storage import DirectoryStorage

WIDTH, HEIGHT = 1280, 720
NUM_FRAMES = 24
TARGET_SIDES = (48, 80, 120, 160, 220, 300)
KIB = (65, 130, 200)
TOLERANCE = 1e-4


@dataclass
class Pipeline:
    """A way to make a batch from keys, and what it took.

    Attributes:
        name: for the table.
        make: makes a batch.
        cpu: seconds of processor time, one entry per batch.
        wall: seconds, as above.
    """

    name: str
    make: Callable[[Sequence[SampleKey]], object]
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_b256")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--kib", type=float, nargs="+", default=KIB, help="mean sizes of the files, a table for each")
    parser.add_argument("--noise", type=float, default=4.0, help="standard deviation of the noise on the frames")
    parser.add_argument(
        "--target_sides", type=float, nargs="+", default=TARGET_SIDES, help="sqrt(w h) of the target of each sequence"
    )
    parser.add_argument("--decoders", action="store_true", help="also time the decoders alone")
    return parser.parse_args(argv)


def render(number: int, noise: float) -> Iterator[np.ndarray]:
    """Frames of a sequence: a rendered image that drifts, with new noise in every frame."""
    scene = SyntheticSequence(number, num_frames=1, size=(WIDTH, HEIGHT), difficulty="hard").frame(0)
    for frame in range(NUM_FRAMES):
        rng = np.random.RandomState(100 * number + frame)
        grain = cv2.resize(rng.randn(HEIGHT // 2, WIDTH // 2, 3).astype(np.float32) * noise, (WIDTH, HEIGHT))
        yield (np.roll(scene, (frame, 4 * frame), axis=(0, 1)) + grain).clip(0, 255).astype(np.uint8)


def choose_quality(images: Sequence[np.ndarray], kib: float) -> int:
    """The best quality at which these images have a mean size of at most ``kib`` as JPEGs."""
    low, high = 1, 100
    while high - low > 1:
        quality = (low + high) // 2
        size = statistics.mean(len(encode_image(image, ".jpg", quality)) for image in images) / 1024
        low, high = (quality, high) if size <= kib else (low, quality)
    return low


def fabricate(root: Path, kib: float, noise: float, target_sides: Sequence[float] = TARGET_SIDES) -> tuple[int, float]:
    """Write sequences in the layout of LaSOT.

    Returns:
        JPEG quality, and mean size of a file in KiB.
    """
    sizes = []
    quality = choose_quality([next(render(number, noise)) for number in range(len(target_sides))], kib)
    for number, side in enumerate(target_sides):
        folder = root / "bird" / f"bird-{number + 1}"
        (folder / "img").mkdir(parents=True)
        w, h = side * 1.25, side / 1.25
        x, y = 0.5 * (WIDTH - w) - 200 + 80 * number, 0.5 * (HEIGHT - h) - 60 + 20 * number
        boxes = []
        for frame, image in enumerate(render(number, noise)):
            data = encode_image(image, ".jpg", quality)
            (folder / "img" / f"{frame + 1:08d}.jpg").write_bytes(data)
            sizes.append(len(data))
            boxes.append(f"{x + 4 * frame:.1f},{y + frame:.1f},{w:.1f},{h:.1f}\n")
        (folder / "groundtruth.txt").write_text("".join(boxes))
        for flag in ("full_occlusion.txt", "out_of_view.txt"):
            (folder / flag).write_text(",".join("0" * NUM_FRAMES))
    split = "".join(f"bird-{number + 1}\n" for number in range(len(target_sides)))
    (root / "split.txt").write_text(split)
    return quality, statistics.mean(sizes) / 1024


def make_pipelines(cfg: EasyDict, root: Path) -> list[Pipeline]:
    """The plain pipeline first, then ours at full and at reduced decoding."""
    data = cfg.DATA
    dataset = Lasot(DirectoryStorage(root), str(root / "split.txt"))
    common = {
        "datasets": [dataset],
        "ratios": [1.0],
        "mode": data.SAMPLER_MODE,
        "policy": FramePolicy(data.TEMPLATE.NUMBER, data.SEARCH.NUMBER, (data.MAX_SAMPLE_INTERVAL,)),
        "seed": cfg.TRAIN.SEED,
    }

    def ours(reduced: bool) -> TrackingSampler:
        own = load_config(cfg.name, {"DATA.REDUCED_DECODE": reduced})
        return TrackingSampler(processing=build_processing(own, Augmentation()), **common)

    full, reduced = ours(False), ours(True)
    plain = PlainSampler(mean=data.MEAN, std=data.STD, processing=full.processing, **common)
    return [
        Pipeline("plain", lambda keys: collate_plain([plain.sample(key).views for key in keys])),
        Pipeline("full decode", lambda keys: collate([full.sample(key) for key in keys])),
        Pipeline("reduced decode", lambda keys: collate([reduced.sample(key) for key in keys])),
    ]


def differences(plain: tuple, batch: TrainingBatch, cfg: EasyDict) -> float:
    """Largest difference of normalized pixels and boxes between a batch of ours and a plain one."""
    mean, std = torch.tensor(cfg.DATA.MEAN), torch.tensor(cfg.DATA.STD)
    ours = (
        (batch.template, batch.template_gain, batch.template_boxes_xywh),
        (batch.search, batch.search_gain, batch.search_boxes_xywh),
    )
    worst: list[Tensor] = []
    for (crops, gain, boxes), (images, plain_boxes, *_) in zip(ours, plain, strict=True):
        worst.append((normalize_crops(crops, gain, mean, std).transpose(0, 1) - images).abs().max())
        worst.append((boxes.transpose(0, 1) - plain_boxes).abs().max())
    return float(torch.stack(worst).max())


def measure(pipelines: Sequence[Pipeline], batches: int, batch_size: int, cfg: EasyDict) -> float:
    """Let the pipelines take turns on every batch; returns the largest difference at full decode."""
    worst = 0.0
    for number in range(-1, batches):  # the first one warms up
        keys = [SampleKey(1, (number + 1) * batch_size + k) for k in range(batch_size)]
        made = []
        for pipeline in pipelines:
            cpu, wall = time.process_time(), time.perf_counter()
            made.append(pipeline.make(keys))
            if number >= 0:
                pipeline.cpu.append((time.process_time() - cpu) / batch_size)
                pipeline.wall.append((time.perf_counter() - wall) / batch_size)
        worst = max(worst, differences(made[0], made[1], cfg))
    return worst


def effect_of_reduction(root: Path, size: int, reduction: int) -> tuple[float, float]:
    """Mean difference of pixels (0 to 255) of crops: reduced against full decoding, and full against area averages."""
    changed, aliased = [], []
    for path in sorted(root.glob("bird/*/img/00000001.jpg")):
        data = path.read_bytes()
        full, small = decode_image(data, path.name), decode_image(data, path.name, reduction)
        side = 1.3 * reduction * size  # of the crop: a little more than the reduction asks for
        box = [0.5 * (WIDTH - side), 0.5 * (HEIGHT - side), side, side]
        crop, _ = sample_target(full, box, 1.0, size)
        other, _ = sample_reduced(small, reduction, (WIDTH, HEIGHT), box, 1.0, size)
        wide = int(np.ceil(side))
        left, top = round(0.5 * WIDTH - wide * 0.5), round(0.5 * HEIGHT - wide * 0.5)
        pad = [max(0, -top), max(0, top + wide - HEIGHT), max(0, -left), max(0, left + wide - WIDTH)]
        inside = full[max(top, 0) : top + wide, max(left, 0) : left + wide]
        square = cv2.copyMakeBorder(inside, *pad, cv2.BORDER_CONSTANT)
        mean = cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA)
        changed.append(np.abs(crop.astype(int) - other).mean())
        aliased.append(np.abs(crop.astype(int) - mean).mean())
    return float(np.mean(changed)), float(np.mean(aliased))


def time_decoders(root: Path, repeats: int = 6) -> dict[str, float]:
    """Milliseconds of processor time for a whole frame, by decoder; all but the reduced ones give the same pixels."""

    def read(flags: int) -> Callable[[bytes], object]:
        return lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), flags)

    def torchvision(data: bytes) -> object:
        return decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), mode=ImageReadMode.RGB)

    decoders = {
        "OpenCV, then BGR to RGB": lambda data: cv2.cvtColor(read(cv2.IMREAD_COLOR)(data), cv2.COLOR_BGR2RGB),
        "OpenCV, RGB": lambda data: decode_image(data, ""),
        "torchvision": torchvision,
        "ours (simplejpeg, if it is installed)": lambda data: EncodedImage(data, "").pixels(),
        "ours, 560 of 720 rows": lambda data: EncodedImage(data, "").pixels(1, 560),
        "OpenCV, 1/2": lambda data: decode_image(data, "", 2),
        "ours, 1/2": lambda data: EncodedImage(data, "").pixels(2),
        "ours, 1/4": lambda data: EncodedImage(data, "").pixels(4),
    }
    files = [path.read_bytes() for path in sorted(root.glob("bird/*/img/0000000[12].jpg"))]
    seconds: dict[str, list[float]] = {name: [] for name in decoders}
    for data in files * repeats:
        for name, decode in decoders.items():
            before = time.process_time()
            decode(data)
            seconds[name].append(time.process_time() - before)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def report(args: argparse.Namespace, cfg: EasyDict, kib: float) -> float:
    """Measure with files of one size and print the tables; returns the largest difference to the plain samples."""
    with tempfile.TemporaryDirectory(prefix="seqtrack-loader-") as folder:
        root = Path(folder)
        quality, kib = fabricate(root, kib, args.noise, args.target_sides)
        pipelines = make_pipelines(cfg, root)
        worst = measure(pipelines, args.batches, args.batch_size, cfg)
        effects = {reduction: effect_of_reduction(root, cfg.DATA.SEARCH.SIZE, reduction) for reduction in (2, 4)}
        decoders = time_decoders(root) if args.decoders else {}
    print(f"\n## {kib:.0f} KiB a frame (JPEG quality {quality}, noise {args.noise:g})\n")
    print("| pipeline | ms a sample (processor) | ms (wall) | samples/s per core | times plain |")
    print("|---|---|---|---|---|")
    for pipeline in pipelines:
        cpu, wall = (1000 * statistics.median(values) for values in (pipeline.cpu, pipeline.wall))
        ratio = statistics.median(a / b for a, b in zip(pipelines[0].cpu, pipeline.cpu, strict=True))
        print(f"| {pipeline.name} | {cpu:.2f} | {wall:.2f} | {1000 / cpu:.0f} | {ratio:.2f} |")
    print("\n| decoded at | mean change of a crop's pixels (of 255) | for scale: full decoding against area averages |")
    print("|---|---|---|")
    for reduction, (changed, aliased) in effects.items():
        print(f"| 1/{reduction} | {changed:.2f} | {aliased:.2f} |")
    if decoders:
        print("\n| decoder | ms a frame |\n|---|---|")
        print("\n".join(f"| {name} | {milliseconds:.2f} |" for name, milliseconds in decoders.items()))
    print(f"\nlargest difference to the plain samples at full decode: {worst:.1e}", flush=True)
    return worst


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 1 if a sample differs from the plain one."""
    args = parse_args(argv)
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    cfg = load_config(args.config)
    cfg.name = args.config
    frames = cfg.DATA.TEMPLATE.NUMBER + cfg.DATA.SEARCH.NUMBER
    print(f"{args.config}: {frames} frames a sample, {WIDTH} x {HEIGHT}, one thread")
    print("Ratios depend on the size of the files; real frames of this size have 60 to 150 KiB.")
    worst = [report(args, cfg, kib) for kib in args.kib]
    return int(not all(difference <= TOLERANCE for difference in worst))


if __name__ == "__main__":
    sys.exit(run_script(main))
