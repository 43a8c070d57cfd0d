"""Writing both graphs of a network in one of several formats."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.graphs import check_parity, describe, export_onnx, make_graphs
from lib.test.tracker.network import read_network
from lib.test.tracker.runtimes import open_onnx

FORMATS = {"onnx": ".onnx"}
"""Formats, and the suffixes of their files."""
PRECISIONS = ("float32", "float16")
PARITY_BATCHES = (1, 4, 3)  # of the inputs that are compared at the end


def export(
    params: TrackerParams,
    folder: Path,
    *,
    config: str,
    format: str = "onnx",
    precision: str = "float32",
    progress: Callable[[str], object] = lambda text: None,
) -> list[Path]:
    """Write the graphs of a network, and compare them with PyTorch; all files or none.

    Args:
        params: settings of the tracker.
        folder: where the files go; those of an earlier export are replaced.
        config: name of the experiment, for the metadata.
        format: one of ``FORMATS``.
        precision: one of ``PRECISIONS``.
        progress: is told what is being done.

    Returns:
        The files.

    Raises:
        SeqTrackError: if the network, a package or the parity check does not allow it; then nothing is written.
    """
    progress(f"reading {params.checkpoint}")
    graphs = make_graphs(read_network(params), params)
    metadata = describe(params, config, precision)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
        for name, graph in graphs.items():
            progress(f"exporting {name}")
            export_onnx(graph, Path(temporary, f"{name}.onnx"), metadata, half=precision == "float16")
        progress(compare(graphs, Path(temporary), precision))
        files = sorted(Path(temporary).iterdir())
        return [file.replace(folder / file.name) for file in files]


def compare(graphs, folder: Path, precision: str) -> str:
    """Run ``step`` here and by the runtime; says how many tokens are equal.

    Raises:
        SeqTrackError: if a token differs in float32.
    """
    run, _ = open_onnx(folder / "step.onnx")
    shares, distances = [], []
    for seed, batch in enumerate(PARITY_BATCHES):
        inputs = graphs["step"].example(batch, 100 * seed)
        expected = graphs["step"](*inputs)
        found = run(*[value.numpy() for value in inputs])
        shares.append(check_parity("step", expected[0], found[0], exact=precision == "float32"))
        distances.append(np.abs(expected[1].numpy() - found[1]).max())
    equal = f"{100 * np.mean(shares):.1f} % of the tokens of {sum(PARITY_BATCHES)} inputs are equal"
    return f"parity: {equal}, likelihoods to {max(distances):.1e}"
