"""``tracking/create_default_local_file.py`` writes both path files once and never over the user's edits."""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from lib.config import paths
from lib.config.paths import PROJECT_ROOT
from lib.utils.errors import InputError, SeqTrackError
from lib.utils.files import FolderInUseError, folder_lock
from tracking import check_install, create_default_local_file


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
    with pytest.raises(InputError, match=r"local\.py: exists with other contents; --force replaces it"):
        create_default_local_file.main(["--data_dir", "/other"])
    assert edited.read_text() == 'data_dir = "/mine"\n'
    assert local_files[0].read_text() == before
    assert create_default_local_file.main(["--data_dir", "/other", "--force"]) == 0
    assert paths.load_paths("test").data_dir == Path("/other")


def test_the_files_hold_only_what_differs_from_data_dir(local_files: list[Path]) -> None:
    assert create_default_local_file.main(["--data_dir", "/mine"]) == 0
    assigned = [line.split(" = ")[0] for line in local_files[0].read_text().splitlines() if " = " in line]
    assert assigned[:3] == ["workspace_dir", "data_dir", "save_dir"]
    assert all(name.startswith("# ") for name in assigned[3:])
    assert paths.load_paths("train", data_dir="/flag").dataset_dir("lasot") == Path("/flag/lasot")
    text = local_files[0].read_text().replace("# lasot_dir", "lasot_dir")  # as the file says
    local_files[0].write_text(text.replace('/mine/lasot"', '/elsewhere"'))
    assert paths.load_paths("train").dataset_dir("lasot") == Path("/elsewhere")


@pytest.mark.parametrize("kind", ["file", "loop", "long", "local.py is a folder", "a file in the way"])
def test_places_that_cannot_be_written_are_one_line(local_files: list[Path], tmp_path: Path, unwritable, kind) -> None:
    data = tmp_path / "data"
    if kind == "local.py is a folder":
        local_files[1].mkdir(parents=True)
    elif kind == "a file in the way":
        local_files[1].parent.touch()
    else:
        data = unwritable(kind)
    with pytest.raises(SeqTrackError):
        create_default_local_file.main(["--data_dir", str(data)])
    assert not local_files[0].exists()  # both or none


def test_two_runs_at_once_do_not_mix(local_files: list[Path]) -> None:
    with folder_lock(local_files[1].parent, "settings"), pytest.raises(FolderInUseError, match="settings is going on"):
        create_default_local_file.main([])
    assert not any(path.exists() for path in local_files)


def test_packages_are_built_without_the_path_files(tmp_path: Path) -> None:
    """The user's paths stay out of wheels and source archives, also where an earlier build took them in."""
    for name in ("setup.py", "MANIFEST.in"):
        shutil.copy(PROJECT_ROOT / name, tmp_path)
    for folder in ("lib", "lib/train", "lib/train/admin", "lib/test", "lib/test/evaluation"):
        for root in (tmp_path, tmp_path / "build" / "lib"):
            (root / folder).mkdir(parents=True)
            (root / folder / "__init__.py").touch()
    for path in paths.LOCAL_FILES.values():
        for root in (tmp_path, tmp_path / "build" / "lib"):
            (root / path.relative_to(PROJECT_ROOT)).write_text('data_dir = "/private"\n')
    command = [sys.executable, "setup.py", "-q", "build_py", "sdist"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    built = {str(path.relative_to(tmp_path / "build" / "lib")) for path in (tmp_path / "build" / "lib").rglob("*.py")}
    with tarfile.open(next((tmp_path / "dist").glob("*.tar.gz"))) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    for files in (built, packed):
        assert "lib/train/admin/__init__.py" in files
        assert not [name for name in files if name.endswith("local.py")]


def test_check_install_reports_versions(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_install.main([]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("python", "torch", "torchvision", "timm", "cv2", "numpy", "device")
    ]


def test_check_install_names_a_package_that_does_not_fit(tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)  # put back at the end
    monkeypatch.delitem(sys.modules, "timm")
    assert check_install.main([]) == 1
    assert "RuntimeError: operator torchvision::nms does not exist" in capsys.readouterr().err
