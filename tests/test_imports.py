"""The arrows between packages hold, and importing a module does nothing else."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from lib.config.paths import PROJECT_ROOT

ALLOWED = {
    "utils": set(),
    "config": {"utils"},
    "models": {"utils", "config"},
    "synthetic": {"utils"},
    "data": {"utils", "config", "synthetic"},
    "train": {"utils", "config", "models", "synthetic", "data"},
    "test": {"utils", "config", "models", "synthetic", "data"},
}
LIB_FILES = sorted(
    path for path in (PROJECT_ROOT / "lib").rglob("*.py") if path.name != "local.py" and path.parent.name != "lib"
)


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", LIB_FILES, ids=lambda path: str(path.relative_to(PROJECT_ROOT)))
def test_arrows(path: Path) -> None:
    package = path.relative_to(PROJECT_ROOT / "lib").parts[0]
    for name in imported_modules(path):
        parts = name.split(".")
        assert parts[0] not in ("tracking", "benchmarks", "tests", "external", "seqtrack"), f"{path} imports {name}"
        if parts[0] == "lib" and len(parts) > 1:
            assert parts[1] == package or parts[1] in ALLOWED[package], f"{path} imports {name}"


def find_circle(arrows: dict[str, set[str]]) -> str:
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1][::-1])
    return ""


def test_no_circle_of_files_or_folders() -> None:
    """Imports inside functions count; of folders, files at the top of a package (what starts it) count one by one."""
    modules = {".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts): path for path in LIB_FILES}
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    files = {name: (imported_modules(path) & modules.keys()) - {name} for name, path in modules.items()}
    assert len(files["lib.data.registry"]) > 5
    assert find_circle(files) == ""
    folder = {name: name.rpartition(".")[0] if name.count(".") > 2 else name for name in modules}
    folders: dict[str, set[str]] = {}
    for name, others in files.items():
        folders.setdefault(folder[name], set()).update({folder[other] for other in others} - {folder[name]})
    assert find_circle(folders) == ""


def test_importing_has_no_side_effect(tmp_path: Path) -> None:
    """One process imports every module of lib: no seed is set, no log handler, no thread setting, no file, no GUI."""
    modules = [".".join(path.relative_to(PROJECT_ROOT).with_suffix("").parts) for path in LIB_FILES]
    modules = [name.removesuffix(".__init__") for name in modules]
    code = f"""
import logging, os, random, sys
import numpy as np, torch, cv2
import matplotlib, timm.layers, timm.models  # what these do on import is not ours: timm names a cache folder of torch
before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().sum().item(),
          torch.get_num_threads(), cv2.getNumThreads(), logging.getLogger().handlers[:], sys.path[:], dict(os.environ))
import importlib
for name in {modules!r}:
    importlib.import_module(name)
after = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().sum().item(),
         torch.get_num_threads(), cv2.getNumThreads(), logging.getLogger().handlers[:], sys.path[:], dict(os.environ))
assert before == after, [i for i, (a, b) in enumerate(zip(before, after)) if a != b]
assert not torch.cuda.is_initialized()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_what_computes_without_a_network_does_not_import_torch() -> None:
    """Workers of other trackers, the datasets, the renderer and the analysis start in a fraction of the time."""
    modules = ["lib.test.evaluation.pool", "lib.data.packing", "lib.data.doctor", "lib.synthetic.layouts"]
    modules += ["tracking.analysis_results", "tracking.pack_results", "tracking.make_synthetic"]
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False).returncode == 0
