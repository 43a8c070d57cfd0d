"""What the tests of the video demo share."""

import json
import re
import subprocess
import sys
from pathlib import Path

import tracking.video_demo as script
from lib.config.paths import PROJECT_ROOT
from lib.test.tracker.lost import LostOptions
from lib.test.tracker.presence import default_score
from lib.test.video.sources import VideoSource
from lib.test.video.targets import TargetBatch
from lib.utils.cli import run_script
from lib.utils.image_io import write_image
from tests.tracker import fakes

FRAMES = 6
BOX = "40,60,36,36"


def folder_of(clip: Path, folder: Path) -> Path:
    """The frames of a video as OpenCV decodes them, as PNG files."""
    folder.mkdir(parents=True)
    for index, image in enumerate(VideoSource(clip).frames()):
        write_image(folder / f"{index + 8}.png", image)  # 8, 9, 10, ...: text order would be wrong
    return folder


def run(experiment: Path, video, output: Path, *extra: str, box: str | None = BOX) -> int:
    command = ["seqtrack", str(experiment / "tiny.yaml"), str(video), "--checkpoint", str(experiment / "tiny.pth.tar")]
    command += ["--output", str(output), "--device", "cpu", *extra]
    return run_script(lambda: script.main(command + ([] if box is None else [f"--init_box={box}"])))


def make_batch(**lost) -> TargetBatch:
    engine = fakes.make_engine()
    return TargetBatch(engine, default_score(engine.params.update_threshold), LostOptions(**lost))


def record(path: Path) -> dict:
    return json.loads(path.read_text())


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def messages(stderr: str) -> list[str]:
    """Lines of standard error apart from the progress bar and the line about the encoder."""
    lines = re.sub(r"[^\r\n]*frame/s\]\s*", "\n", stderr).splitlines()
    return [line.strip() for line in lines if line.strip() and "no H.264 encoder" not in line]


def refused(capsys) -> str:
    """Check that the script said one line, and return it."""
    captured = capsys.readouterr()
    lines = messages(captured.err)
    assert captured.out == ""
    assert len(lines) == 1, captured.err
    assert ": error: " in lines[0]
    return lines[0]


def run_as_user(experiment: Path, video: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT_ROOT / "tracking" / "video_demo.py", "seqtrack", experiment / "tiny.yaml", video]
    command += ["--init_box", BOX, "--checkpoint", experiment / "tiny.pth.tar", "--output", "out", "--device", "cpu"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
