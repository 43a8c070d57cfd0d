"""Properties of the tracker on a tiny network; the published numbers are in tests/parity."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch

import lib.models.seqtrack.seqtrack as model_module
from lib.test.tracker.engine import CLIP_MARGIN
from lib.test.tracker.network import load_network, read_network
from lib.test.tracker.preprocess import Preprocessor
from lib.test.tracker.seqtrack import SeqTrackEngine, SeqTrackTracker
from lib.utils.checkpoint import save_checkpoint
from lib.utils.crop import sample_target
from lib.utils.errors import CheckpointError, InputError
from lib.utils.image_io import read_image
from tests.tracker import fakes

ALWAYS = {"TEST__UPDATE_INTERVALS": {"DEFAULT": 1}, "TEST__UPDATE_THRESHOLD": {"DEFAULT": -1.0}}


def run(engine, images, box=fakes.BOX):
    state = engine.start(images[0], box)
    return [engine.step([state], [image])[0] for image in images[1:]]


def test_a_batch_equals_single_sequences():
    engine = fakes.make_engine(
        exact=True, TEST__UPDATE_INTERVALS={"DEFAULT": 3}, TEST__UPDATE_THRESHOLD={"DEFAULT": 1.5}
    )
    sequences = [fakes.frames(12, 160, 120), fakes.frames(12, 200, 150, seed=6), fakes.frames(12, 128, 128, seed=7)]
    alone = [run(engine, images) for images in sequences]
    assert {result.updated for results in alone for result in results} == {True, False}

    states = [engine.start(images[0], fakes.BOX) for images in sequences]
    engine.step(states[:1], [sequences[0][1]])  # the first sequence is a frame ahead of the others
    for index in range(1, 11):
        images = [sequences[0][index + 1], sequences[1][index], sequences[2][index]]
        results = engine.step(states, images)
        expected = [alone[0][index], alone[1][index - 1], alone[2][index - 1]]
        for result, reference in zip(results, expected, strict=True):
            assert result.tokens.tolist() == reference.tokens.tolist()
            assert result.box_xywh == pytest.approx(reference.box_xywh, abs=1e-9)
            assert result.confidence == pytest.approx(reference.confidence, abs=1e-9)
            assert result.updated == reference.updated


def test_first_template_stays_and_the_rest_is_first_in_first_out():
    engine = fakes.make_engine(DATA__TEMPLATE__NUMBER=3, TEST__NUM_TEMPLATES=3, **ALWAYS)
    images = fakes.frames(5)
    state = engine.start(images[0], fakes.BOX)
    count = len(state.templates) // 3
    slots = state.templates.split(count)
    assert torch.equal(slots[0], slots[1])
    assert torch.equal(slots[0], slots[2])
    seen = [slots[0]] * 3
    for image in images[1:]:
        result = engine.step([state], [image])[0]
        crop, _ = sample_target(image, result.box_xywh, engine.params.template_factor, engine.params.template_size)
        with torch.inference_mode():
            fresh = engine.network.embed_template(engine.preprocess([crop]).unsqueeze(1))[0]
        seen = [seen[0], seen[2], fresh]
        assert result.updated
        assert torch.allclose(state.templates, torch.cat(seen), atol=1e-6)


def test_update_needs_the_interval_and_a_confidence_above_the_threshold():
    images = fakes.frames(7)
    engine = fakes.make_engine()
    first = run(engine, images)[1].confidence  # of frame 2
    for threshold, expected in ((first, False), (math.nextafter(first, 0), True)):
        params = dataclasses.replace(engine.params, update_interval=2, update_threshold=threshold)
        results = run(SeqTrackEngine(params, engine.network), images)
        assert results[1].confidence == first
        assert results[1].updated is expected
        assert not any(result.updated for result in results[::2])  # frames 1, 3, 5


def test_one_template_is_never_replaced():
    engine = fakes.make_engine(DATA__TEMPLATE__NUMBER=1, TEST__NUM_TEMPLATES=1, **ALWAYS)
    assert not any(result.updated for result in run(engine, fakes.frames(4)))


def test_templates_are_embedded_once(monkeypatch):
    engine = fakes.make_engine(TEST__UPDATE_INTERVALS={"DEFAULT": 4}, TEST__UPDATE_THRESHOLD={"DEFAULT": -1.0})
    calls = []
    embed = engine.network.embed_template
    monkeypatch.setattr(
        engine.network, "embed_template", lambda template: calls.append(len(template)) or embed(template)
    )
    run(engine, fakes.frames(11))
    assert calls == [1, 1, 1]  # the start, and frames 4 and 8


def test_boxes_stay_in_the_image_by_the_margin():
    for result in run(fakes.make_engine(), fakes.frames(30)):
        x, y, w, h = result.box_xywh
        assert min(w, h) >= CLIP_MARGIN
        assert min(x + w, y + h) >= CLIP_MARGIN
        assert x <= 160 - CLIP_MARGIN
        assert y <= 120 - CLIP_MARGIN


def test_confidence_is_ten_times_the_sum_of_windowed_likelihoods():
    images = fakes.frames(2)
    with_window, without = (run(fakes.make_engine(TEST__WINDOW=flag), images)[0] for flag in (True, False))
    for result in (with_window, without):
        assert result.confidence == pytest.approx(10 * float(result.likelihoods.sum()), rel=1e-6)
        assert 0 <= result.likelihoods.min() <= result.likelihoods.max() <= 1
    assert (with_window.likelihoods.dtype, without.likelihoods.dtype) == (np.float64, np.float32)
    assert with_window.likelihoods[:2].sum() < without.likelihoods[:2].sum()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_reduced_precision(dtype):
    reference = fakes.make_engine()
    params = dataclasses.replace(reference.params, dtype=dtype)
    engine = SeqTrackEngine(params, reference.network.to(getattr(torch, dtype)))
    images = fakes.frames(3)
    state = engine.start(images[0], fakes.BOX)
    assert state.templates.dtype == getattr(torch, dtype)
    result = engine.step([state], [images[1]])[0]
    assert result.likelihoods.dtype == np.float64
    assert np.isfinite(result.box_xywh).all()
    assert 0 < result.confidence <= 40


def test_preprocessing_normalises_rgb():
    crop = np.zeros((4, 4, 3), np.uint8)
    crop[..., 0] = 255
    images = Preprocessor((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))([crop, crop])
    assert images.shape == (2, 3, 4, 4)
    expected = [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225]
    assert images[1, :, 2, 3].tolist() == pytest.approx(expected, rel=1e-6)


def test_wrappers_can_share_an_engine():
    engine = fakes.make_engine(exact=True)
    images = fakes.frames(6)
    expected = [result.box_xywh for result in run(engine, images)]
    first, second = (SeqTrackTracker(engine.params, engine) for _ in range(2))
    first.initialize(images[0], {"init_bbox": fakes.BOX})
    second.initialize(images[2], {"init_bbox": np.array([20, 20, 30, 30])})
    boxes = []
    for image in images[1:]:
        boxes.append(first.track(image)["target_bbox"])
        second.track(image)
    assert boxes == expected


@pytest.mark.parametrize("kind", ["grey", "rgba"])
def test_grey_and_rgba_files_are_tracked_like_their_rgb_picture(tmp_path, kind):
    engine = fakes.make_engine(exact=True)
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in fakes.frames(4)]
    paths = [tmp_path / f"{index}.png" for index in range(4)]
    for image, path in zip(grey, paths, strict=True):
        cv2.imwrite(str(path), image if kind == "grey" else cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA))
    expected = run(engine, [np.repeat(image[..., None], 3, axis=2) for image in grey])
    got = run(engine, [read_image(path) for path in paths])
    assert [result.box_xywh for result in got] == [result.box_xywh for result in expected]


@pytest.mark.parametrize(
    "box",
    [
        [1, 2, 3],
        [1, 2, 3, 4, 5],
        [10, 10, math.nan, 5],
        [10, 10, math.inf, 5],
        [10, 10, 0, 5],
        [10, 10, 5, -1],
        [160, 10, 5, 5],
        [10, -20, 5, 20],
        [-1e9, -1e9, 2e9, 2e9],
        [-1e4, -1e4, 3e4, 3e4],
        [0, 0, 10**400, 5],
        [0, 0, 2000, 5],
        "1,2,3,4",
        "1234",
        None,
        torch.zeros(4, 4),
    ],
)
def test_bad_initial_boxes_are_one_line_and_change_nothing(box):
    tracker = SeqTrackTracker(fakes.params(), fakes.make_engine())
    images = fakes.frames(3)
    tracker.initialize(images[0], {"init_bbox": fakes.BOX})
    tracker.track(images[1])
    before = tracker.state
    with pytest.raises(InputError) as caught:
        tracker.initialize(images[0], {"init_bbox": box})
    message = str(caught.value)
    assert "initial box" in message and "160x120" in message
    assert "\n" not in message and len(message) < 200
    assert tracker.state is before
    tracker.track(images[2])


def test_an_initial_box_may_stick_out_of_the_image():
    state = fakes.make_engine().start(fakes.frames(1)[0], [-10, -10, 30, 30])
    assert state.box_xywh == [-10.0, -10.0, 30.0, 30.0]


@pytest.mark.parametrize(
    "image",
    [
        None,
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((8, 8, 3)),
        np.zeros((0, 8, 3), np.uint8),
    ],
)
def test_bad_images_leave_the_states_alone(image):
    engine = fakes.make_engine()
    good = fakes.frames(2)
    states = [engine.start(good[0], fakes.BOX) for _ in range(2)]
    with pytest.raises(InputError, match="RGB uint8"):
        engine.step(states, [good[1], image])
    assert [(state.frame, state.box_xywh) for state in states] == [(0, fakes.BOX)] * 2
    with pytest.raises(InputError, match="RGB uint8"):
        engine.start(image, fakes.BOX)


def test_misuse_is_reported():
    tracker = SeqTrackTracker(fakes.params())
    image = fakes.frames(1)[0]
    with pytest.raises(InputError, match="before initialize"):
        tracker.track(image)
    with pytest.raises(InputError, match="init_bbox"):
        tracker.initialize(image, {})
    with pytest.raises(InputError, match="0 states but 1 images"):
        tracker.engine.step([], [image])
    assert tracker.engine.step([], []) == []


def test_weights_come_from_the_checkpoint_and_nothing_is_downloaded(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("pretrained weights were asked for")

    monkeypatch.setattr(model_module, "load_pretrained", refuse)
    path = tmp_path / "SEQTRACK_ep0001.pth.tar"
    expected = fakes.make_engine().network.state_dict()
    save_checkpoint({"net": expected, "epoch": 1}, path)
    params = dataclasses.replace(fakes.params(), checkpoint=path)
    for prepared in (load_network(params), load_network(dataclasses.replace(params, compile=True))):
        assert not prepared.training
        assert not any(parameter.requires_grad for parameter in prepared.parameters())
    network = read_network(params)  # packed weights of ``load_network`` can only be multiplied
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, expected[key]), key


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    path = tmp_path / "foreign.pth.tar"
    save_checkpoint({"net": fakes.make_engine().network.state_dict()}, path)
    with pytest.raises(CheckpointError, match=r"foreign\.pth\.tar.*another network"):
        load_network(dataclasses.replace(fakes.params(MODEL__BINS=150), checkpoint=path))
