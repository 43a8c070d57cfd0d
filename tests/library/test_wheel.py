"""The built package works outside the checkout: experiments and bundled weights are in it, the user's paths are not."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from lib.config.paths import LOCAL_FILES, PROJECT_ROOT

SOURCES = ("lib", "seqtrack", "experiments", "data/demo")
FIVE_LINES = """
import numpy as np
import seqtrack
tracker = seqtrack.load("seqtrack_demo", device="cpu")
tracker.init(np.zeros((120, 160, 3), np.uint8), (40, 30, 50, 40))
result = tracker.update(np.zeros((120, 160, 3), np.uint8))
print(len(result.box), 0 <= result.score <= 1, seqtrack.__file__)
"""


def python(folder: Path, *arguments: str, **variables: str) -> str:
    """Output of a Python process; the last line of its errors if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the wheel and the source archive, built from a copy of the checkout."""
    folder = tmp_path_factory.mktemp("build")
    skipped = shutil.ignore_patterns("__pycache__", "local.py")
    for name in SOURCES:
        shutil.copytree(PROJECT_ROOT / name, folder / name, ignore=skipped)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "LICENSE", "NOTICE", "README.md"):
        shutil.copy(PROJECT_ROOT / name, folder)
    for path in LOCAL_FILES.values():
        (folder / path.relative_to(PROJECT_ROOT)).write_text('data_dir = "/private"\n')
    python(folder, "setup.py", "-q", "sdist", "bdist_wheel")
    return folder / "dist"


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the installed package, without its dependencies."""
    target, (wheel,) = tmp_path_factory.mktemp("installed"), built.glob("*.whl")
    if importlib.util.find_spec("pip") is None:  # environments of uv
        zipfile.ZipFile(wheel).extractall(target)
    else:
        flags = ("--quiet", "--no-deps", "--no-index", "--no-compile", "--target", str(target))
        assert python(target, "-m", "pip", "install", *flags, str(wheel)) == ""
    return target


@pytest.mark.endurance
def test_five_lines_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    output = python(tmp_path, "-c", FIVE_LINES, PYTHONPATH=str(installed))
    assert output == f"4 True {installed / 'seqtrack' / '__init__.py'}"
    names = python(tmp_path, "-c", "import seqtrack; print(*seqtrack.available())", PYTHONPATH=str(installed))
    assert names.split() == sorted(path.stem for path in (PROJECT_ROOT / "experiments" / "seqtrack").glob("*.yaml"))
    assert (installed / "seqtrack" / "py.typed").is_file()
    page = installed / "lib" / "test" / "analysis" / "page"
    assert {path.suffix for path in page.iterdir()} == {".py", ".html", ".css", ".js"}
    assert not list(installed.rglob("local.py"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.endurance
def test_package_without_its_weights_says_so(installed: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(installed, cut, ignore=shutil.ignore_patterns("*.pth.tar"))
    output = python(tmp_path, "-c", FIVE_LINES, PYTHONPATH=str(cut))
    assert output.startswith("lib.utils.errors.CheckpointError: no checkpoint for seqtrack_demo")


@pytest.mark.endurance
def test_source_archive_has_what_a_wheel_is_made_of(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"experiments/seqtrack/seqtrack_demo.yaml", "data/demo/seqtrack_demo.pth.tar", "seqtrack/py.typed"}
    assert wanted <= names
    assert not [name for name in names if name.endswith("local.py")]
