"""The toolkit itself starts our program. Skipped, with the reason, where there is no toolkit."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from external.vot20 import rehearsal
from external.vot20.dataset import write_vot
from external.vot20.toolkit import Toolkit, read_scores, run_toolkit
from external.vot20.workspace import COMPAT, COMPAT_REALTIME, config_text, write_workspace
from lib.config.paths import PROJECT_ROOT
from lib.utils.cli import show
from lib.utils.errors import SeqTrackError
from tests.vot.test_dataset import MaskedVideo, Video
from tracking import create_vot_workspace, vot_evaluate

pytestmark = [pytest.mark.vot, pytest.mark.slow]
pytest.importorskip("trax", reason="the package vot-trax is not installed")

OFFLINE = {"HTTPS_PROXY": "http://127.0.0.1:9"}  # the question for a newer version fails at once
PROBE = """
import copy, os, sys, time
import numpy as np
from lib.test.vot20.seqtrack_vot20 import VotTracker, run_vot

class Still:
    frames = 0
    confidence = 1.0
    def start(self, image, box):
        state = copy.copy(self)
        state.box_xywh = box
        return state
    def step(self, states, images):
        self.frames += 1
        if self.frames == int(os.environ["CRASH_AT"]):
            raise RuntimeError("boom in the middle")
        print("no newline", end="")
        return states

class Fill:
    def start(self, image, box):
        return box
    def segment_batch(self, image, boxes, references):
        masks = []
        for box in boxes:
            x, y, w, h = map(round, box)
            masks.append(np.zeros(image.shape[:2], np.uint8))
            masks[-1][y:y + h, x:x + w] = 1
        return masks

def main():
    def load():
        with open(os.environ["COUNT_FILE"], "a") as file:
            file.write("started\\n")
        time.sleep(float(os.environ["LOAD_S"]))
        return VotTracker(Still(), Fill() if os.environ["MASKS"] == "1" else None)
    sys.exit(run_vot(load))
"""


def make_workspace(folder: Path, toolkit: Toolkit, *, crash_at: int = 0, load_s: float = 0, timeout: int = 60) -> Path:
    """Two sequences with four starts each, and the probe; returns the file that counts processes."""
    write_vot(folder / "sequences", [("one", MaskedVideo()), ("two", MaskedVideo())], anchor_step=2)
    stack = rehearsal.rehearsal_stack_text(6, COMPAT if toolkit.needs_compat else "multistart")
    write_probe(folder, stack, timeout=timeout, CRASH_AT=crash_at, LOAD_S=load_s, MASKS=0)
    return folder / "count.txt"


def write_probe(folder: Path, stack: str, *, timeout: int = 60, **env: float) -> None:
    """The files of a workspace with the probe."""
    (folder / "probe.py").write_text(PROBE)
    lines = ["[probe]", "label = probe", "protocol = traxpython", "command = import probe; probe.main()"]
    lines += [f"paths = {folder}:{PROJECT_ROOT}", f"python = {sys.executable}", f"timeout = {timeout}"]
    lines += [f"env_{key} = {value}" for key, value in {**env, "COUNT_FILE": folder / "count.txt"}.items()]
    files = {"trackers.ini": "\n".join(lines), "config.yaml": config_text("./stack.yaml"), "stack.yaml": stack}
    write_workspace(folder, files)


def evaluate(toolkit: Toolkit, folder: Path) -> str:
    return run_toolkit(toolkit, "evaluate", ["--workspace", ".", "probe"], folder, OFFLINE, show)


def test_one_process_serves_all_starts_of_a_sequence(toolkit: Toolkit, tmp_path: Path) -> None:
    count = make_workspace(tmp_path, toolkit)
    evaluate(toolkit, tmp_path)
    assert len(list(tmp_path.glob("results/probe/baseline/*/*.bin"))) == 8
    assert count.read_text().splitlines() == ["started"] * 2


class Standing(Video):
    """Three targets that stay where they are."""

    def __init__(self) -> None:
        self.targets = {str(k): StandingTarget(k) for k in range(3)}


class StandingTarget(MaskedVideo):
    def __init__(self, k: int) -> None:
        self.boxes_xywh = np.tile([2.0 + 13 * k, 3, 8, 6 + k], (6, 1))


def test_masks_of_several_targets_are_scored_each_with_its_own(toolkit: Toolkit, tmp_path: Path) -> None:
    """A target answered in the place of another would have no overlap; the first of six frames counts as none."""
    write_vot(tmp_path / "sequences", [("one", Standing())])
    kind = COMPAT_REALTIME if toolkit.needs_compat else "unsupervised"
    write_probe(tmp_path, rehearsal.targets_stack_text(kind), CRASH_AT=0, LOAD_S=0, MASKS=1)
    evaluate(toolkit, tmp_path)
    run_toolkit(toolkit, "analysis", ["--workspace", ".", "--name", "a", "probe"], tmp_path, OFFLINE, show)
    scores = {score.experiment: score.values for score in read_scores(tmp_path / "analysis/a.json")}
    perfect = {
        "quality": 5 / 6,
        "accuracy": 5 / 6,
        "robustness": 5 / 6,
        "NRE": 1 / 6,
        "DRE": 0.0,
    }
    assert scores == {"baseline": pytest.approx(perfect), "realtime": pytest.approx(perfect)}
    assert (tmp_path / "count.txt").read_text().splitlines() == ["started"] * 2  # once an experiment


def test_scores_are_those_of_the_last_results(
    toolkit: Toolkit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The toolkit remembers scores by the names of tracker and sequence, whatever has become of the results."""
    write_vot(tmp_path / "sequences", [("one", Standing())])
    kind = COMPAT_REALTIME if toolkit.needs_compat else "unsupervised"
    write_probe(tmp_path, rehearsal.targets_stack_text(kind), CRASH_AT=0, LOAD_S=0, MASKS=1)
    command = ["probe", "--workspace_dir", str(tmp_path), "--vot", str(toolkit.python)]
    found = []
    for flags in ([], ["--force"]):
        assert vot_evaluate.main([*command, *flags]) == 0
        found.append(re.search(r"^baseline .* quality (\S+)", capsys.readouterr().out, re.MULTILINE)[1])
        (tmp_path / "probe.py").write_text(PROBE.replace("[y:y + h, x:x + w]", "[y:y + 1, x:x + 1]"))
    assert float(found[0]) == pytest.approx(5 / 6, abs=1e-4) and float(found[1]) < 0.1


def test_hidden_labels_end_in_a_file_for_the_server(
    toolkit: Toolkit, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stack with a real-time run, on sequences whose first frame alone is labelled."""
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    place = tmp_path / "checkpoints/train/seqtrack/stand_in/SEQTRACK.pth.tar"
    place.parent.mkdir(parents=True)
    checkpoint.rename(place)
    workspace = tmp_path / "ws"
    rehearsal.write_rehearsal_data(workspace / "sequences", sequences=1, frames=6, targets=2, hidden=True)
    flags = ["--workspace_dir", str(workspace), "--save_dir", str(tmp_path), "--config", str(config), "--device", "cpu"]
    flags += ["--stack", "vots2025/realtime", "--vot", str(toolkit.python)]
    assert create_vot_workspace.main(flags) == 0
    assert vot_evaluate.main(["stand_in", "--workspace_dir", str(workspace), "--vot", str(toolkit.python)]) == 0
    (archive,) = workspace.glob("stand_in_*.zip")
    assert capsys.readouterr().out.endswith(f"server computes the scores. To upload:\n{archive}\n")
    with zipfile.ZipFile(archive) as content:
        names = content.namelist()
        assert sum(name.endswith("_001.bin") for name in names) == 4 and "manifest.yml" in names
        expected = "./stack.yaml" if toolkit.needs_compat else "vots2025/realtime"
        assert f"stack: {expected}\n" in content.read("manifest.yml").decode()


def test_a_slow_load_does_not_time_out(toolkit: Toolkit, tmp_path: Path) -> None:
    make_workspace(tmp_path, toolkit, load_s=12, timeout=5)
    (tmp_path / "sequences" / "list.txt").write_text("one\n")
    evaluate(toolkit, tmp_path)


def test_a_crash_in_the_middle_is_seen(toolkit: Toolkit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_workspace(tmp_path, toolkit, crash_at=3)
    with pytest.raises(SeqTrackError, match="`vot evaluate` failed"):
        evaluate(toolkit, tmp_path)
    printed = capsys.readouterr().out
    assert "Traceback (most recent call last)" in printed and "RuntimeError: boom in the middle" in printed
    with pytest.raises(SeqTrackError, match="`vot test` failed"):
        run_toolkit(toolkit, "test", ["-s", "sequences/one", "probe"], tmp_path, OFFLINE, show)
    assert "RuntimeError: boom in the middle" in capsys.readouterr().out


def test_the_toolkit_reads_what_we_write(toolkit: Toolkit, tmp_path: Path) -> None:
    write_vot(tmp_path, [("masks", MaskedVideo()), ("boxes", Video())], anchor_step=3)
    code = """
import json, sys
from vot.dataset import load_dataset
from vot.experiment.multistart import find_anchors
report = {}
for sequence in load_dataset(sys.argv[1]):
    regions = [sequence.groundtruth(index) for index in range(len(sequence))]
    kinds = [[type(region).__name__, region.is_empty()] for region in regions]
    report[sequence.name] = [len(sequence), sequence.size, find_anchors(sequence), kinds]
print(json.dumps(report))
"""
    done = subprocess.run([str(toolkit.python), "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, kind in (("masks", "Mask"), ("boxes", "Rectangle")):
        frames, size, anchors, regions = json.loads(done.stdout)[name]
        assert (frames, size, anchors) == (6, [40, 24], [[0], [3, 5]])
        assert regions == [[kind, index == 2] for index in range(6)]


def test_the_published_commands(toolkit: Toolkit, tmp_path: Path) -> None:
    """The workspace that the script writes, its own stack (three experiments), and `vot` as a user types it."""
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    place = tmp_path / "checkpoints/train/seqtrack/stand_in/SEQTRACK.pth.tar"
    place.parent.mkdir(parents=True)
    checkpoint.rename(place)
    workspace = tmp_path / "ws"
    rehearsal.write_rehearsal_data(workspace / "sequences", sequences=1, frames=8)
    flags = ["--workspace_dir", str(workspace), "--save_dir", str(tmp_path), "--config", str(config), "--device", "cpu"]
    assert create_vot_workspace.main([*flags, "--vot", str(toolkit.python)]) == 0
    env = {**os.environ, **OFFLINE, "PYTHONPATH": str(PROJECT_ROOT) if toolkit.needs_compat else ""}
    for arguments, success in (
        (["evaluate", "--workspace", ".", "stand_in"], "Evaluation concluded success"),
        (["analysis"], "Analysis successful"),
    ):
        call = [toolkit.program, *arguments]
        done = subprocess.run(call, cwd=workspace, env=env, capture_output=True, text=True, check=False)
        assert success in done.stdout + done.stderr, done.stdout + done.stderr
    (report,) = (workspace / "analysis").iterdir()
    scores = {score.experiment: score.values for score in read_scores(report)}
    assert set(scores) == {"baseline", "realtime", "unsupervised"}
    # The official window of the EAO, 115 to 755 frames, is far longer than this sequence.
    assert scores["baseline"]["EAO"] < 0.1 < scores["baseline"]["accuracy"] and scores["baseline"]["robustness"] > 0
