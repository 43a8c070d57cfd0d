"""Checkpoints are written whole, read without running code, and refused with a reason."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from lib.utils.checkpoint import PickledObject, load_checkpoint, load_model_weights, save_checkpoint
from lib.utils.errors import CheckpointError
from tests.golden import GOLDEN_DIR, load_json, recipe

PUBLISHED = ["tiny_checkpoint.pth.tar", "tiny_checkpoint_legacy.pth.tar"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_layout_opens_with_inert_stubs(name: str) -> None:
    state = load_checkpoint(GOLDEN_DIR / name)
    expected = load_json("checkpoint_format.json")
    assert {key: type(value).__name__ for key, value in state.items()} == expected["top_level"]
    for key, value in state["net"].items():
        torch.testing.assert_close(value, recipe.weight_for(key, value.shape), atol=1e-5, rtol=0)
    assert isinstance(state["settings"], PickledObject)
    assert state["settings"].class_name == "lib.train.admin.settings.Settings"
    assert state["settings"].state["config_name"] == "tiny"


class _Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_tries_to_run_code_does_not(tmp_path: Path, legacy: bool) -> None:
    marker, path = tmp_path / "ran", tmp_path / "attack.pth.tar"
    torch.save({"net": {"a": torch.ones(2)}, "x": _Attack(marker)}, path, _use_new_zipfile_serialization=not legacy)
    state = load_checkpoint(path)
    assert not marker.exists()
    assert isinstance(state["x"], PickledObject)
    assert state["x"].class_name.endswith(".system")
    torch.testing.assert_close(state["net"]["a"], torch.ones(2))


def test_a_plain_pickle_that_tries_to_run_code_does_not(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "attack.pth.tar"
    path.write_bytes(pickle.dumps(_Attack(marker)))
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(path)
    assert not marker.exists()


def test_the_attack_would_have_worked(tmp_path: Path) -> None:
    """The pickle of the tests above does run code when it is loaded without protection."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(_Attack(marker)))
    assert marker.exists()


def test_nested_names_are_not_resolved(tmp_path: Path) -> None:
    path = tmp_path / "nested.pkl"
    # Protocol 4 allows dotted names: collections.OrderedDict.__init__.__globals__ must not be reachable.
    path.write_bytes(b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.__init__\x93.")
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@pytest.mark.parametrize("keep", [0, 10, 1000, -500])
def test_truncated_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.pth.tar"
    save_checkpoint({"net": {"a": torch.ones(500)}}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"cut\.pth\.tar: .*not a checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("name", PUBLISHED)
def test_truncated_published_file(tmp_path: Path, name: str) -> None:
    data = (GOLDEN_DIR / name).read_bytes()
    for share in (0.1, 0.5, 0.9):
        path = tmp_path / f"{share}.pth.tar"
        path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            load_checkpoint(path)


def test_missing_file_and_text_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth.tar")
    text = tmp_path / "text.pth.tar"
    text.write_text("hello, I am no checkpoint\n")
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        load_checkpoint(text)


def test_a_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pth.tar"
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError, match="expected a dictionary, got list"):
        load_checkpoint(path)


def test_round_trip_and_no_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.pth.tar"
    state = {
        "net": OrderedDict(w=torch.randn(3)),
        "epoch": 3,
        "rng": torch.get_rng_state(),
        "half": torch.ones(1).half(),
    }
    save_checkpoint(state, path)
    loaded = load_checkpoint(path)
    assert loaded["epoch"] == 3
    torch.testing.assert_close(loaded["net"]["w"], state["net"]["w"])
    torch.testing.assert_close(loaded["rng"], state["rng"])
    assert [file.name for file in path.parent.iterdir()] == ["a.pth.tar"]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth.tar"
    save_checkpoint({"epoch": 1}, path)
    with pytest.raises((pickle.PicklingError, AttributeError, TypeError)):
        save_checkpoint({"epoch": 2, "bad": lambda: None}, path)
    assert load_checkpoint(path)["epoch"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_foreign_weights_are_named() -> None:
    network = nn.Linear(3, 2)
    before = network.weight.clone()
    state = {"net": {"weight": torch.zeros(5, 3), "extra": torch.zeros(1)}}
    with pytest.raises(CheckpointError) as caught:
        load_model_weights(network, state, "foreign.pth.tar")
    message = str(caught.value)
    for part in ("foreign.pth.tar", "missing: bias", "unexpected: extra", "weight (5, 3) instead of (2, 3)"):
        assert part in message
    assert "\n" not in message
    torch.testing.assert_close(network.weight, before)


def test_no_weights() -> None:
    with pytest.raises(CheckpointError, match="no weights under the key 'net'"):
        load_model_weights(nn.Linear(1, 1), {"model": {}}, "other.pth")
