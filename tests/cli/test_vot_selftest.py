"""``tracking/vot_selftest.py`` and ``tracking/vot_evaluate.py``: what they show, and how they fail."""

import zipfile
from pathlib import Path

import pytest

from external.vot20 import rehearsal
from external.vot20.toolkit import Score, Toolkit, find_toolkit
from lib.utils.errors import CheckpointError, InputError, SeqTrackError
from tracking import vot_evaluate, vot_selftest


@pytest.fixture(scope="module")
def toolkit() -> Toolkit:
    pytest.importorskip("trax", reason="the package vot-trax is not installed")
    try:
        return find_toolkit()
    except InputError as error:
        pytest.skip(f"{error}")


@pytest.mark.vot
@pytest.mark.slow
@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_the_whole_way(masks: bool, toolkit: Toolkit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--evaluate", "--device", "cpu", "--workspace_dir", str(tmp_path / "ws"), "--frames", "6"]
    assert vot_selftest.main(flags + ["--masks"] * masks) == 0
    printed = capsys.readouterr().out
    assert "Test concluded success" in printed and "Evaluation concluded success" in printed
    assert "baseline: EAO 0." in printed and printed.endswith("self-test passed\n")
    assert vot_evaluate.main(["selftest", "--workspace_dir", str(tmp_path / "ws")]) == 0
    assert "baseline      selftest               EAO 0." in capsys.readouterr().out


@pytest.mark.vot
@pytest.mark.slow
def test_the_whole_way_of_several_targets(toolkit: Toolkit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--evaluate", "--device", "cpu", "--workspace_dir", str(tmp_path / "ws"), "--frames", "6"]
    assert vot_selftest.main([*flags, "--targets", "3", "--sequences", "1"]) == 0
    printed = capsys.readouterr().out
    assert "3 targets in one batch: the same answers as each alone" in printed
    assert "baseline: quality 0." in printed and "realtime: quality 0." in printed
    (archive,) = (tmp_path / "ws").glob("*.zip")
    assert f"the server would get {archive}" in printed
    names = zipfile.ZipFile(archive).namelist()
    for experiment in ("baseline", "realtime"):
        regions = [name for name in names if name.startswith(experiment) and name.endswith(".bin")]
        assert sorted(regions) == [f"{experiment}/rehearsal1/rehearsal1_{k}_001.bin" for k in (1, 2, 3)]


@pytest.mark.vot
@pytest.mark.slow
def test_a_tracker_that_fails_here_says_so(
    toolkit: Toolkit, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def crash(self, states, images):
        raise ValueError("a bug of ours")

    monkeypatch.setattr("lib.test.tracker.engine.SeqTrackEngine.step", crash)
    with pytest.raises(SeqTrackError, match=r"ValueError: a bug of ours; what to do: the tracker itself fails"):
        vot_selftest.main(["--frames", "6", "--sequences", "1", "--device", "cpu"])
    assert "in crash" in capsys.readouterr().err


@pytest.mark.vot
def test_missing_weights(toolkit: Toolkit, tmp_path: Path) -> None:
    small = ["--frames", "6", "--sequences", "1"]
    with pytest.raises(SeqTrackError, match="SEQTRACK") as error:
        vot_selftest.main(["seqtrack_b256", "--save_dir", str(tmp_path), *small])
    assert isinstance(error.value.__cause__, CheckpointError)
    _, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    with pytest.raises(SeqTrackError, match="stand_in"):
        vot_selftest.main(["--masks", "--ar_checkpoint", str(checkpoint), *small])


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 1 sequence"):
        vot_selftest.main(["--frames", "3"])
    with pytest.raises(InputError, match="--targets 10: expected 1 to 9"):
        vot_selftest.main(["--targets", "10"])
    (tmp_path / "mine").touch()
    with pytest.raises(InputError, match="is not empty"):
        vot_selftest.main(["--workspace_dir", str(tmp_path)])


def test_evaluate_checks_the_data_set_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vot_evaluate, "find_toolkit", lambda place: Toolkit(Path("/no"), "0.7.4", tmp_path))
    (tmp_path / "config.yaml").write_text("stack: vot2020/shortterm\n")
    with pytest.raises(InputError, match="no such folder of VOT sequences"):
        vot_evaluate.main(["seqtrack_b256", "--workspace_dir", str(tmp_path)])


def test_scores_are_printed() -> None:
    text = vot_evaluate.scores_text([Score("baseline", "a", {"EAO": 0.52, "accuracy": 0.7})])
    assert text == "baseline      a                      EAO 0.5200  accuracy 0.7000"
