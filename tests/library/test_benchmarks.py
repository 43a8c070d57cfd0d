"""The benchmarks of the library run, and check what they are there to check."""

import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest

from benchmarks import lost_and_found, multi_target
from lib.config.paths import PROJECT_ROOT


def test_multi_target_compares_the_same_boxes(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--targets", "1", "3", "--frames", "3", "--rounds", "1", "--size", "160", "120", "--device", "cpu"]
    assert multi_target.main(flags) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [int(row.split()[0]) for row in rows] == [1, 3]
    assert all(float(re.search(r"(\S+) pixels", row)[1]) < 1e-3 for row in rows)


def test_lost_and_found_counts_returns() -> None:
    absent = np.array([False] * 3 + [True] * 6 + [False] * 11)
    video = SimpleNamespace(absent=absent, visible_fraction=np.where(absent, 0.0, 1.0))
    assert lost_and_found.returns(video, gap=5) == [(9, 9)]
    half = np.where(np.arange(20) < 10, video.visible_fraction / 3, 1.0)
    assert lost_and_found.returns(SimpleNamespace(absent=absent, visible_fraction=half), gap=5) == [(9, 10)]
    half[10:] = 0
    assert lost_and_found.returns(SimpleNamespace(absent=half == 0, visible_fraction=half), gap=5) == []
    assert lost_and_found.returns(video, gap=7) == []
    overlap = np.where(video.absent, 0.0, 0.8)
    overlap[9:13] = 0.1
    states = ["tracking"] * 3 + ["lost"] * 8 + ["tracking"] * 9  # on the wrong thing in frames 11 and 12
    crops = np.array([0] + [1] * 3 + [3] * 8 + [1] * 8)
    run = lost_and_found.Run(overlap, states, crops=crops, seconds=0.19)
    cells = lost_and_found.summary([run, run], [video, video], gap=5)
    assert cells == ["2/2 (100 %)", "2", "2/2", "57.1", "1.84", "3.0", "10.0"]
    late = lost_and_found.Run(overlap, ["tracking"] * 3 + ["lost"] * 17, crops=crops, seconds=0.19)
    assert lost_and_found.summary([late], [video], gap=5)[:2] == ["0/1 (0 %)", "0"]


@pytest.mark.endurance
def test_lost_and_found_runs(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--kinds", "medium", "hard", "easy", "--videos", "1", "--frames", "24", "--gap", "1"]
    flags += ["--size", "96", "80", "--device", "cpu", "--threads", "1"]
    assert lost_and_found.main(flags) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [kind for kind in ("medium", "hard", "easy") for _ in range(2)]
    assert all(float(row.split()[-3]) == 1.0 for row in rows[::2])  # without the search a frame is one crop


@pytest.mark.parametrize("elsewhere", [False, True])
def test_wall_hides_the_target_for_long(elsewhere: bool) -> None:
    options = {"num_frames": 160, "size": (96, 80), "difficulty": "easy", "split": "lost"}
    video = lost_and_found.LongOcclusion(3, elsewhere=elsewhere, **options)
    plain = lost_and_found.SyntheticSequence(3, **options)
    hidden = np.flatnonzero(video.absent)
    first, last = hidden[0], hidden[-1]
    assert 30 <= len(hidden) <= 110
    assert len(hidden) == last - first + 1
    ((back, seen),) = lost_and_found.returns(video, 30)
    assert back == last + 1 <= seen <= last + 10
    assert (video.boxes_xywh[:first] == plain.boxes_xywh[:first]).all()
    after = slice(last + 1, None)
    if elsewhere:  # opposite the middle of the image
        centers = [boxes[after, :2] + boxes[after, 2:] / 2 for boxes in (video.boxes_xywh, plain.boxes_xywh)]
        assert np.abs(centers[0] + centers[1] - video.size).max() < 8
    else:
        assert (video.boxes_xywh[after] == plain.boxes_xywh[after]).all()
    middle = (first + last) // 2
    assert video.visible_mask(middle).max() == 0 < plain.visible_mask(middle).max()


def test_picture_of_the_readme_is_drawn(tmp_path: Path) -> None:
    script = runpy.run_path(str(PROJECT_ROOT / "docs" / "figures" / "tracking.py"))
    shown = script["render"](frames=range(0, 5, 2))
    script["save"](shown, tmp_path / "a.gif")
    with (
        PIL.Image.open(tmp_path / "a.gif") as drawn,
        PIL.Image.open(PROJECT_ROOT / "docs/figures/tracking.gif") as kept,
    ):
        assert (drawn.n_frames, drawn.size) == (3, (320, 240))
        assert (kept.n_frames, kept.size) == (len(script["FRAMES"]), (320, 240))
        assert np.abs(np.asarray(drawn.convert("RGB")).astype(int) - kept.convert("RGB")).mean() < 6  # the first frame
    assert (shown[1].astype(int) @ (-1, 2, -1)).max() > 300  # the green box
