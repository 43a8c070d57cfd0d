"""Static int8 for exported graphs: the linear layers of the encoder's blocks multiply 8 bit numbers.

Inputs have one scale for each layer, from calibration on videos; weights have one for each output. Norms, softmax,
attention products, residual stream and decoder stay in floating point. Before, each norm is made to give channels of
similar size, and the layer behind it weighs them back; in float that changes nothing.

Source: Xiao et al., "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large Language Models" (2023).
"""

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib.models.seqtrack.cpu import BLOCK_LINEARS
from lib.synthetic import SyntheticSequence
from lib.test.parameter.seqtrack import TrackerParams
from lib.test.tracker.graphs import Step, import_extra
from lib.utils.crop import sample_target

SMOOTHING = 0.5
"""Exponent: 0 leaves the outliers to the inputs of a layer, 1 moves them to its weights."""
CALIBRATION_SEED = 7000
Inputs = tuple[Tensor, Tensor]
"""Arguments of ``Step``."""


def video_inputs(
    step: Step, params: TrackerParams, *, videos: int = 12, frames: int = 4, first: int = CALIBRATION_SEED
) -> list[Inputs]:
    """Inputs of ``step`` from synthetic videos: crops around the target's box of the frame before.

    Args:
        step: embeds the templates.
        params: sizes and factors.
        videos: number of videos.
        frames: of each.
        first: seed of the first video.

    Returns:
        ``videos * frames`` of them, each of batch size 1.
    """
    inputs = []
    for seed in range(first, first + videos):
        video = SyntheticSequence(seed, difficulty="mixed", split="calibration")
        visible = np.flatnonzero(video.visible_fraction[1:] > 0) + 1
        chosen = visible[np.linspace(0, len(visible) - 1, frames).astype(int)]
        boxes = video.boxes_xywh
        last = 0
        for index in chosen:
            crops = [
                sample_target(video.frame(i), boxes[i], params.template_factor, params.template_size)[0]
                for i in [0] * max(params.num_templates - 1, 1) + [last] * (params.num_templates > 1)
            ]
            before = index - 1 if boxes[index - 1][2] > 0 else index
            search = sample_target(video.frame(index), boxes[before], params.search_factor, params.search_size)[0]
            last = index
            images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2)
            templates = step.network.embed_template(step.preprocess.normalize_planes(images).unsqueeze(0))
            inputs.append((templates, torch.from_numpy(search).permute(2, 0, 1).unsqueeze(0)))
    return inputs


def prepare(step: Step, inputs: Iterable[Inputs]) -> dict[str, tuple[float, float]]:
    """Smooth a network in place, and find the ranges of what its layers take.

    Returns:
        (lowest, highest) input by name of a layer, such as ``blocks.0.attn.qkv``.
    """
    blocks = step.network.vit.blocks
    names = [f"blocks.{number}.{name}" for number in range(len(blocks)) for name in BLOCK_LINEARS]
    inputs = list(inputs)
    largest = _observe(step, inputs, names, lambda rows: rows.abs().amax(dim=0))
    for number, block in enumerate(blocks):
        for norm, layer, name in ((block.norm1, block.attn.qkv, "attn.qkv"), (block.norm2, block.mlp.fc1, "mlp.fc1")):
            _smooth(norm, layer, torch.stack(largest[f"blocks.{number}.{name}"]).amax(dim=0))
    lowest = _observe(step, inputs, names, lambda rows: torch.stack((rows.amin(), rows.amax())))
    return {
        name: (torch.stack(found)[:, 0].min().item(), torch.stack(found)[:, 1].max().item())
        for name, found in lowest.items()
    }


@torch.inference_mode()
def _observe(
    step: Step, inputs: Iterable[Inputs], names: list[str], look: Callable[[Tensor], Tensor]
) -> dict[str, list[Tensor]]:
    """What ``look`` says about the inputs (rows, C) of layers, for each of the network's inputs."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    handles = [
        step.network.vit.get_submodule(name).register_forward_pre_hook(
            lambda _, arguments, name=name: found[name].append(look(arguments[0].flatten(0, -2)))
        )
        for name in names
    ]
    try:
        for templates, image in inputs:
            step(templates, image)
    finally:
        for handle in handles:
            handle.remove()
    return found


@torch.no_grad()
def _smooth(norm: nn.LayerNorm, layer: nn.Linear, largest: Tensor) -> None:
    """Divide channels of a norm by a factor each, by which the weights of the layer behind it are multiplied."""
    weights = layer.weight.abs().amax(dim=0)
    factors = (largest.clamp(min=1e-5) ** SMOOTHING / weights.clamp(min=1e-5) ** (1 - SMOOTHING)).clamp(min=1e-2)
    norm.weight /= factors
    norm.bias /= factors
    layer.weight *= factors


def quantize(model: Any, ranges: dict[str, tuple[float, float]]) -> None:
    """Quantize layers of ``step`` in an ONNX model, in place, as pairs of QuantizeLinear and DequantizeLinear.

    Args:
        model: from the exporter.
        ranges: from ``prepare``.
    """
    onnx = import_extra("onnx", "onnx")
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    biases = {f"network.encoder.body.{name}.bias": name for name in ranges}
    added: dict[str, list[Any]] = {}  # nodes by the product that they come before
    for node in graph.node:
        name = next((biases[value] for value in node.input if value in biases), None)
        if name is None:
            continue
        product = next(producers[value] for value in node.input if value in producers)
        nodes, tensors = _quantized(name, product, weights[product.input[1]], ranges[name], onnx)
        graph.initializer.extend(tensors)
        graph.initializer.remove(weights[product.input[1]])
        product.input[:] = [nodes[1].output[0], nodes[2].output[0]]
        added[product.name] = nodes
    nodes = [part for node in graph.node for part in (*added.get(node.name, ()), node)]
    del graph.node[:]
    graph.node.extend(nodes)


def _quantized(
    name: str, product: Any, weight: Any, limits: tuple[float, float], onnx: ModuleType
) -> tuple[list[Any], list[Any]]:
    """Nodes that quantize the input of a product and dequantize input and weight, and their constants."""
    low, high = min(limits[0], 0.0), max(limits[1], 0.0)
    scale = np.float32(max(high - low, 1e-8) / 255)
    values = onnx.numpy_helper.to_array(weight)  # (in, out)
    scales = (np.maximum(np.abs(values).max(axis=0), 1e-8) / 127).astype(np.float32)
    constants = {
        "scale": scale,
        "zero": np.uint8(np.clip(round(-low / scale), 0, 255)),
        "weight": np.clip(np.rint(values / scales), -127, 127).astype(np.int8),
        "weight_scale": scales,
        "weight_zero": np.zeros(len(scales), np.int8),
    }
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), f"{name}.{key}") for key, value in constants.items()]
    put = onnx.helper.make_node
    pair = [f"{name}.scale", f"{name}.zero"]
    return [
        put("QuantizeLinear", [product.input[0], *pair], [f"{name}.quantized"], f"{name}.quantize"),
        put("DequantizeLinear", [f"{name}.quantized", *pair], [f"{name}.input"], f"{name}.dequantize"),
        put(
            "DequantizeLinear",
            [f"{name}.weight", f"{name}.weight_scale", f"{name}.weight_zero"],
            [f"{name}.dequantized"],
            f"{name}.dequantize_weight",
            axis=1,
        ),
    ], tensors
