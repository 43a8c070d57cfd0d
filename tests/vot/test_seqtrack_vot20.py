"""How requests are answered, and how a run ends."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from external.vot20 import rehearsal, run_tracker
from external.vot20.dataset import label_files, read_region
from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.test.vot20 import seqtrack_vot20
from lib.test.vot20.seqtrack_vot20 import VotTracker, fit_mask, run_vot
from lib.test.vot20.session import Request, TraxSession, WholeLines, import_trax
from lib.utils.box_ops import mask_to_box
from lib.utils.checkpoint import save_checkpoint
from lib.utils.errors import CheckpointError, DataError, InputError
from tests.vot.conftest import HEIGHT, WIDTH, ScriptedSession, StillEngine, TransposedSegmenter


def run_with(monkeypatch: pytest.MonkeyPatch, tracker: VotTracker, session: ScriptedSession) -> int:
    monkeypatch.setattr(seqtrack_vot20, "TraxSession", lambda region_format: session)
    return run_vot(lambda: tracker)


def test_the_first_answer_repeats_the_target(frames: list[Path]) -> None:
    session = ScriptedSession([Request("initialize", frames[0], [[1.0, 2.0, 3.0, 4.0]]), Request("frame", frames[1])])
    assert VotTracker(StillEngine()).serve(session) == 1
    assert session.answers == [[([1, 2, 3, 4], None)], [([1, 2, 3, 4], 12.5)]]
    session = ScriptedSession([Request("initialize", frames[0], [np.ones((9, 7), np.uint8)])])
    VotTracker(StillEngine(), TransposedSegmenter()).serve(session)
    ((mask, confidence),) = session.answers[0]
    assert mask.shape == (HEIGHT, WIDTH) and mask.sum() == 63 and confidence is None


def test_a_frame_before_the_start_is_refused(frames: list[Path]) -> None:
    with pytest.raises(InputError, match="before the first"):
        VotTracker(StillEngine()).serve(ScriptedSession([Request("frame", frames[0])]))


@pytest.mark.parametrize("region", [[200.0, 1.0, 3.0, 4.0], [-9.0, 1.0, 3.0, 4.0], [1.0, 1.0, 0.0, 4.0], [0.0] * 4])
def test_an_anchor_without_target_is_lost_and_does_not_end_the_evaluation(frames: list[Path], region) -> None:
    good = [1.0, 2.0, 3.0, 4.0]
    requests = [Request("initialize", frames[0], [region]), Request("frame", frames[1])]
    requests += [Request("initialize", frames[0], [good]), Request("frame", frames[1])]
    session = ScriptedSession(requests)
    assert VotTracker(StillEngine()).serve(session) == 2
    assert session.answers == [[(region, None)], [([0, 0, 0, 0], 0.0)], [(good, None)], [(good, 12.5)]]


def test_an_empty_mask_as_anchor_is_lost_too(frames: list[Path]) -> None:
    session = ScriptedSession([Request("initialize", frames[0], [np.zeros((9, 7))]), Request("frame", frames[1])])
    VotTracker(StillEngine(), TransposedSegmenter()).serve(session)
    masks = [mask for ((mask, _),) in session.answers]
    assert [mask.shape for mask in masks] == [(HEIGHT, WIDTH)] * 2 and not any(mask.any() for mask in masks)


def test_a_region_that_is_no_box_is_one_error_to_the_toolkit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[Path], tmp_path: Path
) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    tracker = run_tracker.load(config, checkpoint=checkpoint, device="cpu")
    for region in ([float("nan")] * 4, [0.0, 0.0, float("inf"), 5.0]):
        session = ScriptedSession([Request("initialize", frames[0], [region])])
        assert run_with(monkeypatch, tracker, session) == 2
        assert "four finite numbers" in session.reason
        assert capsys.readouterr().err.count("\n") == 1


def test_exit_codes_and_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], frames: list[Path]
) -> None:
    requests = [Request("initialize", frames[0], [[1.0, 2.0, 3.0, 4.0]]), Request("frame", frames[1])]
    good = ScriptedSession(requests)
    assert run_with(monkeypatch, VotTracker(StillEngine()), good) == 0
    assert good.reason is None and capsys.readouterr() == ("", "")

    crashed = ScriptedSession(requests)
    assert run_with(monkeypatch, VotTracker(StillEngine(crash_at=1)), crashed) == 1
    assert crashed.reason == "RuntimeError: boom in the middle"
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback") and printed.endswith("RuntimeError: boom in the middle\n")

    missing = ScriptedSession([Request("initialize", Path("/no/such.jpg"), [[1.0, 2.0, 3.0, 4.0]])])
    assert run_with(monkeypatch, VotTracker(StillEngine()), missing) == 2
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
    requests = [Request("initialize", frames[0], [[20.0, 20.0, 16.0, 25.0]]), *(Request("frame", f) for f in frames)]
    session = ScriptedSession(requests)
    tracker.serve(session)
    boxes = [box for ((box, _),) in session.answers]
    assert boxes[0] == [20, 20, 16, 25]
    assert boxes[1:] == [pytest.approx([18, 22.5, 20, 20])] * 4  # a square of the same area and center


def test_masks_need_their_own_checkpoint(tmp_path: Path) -> None:
    config, checkpoint = rehearsal.write_stand_in_tracker(tmp_path)
    for wrong in (tmp_path / "no.pth.tar", checkpoint):
        with pytest.raises(CheckpointError, match=wrong.name):
            run_tracker.load(config, masks=True, checkpoint=checkpoint, ar_checkpoint=wrong, device="cpu")


def converse(*arguments, **options):
    pytest.importorskip("trax", reason="the package vot-trax is not installed")
    from external.vot20.rehearsal import converse

    return converse(*arguments, **options)


def test_boxes_of_two_starts_in_one_session(frames: list[Path]) -> None:
    engine = StillEngine()
    talk = converse(VotTracker(engine), frames, [(0, [10, 12, 20, 21.5]), (2, [1, 2, 30, 4])])
    assert talk.answers == [[[10, 12, 20, 21.5]] * 3, [[1, 2, 30, 4]]]
    assert engine.starts == [[10, 12, 20, 21.5], [1, 2, 30, 4]]


def test_masks_arrive_as_they_were_whatever_their_memory_looks_like(frames: list[Path]) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 30:55] = 1
    engine = StillEngine()
    talk = converse(VotTracker(engine, TransposedSegmenter()), frames, [(0, mask)])
    assert engine.starts == [[30, 10, 25, 10]]
    assert [np.array_equal(answer != 0, mask != 0) for answer in talk.answers[0]] == [True] * 3


def test_a_lost_target_is_a_box_of_zeros_or_an_empty_mask(frames: list[Path]) -> None:
    lost = [[float("nan")] * 4, [5, 5, 0, 4], [5, 5, 6, 4]]
    talk = converse(VotTracker(StillEngine(lost)), frames, [(0, [1, 2, 30, 4])])
    assert talk.answers == [[[0, 0, 0, 0], [0, 0, 0, 0], [5, 5, 6, 4]]]
    talk = converse(VotTracker(StillEngine(lost), TransposedSegmenter()), frames, [(0, np.ones((9, 9), np.uint8))])
    assert [int(np.count_nonzero(answer)) for answer in talk.answers[0]] == [0, 0, 24]


def test_a_crash_reaches_the_caller_as_it_is(frames: list[Path]) -> None:
    with pytest.raises(RuntimeError, match="boom in the middle"):
        converse(VotTracker(StillEngine(crash_at=2)), frames, [(0, [10, 12, 20, 21])])


def test_a_missing_image_is_named(frames: list[Path]) -> None:
    with pytest.raises(DataError, match=r"gone\.jpg"):
        converse(VotTracker(StillEngine()), [frames[0], frames[0].with_name("gone.jpg")], [(0, [10, 12, 20, 21])])


def test_an_empty_first_mask_is_lost_until_the_next_start(frames: list[Path]) -> None:
    empty, mask = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:20, 30:55] = 1
    talk = converse(VotTracker(StillEngine(), TransposedSegmenter()), frames, [(0, empty), (2, mask)])
    assert [[int(np.count_nonzero(answer)) for answer in answers] for answers in talk.answers] == [[0, 0, 0], [250]]


def test_all_targets_of_a_session_are_one_batch_and_answered_in_their_order(frames: list[Path]) -> None:
    boxes = [[10.0, 12.0, 20.0, 21.5], [1.0, 2.0, 30.0, 4.0], [50.0, 30.0, 9.0, 8.0]]
    engine = StillEngine()
    talk = converse(VotTracker(engine), frames, [(0, *boxes), (1, *reversed(boxes))])
    assert talk.answers == [[boxes] * 3, [boxes[::-1]] * 2]
    assert engine.batches == [3] * 5


def test_a_target_without_a_region_is_lost_alone(frames: list[Path]) -> None:
    good, lost = [10.0, 12.0, 20.0, 21.5], [0.0] * 4
    engine = StillEngine()
    talk = converse(VotTracker(engine), frames, [(0, good, [500.0, 5.0, 9.0, 9.0], lost, good)])
    assert talk.answers == [[[good, lost, lost, good]] * 3]
    assert engine.batches == [2] * 3
    engine = StillEngine()
    talk = converse(VotTracker(engine), frames, [(0, lost, lost)])
    assert talk.answers == [[[lost, lost]] * 3] and engine.batches == []


def test_a_target_that_begins_later_is_added_at_the_end(frames: list[Path]) -> None:
    first, second, third = [10.0, 12.0, 20.0, 21.5], [1.0, 2.0, 30.0, 4.0], [50.0, 30.0, 9.0, 8.0]
    engine = StillEngine()
    talk = converse(VotTracker(engine), frames, [(0, first)], later={2: [second, third]})
    assert talk.answers == [[[first], [first, second, third], [first, second, third]]]
    assert engine.batches == [1, 1, 3]


def test_masks_of_several_targets(frames: list[Path]) -> None:
    masks = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    masks[0, 10:20, 30:55] = masks[2, 0:8, 0:6] = 1  # the second one is empty
    talk = converse(VotTracker(StillEngine(), TransposedSegmenter()), frames, [(0, *masks)])
    assert all(np.array_equal(np.array(answers) != 0, masks != 0) for answers in talk.answers[0])


def test_the_answers_of_a_session_are_those_of_a_session_for_each_target(tmp_path: Path) -> None:
    """The network itself, with random weights: what it sees moves every box."""
    config, _ = rehearsal.write_stand_in_tracker(tmp_path)
    torch.manual_seed(3)
    checkpoint = tmp_path / "random.pth.tar"
    save_checkpoint({"net": build_seqtrack(load_config(config)).state_dict()}, checkpoint)
    (sequence,) = rehearsal.write_rehearsal_data(tmp_path / "sequences", sequences=1, frames=6, targets=3)
    regions = [mask_to_box(read_region(file.read_text().split()[0])) for file in label_files(sequence)]
    tracker = run_tracker.load(config, checkpoint=checkpoint, device="cpu")
    frames = sorted(sequence.glob("color/*.jpg"))
    together, *alone = converse(tracker, frames, [(0, *regions), *((0, region) for region in regions)]).answers
    assert together == [list(answers) for answers in zip(*alone, strict=True)]
    assert len({tuple(box) for answers in together for box in answers}) > 5


def test_unknown_format_and_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="rectangle, mask"):
        TraxSession("polygon")
    monkeypatch.setitem(sys.modules, "trax", None)
    with pytest.raises(InputError, match="pip install vot-trax"):
        import_trax()


def test_fit_mask_pads_and_crops() -> None:
    assert fit_mask(np.full((2, 3), 255), 4, 5).tolist() == [[1, 1, 1, 0, 0]] * 2 + [[0] * 5] * 2
    assert fit_mask(np.ones((9, 9)), 2, 2).tolist() == [[1, 1], [1, 1]]


def test_whole_lines_only() -> None:
    stream = io.StringIO()
    lines = WholeLines(stream)
    print("loading", end="", file=lines)
    for percent in (1, 50, 100):
        print(f"\r{percent} %", end="", file=lines)
    assert stream.getvalue() == ""
    print("\ndone", end="", file=lines)
    assert stream.getvalue() == "100 %\n"
    lines.finish()
    lines.finish()
    assert stream.getvalue() == "100 %\ndone\n"
