"""examples/deploy/cpp: built where ONNX Runtime's headers are, and compared with the Python program."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from tests.deploy.test_onnx_tracker import export_tiny, onnx_tracker
from tests.library.conftest import Clip

SOURCE = PROJECT_ROOT / "examples" / "deploy" / "cpp"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [tool for tool in ("cmake", "c++") if shutil.which(tool) is None]
    missing += ["ONNXRUNTIME_ROOT (a folder with include/ and lib/)"] * ("ONNXRUNTIME_ROOT" not in os.environ)
    if missing:
        pytest.skip(f"missing: {', '.join(missing)}")
    build = tmp_path_factory.mktemp("build")
    subprocess.run(["cmake", "-S", SOURCE, "-B", build], check=True)
    subprocess.run(["cmake", "--build", build], check=True)
    return build / "onnx_tracker"


@pytest.mark.endurance
@pytest.mark.parametrize("network", ["bundled", "whxy", "corner"])
def test_boxes_are_those_of_the_python_program(
    program: Path, network: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The tiny networks have two templates and take new ones."""
    if network == "bundled":
        exported = request.getfixturevalue("exported")  # takes long: not before it is known that there is a program
    else:
        export_tiny(network, tmp_path)
        exported = tmp_path / "exported"
    clip = Clip(3, count=30)
    video, box = str(clip.write(tmp_path / "a.avi")), ",".join(f"{value:.2f}" for value in clip.boxes[0])
    subprocess.run([program, exported, video, box, tmp_path / "cpp.txt"], check=True)
    onnx_tracker.main([str(exported), video, box, str(tmp_path / "python.txt")])
    found, expected = (np.loadtxt(tmp_path / f"{name}.txt", delimiter=",") for name in ("cpp", "python"))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.endurance
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({0: "nowhere"}, "nowhere/embed_template.onnx"),
        ({1: "nowhere.mp4"}, "nowhere.mp4: no frame"),
        ({2: "1,2,3"}, "1,2,3: expected x,y,width,height"),
        ({2: "1,2,nan,4"}, "outside the image, empty"),
        ({2: "900,900,20,20"}, "outside the image, empty"),
        ({3: "nowhere/boxes.txt"}, "nowhere/boxes.txt: cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(program: Path, tmp_path: Path, changes: dict[int, str], message: str) -> None:
    export_tiny("whxy", tmp_path)
    video = Clip(3, count=3).write(tmp_path / "a.avi")
    arguments = [tmp_path / "exported", video, "20,20,20,20", tmp_path / "boxes.txt"]
    for place, value in changes.items():
        arguments[place] = value
    done = subprocess.run([program, *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1]  # before it, what OpenCV says
    assert not (tmp_path / "boxes.txt").exists()
