"""examples/deploy/cpp: built where ONNX Runtime's headers are, and compared with the Python program."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from tests.deploy.test_onnx_tracker import onnx_tracker
from tests.library.conftest import Clip

SOURCE = PROJECT_ROOT / "examples" / "deploy" / "cpp"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    missing += ["ONNXRUNTIME_ROOT (a folder with include/ and lib/)"] * ("ONNXRUNTIME_ROOT" not in os.environ)
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")
    subprocess.run(["cmake", "-S", SOURCE, "-B", tmp_path / "build"], check=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True)
    return tmp_path / "build" / "onnx_tracker"


@pytest.mark.endurance
def test_boxes_are_those_of_the_python_program(program: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    exported = request.getfixturevalue("exported")  # takes long: not before it is known that there is a program
    clip = Clip(3, count=30)
    video, box = str(clip.write(tmp_path / "a.avi")), ",".join(f"{value:.2f}" for value in clip.boxes[0])
    subprocess.run([program, exported, video, box, tmp_path / "cpp.txt"], check=True)
    onnx_tracker.main([str(exported), video, box, str(tmp_path / "python.txt")])
    found, expected = (np.loadtxt(tmp_path / f"{name}.txt", delimiter=",") for name in ("cpp", "python"))
    np.testing.assert_allclose(found, expected, atol=1e-3)
