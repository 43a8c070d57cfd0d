"""Every command of the README, in its order and unchanged, in a copy of the project.

The copy differs in one thing: its demo experiment trains on a few samples instead of many. What needs datasets,
downloaded weights or eight GPUs must fail at once with the reason that the user has to see.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if not language and re.match(r"(python|torchrun|bash|make|conda|source|pip|cd|export|vot|\.venv\S*) ", line)
]

# Run by `make test` before this test can run, by .ci/run, or by the tests marked `vot`; conda is the user's own.
ELSEWHERE = {
    "bash install.sh",
    "source .venv/bin/activate",
    "make demo",
    "make demo-train",  # see test_train_demo.py
    "python tracking/prepare_demo_data.py",  # see tests/cli/test_demo_media.py
    "python -m venv .venv-opencv",
    ".venv-opencv/bin/pip install opencv-contrib-python",
    "python benchmarks/against_opencv.py --opencv_python .venv-opencv/bin/python --dtype float32 bfloat16",  # as above
    "conda create -n seqtrack python=3.12",
    "conda activate seqtrack",
    'pip install -e ".[vot]"',
    "python tracking/vot_selftest.py --masks --evaluate",
    "cd external/vot20/seqtrack",
    "vot evaluate --workspace . seqtrack_b256_ar",
    "vot analysis --workspace .",
}
# Needs data, weights or eight GPUs: the exit code (None: any but 0) and the reason it gives, by what it holds.
NEEDS = (
    ("lib/train/run_training.py", None, "no such data folder"),
    ("tracking/train.py --script seqtrack --config seqtrack_b256", 2, "no such data folder"),
    ("tracking/test.py seqtrack seqtrack_b256", 2, "no checkpoint for seqtrack_b256"),
    ("tracking/analysis_results.py --tracker seqtrack --config seqtrack_b256", 2, "no such data folder"),
    ("transform_", 2, "no results of"),
    ("tracking/verify_zoo.py", 2, "no checkpoint for seqtrack_b256"),
    ("tracking/check_data.py got10k_val", 1, "8 of 180"),
)
SHORT = {
    "EPOCH: 64": "EPOCH: 2",  # of training and of testing
    "SAMPLE_PER_EPOCH: 4800": "SAMPLE_PER_EPOCH: 32",
    "SEQUENCES: 5000": "SEQUENCES: 8",
    "PRINT_INTERVAL: 100": "PRINT_INTERVAL: 1",
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh copy of the project, with the demo experiment shortened and a clip."""
    root = tmp_path_factory.mktemp("readme") / "seqtrack"
    for name in ("lib", "tracking", "experiments", "external", "benchmarks", "data/demo"):
        shutil.copytree(PROJECT_ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "local.py"))
    experiment = root / "experiments" / "seqtrack" / "seqtrack_demo.yaml"
    text = experiment.read_text(encoding="utf-8")
    for full, short in SHORT.items():
        assert full in text
        text = text.replace(full, short)
    experiment.write_text(text, encoding="utf-8")
    writer = cv2.VideoWriter(str(root / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (640, 480))
    for shift in range(12):
        writer.write(np.roll(np.indices((480, 640, 3)).sum(0).astype(np.uint8), 3 * shift, axis=1))
    writer.release()
    return root


def run(checkout: Path, command: str) -> subprocess.CompletedProcess[str]:
    program, *arguments = shlex.split(command)
    start = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}[program]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [*start, *arguments], cwd=checkout, capture_output=True, text=True, check=False, env=environment
    )


def test_there_are_commands_and_all_are_of_a_known_kind() -> None:
    assert len(COMMANDS) >= 10
    unknown = [line for line in COMMANDS if line not in ELSEWHERE and not line.startswith(("python ", "torchrun "))]
    assert not unknown


def test_the_python_example_tracks() -> None:
    example = re.search(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)[1]
    frames = np.random.default_rng(0).integers(0, 255, (2, 480, 640, 3), dtype=np.uint8)
    names = {"frame": frames[0], "next_frame": frames[1]}
    exec(example, names)
    assert len(names["result"].box) == 4 and 0 <= names["result"].score <= 1 and len(example.strip().splitlines()) <= 6


@pytest.mark.endurance
def test_every_command_in_order(checkout: Path) -> None:
    for command in COMMANDS:
        if command in ELSEWHERE:
            continue
        done = run(checkout, command)
        code, reason = next(((code, text) for part, code, text in NEEDS if part in command), (0, ""))
        output = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == code or (code is None and done.returncode), output
        assert reason in output
        if code is not None:  # torchrun prints its own traceback for a rank that failed
            assert "Traceback" not in output, output
    for pattern in (
        "lib/test/evaluation/local.py",
        "data/got10k/val/*/groundtruth.txt",
        "data/got10k_lmdb/*",
        "tensorboard/train/seqtrack/first_steps/*",
        "logs/seqtrack-first_steps.log",
        "checkpoints/train/seqtrack/first_steps/SEQTRACK_ep0001.pth.tar",
        "compare.png",
        "test/tracking_results/seqtrack/seqtrack_demo/got10k/*_time.txt",
        "test/result_plots/got10k_val/*.png",
        "test/result_plots/got10k_val/*.csv",
        "test/videos/seqtrack_demo/clip.mp4",
        "test/videos/seqtrack_demo/clip.json",
    ):
        assert list(checkout.glob(pattern)), f"nothing was written to {pattern}"
