"""Speed of tracking against the plain version (benchmarks/plain.py), in one run, checked for equal tokens.

Whole frames of 1280 x 720 are timed: crop, upload, network, box. All versions take turns on every input, so that a busy
machine slows all of them; the ratio is the median over inputs. Weights are seeded, so nothing is downloaded.

    python benchmarks/inference.py                                        # B256 and the demo network, the table
    python benchmarks/inference.py --configs all --repeats 3              # all eight, minutes on a CPU
    python benchmarks/inference.py --versions float32 bfloat16 int8 float32+compile
    python benchmarks/inference.py --versions bfloat16+sdpa bfloat16      # with PyTorch's attention, and with ours
    python benchmarks/inference.py --steps                                # what each step brought, one by one
    python benchmarks/inference.py --decoder --batch_sizes 1              # the decoder alone, too
    python benchmarks/inference.py --device cuda --batch_sizes 1 16 64 --versions float32 bfloat16 bfloat16+graphs

Exit code 1 if a token of the float32 version differs from the plain one.
"""

import argparse
import copy
import dataclasses
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import numpy as np
import torch
from torch import Tensor

from benchmarks import plain
from benchmarks.networks import fill_with_seeded_weights, seeded_images
from lib.config.paths import PROJECT_ROOT
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.seqtrack.precision import PRECISIONS, prepare_for_tracking, set_precision
from lib.models.seqtrack.vit import attend
from lib.test.parameter.seqtrack import TrackerParams, parameters_from_config
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.reader import compile_step
from lib.utils.box_ops import box_iou, box_xywh_to_xyxy
from lib.utils.cli import ScriptParser, run_script
from lib.utils.device import resolve_device
from lib.utils.errors import InputError

BOX = [600.0, 320.0, 90.0, 70.0]
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
Read = Callable[[SeqTrack, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
"""Network, template images (B, T, 3, H, W), search crop, window -> tokens and likelihoods."""


class PlainEngine(SeqTrackEngine):
    """The tracker around the plain network: what it keeps of a template is the normalized image.

    Args:
        params: settings.
        network: the network, in float32.
        read: reads tokens off images; by default as benchmarks/plain.py does.
    """

    def __init__(self, params: TrackerParams, network: SeqTrack, read: Read | None = None) -> None:
        super().__init__(params, network)
        self._read = read or read_plainly
        self.reader.embed = self._keep_images

    def _keep_images(self, crops: Sequence[np.ndarray]) -> Tensor:
        return self.preprocess(crops, self.dtype).flatten(1).unsqueeze(1)

    def _read_boxes(self, templates: Tensor, crops: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        size = self.params.template_size
        search = self.preprocess(crops, self.dtype).unsqueeze(1)
        tokens, likelihoods = self._read(self.network, templates.unflatten(2, (3, size, size)), search, self.window)
        return tokens.cpu(), likelihoods.cpu()


def read_plainly(network: SeqTrack, template: Tensor, search: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """The oracle."""
    return plain.generate(network, plain.encode(network, template, search), window)


def read_fused(network: SeqTrack, template: Tensor, search: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """Our encoder, which still sees the template images in every frame; plain decoder."""
    return plain.generate(network, network.encode(template, search), window)


def read_trimmed(network: SeqTrack, template: Tensor, search: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """As above, with the templates left out of the last block."""
    tokens = network.encode_embedded(network.embed_template(template), search, search_only=True)
    return plain.generate(network, tokens, window)


def read_cached(network: SeqTrack, template: Tensor, search: Tensor, window: Tensor | None) -> tuple[Tensor, Tensor]:
    """As above, with our decoder: all that is left is that template images are embedded again."""
    features = network.encode_embedded(network.embed_template(template), search, search_only=True)
    return network.generate(features, window)


STEPS: dict[str, Read] = {
    "+ fused attention, patches as one product": read_fused,
    "+ last block for search tokens only": read_trimmed,
    "+ cached decoder": read_cached,
}


@dataclass
class Version:
    """One version of the tracker and what was measured of it.

    Attributes:
        name: for the table.
        engine: the tracker.
        seconds: one entry per input.
        tokens: (inputs * B, 4) tokens.
        boxes: (inputs * B, 4) xywh in pixels.
    """

    name: str
    engine: SeqTrackEngine
    seconds: list[float] = field(default_factory=list)
    tokens: list[np.ndarray] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", nargs="+", default=["seqtrack_b256", "seqtrack_demo"], help="names, or all")
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1, 8], help="sequences at once (default: 1 8)")
    parser.add_argument(
        "--versions",
        nargs="+",
        default=["float32", "bfloat16", "int8"],
        help="precision, perhaps with +compile, +graphs or +sdpa (default: float32 bfloat16 int8)",
    )
    parser.add_argument("--repeats", type=int, default=7, help="inputs per measurement (default: 7)")
    parser.add_argument("--warm_up", type=int, default=2, help="inputs before those that count (default: 2)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument(
        "--clock",
        default="wall",
        choices=list(CLOCKS),
        help="cpu: processor time of this process, which a busy machine disturbs less (use it with --threads 1)",
    )
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:<index> or mps (default: cpu)")
    parser.add_argument("--steps", action="store_true", help="take the way from plain to fast one step at a time")
    parser.add_argument("--decoder", action="store_true", help="time the decoder alone, too, in a second table")
    return parser.parse_args(argv)


def make_versions(config: str, names: Sequence[str], device: str, steps: bool) -> list[Version]:
    """The plain version first, then, with ``steps``, the half-way ones, then those named."""
    cfg = load_config(config)
    params = parameters_from_config(cfg, checkpoint=None, device=device)
    cpu_network = fill_with_seeded_weights(build_seqtrack(cfg))
    network = set_precision(copy.deepcopy(cpu_network), "float32", resolve_device(device))
    versions = [Version("plain", PlainEngine(params, network))]
    if steps:
        versions += [Version(name, PlainEngine(params, network, read)) for name, read in STEPS.items()]
        versions.append(Version("+ template embeddings kept", SeqTrackEngine(params, network)))
    for name in names:
        precision, *options = name.split("+")
        if precision not in PRECISIONS or not set(options) <= {"compile", "graphs", "sdpa"}:
            known = ", ".join(PRECISIONS)
            raise InputError(f"--versions: {name!r} is not one of {known} with +compile, +graphs or +sdpa")
        choice = dataclasses.replace(params, compile="compile" in options, cuda_graphs="graphs" in options)
        where = resolve_device(device)
        own = prepare_for_tracking(copy.deepcopy(cpu_network), precision, where)
        for block in own.vit.blocks if "sdpa" in options else ():
            block.attn.attend = attend
        label = f"+ packed and halved products ({name})" if steps and name == "float32" else name
        versions.append(Version(label, SeqTrackEngine(choice, own)))
    return versions


def measure(versions: Sequence[Version], batch: int, args: argparse.Namespace) -> None:
    """Let the versions take turns on every input; each begins every frame from the same state."""
    clock = CLOCKS[args.clock]
    first = seeded_images(batch, seed=1)
    starts = {version.name: [version.engine.start(image, BOX) for image in first] for version in versions}
    for version in versions:
        version.seconds, version.tokens, version.boxes = [], [], []
    for repeat in range(-args.warm_up, args.repeats):
        images = seeded_images(batch, seed=100 + repeat)
        for version in versions:
            states = [dataclasses.replace(state) for state in starts[version.name]]
            begin = clock()
            results = version.engine.step(states, images)  # ends with a transfer, so it is synchronized
            seconds = clock() - begin
            if repeat >= 0:
                version.seconds.append(seconds)
                version.tokens += [result.tokens for result in results]
                version.boxes += [result.box_xywh for result in results]


@torch.inference_mode()
def measure_decoder(versions: Sequence[Version], batch: int, args: argparse.Namespace) -> list[list[float]]:
    """Seconds of the decoder alone, one list for each version, taking turns.

    An encoder runs before each, as in tracking: it is what weights and image memory are driven out of the caches by.
    """
    clock = CLOCKS[args.clock]
    network, device = versions[0].engine.network, versions[0].engine.device
    body, size = network.encoder.body, versions[0].engine.params.search_size
    templates = torch.zeros(batch, versions[0].engine.params.num_templates * body.num_template_tokens, body.dim)
    templates, search = templates.to(device), torch.zeros(batch, 1, 3, size, size, device=device)
    features = network.encode_embedded(templates, search)
    needed = network.encode_embedded(templates, search, search_only=True)
    works: list[Callable[[], object]] = []
    for version in versions:
        reader = version.engine.reader
        if isinstance(version.engine, PlainEngine):
            works.append(partial(plain.generate, network, features, version.engine.window))
        else:
            decode = compile_step(reader.decode) if version.engine.params.compile else reader.decode
            works.append(partial(decode, needed.to(reader.dtype)))
    seconds: list[list[float]] = [[] for _ in works]
    for repeat in range(-args.warm_up, args.repeats):
        for work, times in zip(works, seconds, strict=True):
            network.encode_embedded(templates, search, search_only=True)
            synchronize(device)
            begin = clock()
            work()
            synchronize(device)
            if repeat >= 0:
                times.append(clock() - begin)
    return seconds


def synchronize(device: torch.device) -> None:
    """Wait for a device that works by itself."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agreement(version: Version, reference: Version) -> tuple[float, float]:
    """Share of equal tokens, and mean IoU of the boxes, against another version."""
    equal = float((np.array(version.tokens) == np.array(reference.tokens)).mean())
    boxes = [box_xywh_to_xyxy(torch.tensor(v.boxes, dtype=torch.float64)) for v in (version, reference)]
    return equal, float(box_iou(*boxes)[0].mean())


def rows(config: str, batch: int, versions: Sequence[Version]) -> list[str]:
    """Lines of the Markdown table."""
    reference = versions[0]
    lines = []
    for version in versions:
        ratio = statistics.median(a / b for a, b in zip(reference.seconds, version.seconds, strict=True))
        equal, iou = agreement(version, reference)
        milliseconds = 1000 * statistics.median(version.seconds)
        lines.append(
            f"| {config} | {batch} | {version.name} | {milliseconds:.1f} | {1000 * min(version.seconds):.1f} | "
            f"{1000 * batch / milliseconds:.2f} | {ratio:.2f} | {equal:.0%} | {iou:.3f} |"
        )
    return lines


def decoder_rows(config: str, batch: int, versions: Sequence[Version], seconds: Sequence[Sequence[float]]) -> list[str]:
    """Lines of the table of the decoder, from what ``measure_decoder`` returns."""
    lines = []
    for version, times in zip(versions, seconds, strict=True):
        ratio = statistics.median(a / b for a, b in zip(seconds[0], times, strict=True))
        milliseconds = 1000 * statistics.median(times)
        lines.append(
            f"| {config} | {batch} | {version.name} | {milliseconds:.1f} | {1000 * min(times):.1f} | {ratio:.2f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; return 1 if float32 tokens differ from the plain ones."""
    args = parse_args(argv)
    if args.repeats < 1 or args.threads < 1 or min(args.batch_sizes) < 1 or args.warm_up < 0:
        raise InputError("--repeats, --threads and --batch_sizes must be at least 1, --warm_up at least 0")
    torch.set_num_threads(args.threads)
    device = resolve_device(args.device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} {device.type}"
    print(f"{where}, {args.threads} threads, PyTorch {torch.__version__}, {args.clock} clock, {args.repeats} inputs\n")
    print("| network | batch | version | ms, median | ms, least | frames/s | times plain | tokens equal | mean IoU |")
    print("|---|---|---|---|---|---|---|---|---|")
    configs = args.configs
    if configs == ["all"]:
        configs = sorted(path.stem for path in (PROJECT_ROOT / "experiments/seqtrack").glob("seqtrack_[bl]*.yaml"))
    differing: list[str] = []
    decoder_lines = [
        "",
        "| network | batch | decoder of | ms, median | ms, least | times plain |",
        "|---|---|---|---|---|---|",
    ]
    for config in configs:
        versions = make_versions(config, args.versions, args.device, args.steps)
        for batch in args.batch_sizes:
            measure(versions, batch, args)
            print("\n".join(rows(config, batch, versions)), flush=True)
            if args.decoder:
                decoder_lines += decoder_rows(config, batch, versions, measure_decoder(versions, batch, args))
            exact = [version for version in versions if "bfloat16" not in version.name and "int8" not in version.name]
            differing += [
                f"{config}, batch {batch}, {version.name}"
                for version in exact
                if "float16" not in version.name and agreement(version, versions[0])[0] < 1
            ]
    if args.decoder:
        print("\n".join(decoder_lines))
    print("\ntokens of all float32 versions equal" if not differing else f"\nTOKENS DIFFER: {'; '.join(differing)}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(run_script(main))
