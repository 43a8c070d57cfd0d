"""Masks of whole frames equal the published ones; wrong weights, boxes and images are refused in one line."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from external.AR import AlphaRefine, find_checkpoint, load_network
from external.AR.network import AlphaRefineNetwork
from lib.utils.errors import CheckpointError, InputError
from tests.ar.numbers import golden
from tests.ar.test_geometry import count_and_bounds, frame_and_box
from tests.golden.ar.recipe import make_frame


@pytest.fixture
def refiner(network: AlphaRefineNetwork) -> AlphaRefine:
    return AlphaRefine(device="cpu", network=network)


def test_against_published_masks(refiner: AlphaRefine) -> None:
    refiner.initialize(*frame_and_box(0))
    for t in range(1, 7):
        soft = refiner.refine(*frame_and_box(t))
        assert soft.shape == (240, 320) and soft.dtype == np.float32
        np.testing.assert_allclose(soft[::10, ::10], golden()[f"b/e2e/mask{t}"], atol=1e-4, rtol=0)
        sums = golden()[f"b/e2e/mask{t}/stats"]
        assert abs(soft.sum(dtype=np.float64) - sums[1]) < 1e-5 * sums[0]
        allowed = int(golden()[f"b/e2e/final{t}_near_threshold_1e-4"][0])
        found, expected = count_and_bounds(soft > 0.65), golden()[f"b/e2e/final{t}"]
        assert abs(found[0] - expected[0]) <= allowed, f"frame {t}"
        np.testing.assert_allclose(found[1:], expected[1:], atol=min(allowed, 1))


def test_segment_applies_the_threshold(refiner: AlphaRefine, monkeypatch: pytest.MonkeyPatch) -> None:
    soft = np.array([[0.0, 0.64, 0.66], [0.9, 0.1, 1.0]], dtype=np.float32)
    monkeypatch.setattr(refiner, "refine", lambda image, box: soft)
    binary = refiner.segment(make_frame(0), [0, 0, 2, 2])
    assert binary.dtype == np.uint8 and binary.flags.c_contiguous
    assert binary.tolist() == [[0, 0, 1], [1, 0, 1]]
    assert refiner.segment(make_frame(0), [0, 0, 2, 2], threshold=1.0).sum() == 0  # empty stays empty


def test_two_targets_share_a_network(network: AlphaRefineNetwork) -> None:
    frame = make_frame(0)
    first, second = (AlphaRefine(device="cpu", network=network) for _ in range(2))
    first.initialize(frame, [110, 97, 80, 47])
    alone = first.refine(frame, [110, 97, 80, 47])
    second.initialize(frame, [10, 20, 60, 60])
    np.testing.assert_array_equal(first.refine(frame, [110, 97, 80, 47]), alone)
    assert not np.array_equal(second.refine(frame, [110, 97, 80, 47]), alone)


def test_a_batch_of_targets_has_the_masks_of_each_alone(refiner: AlphaRefine) -> None:
    frames = [make_frame(t) for t in range(2)]
    boxes = [[110, 97, 80, 47], [10, 20, 60, 60], [200, 100, 50, 90]]
    references = [refiner.start(frames[0], box) for box in boxes]
    masks = refiner.segment_batch(frames[1], boxes, references)
    for box, mask in zip(boxes, masks, strict=True):
        refiner.initialize(frames[0], box)
        assert mask.dtype == np.uint8 and mask.shape == (240, 320) and mask.sum() > 100
        differs = mask != refiner.segment(frames[1], box)
        assert np.all(np.abs(refiner.refine(frames[1], box)[differs] - 0.65) < 1e-4)
    assert not np.array_equal(masks[0], refiner.segment_batch(frames[1], boxes[:1], references[1:2])[0])
    assert refiner.segment_batch(frames[1], [], []) == []


def test_bad_boxes_and_images_are_refused(refiner: AlphaRefine) -> None:
    frame = make_frame(0)
    with pytest.raises(InputError, match=r"initialize\(\) must be called"):
        refiner.refine(frame, [110, 97, 80, 47])
    for box in ([320, 10, 20, 20], [-30, 10, 20, 20], [10, 240, 20, 20], [10, -20, 20, 20]):
        with pytest.raises(InputError, match=r"outside the image \(320 x 240 pixels\)"):
            refiner.initialize(frame, box)
    with pytest.raises(InputError, match="positive and finite"):
        refiner.initialize(frame, [10, 10, 0, 20])
    for image in (frame[..., 0], frame.astype(np.float32), None):
        with pytest.raises(InputError, match=r"expected an RGB image, uint8 of shape \(H, W, 3\), got"):
            refiner.initialize(image, [110, 97, 80, 47])
    with pytest.raises(InputError, match="unknown device"):
        AlphaRefine(device="gpu", network=refiner.network)


def save_as_published(network: torch.nn.Module, path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool) -> None:
    """Write the layout of the published file, with objects of classes that are gone afterwards."""
    for name in ("ltr", "ltr.admin", "ltr.admin.model_constructor"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    module = sys.modules["ltr.admin.model_constructor"]
    constructor = type("NetConstructor", (), {"__module__": module.__name__})
    module.NetConstructor = constructor
    value = constructor()
    value.fun_name, value.kwds = "ARnet_seg_mask_resnet50", {"pool_size": 12}
    state = {"epoch": 40, "actor_type": "SegActor", "net_type": "ARnet", "net": network.state_dict(), "net_info": None}
    state |= {"constructor": value, "optimizer": {}, "stats": {}, "settings": value}
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.undo()
    assert "ltr" not in sys.modules


@pytest.mark.parametrize("legacy", [False, True])
def test_published_layout_loads(
    network: AlphaRefineNetwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
) -> None:
    save_as_published(network, tmp_path / "ARnet_seg_mask_ep0040.pth.tar", monkeypatch, legacy)
    loaded = load_network(tmp_path)  # the folder is enough
    (tmp_path / "ARnet_seg_mask_ep0040.pth.tar").unlink()  # 120 MB
    assert not loaded.training
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = torch.nn.ModuleDict({"corner_head": torch.nn.Linear(2, 2)})
    path = tmp_path / "ARcm_other.pth.tar"
    save_as_published(other, path, monkeypatch, legacy=False)
    with pytest.raises(CheckpointError) as caught:
        AlphaRefine(path, "cpu")
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert "missing: feature_extractor.conv1.weight" in message and "474 more" in message
    assert "unexpected: corner_head.weight, corner_head.bias" in message


def test_missing_and_damaged_checkpoints(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(CheckpointError, match="no Alpha-Refine checkpoint") as caught:
            AlphaRefine(place, "cpu")
        assert str(place) in str(caught.value)
    damaged = tmp_path / "a.pth.tar"
    damaged.write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"a\.pth\.tar"):
        AlphaRefine(damaged, "cpu")


def test_the_last_file_of_a_folder_is_taken(tmp_path: Path) -> None:
    for name in ("ARnet_seg_mask_ep0040.pth.tar", "ARnet_seg_mask_ep0039.pth.tar", "zzz.txt"):
        (tmp_path / name).touch()
    assert find_checkpoint(tmp_path).name == "ARnet_seg_mask_ep0040.pth.tar"
    assert find_checkpoint(tmp_path / "ARnet_seg_mask_ep0039.pth.tar").name == "ARnet_seg_mask_ep0039.pth.tar"
