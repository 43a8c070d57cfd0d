"""Exported graphs and the runtimes that run them: the tracker of PyTorch, without PyTorch's network."""

import contextlib
import ctypes
import dataclasses
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

import lib.test.tracker.backends as backends
import lib.test.tracker.formats as formats
from lib.models.seqtrack import build_seqtrack
from lib.test.evaluation.manifest import FolderClaim, identity, run_facts
from lib.test.evaluation.results import ResultFolder
from lib.test.parameter.seqtrack import parameters, parameters_from_config
from lib.test.tracker.engine import SeqTrackEngine
from lib.test.tracker.formats import compare, export
from lib.test.tracker.graphs import make_graphs
from lib.test.tracker.int8 import prepare, quantize, video_inputs
from lib.test.tracker.network import read_network
from lib.test.tracker.runtimes import open_onnx, open_openvino
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, ConfigError, InputError, SeqTrackError
from lib.utils.files import file_hash
from tests.golden import recipe
from tests.parity.test_against_published_tracker import CASES, make_engine
from tests.tracker import fakes

onnx = pytest.importorskip("onnx", reason="exporting needs onnx")
pytest.importorskip("onnxscript", reason="exporting needs onnxscript")
ONE_LAYER = {"MODEL__DECODER__DEC_LAYERS": 1}  # of the decoder, since every operator takes its time to export
UPDATES = {"TEST__UPDATE_INTERVALS": {"DEFAULT": 3}, "TEST__UPDATE_THRESHOLD": {"DEFAULT": 1.5}}
RUNTIMES = [
    pytest.param(name, marks=pytest.mark.skipif(not find_spec(name), reason=f"{name} is not installed"))
    for name in backends.RUNTIMES
]


def write_weights(path: Path, cfg) -> Path:
    save_checkpoint({"net": fakes.weights(build_seqtrack(cfg))}, path)
    return path


@pytest.fixture(scope="module")
def params(tmp_path_factory):
    """A tiny tracker whose weights are in a file."""
    cfg = fakes.config(**ONE_LAYER, **UPDATES)
    checkpoint = write_weights(tmp_path_factory.mktemp("weights") / "tiny.pth.tar", cfg)
    return parameters_from_config(cfg, checkpoint=checkpoint, device="cpu")


@pytest.fixture(scope="module")
def exported(params, tmp_path_factory):
    """Its graphs as ONNX files in float32, which all tests of this file share."""
    return export(params, tmp_path_factory.mktemp("exported"), config="tiny")[-1]


@pytest.fixture
def cached(params, exported, tmp_path, monkeypatch):
    """A cache of our own, and the list of what is exported into it, which here is a copy."""
    calls = []

    def fake_export(given, folder, **options):
        calls.append(options)
        shutil.copytree(exported.parent, folder, dirs_exist_ok=True)
        return [folder / "step.onnx"]

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(backends, "export", fake_export)
    return calls


def track(engine, sequences):
    """Results of all sequences, each one as long as the others, in one batch."""
    states = [engine.start(images[0], fakes.BOX) for images in sequences]
    return [engine.step(states, images) for images in list(zip(*sequences, strict=True))[1:]]


@pytest.mark.parametrize("backend", RUNTIMES)
def test_boxes_and_template_updates_are_those_of_pytorch(params, exported, backend):
    sequences = [fakes.frames(10), fakes.frames(10, 200, 150, seed=6), fakes.frames(10, 128, 128, seed=7)]
    runtime = SeqTrackEngine(dataclasses.replace(params, backend=backend, checkpoint=exported))
    assert runtime.network is None
    for count in (1, 3):
        expected, found = (track(engine, sequences[:count]) for engine in (SeqTrackEngine(params), runtime))
        for one, other in zip(chain(*expected), chain(*found), strict=True):
            assert other.tokens.dtype == np.int64 and other.tokens.tolist() == one.tokens.tolist()
            assert other.box_xywh == one.box_xywh and other.updated == one.updated
            np.testing.assert_allclose(other.likelihoods, one.likelihoods, atol=1e-5)
    assert {result.updated for results in found for result in results} == {True, False}


def test_a_file_describes_itself(params, exported):
    model = onnx.load(exported)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20)]
    shapes = {
        entry.name: [dim.dim_param or dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        for entry in (*model.graph.input, *model.graph.output)
    }
    batch = shapes["tokens"][0]
    assert isinstance(batch, str)
    assert shapes == {
        "templates": [batch, 2, 32],
        "image": [batch, 3, 32, 32],
        "tokens": [batch, 4],
        "likelihoods": [batch, 4],
    }
    types = {entry.name: entry.type.tensor_type.elem_type for entry in (*model.graph.input, *model.graph.output)}
    assert types["image"] == onnx.TensorProto.UINT8 and types["tokens"] == onnx.TensorProto.INT32
    norms = 2 * 2 + 1 + 4 * (3 + 1 + 1)  # encoder; four steps of a layer, the embedding and the last norm
    assert [node.op_type for node in model.graph.node].count("LayerNormalization") == norms
    assert sum("features" in node.output for node in model.graph.node) == 1  # where bfloat16 of OpenVINO ends
    assert not any(node.metadata_props for node in model.graph.node)
    text = {entry.key: entry.value for entry in model.metadata_props}["seqtrack"]
    assert "null" not in text  # which the C++ program cannot read
    facts = json.loads(text)
    assert facts["config"] == "tiny" and facts["precision"] == "float32" and facts["format_version"] == 1
    assert facts["checkpoint_sha256"] == file_hash(params.checkpoint)
    assert facts["template"] == {"size": 16, "factor": params.template_factor, "number": 2}
    assert facts["search"] == {"size": 32, "factor": params.search_factor}
    assert (facts["bins"], facts["sequence_format"], facts["window"]) == (200, "xywh", True)
    assert facts["update"] == {"interval": 3, "threshold": 1.5} and len(facts["score"]["weights"]) == 5


def test_a_network_is_exported_once(params, cached, tmp_path, monkeypatch):
    runtime = dataclasses.replace(params, backend="onnxruntime")
    threads = [threading.Thread(target=SeqTrackEngine, args=(runtime,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cached == [{"format": "onnx", "precision": "float32", "progress": backends.logger.debug}]
    folder = tmp_path / "seqtrack" / "exported"
    assert [path.name for path in folder.iterdir()] == [backends.cache_key(runtime)]

    (folder / backends.cache_key(runtime) / "step.onnx").write_bytes(b"\x08\x0a broken")
    opening = threading.Barrier(2)
    plain_open = backends.RuntimeReader._open

    def open_together(self, paths):  # both find the damage before one of them has mended it
        try:
            return plain_open(self, paths)
        except CheckpointError:
            with contextlib.suppress(threading.BrokenBarrierError):
                opening.wait(2)
            opening.abort()
            raise

    monkeypatch.setattr(backends.RuntimeReader, "_open", open_together)
    with ThreadPoolExecutor(2) as pool:
        assert len(list(pool.map(SeqTrackEngine, [runtime] * 2))) == 2
    assert len(cached) == 2  # a damaged file is replaced, once
    weights = write_weights(tmp_path / "other.pth.tar", fakes.config(**ONE_LAYER, MODEL__BINS=150))
    changes = ({}, {"checkpoint": weights}, {"dtype": "int8"}, {"window": False}, {"backend": "openvino"})
    keys = {backends.cache_key(dataclasses.replace(runtime, **change)) for change in (*changes, {"search_factor": 5.0})}
    assert len(keys) == 6
    assert backends.cache_key(dataclasses.replace(runtime, update_interval=7)) in keys


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "onnxruntime", "dtype": "bfloat16"}, "onnxruntime has no bfloat16; known: float32, int8"),
        ({"backend": "openvino", "dtype": "tf32"}, "openvino has no tf32; known: float32, bfloat16, int8"),
        ({"backend": "openvino", "compile": True}, "compiling goes with the backend torch"),
        ({"backend": "openvino", "device": "cuda"}, "device 'cuda': the backend openvino computes on the CPU"),
        ({"backend": "onnxruntime", "device": "mps"}, "device 'mps': this onnxruntime has no provider for it, only"),
        ({"backend": "onnxruntime", "dtype": "int8"}, r"\.onnx: exported in float32, which is not for int8"),
        ({"backend": "onnxruntime", "search_size": 64}, "exported for another configuration: search is"),
        ({"backend": "openvino", "window": False}, "exported for another configuration: window is True, not False"),
        ({"backend": "openvino", "checkpoint": Path("gone/step.xml")}, "no such file"),
    ],
)
def test_what_does_not_fit_is_refused(params, exported, changes, message):
    pytest.importorskip(changes["backend"])
    with pytest.raises(SeqTrackError, match=message) as caught:
        SeqTrackEngine(dataclasses.replace(params, **{"checkpoint": exported, **changes}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", RUNTIMES)
@pytest.mark.parametrize("damage", ["cut", "text", "foreign"])
def test_a_damaged_or_foreign_file_is_named(params, exported, tmp_path, backend, damage):
    shutil.copytree(exported.parent, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "step.onnx"
    if damage == "foreign":
        model = onnx.load(path)
        del model.metadata_props[:]
        onnx.save(model, path)
    else:
        path.write_bytes(path.read_bytes()[:5000] if damage == "cut" else b"not a network\n" * 9)
    with pytest.raises(CheckpointError, match=r"step\.onnx: (damaged, or )?not a file of .*export\.py") as caught:
        SeqTrackEngine(dataclasses.replace(params, backend=backend, checkpoint=path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", backends.RUNTIMES)
def test_a_missing_extra_is_named(params, exported, monkeypatch, backend):
    monkeypatch.setitem(sys.modules, backend, None)
    extra = {"onnxruntime": "onnx", "openvino": "openvino"}[backend]
    with pytest.raises(InputError, match=rf'{backend} is needed here: pip install "seqtrack\[{extra}\]"'):
        SeqTrackEngine(dataclasses.replace(params, backend=backend, checkpoint=exported))


def test_an_unknown_backend_is_refused_and_auto_is_pytorch(params):
    for name, backend in (("auto", "torch"), ("openvino", "openvino")):
        assert parameters("seqtrack_demo", checkpoint=params.checkpoint, backend=name).backend == backend
    with pytest.raises(ConfigError, match="unknown backend 'tensorrt'; known: auto, torch, onnxruntime, openvino"):
        parameters("seqtrack_demo", checkpoint=params.checkpoint, backend="tensorrt")


def test_results_of_backends_are_not_mixed(params, tmp_path):
    folder = ResultFolder(tmp_path, "seqtrack", "tiny", "otb")
    plain, other = (
        run_facts(dataclasses.replace(params, backend=backend), params.checkpoint, dtype="float32", **facts)
        for backend, facts in (("torch", {}), ("openvino", {"backend": "openvino"}))
    )
    assert plain["settings_sha256"] == other["settings_sha256"] and identity(plain) != identity(other)
    for first, second, name in ((plain, other, "torch"), (other, plain, "openvino")):
        with FolderClaim(folder, ["a"], first, overwrite=True) as claim:
            claim.take()
            folder.write("a", np.array([[1.0, 2.0, 30.0, 40.0]]), [0.1])
        with pytest.raises(InputError, match=rf"made with another backend \({name}\)"):
            FolderClaim(folder, ["a"], second)
        FolderClaim(folder, ["a"], first)


def test_calibration_keeps_the_network_and_int8_stays_near_it(params, exported, tmp_path):
    pytest.importorskip("onnxruntime")
    step = make_graphs(read_network(params), params)["step"]
    inputs = video_inputs(step, params, videos=2, frames=3)
    assert len({image.sum().item() for _, image in inputs}) == 6
    before = [step(*one)[1] for one in inputs]
    weight = step.network.vit.blocks[0].attn.qkv.weight.clone()
    ranges = prepare(step, inputs)
    assert not torch.equal(weight, step.network.vit.blocks[0].attn.qkv.weight)
    torch.testing.assert_close([step(*one)[1] for one in inputs], before, atol=1e-5, rtol=0)
    assert len(ranges) == 8 and all(low < 0 < high for low, high in ranges.values())

    model = onnx.load(exported)  # of the network before the calibration: the ranges are wide enough for both
    quantize(model, {name: (-8.0, 8.0) for name in ranges})
    stored = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) == 2 for tensor in stored) == 8
    onnx.save(model, tmp_path / "int8.onnx")
    run, _ = open_onnx(tmp_path / "int8.onnx")
    found = [run(*map(np.asarray, one))[1] for one in inputs]
    distance = max(np.abs(one.numpy() - other).max() for one, other in zip(before, found, strict=True))
    assert 0 < distance < 0.1


@pytest.mark.parametrize("count", [1, 3])
def test_calibration_has_as_many_templates_as_the_network(count):
    params = fakes.params(**ONE_LAYER, DATA__TEMPLATE__NUMBER=count, TEST__NUM_TEMPLATES=count)
    step = make_graphs(read_network(params), params)["step"]
    for templates, image in video_inputs(step, params, videos=1, frames=2):
        assert templates.shape == (1, count, 32) and step(templates, image)[0].shape == (1, 4)


def test_another_token_fails_the_export():
    one = [(torch.tensor([[1, 2, 3, 4]]), torch.zeros(1, 4))]
    other = [(np.array([[1, 2, 3, 9]], dtype=np.int32), np.full((1, 4), 0.5, np.float32))]
    assert "75.0 % equal, 75.0 % within 2 bins; likelihoods to 5.0e-01" in compare(one, other, exact=False)
    with pytest.raises(SeqTrackError, match=r"another one, nothing was written: tokens of 1 frames.* 75\.0 % equal"):
        compare(one, other, exact=True)
    with pytest.raises(SeqTrackError, match="numbers that are not finite, nothing was written"):  # float16 overflows
        compare(one, [(other[0][0], np.full((1, 4), np.nan, np.float32))], exact=False)


def test_two_exports_are_never_mixed(params, exported, tmp_path, monkeypatch):
    shutil.copytree(exported.parent, tmp_path / "mixed")
    path = tmp_path / "mixed" / "step.onnx"
    model = onnx.load(path)
    model.metadata_props[0].value = model.metadata_props[0].value.replace(file_hash(params.checkpoint), "0" * 64)
    onnx.save(model, path)
    with pytest.raises(CheckpointError, match=r"embed_template\.onnx and step\.onnx are of two exports"):
        SeqTrackEngine(dataclasses.replace(params, backend="onnxruntime", checkpoint=path))

    folder = tmp_path / "earlier"
    shutil.copytree(exported.parent, folder)

    monkeypatch.setattr(Path, "replace", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        export(params, folder)
    assert [file.name for file in folder.iterdir()] == ["embed_template.onnx"]  # no `step` beside one of another export


def test_weights_that_are_replaced_meanwhile_are_not_exported(params, tmp_path, monkeypatch):
    checkpoint = Path(shutil.copy(params.checkpoint, tmp_path / "last.pth.tar"))

    def read_and_replace(given):
        network = read_network(given)
        checkpoint.write_bytes(checkpoint.read_bytes() + b"of the next epoch")
        return network

    monkeypatch.setattr(formats, "read_network", read_and_replace)
    with pytest.raises(CheckpointError, match=r"last\.pth\.tar: replaced while it was exported"):
        export(dataclasses.replace(params, checkpoint=checkpoint), tmp_path / "exported", format="torch_export")
    assert not (tmp_path / "exported").exists()


def test_a_device_that_cannot_start_is_no_cpu(exported, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.warns(UserWarning), pytest.raises(InputError, match="'cuda:9': onnxruntime cannot start CUDAExec"):
        open_onnx(exported, "cuda:9")


@pytest.mark.endurance
@pytest.mark.parametrize("name", CASES)
def test_trajectories_of_the_golden_cases(name, tmp_path):
    """Both runtimes give the boxes that PyTorch gives, which tests/parity compares with the published ones."""
    engine = make_engine(CASES[name])
    checkpoint = write_weights(tmp_path / "golden.pth.tar", engine.params.config)
    step = export(dataclasses.replace(engine.params, checkpoint=checkpoint), tmp_path / "exported")[-1]
    images, boxes = recipe.tracking_sequence()
    expected = None
    for backend in ("torch", *backends.RUNTIMES):
        if backend != "torch":
            engine = SeqTrackEngine(dataclasses.replace(engine.params, backend=backend, checkpoint=step))
        state = engine.start(images[0], boxes[0].tolist())
        results = [engine.step([state], [image])[0] for image in images[1:]]
        found = [(result.tokens.tolist(), result.box_xywh, result.updated) for result in results]
        expected = expected or found
        assert found == expected, backend


@pytest.mark.skipif(not find_spec("openvino"), reason="openvino is not installed")
def test_signals_are_handled_where_they_were(exported):
    """OpenVINO gives the thread memory of its own for them, which is gone with the network."""

    def stack():
        facts = (ctypes.c_size_t * 3)()  # start, flags, size
        assert ctypes.CDLL(None).sigaltstack(None, facts) == 0
        return list(facts)

    before = stack()
    run, _ = open_openvino(exported)
    assert stack() == before
    del run
    assert stack() == before
