"""The step of the tracker: batch sizes it is made for, fallbacks, one transfer each way."""

import dataclasses
import gc
import logging
import resource
from pathlib import Path

import numpy as np
import pytest
import torch

from lib.models.seqtrack.cpu import PackedLinear
from lib.models.seqtrack.precision import prepare_for_tracking
from lib.test.tracker import reader as reader_module
from lib.test.tracker.reader import LARGEST_BATCH, BoxReader, bucket, compile_step
from lib.test.tracker.seqtrack import SeqTrackEngine
from tests.tracker import fakes


def inputs(engine, count):
    with torch.inference_mode():
        state = engine.start(fakes.frames(1)[0], fakes.BOX)
    crops = np.random.RandomState(0).randint(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return torch.stack([state.templates] * count), torch.from_numpy(crops)


def make_reader(engine, **options):
    return BoxReader(engine.network, engine.preprocess, engine.window, **options)


def test_buckets_hold_what_is_put_in_them():
    assert [bucket(count) for count in (1, 2, 3, 5, 8, 9, 33, 64, 500)] == [1, 2, 4, 8, 8, 16, 64, 64, 64]


@pytest.mark.parametrize("count", [1, 3, LARGEST_BATCH + 3, 2 * LARGEST_BATCH])
@torch.inference_mode()
def test_batches_are_filled_up_and_cut_without_a_trace(monkeypatch, count):
    """With the compiler and the capture replaced by a recorder that, like a graph, always writes to the same place."""
    sizes, places = [], {}

    def same_place(step):
        def run(templates, crops):
            sizes.append(len(crops))
            packed = step(templates, crops)
            return places.setdefault(len(crops), torch.empty_like(packed)).copy_(packed)

        return run

    monkeypatch.setattr(reader_module, "compile_step", same_place)
    engine = fakes.make_engine(exact=True)
    templates, crops = inputs(engine, count)
    tokens, likelihoods = make_reader(engine)(templates, crops)
    fast_tokens, fast_likelihoods = make_reader(engine, compile=True)(templates, crops)
    assert torch.equal(fast_tokens, tokens)
    torch.testing.assert_close(fast_likelihoods, likelihoods, atol=1e-12, rtol=1e-9)
    assert set(sizes) <= {1, 2, 4, 8, 16, 32, LARGEST_BATCH}


@torch.inference_mode()
def test_a_compiler_that_fails_is_tried_once_for_all_batch_sizes(monkeypatch, caplog):
    attempts = []

    def broken(step):
        def run(templates, crops):
            attempts.append(len(crops))
            raise RuntimeError("no C++ compiler\nlong story")

        return run

    monkeypatch.setattr(reader_module, "compile_step", broken)
    engine = fakes.make_engine()
    fast, sizes = make_reader(engine, compile=True), []
    step = fast.step
    monkeypatch.setattr(fast, "step", lambda templates, crops: sizes.append(len(crops)) or step(templates, crops))
    with caplog.at_level(logging.WARNING):
        for count in (3, 3, 5, 1):
            templates, crops = inputs(engine, count)
            assert torch.equal(fast(templates, crops)[0], make_reader(engine)(templates, crops)[0])
    assert attempts == [4]
    assert sizes == [4, 3, 5, 1]  # from then on nothing is filled up
    assert [record.getMessage() for record in caplog.records] == [
        "tracking without compile: RuntimeError: no C++ compiler"
    ]


def test_a_process_compiles_any_number_of_steps(monkeypatch):
    """PyTorch gives a code object up after 8 compilations; all batch sizes and trackers share that of ``step``."""
    runs = []

    def backend(module, example_inputs):
        return lambda *arguments: runs.append(len(runs)) or module.forward(*arguments)

    class Tracker:
        def __init__(self, factor):
            self.factor = factor

        def step(self, templates, crops):
            return templates * self.factor + crops

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda step, **options: real(step, backend=backend, **options))
    for factor in range(12):
        compiled = compile_step(Tracker(factor).step)
        for _ in range(2):
            assert compiled(torch.ones(2), torch.ones(2)).tolist() == [factor + 1.0] * 2
    torch._dynamo.reset()
    assert len(runs) == 24  # none ran eagerly


@torch.inference_mode()
def test_one_transfer_each_way(monkeypatch):
    engine = fakes.make_engine()
    images = fakes.frames(3)
    state = engine.start(images[0], fakes.BOX)
    down, up = [], []
    cpu, upload = torch.Tensor.cpu, engine.preprocess.upload
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: down.append(tensor.shape) or cpu(tensor))
    monkeypatch.setattr(engine.preprocess, "upload", lambda crops: up.append(crops.dtype) or upload(crops))
    engine.step([state], [images[1]])
    assert down == [(1, 8)]
    assert up == [torch.uint8]


def test_the_options_reach_the_reader():
    params = dataclasses.replace(fakes.params(), compile=True, dtype="int8")
    engine = SeqTrackEngine(params)
    assert engine.reader._compile
    assert engine.dtype == torch.float32
    state = engine.start(fakes.frames(1)[0], fakes.BOX)
    assert state.templates.dtype == torch.float32


def live_tensors() -> int:
    gc.collect()
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_a_thousand_frames_leave_nothing_behind():
    always = {"TEST__UPDATE_INTERVALS": {"DEFAULT": 1}, "TEST__UPDATE_THRESHOLD": {"DEFAULT": -1.0}}
    engine = fakes.make_engine(**always)
    images = fakes.frames(10)
    state = engine.start(images[0], fakes.BOX)
    tensors, memory = [], []
    for number in range(1000):
        engine.step([state], [images[number % 10]])
        if number in (300, 999):
            tensors.append(live_tensors())
            memory.append(resident_memory())
    assert tensors[1] <= tensors[0]
    assert memory[1] - memory[0] < 5e6  # bytes; one 32 x 32 template in float32 per frame would be 8.6e6


def resident_memory() -> int:
    """Bytes of this process in memory now; 0 where Linux's /proc does not tell."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * resource.getpagesize() if path.exists() else 0


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
@torch.inference_mode()
def test_a_compiled_step_says_the_same(packed):
    engine = fakes.make_engine(exact=not packed)
    if packed:
        prepare_for_tracking(engine.network, "float32", torch.device("cpu"))
        assert isinstance(engine.network.encoder.body.blocks[0].attn.qkv, PackedLinear)
    templates, crops = inputs(engine, 3)
    tokens, likelihoods = make_reader(engine)(templates, crops)
    compiled = make_reader(engine, compile=True)(templates, crops)
    assert torch.equal(compiled[0], tokens)
    torch.testing.assert_close(compiled[1], likelihoods, atol=1e-5 if packed else 1e-9, rtol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@torch.inference_mode()
def test_a_captured_step_says_the_same_and_waits_for_nothing():
    params = dataclasses.replace(fakes.params(), device="cuda")
    engine = SeqTrackEngine(params)
    templates, crops = inputs(engine, 3)
    tokens, _ = make_reader(engine)(templates, crops)
    captured = make_reader(engine, cuda_graphs=True)
    for _ in range(3):
        assert torch.equal(captured(templates, crops)[0], tokens)
    on_device = engine.preprocess.upload(crops)
    torch.cuda.set_sync_debug_mode("error")
    try:
        engine.reader.step(templates, on_device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
