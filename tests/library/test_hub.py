"""``hubconf.py`` as ``torch.hub`` reads it, and folders in the layout of the Hugging Face Hub."""

import importlib
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import seqtrack
from lib.config.paths import BUNDLED_DIR, PROJECT_ROOT
from tests.library.conftest import Clip, overlap


def test_every_experiment_is_an_entry_point() -> None:
    names = {name for name, value in runpy.run_path(str(PROJECT_ROOT / "hubconf.py")).items() if callable(value)}
    assert {name for name in names if not name.startswith("_")} == {"tracker", *seqtrack.available()}


def test_tracker_from_the_hub_follows(clip: Clip) -> None:
    tracker = torch.hub.load(str(PROJECT_ROOT), "seqtrack_demo", source="local", device="cpu")
    tracker.init(clip.frames[0], clip.boxes[0])
    assert overlap(tracker.update(clip.frames[1]).box, clip.boxes[1]) > 0.5
    with pytest.raises(Exception, match="no checkpoint for seqtrack_l256"):
        torch.hub.load(str(PROJECT_ROOT), "seqtrack_l256", source="local")


# Folders in the layout of the Hub ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("huggingface_hub")
    folder = tmp_path_factory.mktemp("hub") / "seqtrack-demo"
    seqtrack.SeqTrack.from_checkpoint("seqtrack_demo").save_pretrained(folder)
    return folder


def test_saved_folder_has_the_layout_of_the_hub_and_no_paths(saved: Path) -> None:
    assert {path.name for path in saved.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "model.score.json",
    }
    config = json.loads((saved / "config.json").read_text())
    assert config["MODEL"]["HIDDEN_DIM"] == 192
    assert not {"TRAIN", "VAL", "SYNTHETIC"} & set(config["DATA"])
    assert "demo_media" not in (saved / "config.json").read_text()


def test_load_takes_the_folder_and_gives_the_same_results(
    saved: Path, tracker: seqtrack.Tracker, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not needed, so nothing can be downloaded
    results = []
    for each in (tracker, seqtrack.load(saved, device="cpu")):
        each.init(clip.frames[0], clip.boxes[0])
        results.append([each.update(frame) for frame in clip.frames[1:3]])
    assert results[0] == results[1]  # the score too, which is fitted


def test_network_comes_back_as_it_was_saved(saved: Path, tmp_path: Path) -> None:
    network = seqtrack.SeqTrack.from_pretrained(saved)
    original = seqtrack.SeqTrack.from_checkpoint()
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in original.state_dict().items())
    network.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors", "model.score.json"):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()
    network.save_pretrained(saved)  # where it came from
    assert (tmp_path / "again" / "model.score.json").read_bytes() == (saved / "model.score.json").read_bytes()


def test_damaged_folders_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(seqtrack.ConfigError, match=r"without config\.json"):
        seqtrack.load(tmp_path)
    (tmp_path / "config.json").write_bytes((saved / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes((BUNDLED_DIR / "seqtrack_demo.pth.tar").read_bytes())
    for read in (seqtrack.load, seqtrack.SeqTrack.from_pretrained):
        with pytest.raises(seqtrack.CheckpointError, match=r"model\.safetensors: no such checkpoint"):
            read(tmp_path)
    weights = load_file(saved / "model.safetensors")
    name = next(iter(weights))
    del weights[name]
    save_file(weights, tmp_path / "model.safetensors")
    for read in (seqtrack.load, seqtrack.SeqTrack.from_pretrained):
        with pytest.raises(seqtrack.CheckpointError, match=f"missing: {name}"):
            read(tmp_path)
    (tmp_path / "config.json").write_text('{"MODEL": {"HIDEN_DIM": 192}}')
    with pytest.raises(seqtrack.ConfigError, match=r"config\.json: MODEL\.HIDEN_DIM"):
        seqtrack.SeqTrack.from_pretrained(tmp_path)


def test_repository_is_fetched_only_by_from_pretrained(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, str]] = []

    def download(repository: str, filename: str, **options: object) -> str:
        asked.append((repository, filename))
        return str(saved / filename)

    hub = importlib.import_module("seqtrack.hub")
    with pytest.raises(seqtrack.ConfigError, match="unknown config"):
        seqtrack.load("someone/seqtrack-demo")
    with pytest.raises(seqtrack.CheckpointError, match="nor fetched from the Hub"):
        seqtrack.SeqTrack.from_pretrained("someone/seqtrack-demo", local_files_only=True, cache_dir=tmp_path)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    seqtrack.SeqTrack.from_pretrained("someone/seqtrack-demo")
    files = ("config.json", "model.safetensors", "model.score.json")
    assert asked == [("someone/seqtrack-demo", name) for name in files]


def test_without_the_extra_the_message_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "seqtrack.hub", raising=False)
    with pytest.raises(ImportError, match=r"seqtrack\[hub\]"):
        _ = seqtrack.SeqTrack
