"""``tracking/create_default_local_file.py`` writes both path files once and never over the user's edits."""

import subprocess
import sys
from pathlib import Path

import pytest

from lib.config import paths
from lib.config.paths import PROJECT_ROOT
from lib.utils.errors import InputError
from tracking import create_default_local_file


@pytest.fixture()
def local_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    files = {kind: tmp_path / kind / "local.py" for kind in ("train", "test")}
    for kind, path in files.items():
        monkeypatch.setitem(paths.LOCAL_FILES, kind, path)
    return list(files.values())


def test_writes_both_and_reads_back(
    local_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--workspace_dir", str(tmp_path), "--data_dir", str(tmp_path / "d"), "--save_dir", str(tmp_path / "s")]
    assert create_default_local_file.main(flags) == 0
    assert capsys.readouterr().out.splitlines() == [f"wrote {path}" for path in local_files]
    for kind in ("train", "test"):
        assert paths.load_paths(kind).dataset_dir("lasot") == tmp_path / "d" / "lasot"
        assert paths.load_paths(kind).save_dir == tmp_path / "s"
    assert create_default_local_file.main(flags) == 0  # the same again is no conflict


def test_keeps_edited_files_without_force(local_files: list[Path]) -> None:
    assert create_default_local_file.main([]) == 0
    edited = local_files[1]
    edited.write_text('data_dir = "/mine"\n')
    before = local_files[0].read_text()
    with pytest.raises(InputError, match=r"local\.py: exists with other contents; use --force"):
        create_default_local_file.main(["--data_dir", "/other"])
    assert edited.read_text() == 'data_dir = "/mine"\n'
    assert local_files[0].read_text() == before
    assert create_default_local_file.main(["--data_dir", "/other", "--force"]) == 0
    assert paths.load_paths("test").data_dir == Path("/other")


def test_check_install_reports_versions() -> None:
    command = [sys.executable, str(PROJECT_ROOT / "tracking" / "check_install.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        *("python", "torch", "torchvision", "timm", "cv2", "numpy", "device")
    ]


def test_check_install_names_a_package_that_does_not_fit(tmp_path: Path) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    command = [sys.executable, str(PROJECT_ROOT / "tracking" / "check_install.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 1
    assert "RuntimeError: operator torchvision::nms does not exist" in done.stderr
