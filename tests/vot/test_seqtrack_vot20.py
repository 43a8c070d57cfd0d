"""How requests are answered, and how a run ends."""

from pathlib import Path

import numpy as np
import pytest

from external.vot20 import rehearsal, run_tracker
from lib.test.vot20 import seqtrack_vot20
from lib.test.vot20.seqtrack_vot20 import VotTracker, run_vot
from lib.test.vot20.trax_client import Request
from lib.utils.errors import CheckpointError, InputError
from tests.vot.conftest import HEIGHT, WIDTH, ScriptedSession, StillTracker, TransposedSegmenter


def run_with(monkeypatch: pytest.MonkeyPatch, tracker: VotTracker, session: ScriptedSession) -> int:
    monkeypatch.setattr(seqtrack_vot20, "TraxSession", lambda region_format: session)
    return run_vot(lambda: tracker)


def test_the_first_answer_repeats_the_target(frames: list[Path]) -> None:
    session = ScriptedSession([Request("initialize", frames[0], [1.0, 2.0, 3.0, 4.0]), Request("frame", frames[1])])
    assert VotTracker(StillTracker()).serve(session) == 1
    assert session.answers == [([1, 2, 3, 4], None), ([1, 2, 3, 4], 12.5)]
    session = ScriptedSession([Request("initialize", frames[0], np.ones((9, 7), np.uint8))])
    VotTracker(StillTracker(), TransposedSegmenter()).serve(session)
    assert session.answers[0].shape == (HEIGHT, WIDTH) and session.answers[0].sum() == 63


def test_a_frame_before_the_start_is_refused(frames: list[Path]) -> None:
    with pytest.raises(InputError, match="before the first"):
        VotTracker(StillTracker()).serve(ScriptedSession([Request("frame", frames[0])]))


@pytest.mark.parametrize("region", [[200.0, 1.0, 3.0, 4.0], [-9.0, 1.0, 3.0, 4.0], [1.0, 1.0, 0.0, 4.0], [0.0] * 4])
def test_an_anchor_without_target_is_lost_and_does_not_end_the_evaluation(frames: list[Path], region) -> None:
    good = [1.0, 2.0, 3.0, 4.0]
    requests = [Request("initialize", frames[0], region), Request("frame", frames[1])]
    requests += [Request("initialize", frames[0], good), Request("frame", frames[1])]
    session = ScriptedSession(requests)
    assert VotTracker(StillTracker()).serve(session) == 2
    assert session.answers == [(region, None), ([0, 0, 0, 0], 0.0), (good, None), (good, 12.5)]


def test_an_empty_mask_as_anchor_is_lost_too(frames: list[Path]) -> None:
    session = ScriptedSession([Request("initialize", frames[0], np.zeros((9, 7))), Request("frame", frames[1])])
    VotTracker(StillTracker(), TransposedSegmenter()).serve(session)
    assert [answer.shape for answer in session.answers] == [(HEIGHT, WIDTH)] * 2
    assert not any(answer.any() for answer in session.answers)


def test_a_region_that_is_no_box_is_one_error_to_the_toolkit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[Path], tmp_path: Path
) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    tracker = run_tracker.load(config, checkpoint=checkpoint, device="cpu")
    for region in ([float("nan")] * 4, [0.0, 0.0, float("inf"), 5.0]):
        session = ScriptedSession([Request("initialize", frames[0], region)])
        assert run_with(monkeypatch, tracker, session) == 2
        assert "four finite numbers" in session.reason
        assert capsys.readouterr().err.count("\n") == 1


def test_exit_codes_and_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[Path]
) -> None:
    requests = [Request("initialize", frames[0], [1.0, 2.0, 3.0, 4.0]), Request("frame", frames[1])]
    good = ScriptedSession(requests)
    assert run_with(monkeypatch, VotTracker(StillTracker()), good) == 0
    assert good.reason is None and capsys.readouterr() == ("", "")

    crashed = ScriptedSession(requests)
    assert run_with(monkeypatch, VotTracker(StillTracker(crash_at=1)), crashed) == 1
    assert crashed.reason == "RuntimeError: boom in the middle"
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") and printed.endswith("RuntimeError: boom in the middle\n")

    missing = ScriptedSession([Request("initialize", Path("/no/such.jpg"), [1.0, 2.0, 3.0, 4.0])])
    assert run_with(monkeypatch, VotTracker(StillTracker()), missing) == 2
    assert capsys.readouterr().err.startswith("seqtrack_vot20: error: /no/such.jpg")


def test_a_model_that_does_not_load_ends_before_the_handshake(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(seqtrack_vot20, "TraxSession", lambda region_format: pytest.fail("too early"))
    assert run_vot(lambda: run_tracker.load("seqtrack_b256", save_dir=tmp_path)) == 2
    assert str(tmp_path) in capsys.readouterr().err
    assert run_vot(lambda: run_tracker.load("seqtrack_b265")) == 2
    assert "seqtrack_b265" in capsys.readouterr().err


def test_the_stand_in_tracker_holds_still(frames: list[Path], tmp_path: Path) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    tracker = run_tracker.load(config, checkpoint=checkpoint, device="cpu")
    assert tracker.region_format == "rectangle"
    requests = [Request("initialize", frames[0], [20.0, 20.0, 16.0, 25.0]), *(Request("frame", f) for f in frames)]
    session = ScriptedSession(requests)
    tracker.serve(session)
    boxes = [box for box, _ in session.answers]
    assert boxes[0] == [20, 20, 16, 25]
    assert boxes[1:] == [pytest.approx([18, 22.5, 20, 20])] * 4  # a square of the same area and center


def test_masks_need_their_own_checkpoint(tmp_path: Path) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    for wrong in (tmp_path / "no.pth.tar", checkpoint):
        with pytest.raises(CheckpointError, match=wrong.name):
            run_tracker.load(config, masks=True, checkpoint=checkpoint, ar_checkpoint=wrong, device="cpu")
