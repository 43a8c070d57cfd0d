"""Every command of the README works as written: they are run one after the other in an empty folder.

Only the network is smaller: a tiny experiment named ``seqtrack_demo`` stands in for the shipped one.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from lib.config.paths import PROJECT_ROOT
from tracking import create_default_local_file

README = (PROJECT_ROOT / "README.md").read_text()
COMMANDS = [
    line
    for block in re.findall(r"^```\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
    if re.match(r"(python|torchrun|bash|make|conda|source|pip|cd|export|vot) ", line)
]

# Run by `make test` before this test can run, by .ci/run, or by the tests marked `vot`; conda is the user's own.
ELSEWHERE = {
    "bash install.sh",
    "source .venv/bin/activate",
    "make demo",
    "make demo-train",  # see test_train_demo.py
    "python tracking/prepare_demo_data.py",  # see tests/synthetic/test_demo_media.py
    "python -m venv .venv-opencv",
    "python benchmarks/against_opencv.py --opencv_python .venv-opencv/bin/python --dtype float32 bfloat16",  # likewise
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
    ("tracking/make_lmdb.py got10k", 2, "expected train/list.txt"),
)
TINY = """
MODEL: {HIDDEN_DIM: 32, BINS: 64, ENCODER: {TYPE: vit_test_patch16, PRETRAIN_TYPE: scratch},
        DECODER: {NHEADS: 2, DIM_FEEDFORWARD: 32, DEC_LAYERS: 1}}
TRAIN: {EPOCH: 2, BATCH_SIZE: 4, NUM_WORKER: 0, PRINT_INTERVAL: 2}
DATA: {TRAIN: {DATASETS_NAME: [SYNTHETIC], DATASETS_RATIO: [1], SAMPLE_PER_EPOCH: 16},
       SYNTHETIC: {SEQUENCES: 4, FRAMES: 20, WIDTH: 160, HEIGHT: 120},
       SEARCH: {SIZE: 64}, TEMPLATE: {SIZE: 32, NUMBER: 2}}
TEST: {SEARCH_SIZE: 64, TEMPLATE_SIZE: 32, NUM_TEMPLATES: 2, EPOCH: 2}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("readme")
    for name in ("tracking", "lib"):
        (root / name).symlink_to(PROJECT_ROOT / name)
    (root / "seqtrack_demo.yaml").write_text(TINY)
    writer = cv2.VideoWriter(str(root / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (640, 480))
    for shift in range(5):
        writer.write(np.roll(np.indices((480, 640, 3)).sum(0).astype(np.uint8), 3 * shift, axis=1))
    writer.release()
    return root


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    words = [re.sub(r"^seqtrack_demo$", "seqtrack_demo.yaml", word) for word in shlex.split(command)]
    if "tracking/profile_model.py" in words:  # a minute or more for a real one on a CPU
        words = ["seqtrack_demo.yaml" if word == "seqtrack_b256" else word for word in words]
    words = ["2" if word == "8" and words[i - 1] == "--nproc_per_node" else word for i, word in enumerate(words)]
    start = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}[words[0]]
    return subprocess.run([*start, *words[1:]], cwd=folder, capture_output=True, text=True, check=False)


def test_there_are_commands_and_all_are_of_a_known_kind() -> None:
    assert len(COMMANDS) >= 10
    unknown = [line for line in COMMANDS if line not in ELSEWHERE and not line.startswith(("python ", "torchrun "))]
    assert not unknown


@pytest.mark.slow
def test_every_command_in_order(folder: Path) -> None:
    for command in COMMANDS:
        if command in ELSEWHERE:
            continue
        if "create_default_local_file" in command:  # would write into the project; see test_local_file.py
            create_default_local_file.parse_args(shlex.split(command)[2:])
            continue
        done = run(folder, command)
        code, reason = next(((code, text) for part, code, text in NEEDS if part in command), (0, ""))
        said = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == code or (code is None and done.returncode), said
        assert reason in said
    for pattern in (
        "data/got10k/val/*/groundtruth.txt",
        "checkpoints/train/seqtrack/seqtrack_demo/SEQTRACK_ep0002.pth.tar",
        "tensorboard/train/seqtrack/seqtrack_demo/*",
        "logs/seqtrack-seqtrack_demo.log",
        "test/tracking_results/seqtrack/seqtrack_demo/got10k/*_time.txt",
        "test/result_plots/got10k_val/*.png",
        "test/result_plots/got10k_val/*.csv",
        "test/videos/seqtrack_demo/clip.mp4",
        "test/videos/seqtrack_demo/clip.json",
    ):
        assert list(folder.glob(pattern)), f"nothing was written to {pattern}"
