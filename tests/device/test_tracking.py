"""The tracker on a simulated GPU: the tokens of the CPU, and what makes the CPU wait."""

import dataclasses

import numpy as np
import pytest
import torch

from external.AR import AlphaRefine
from lib.config.seqtrack.config import load_config
from lib.data.sequence import Sequence, SequenceList
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.precision import prepare_for_tracking
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import run_benchmark
from lib.test.parameter.seqtrack import parameters_from_config
from lib.test.tracker import reader
from lib.test.tracker.seqtrack import SeqTrackEngine, SeqTrackTracker
from lib.utils.image_io import write_image
from tests.device.simulated import CUDA, simulated_cuda
from tests.tracker import fakes

UPDATES = {"TEST__UPDATE_INTERVALS": {"DEFAULT": 1}, "TEST__UPDATE_THRESHOLD": {"DEFAULT": -1.0}}
IMAGES = fakes.frames(5)
FRAMES = len(IMAGES) - 1


def make_network(params, exact=True):
    network = build_seqtrack(params.config).requires_grad_(False).eval()
    network.load_state_dict(fakes.weights(network))
    return network.double() if exact else network  # no rounding decides between tokens


def make_engine(params, device, **options):
    return SeqTrackEngine(dataclasses.replace(params, device=str(device), **options), make_network(params).to(device))


def track(engine, count, device=None):
    states = [engine.start(IMAGES[0], fakes.BOX) for _ in range(count)]
    if device is not None:
        device.reset()
    return [[result.tokens for result in engine.step(states, [image] * count)] for image in IMAGES[1:]]


@pytest.mark.parametrize(("changes", "uploads"), [({}, 1), (UPDATES, 2)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_frame_waits_once_and_uploads_pinned_memory(changes, uploads, count):
    params = fakes.params(**changes)
    expected = track(make_engine(params, "cpu"), count)
    with simulated_cuda() as device:
        tokens = track(make_engine(params, CUDA), count, device)
        assert len(device.waits) == device.downloads == FRAMES, device.waits
        assert (device.uploads, device.pageable) == (uploads * FRAMES, 0)
    assert np.array_equal(tokens, expected)


def test_captured_steps_give_the_tokens_of_eager_ones_for_any_batch(monkeypatch):
    """Filled up (3 to 4), cut (11 to 8 and 4), with new templates in every frame."""
    monkeypatch.setattr(reader, "LARGEST_BATCH", 8)
    params = fakes.params(**UPDATES)
    expected = {count: track(make_engine(params, "cpu"), count) for count in (1, 3, 11)}
    with simulated_cuda() as device:
        engine = make_engine(params, CUDA, cuda_graphs=True)
        for count, tokens in expected.items():
            assert np.array_equal(track(engine, count, device), tokens)
            assert engine.reader.is_whole
        track(engine, 1, device)
        assert device.launches == FRAMES and len(device.waits) == FRAMES
        assert sum(device.kernels.values()) <= 14 * FRAMES  # copies to and from the graph, and the new template


def test_a_step_that_waits_cannot_be_captured_and_runs_eagerly(caplog):
    params = fakes.params()
    with simulated_cuda() as device:
        engine = make_engine(params, CUDA, cuda_graphs=True)
        step = engine.reader.step
        engine.reader.step = lambda templates, crops: step(templates, crops) if crops.float().sum() >= 0 else None
        track(engine, 2, device)
        assert not engine.reader.is_whole and device.launches == 0
    assert "tracking without CUDA graphs: WaitWhileCapturing: operation not permitted" in caplog.text


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_a_precision_narrows_on_a_gpu_what_it_narrows_on_a_cpu(precision):
    params, tokens = fakes.params(), {}
    narrow = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(precision, torch.float32)
    for device in ("cpu", "cuda:0"):
        with simulated_cuda():
            network = prepare_for_tracking(make_network(params, exact=False), precision, torch.device(device))
            engine = SeqTrackEngine(dataclasses.replace(params, device=device), network)
            tokens[device] = track(engine, 2)
            assert torch.backends.cuda.matmul.allow_tf32 == (precision == "tf32" and device != "cpu")
    for name, value in network.state_dict().items():
        is_product = ".blocks." in name and ".norm" not in name
        assert value.dtype == (narrow if is_product else torch.float32), name
    equal = np.equal(tokens["cuda:0"], tokens["cpu"]).mean()
    assert equal == 1 if narrow == torch.float32 else equal >= 0.9


def test_a_gpu_without_bfloat16_uses_float32_and_says_so(caplog):
    params = fakes.params()
    with simulated_cuda(capability=(7, 5)):
        network = prepare_for_tracking(make_network(params, exact=False), "bfloat16", CUDA)
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert [record.getMessage() for record in caplog.records] == [
        "Simulated has no bfloat16 arithmetic: float32 instead"
    ]


def test_an_evaluation_in_lock_step_writes_the_files_of_the_cpu(tmp_path):
    for number, image in enumerate(IMAGES):
        write_image(tmp_path / f"{number}.png", image)
    frames = [str(tmp_path / f"{number}.png") for number in range(len(IMAGES))]
    lengths = {"long": 5, "middle": 4, "short": 3}
    videos = SequenceList(
        Sequence(name, frames[:length], "otb", np.array([fakes.BOX] * length)) for name, length in lengths.items()
    )
    params, files = fakes.params(**UPDATES), {}
    for device in ("cpu", "cuda:0"):
        with simulated_cuda():
            engine = make_engine(params, device, cuda_graphs=True)
            tracker = SeqTrackTracker(engine.params, engine)
            folder = ResultFolder(tmp_path, "seqtrack", device[:3], "otb")
            summary = run_benchmark(videos, lambda _, tracker=tracker: tracker, folder, devices=[device], batch_size=2)
            assert not summary.failed
        files[device] = [folder.boxes_path(name).read_text() for name in lengths]
    assert files["cuda:0"] == files["cpu"]


class FirstChannel(torch.nn.Module):
    """Stands for the network of a segmenter."""

    def encode_reference(self, image, boxes):
        return image.mean()

    def forward(self, image, kernel):
        return image[:, :1] - kernel


def test_a_mask_waits_once_and_uploads_the_bytes_of_the_crop():
    masks = {}
    for name in ("cpu", "cuda"):
        with simulated_cuda() as device:
            refiner = AlphaRefine(device=name, network=FirstChannel())
            refiner.initialize(IMAGES[0], fakes.BOX)
            device.reset()
            masks[name] = refiner.refine(IMAGES[1], fakes.BOX)
            assert (device.uploads, device.pageable, len(device.waits)) == ((1, 0, 1) if name == "cuda" else (0, 0, 0))
    assert masks["cpu"].any() and np.array_equal(masks["cuda"], masks["cpu"])


@pytest.mark.parametrize(("precision", "launches"), [("float32", 312), ("bfloat16", 336)])
def test_launches_of_a_frame_of_b256(precision, launches):
    params = parameters_from_config(load_config("seqtrack_b256"), checkpoint=None, device="cuda")
    with simulated_cuda() as device:
        with torch.no_grad():
            network = build_seqtrack(params.config)
        network = prepare_for_tracking(network.requires_grad_(False).eval(), precision, CUDA)
        engine = SeqTrackEngine(params, network)
        state = engine.start(IMAGES[0], fakes.BOX)
        device.reset()
        engine.step([state], [IMAGES[1]])
    assert sum(device.kernels.values()) <= launches, device.kernels.most_common(20)
