import shutil
from pathlib import Path

import pytest

from lib.config.paths import bundled_checkpoint
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.formats import export
from lib.test.tracker.graphs import halve
from tests.threads import one_thread  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled tracker as ONNX files in float32."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    params = parameters("seqtrack_demo", checkpoint=bundled_checkpoint("seqtrack_demo"), device="cpu")
    export(params, folder, config="seqtrack_demo")
    return folder


@pytest.fixture(scope="session")
def exported_half(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `exported`, with float16 storage."""
    import onnx

    folder = tmp_path_factory.mktemp("exported_half")
    for path in exported.glob("*.onnx"):
        model = onnx.load(path)
        halve(model)
        onnx.save(model, folder / path.name)
    return folder


@pytest.fixture(scope="session")
def node() -> str:
    """The program of Node.js; skips the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is missing")
    return found
