"""Every command of docs/finetune.md, in its order and unchanged, on rendered clips annotated as CVAT writes it.

They run in a copy of the project that differs in one thing: fine-tuning takes a few samples instead of many.
"""

import json
import re
import shutil
from pathlib import Path

import cv2
import pytest

from lib.config.paths import PROJECT_ROOT
from lib.data.exchange import FORMATS, Video
from lib.synthetic import SyntheticSequence
from lib.utils.image_io import write_image
from tests.cli.test_readme import run

PAGE = (PROJECT_ROOT / "docs" / "finetune.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^ {4,}(python .*)$", PAGE, flags=re.MULTILINE)
NEEDS = {"--config seqtrack_b256": (2, "SEQTRACK.pth.tar: no such checkpoint")}
"""A command that needs published weights: how it ends without them."""
SHORT = {
    "SAMPLES_PER_EPOCH = 960": "SAMPLES_PER_EPOCH = 16",
    'type=int, default=20, help=f"of': 'type=int, default=2, help=f"of',
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project, three clips with their annotations, and a fourth as a video."""
    root = tmp_path_factory.mktemp("finetune") / "seqtrack"
    for name in ("lib", "tracking", "experiments", "external", "data/demo"):
        shutil.copytree(PROJECT_ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "local.py"))
    script = root / "tracking" / "finetune.py"
    text = script.read_text(encoding="utf-8")
    for full, short in SHORT.items():
        assert full in text
        text = text.replace(full, short)
    script.write_text(text, encoding="utf-8")
    videos = []
    for seed in range(1, 5):
        rendered = SyntheticSequence(seed, num_frames=24, size=(320, 240), difficulty="easy", split="page")
        video = Video(f"clip{seed}", num_frames=24, size=(320, 240))
        for frame, box in enumerate(rendered.boxes_xywh.tolist()):
            video.track("1", "thing").add(frame, box, "")
        if seed == 4:
            writer = cv2.VideoWriter(str(root / "clip4.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 10, (320, 240))
            for frame in range(24):
                writer.write(rendered.frame(frame)[..., ::-1])
            writer.release()
            break
        for frame in range(24):
            path = root / "frames" / video.name / f"{frame:06d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, rendered.frame(frame))
        videos.append(video)
    FORMATS["cvat"].write(iter(videos), root / "annotations")
    return root


def test_the_page_goes_from_annotations_to_a_report() -> None:
    scripts = [command.split()[1].removeprefix("tracking/").removesuffix(".py") for command in COMMANDS]
    tutorial = ["convert_annotations", "check_data", "finetune", "test", "test", "analysis_results", "video_demo"]
    assert scripts == [*tutorial, "train"]


@pytest.mark.endurance
def test_every_command_in_order(checkout: Path) -> None:
    for command in COMMANDS:
        done = run(checkout, command)
        code, reason = next((end for part, end in NEEDS.items() if part in command), (0, ""))
        output = f"$ {command}\n{done.stdout}{done.stderr}"
        assert done.returncode == code and reason in output and "Traceback" not in output, output
    for pattern in (
        "my_videos/clip3/groundtruth.txt",
        "output/finetune/seqtrack_demo_finetuned.pth.tar",
        "test/tracking_results/seqtrack/seqtrack_demo_finetuned/held_out_videos/clip?.txt",
        "test/result_plots/held_out_videos/scores.csv",
        "report.html",
        "test/videos/seqtrack_demo_finetuned/clip4.json",
    ):
        assert list(checkout.glob(pattern)), f"nothing was written to {pattern}"
    split = json.loads((checkout / "output" / "finetune" / "split.json").read_text())
    assert (len(split["train"]), len(split["held_out"])) == (2, 1)
