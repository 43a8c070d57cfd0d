"""The network as two graphs with fixed names, which other programs run without this project.

* ``embed_template``: ``image`` (B, 3, T, T) uint8 RGB -> ``template`` (B, Nt, C) float32;
* ``step``: ``templates`` (B, K * Nt, C) float32, those of K templates in order, and ``image`` (B, 3, S, S) uint8 RGB ->
  ``tokens`` (B, 4) int32 and ``likelihoods`` (B, 4) float32.

B is free. Normalization, window and the four decoding steps are inside. ``describe`` says what else a program needs; it
is in every file as JSON, under the name ``seqtrack`` (docs/deployment.md).
"""

import copy
import dataclasses
import importlib
import inspect
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lib.models.seqtrack import SeqTrack
from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.preprocess import Preprocessor
from lib.test.tracker.presence import load_score
from lib.utils.errors import ConfigError, InputError, printable
from lib.utils.files import file_hash

FORMAT_VERSION = 1
METADATA = "seqtrack"
"""Name of the JSON text in the metadata of a file."""
OPSET = 20  # the first with GELU as one operator
FEATURES = "features"
"""Name of the tensor between encoder and decoder in ``step``."""
LARGEST_BATCH = 4096
LARGEST_FILE = 2**31 - 1
"""Bytes; a limit of protocol buffers, which ONNX files are."""


class EmbedTemplate(nn.Module):
    """Graph ``embed_template``; see the head of this file."""

    inputs = ("image",)
    outputs = ("template",)

    def __init__(self, network: SeqTrack, params: TrackerParams) -> None:
        super().__init__()
        self.vit = copy.copy(network.vit)
        self.vit._modules = {"patch_embed": network.vit.patch_embed}  # not the weights of the blocks
        self.preprocess = Preprocessor(params.mean, params.std)
        self.size = params.template_size

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, T, T) uint8 -> (B, Nt, C)."""
        return self.vit.embed_template(self.preprocess.normalize_planes(image).unsqueeze(1))

    def example(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Arguments of the right shapes."""
        return (noise(batch, self.size, seed),)


class Step(nn.Module):
    """Graph ``step``; see the head of this file."""

    inputs = ("templates", "image")
    outputs = ("tokens", "likelihoods")
    window: Tensor | None

    def __init__(self, network: SeqTrack, params: TrackerParams) -> None:
        super().__init__()
        self.network = network
        self.preprocess = Preprocessor(params.mean, params.std)
        self.params = params
        window = network.vocabulary.window(torch.float32) if params.window else None
        self.register_buffer("window", window, persistent=False)

    def forward(self, templates: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K * Nt, C) and (B, 3, S, S) uint8 -> tokens and likelihoods, (B, 4) each."""
        search = self.preprocess.normalize_planes(image).unsqueeze(1)
        tokens, likelihoods = self.network.generate(
            self.network.encode_embedded(templates, search, search_only=True), self.window
        )
        return tokens.int(), likelihoods

    def example(self, batch: int, seed: int = 0) -> tuple[Tensor, ...]:
        """Arguments of the right shapes: embedded templates, and search crops."""
        params, count = self.params, self.params.num_templates
        images = self.preprocess.normalize_planes(noise(batch * count, params.template_size, seed + 1))
        return self.network.embed_template(images.unflatten(0, (batch, count))), noise(batch, params.search_size, seed)


def noise(count: int, size: int, seed: int) -> Tensor:
    """Smooth colored noise, (count, 3, size, size) uint8."""
    coarse = np.random.RandomState(seed).randint(0, 256, (count, max(size // 16, 2), max(size // 16, 2), 3), np.uint8)
    images = [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in coarse]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def make_graphs(network: SeqTrack, params: TrackerParams) -> dict[str, EmbedTemplate | Step]:
    """The graphs of a network by name.

    Args:
        network: from ``read_network``; private operators of other kinds of networks cannot be exported.
        params: settings of the tracker.
    """
    network.precompute()
    return {"embed_template": EmbedTemplate(network, params).eval(), "step": Step(network, params).eval()}


def graph_settings(params: TrackerParams) -> dict[str, Any]:
    """What a program needs to know of the graphs themselves."""
    return {
        "template": {
            "size": params.template_size,
            "factor": params.template_factor,
            "number": params.num_templates,
        },
        "search": {"size": params.search_size, "factor": params.search_factor},
        "bins": int(params.config.MODEL.BINS),
        "sequence_format": str(params.config.DATA.SEQ_FORMAT),
        "window": params.window,
    }


def describe(params: TrackerParams, config: str, precision: str) -> dict[str, Any]:
    """What a program needs to know to track as this project does, and what the graphs were made of."""
    score = dataclasses.asdict(load_score(params.checkpoint, params.update_threshold))
    del score["with_look"]  # no exported graph compares looks, and OpenCV (examples/deploy/cpp) reads no null
    return {
        "format_version": FORMAT_VERSION,
        "config": config,
        "precision": precision,
        "checkpoint_sha256": "" if params.checkpoint is None else file_hash(params.checkpoint),
        **graph_settings(params),
        "update": {"interval": params.update_interval, "threshold": params.update_threshold},
        "score": score,
    }


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a package of an extra of setup.py. Raises InputError, which says how to install it, if it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        reason = printable(str(error), 200)
        raise InputError(f'{module} is needed here: pip install "seqtrack[{extra}]" ({reason})') from error


def to_onnx(graph: EmbedTemplate | Step) -> Any:
    """Translate a graph of ``make_graphs`` into an ONNX model.

    Raises:
        InputError: if a package is missing.
        ConfigError: if the network has an operator that ONNX does not have.
    """
    import_extra("onnx", "onnx")
    import_extra("onnxscript", "onnx")
    if "custom_translation_table" not in inspect.signature(torch.onnx.export).parameters:
        raise InputError(f"PyTorch {torch.__version__} cannot export to ONNX: it takes version 2.6 or later")
    arguments = graph.example(2)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about names of axes, and what the next version will deprecate
            program = torch.onnx.export(
                graph,
                arguments,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_shapes=dynamic_batch(arguments),
                custom_translation_table={torch.ops.aten.scaled_dot_product_attention.default: _make_attention()},
            )
    except torch.onnx.OnnxExporterError as error:
        reason = printable((str(error.__cause__ or error).strip().splitlines() or [""])[0], 300)
        raise ConfigError(f"this network cannot be exported to ONNX: {reason}") from error
    model = program.model_proto  # a copy each time
    tidy(model)
    return model


def dynamic_batch(arguments: Sequence[Tensor]) -> tuple[dict[int, Any], ...]:
    """What ``torch.export`` is told of the shapes of arguments: their first dimension is one and the same, and free."""
    batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
    return tuple({0: batch} for _ in arguments)


def save_onnx(model: Any, path: Path, metadata: Mapping[str, Any]) -> None:
    """Write an ONNX model as one file. Raises InputError if it is too large for one."""
    model.metadata_props.add(key=METADATA, value=json.dumps(metadata))
    if model.ByteSize() > LARGEST_FILE:
        raise InputError(f"{path.name}: {model.ByteSize() / 1e9:.1f} GB are too much for a file; take float16 or int8")
    path.write_bytes(model.SerializeToString())


def _make_attention() -> Callable[..., Any]:
    """Attention in ONNX: two products and a softmax in a row, which runtimes recognize; the exporter's is longer."""
    from onnxscript import opset20 as op

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        scale = op.Constant(value_float=query.shape[-1] ** -0.5)
        scores = op.MatMul(op.Mul(query, scale), op.Transpose(key, perm=[0, 1, 3, 2]))
        return op.MatMul(op.Softmax(scores, axis=-1), value)

    return attention


def tidy(model: Any) -> None:
    """Remove notes of the exporter that nobody reads, and name the tensor between encoder and decoder."""
    graph = model.graph
    last = next((node for node in graph.node if "network.encoder.body.norm.weight" in node.input), None)
    if last is not None:
        old = last.output[0]
        for node in graph.node:
            for names in (node.input, node.output):
                names[:] = [FEATURES if name == old else name for name in names]
    for entry in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del entry.metadata_props[:]
        entry.doc_string = ""


def halve(model: Any) -> None:
    """Store the matrices of an ONNX model as float16, each behind a cast, which runtimes do when they load the file."""
    onnx = import_extra("onnx", "onnx")
    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
            name, stored = tensor.name, f"{tensor.name}_float16"
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, stored))
            casts.append(onnx.helper.make_node("Cast", [stored], [name], f"{name}_cast", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
