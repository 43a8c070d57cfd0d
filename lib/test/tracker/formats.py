"""Writing both graphs of a network in one of several formats."""

import contextlib
import json
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.graphs import (
    METADATA,
    EmbedTemplate,
    Step,
    describe,
    dynamic_batch,
    halve,
    import_extra,
    make_graphs,
    save_onnx,
    to_onnx,
)
from lib.test.tracker.int8 import prepare, quantize, video_inputs
from lib.test.tracker.network import read_network
from lib.test.tracker.presence import copy_score, score_path
from lib.test.tracker.runtimes import Run, open_onnx, open_openvino, open_torch
from lib.utils.errors import CheckpointError, InputError, SeqTrackError
from lib.utils.files import file_hash

PRECISIONS = ("float32", "float16", "int8")
PARITY_BATCHES = (1, 4, 3)
"""Sizes of the batches that are compared at the end."""
NEAR = 2
"""Tokens; farther than this a token is another one, not a neighbor."""
Graph = EmbedTemplate | Step


def write_onnx(graph: Graph, path: Path, metadata: Mapping[str, Any], finish: Callable[[Any], None]) -> None:
    """Write a graph as an ONNX file; ``finish`` may change the model before."""
    model = to_onnx(graph)
    finish(model)
    if metadata["precision"] == "float16":
        halve(model)
    save_onnx(model, path, metadata)


def write_openvino(graph: Graph, path: Path, metadata: Mapping[str, Any], finish: Callable[[Any], None]) -> None:
    """Write a graph as a file of OpenVINO, and its weights beside it."""
    openvino = import_extra("openvino", "openvino")
    with tempfile.TemporaryDirectory(prefix="seqtrack-") as folder:
        temporary = Path(folder, "graph.onnx")
        write_onnx(graph, temporary, {**metadata, "precision": "float32"}, finish)
        model = openvino.Core().read_model(temporary)
        model.set_rt_info(json.dumps(metadata), METADATA)
        openvino.save_model(model, path, compress_to_fp16=metadata["precision"] == "float16")


def write_torch(graph: Graph, path: Path, metadata: Mapping[str, Any], finish: Callable[[Any], None]) -> None:
    """Write a graph as a file of ``torch.export``."""
    arguments = graph.example(2)
    program = torch.export.export(graph, arguments, dynamic_shapes=dynamic_batch(arguments))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about tensors that share memory
        torch.export.save(program, path, extra_files={METADATA: json.dumps(metadata)})


@dataclass(frozen=True)
class Format:
    """How graphs are written and opened.

    Attributes:
        suffix: of the files.
        write: takes graph, path, metadata, and what to do with an ONNX model on the way.
        open: takes path, device and precision; gives the graph as a function, and its metadata.
        packages: whose versions the files depend on.
    """

    suffix: str
    write: Callable[[Graph, Path, Mapping[str, Any], Callable[[Any], None]], None]
    open: Callable[..., tuple[Run, dict[str, Any]]]
    packages: tuple[str, ...]


FORMATS = {
    "onnx": Format(".onnx", write_onnx, open_onnx, ("torch", "onnx", "onnxscript")),
    "openvino": Format(".xml", write_openvino, open_openvino, ("torch", "onnx", "onnxscript", "openvino")),
    "torch_export": Format(".pt2", write_torch, open_torch, ("torch",)),
}


def export(
    params: TrackerParams,
    folder: Path,
    *,
    config: str = "",
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
    kind = FORMATS[format]
    if format == "torch_export" and precision != "float32":
        raise InputError(f"the format torch_export goes with the precision float32, not with {precision}")
    weights = file_hash(params.checkpoint) if params.checkpoint and params.checkpoint.is_file() else ""
    progress(f"reading {params.checkpoint or 'no checkpoint: fresh weights'}")
    graphs = make_graphs(read_network(params), params)
    step = graphs["step"]
    inputs, finish = video_inputs(step, params, videos=4, frames=2, first=0), lambda model: None
    expected = [step(*one) for one in _batches(inputs)]
    if precision == "int8":
        progress("calibrating on synthetic videos")
        ranges = prepare(step, video_inputs(step, params))
        finish = lambda model: quantize(model, ranges)  # noqa: E731
    metadata = describe(params, config, precision)
    if metadata["checkpoint_sha256"] != weights:
        raise CheckpointError(f"{params.checkpoint}: replaced while it was exported, nothing was written; try again")
    with _files_for(folder) as temporary:
        for name, graph in graphs.items():
            progress(f"exporting {name}")
            kind.write(graph, temporary / f"{name}{kind.suffix}", metadata, finish)
        step_file = temporary / f"step{kind.suffix}"
        run, _ = kind.open(step_file)
        found = [run(*(value.numpy() for value in one)) for one in _batches(inputs)]
        progress(compare(expected, found, exact=precision == "float32"))
        if params.checkpoint and (score := score_path(params.checkpoint)).is_file():
            copy_score(score, step_file)
        files = sorted(temporary.iterdir(), key=lambda file: (file.suffix == kind.suffix, file.name))
        # With `step` the folder is complete: it goes first and comes last, so that no two exports are ever mixed.
        (folder / step_file.name).unlink(missing_ok=True)
        return [file.replace(folder / file.name) for file in files]


@contextlib.contextmanager
def _files_for(folder: Path) -> Iterator[Path]:
    """A temporary folder on the disk of ``folder``, which is made; after an error it is gone again."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=folder) as temporary:
            yield Path(temporary)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # it holds a file already, or is gone: the first error counts
                folder.rmdir()
        raise


def _batches(inputs: Sequence[tuple[torch.Tensor, ...]]) -> list[list[torch.Tensor]]:
    """Inputs of one sequence each, put together to batches."""
    rest, batches = list(inputs), []
    for size in PARITY_BATCHES:
        batches.append([torch.cat(values) for values in zip(*rest[:size], strict=True)])
        rest = rest[size:]
    return batches


def compare(expected: Sequence[Any], found: Sequence[Any], *, exact: bool) -> str:
    """Compare outputs of ``step``, one pair for each batch, and say how near they are.

    Raises:
        SeqTrackError: if ``exact`` and a token differs, or a likelihood is not a finite number.
    """
    tokens, others = (np.concatenate([np.asarray(one[0]) for one in batches]) for batches in (expected, found))
    pairs = zip(expected, found, strict=True)
    distance = max(np.abs(np.asarray(one[1]) - np.asarray(other[1])).max() for one, other in pairs)
    away = np.abs(tokens.astype(int) - others)
    shares = f"{100 * (away == 0).mean():.1f} % equal, {100 * (away <= NEAR).mean():.1f} % within {NEAR} bins"
    text = f"tokens of {len(tokens)} frames against PyTorch in float32: {shares}; likelihoods to {distance:.1e}"
    if not all(np.isfinite(one[1]).all() for one in found):
        raise SeqTrackError(f"the exported network gives numbers that are not finite, nothing was written: {text}")
    if exact and away.any():
        raise SeqTrackError(f"the exported network is another one, nothing was written: {text}")
    return text
