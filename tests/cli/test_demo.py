"""``tracking/demo.py``: its steps, each replaced by a record of its arguments (`.ci/run` runs the real ones)."""

import shlex
from pathlib import Path

import pytest

from tracking import demo


def after(arguments: tuple, flag: str) -> Path:
    return Path(arguments[arguments.index(flag) + 1])


def test_demos_of_other_settings_are_not_in_each_others_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rendered, read, videos = [], [], []

    def record(title: str, script: str, *arguments: object) -> None:
        assert all(str(argument) == shlex.quote(str(argument)) for argument in arguments)  # printed without quotes
        if script == "make_synthetic.py":
            video = after(arguments, "--output") / "val" / "GOT-10k_Val_000001"
            video.mkdir(parents=True)  # fails if another demo has been there
            (video / "groundtruth.txt").write_text("1,2,30,40\n")
            rendered.append(after(arguments, "--output"))
        if "--data_dir" in arguments:
            read.append(after(arguments, "--data_dir") / "got10k")
        if script == "video_demo.py":
            videos.append(after(arguments, "--output"))
            assert rendered[-1] in Path(arguments[2]).parents and after(arguments, "--init_box") == Path("1,2,30,40")

    monkeypatch.setattr(demo, "run_step", record)
    monkeypatch.setattr(demo, "MEDIA", tmp_path / "none")
    assert demo.main(["--output", str(tmp_path), "--quick"]) == 0
    assert demo.main(["--output", str(tmp_path)]) == 0
    (tmp_path / "none" / "cutouts").mkdir(parents=True)
    assert demo.main(["--output", str(tmp_path)]) == 0
    assert len(set(videos)) == 3  # the video demo does not replace results of another source
    assert len(set(rendered)) == 3 and read == [place for place in rendered for _ in range(2)]
