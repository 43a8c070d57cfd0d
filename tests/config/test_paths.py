"""Path settings: flag over environment over path file over default, and nothing is ever overwritten."""

from pathlib import Path

import pytest

from lib.config import paths
from lib.utils.errors import CheckpointError, ConfigError


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for setting in paths.SETTINGS:
        monkeypatch.delenv(f"SEQTRACK_{setting.upper()}", raising=False)
    local = tmp_path / "local.py"
    monkeypatch.setitem(paths.LOCAL_FILES, "test", local)
    return local


def test_defaults() -> None:
    settings = paths.load_paths("test")
    assert (settings.save_dir, settings.data_dir) == (Path("."), Path("data"))
    assert settings.dataset_dir("got10k") == Path("data/got10k")
    assert "default of data_dir" in settings.origin("got10k")


def test_precedence(no_settings: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_settings.write_text('data_dir = "/from/file"\ngot10k_dir = "/got/file"\n')
    settings = paths.load_paths("test")
    assert settings.dataset_dir("lasot") == Path("/from/file/lasot")
    assert settings.dataset_dir("got10k") == Path("/got/file")
    assert str(no_settings) in settings.origin("got10k")
    monkeypatch.setenv("SEQTRACK_GOT10K_DIR", "/got/env")
    settings = paths.load_paths("test")
    assert settings.dataset_dir("got10k") == Path("/got/env")
    assert "SEQTRACK_GOT10K_DIR" in settings.origin("got10k")
    settings = paths.load_paths("test", got10k_dir="/got/flag", data_dir=None)
    assert settings.dataset_dir("got10k") == Path("/got/flag")
    assert settings.data_dir == Path("/from/file")
    assert "flag --got10k_dir" in settings.origin("got10k")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('lasto_dir = "/x"', "lasto_dir: no such path setting; did you mean lasot_dir?"),
        ("lasot_dir = 3", "lasot_dir: expected a path in quotes, got 3"),
        ("lasot_dir = ", "SyntaxError"),
    ],
)
def test_bad_path_file(no_settings: Path, text: str, part: str) -> None:
    no_settings.write_text(text)
    with pytest.raises(ConfigError) as caught:
        paths.load_paths("test")
    assert str(no_settings) in str(caught.value)
    assert part in str(caught.value)
    assert no_settings.read_text() == text


def test_the_written_file_reads_back(no_settings: Path, tmp_path: Path) -> None:
    no_settings.write_text(paths.local_file_text("test", tmp_path, tmp_path / "d'a\"ta", tmp_path / "out"))
    settings = paths.load_paths("test")
    assert settings.dataset_dir("uav") == tmp_path / "d'a\"ta" / "uav"
    assert settings.save_dir == tmp_path / "out"


def test_checkpoint_by_epoch_or_by_model_zoo_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"SEQTRACK_ep0500\.pth\.tar nor SEQTRACK\.pth\.tar"):
        paths.find_checkpoint(tmp_path, "seqtrack_b256", 500)
    zoo = tmp_path / "checkpoints/train/seqtrack/seqtrack_b256/SEQTRACK.pth.tar"
    zoo.parent.mkdir(parents=True)
    zoo.touch()
    assert paths.find_checkpoint(tmp_path, "seqtrack_b256", 500) == zoo
    epoch = zoo.with_name("SEQTRACK_ep0500.pth.tar")
    epoch.touch()
    assert paths.find_checkpoint(tmp_path, "seqtrack_b256", 500) == epoch
