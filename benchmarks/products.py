"""The matrix products of tracking on a CPU, each against PyTorch's own linear layer or attention, in one run.

Decoder: products with one token per sequence (``lib.models.seqtrack.cpu.split_linear``). Encoder: products with packed
weights (``PackedLinear``), the MLP in int8, and attention in blocks of bfloat16 and int8 (``attend_in_bfloat16``).
Weights come in turn from a set larger than a core's cache, as those of a network are.

    python benchmarks/products.py                      # B256
    python benchmarks/products.py --config seqtrack_demo --batch_sizes 1 8 --threads 1
    python benchmarks/products.py --threads 1 --clock cpu     # processor time, which a busy machine disturbs less
"""

import argparse
import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.seqtrack.cpu import BLOCK_LINEARS, Int8Linear, PackedLinear, attend_in_bfloat16, split_linear
from lib.models.seqtrack.vit import attend
from lib.utils.cli import ScriptParser, run_script
from lib.utils.errors import InputError

SET_BYTES = 24_000_000  # of weights that take turns
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

Work = Callable[[int], object]
"""The product with weight number i."""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="seqtrack_b256", help="name of the experiment, or path of its YAML file")
    parser.add_argument("--batch_sizes", nargs="+", type=int, default=[1], help="sequences at once (default: 1)")
    parser.add_argument("--repeats", type=int, default=20, help="rounds over all weights (default: 20)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
    parser.add_argument("--clock", default="wall", choices=list(CLOCKS), help="cpu: processor time of this process")
    return parser.parse_args(argv)


def make_layers(outputs: int, inputs: int) -> list[nn.Linear]:
    """As many layers as make the set."""
    return [nn.Linear(inputs, outputs) for _ in range(1 + SET_BYTES // (4 * outputs * inputs))]


def word_products(network: SeqTrack, batch: int) -> dict[str, tuple[Work, Work, int]]:
    """By name: the plain product, ours, and the number of weights."""
    layer = network.decoder.body.layers[0]
    heads = network.vocab_embed.layers
    dim = heads[0].in_features
    shapes = {"query, key and value": (3 * dim, dim), "output of attention": (dim, dim)}
    shapes |= {"feed-forward, in": (layer.linear1.out_features, dim)}
    shapes |= {
        "feed-forward, out": (dim, layer.linear1.out_features),
        "scores of tokens": (heads[-1].out_features, dim),
    }
    products = {}
    for name, (outputs, inputs) in shapes.items():
        layers, word = make_layers(outputs, inputs), torch.randn(batch, 1, inputs)
        products[f"{name}, {inputs} to {outputs}"] = (
            lambda i, layers=layers, word=word: F.linear(word, layers[i].weight, layers[i].bias),
            lambda i, layers=layers, word=word: split_linear(word, layers[i].weight, layers[i].bias),
            len(layers),
        )
    return products


def block_products(network: SeqTrack, batch: int) -> dict[str, tuple[Work, Work, int]]:
    """As above of a block of the encoder; ours has the GELU in the product, the plain one beside it."""
    body = network.encoder.body
    rows = body.num_search_tokens + network.num_templates * body.num_template_tokens
    products = {}
    for name in BLOCK_LINEARS:
        layer, gelu = body.blocks[0].get_submodule(name), name == "mlp.fc1"
        layers, tokens = make_layers(layer.out_features, layer.in_features), torch.randn(batch, rows, layer.in_features)
        packed = [PackedLinear(layer, rows, gelu) for layer in layers]

        def plainly(i: int, layers: list = layers, tokens: Tensor = tokens, gelu: bool = gelu) -> Tensor:
            out = layers[i](tokens)
            return F.gelu(out) if gelu else out

        products[f"{name}{' and GELU' if gelu else ''}, {layer.in_features} to {layer.out_features}"] = (
            plainly,
            lambda i, packed=packed, tokens=tokens: packed[i](tokens),
            len(layers),
        )
    return products


def int8_products(network: SeqTrack, batch: int) -> dict[str, tuple[Work, Work, int]]:
    """As above of an MLP in int8; ours has the GELU in place."""
    body = network.vit
    tokens = torch.randn(batch, body.num_search_tokens + network.num_templates * body.num_template_tokens, body.dim)
    pairs = list(zip(make_layers(4 * body.dim, body.dim), make_layers(body.dim, 4 * body.dim), strict=True))
    plain = [(Int8Linear(first), Int8Linear(second)) for first, second in pairs]
    ours = [(Int8Linear(first, gelu=True), Int8Linear(second)) for first, second in pairs]
    return {
        f"mlp in int8, {body.dim}": (
            lambda i: plain[i][1](F.gelu(plain[i][0](tokens))),
            lambda i: ours[i][1](ours[i][0](tokens)),
            len(pairs),
        )
    }


def attention_products(network: SeqTrack, batch: int) -> dict[str, tuple[Work, Work, int]]:
    """As above of attention, from and to the types of a block; the last block has fewer queries."""
    body = network.vit
    search, heads = body.num_search_tokens, body.blocks[0].attn.num_heads
    keys = search + network.num_templates * body.num_template_tokens
    products = {}
    for name, dtype in (("bfloat16", torch.bfloat16), ("int8", torch.float32)):
        projected = torch.randn(batch, keys, 3, heads, body.dim // heads).to(dtype)
        query, key, value = projected.permute(2, 0, 3, 1, 4).unbind(0)
        for queries in (keys, search):
            inputs = (query[:, :, :queries], key, value)
            products[f"attention in {name}, {queries} to {keys}, {heads} heads"] = (
                lambda i, inputs=inputs: attend(*inputs),
                lambda i, inputs=inputs: attend_in_bfloat16(*inputs),
                1,
            )
    return products


def time_both(
    plain: Work, ours: Work, count: int, repeats: int, clock: Callable[[], float]
) -> tuple[float, float, float]:
    """Microseconds of a product, medians over rounds in which both take turns, and the median of their ratios."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(-1, repeats):
        for work, times in zip((plain, ours), seconds, strict=True):
            begin = clock()
            for i in range(count):
                work(i)
            if repeat >= 0:
                times.append((clock() - begin) / count)
    ratio = statistics.median(a / b for a, b in zip(*seconds, strict=True))
    return 1e6 * statistics.median(seconds[0]), 1e6 * statistics.median(seconds[1]), ratio


@torch.inference_mode()
def main(argv: Sequence[str] | None = None) -> int:
    """Run the script."""
    args = parse_args(argv)
    if min(args.repeats, args.threads, *args.batch_sizes) < 1:
        raise InputError("--repeats, --threads and --batch_sizes must be at least 1")
    torch.set_num_threads(args.threads)
    network = build_seqtrack(load_config(args.config))
    print(f"{args.config}, {args.threads} threads, PyTorch {torch.__version__}, {args.clock} clock, microseconds\n")
    print("| batch | product | PyTorch's | ours | times as fast |")
    print("|---|---|---|---|---|")
    for batch in args.batch_sizes:
        for make in (word_products, block_products, int8_products, attention_products):
            for name, work in make(network, batch).items():
                plain, ours, ratio = time_both(*work, args.repeats, CLOCKS[args.clock])
                print(f"| {batch} | {name} | {plain:.0f} | {ours:.0f} | {ratio:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_script(main))
