"""``seqtrack.MultiTracker``: one batch, the boxes of separate trackers, and ids."""

import numpy as np
import pytest

import seqtrack
from tests.library.conftest import Clip
from tests.library.test_tracker import NOT_FRAMES, run


def boxes_of(clip: Clip) -> list[list[float]]:
    """The target's box and three others, in the first frame."""
    return [clip.boxes[0].tolist(), [5.0, 5.0, 40.0, 30.0], [60.5, 20.25, 25.0, 60.0], [100.0, 80.0, 30.0, 30.0]]


def test_boxes_are_those_of_separate_trackers_and_a_frame_is_one_batch(
    loaded: seqtrack.Tracker, clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    boxes = boxes_of(clip)
    expected = [run(loaded.share(), clip.frames, box) for box in boxes]
    batches = []
    encode = loaded.network.encode_embedded
    monkeypatch.setattr(
        loaded.network, "encode_embedded", lambda *args, **kw: batches.append(len(args[0])) or encode(*args, **kw)
    )
    targets = seqtrack.MultiTracker(loaded)
    ids = [targets.add(clip.frames[0], box) for box in boxes]
    assert ids == [0, 1, 2, 3]
    for index, frame in enumerate(clip.frames[1:]):
        results = targets.update(frame)
        assert list(results) == ids
        for id, result in results.items():
            assert result.box == pytest.approx(expected[id][index].box, abs=1e-4)
            assert result.score == pytest.approx(expected[id][index].score, abs=1e-4)
    assert batches == [4] * 5


def test_targets_come_and_go_with_stable_ids(loaded: seqtrack.Tracker, clip: Clip) -> None:
    boxes = boxes_of(clip)
    expected = run(loaded.share(), clip.frames, boxes[0])
    targets = seqtrack.MultiTracker(loaded)
    targets.add(clip.frames[0], boxes[0], "car")
    assert targets.add(clip.frames[0], boxes[1]) == 0
    assert targets.add(clip.frames[0], boxes[2], 7) == 7
    assert targets.update(clip.frames[1])["car"].box == pytest.approx(expected[0].box, abs=1e-4)
    targets.remove(0)
    targets.remove(7)
    assert targets.add(clip.frames[1], boxes[3]) == 8  # never a number that was one before
    results = targets.update(clip.frames[2])
    assert list(results) == list(targets) == ["car", 8]
    assert results["car"].box == pytest.approx(expected[1].box, abs=1e-4)
    assert (len(targets), "car" in targets, 0 in targets) == (2, True, False)
    targets.remove("car")
    targets.remove(8)
    assert targets.update(clip.frames[3]) == {}
    assert targets.add(clip.frames[0], boxes[0], "car") == "car"


def test_several_videos_are_one_batch(loaded: seqtrack.Tracker, clip: Clip, other_clip: Clip) -> None:
    expected = run(loaded.share(), clip.frames, clip.boxes[0])
    other = run(loaded.share(), other_clip.frames, other_clip.boxes[0])
    targets = seqtrack.MultiTracker(loaded)
    targets.add(clip.frames[0], clip.boxes[0], "a", video="left")
    targets.add(other_clip.frames[0], other_clip.boxes[0], "b", video="right")
    first = targets.update({"left": clip.frames[1], "right": other_clip.frames[1]})
    assert first["a"].box == pytest.approx(expected[0].box, abs=1e-4)
    assert first["b"].box == pytest.approx(other[0].box, abs=1e-4)
    assert list(targets.update({"left": clip.frames[2]})) == ["a"]  # the other video has no frame yet: it waits
    third = targets.update({"right": other_clip.frames[2], "left": clip.frames[3], "third": clip.frames[0]})
    assert list(third) == ["a", "b"]
    assert third["a"].box == pytest.approx(expected[2].box, abs=1e-4)
    assert third["b"].box == pytest.approx(other[1].box, abs=1e-4)
    with pytest.raises(seqtrack.InputError, match="'left', 'right'"):
        targets.update(clip.frames[4])


@pytest.mark.parametrize("kind", NOT_FRAMES)
def test_bad_frames_move_no_target(loaded: seqtrack.Tracker, clip: Clip, other_clip: Clip, kind: str) -> None:
    frame, message = NOT_FRAMES[kind]
    targets = seqtrack.MultiTracker(loaded)
    targets.add(clip.frames[0], clip.boxes[0], video=1)
    targets.add(other_clip.frames[0], other_clip.boxes[0], video=2)
    with pytest.raises(seqtrack.InputError, match=message):
        targets.update({1: clip.frames[1], 2: frame})
    with pytest.raises(seqtrack.InputError, match=message):
        targets.add(frame, clip.boxes[0])
    assert len(targets) == 2
    expected = run(loaded.share(), clip.frames[:2], clip.boxes[0])
    assert targets.update({1: clip.frames[1]})[0].box == pytest.approx(expected[0].box, abs=1e-4)


def test_bad_ids_sizes_and_options(loaded: seqtrack.Tracker, clip: Clip, other_clip: Clip) -> None:
    targets = seqtrack.MultiTracker(loaded)
    assert targets.update(clip.frames[0]) == {}
    targets.add(clip.frames[0], clip.boxes[0], "a")
    with pytest.raises(seqtrack.InputError, match="the id 'a' already"):
        targets.add(clip.frames[0], clip.boxes[0], "a")
    with pytest.raises(seqtrack.InputError, match="no target has the id 'b'; known: 'a'"):
        targets.remove("b")
    with pytest.raises(seqtrack.InputError, match=r"got 1\.5"):
        targets.add(clip.frames[0], clip.boxes[0], 1.5)  # type: ignore[arg-type]
    with pytest.raises(seqtrack.InputError, match="outside"):
        targets.add(clip.frames[0], (900, 900, 5, 5))
    with pytest.raises(seqtrack.InputError, match="200x150 pixels, the first one 160x120"):
        targets.update(other_clip.frames[0])
    with pytest.raises(seqtrack.InputError, match="200x150 pixels, the first one 160x120"):
        targets.add(other_clip.frames[0], (5, 5, 20, 20))
    with pytest.raises(seqtrack.InputError, match="device"):
        seqtrack.MultiTracker(loaded, device="cpu")
    assert list(targets) == ["a"]
    assert np.isfinite(targets.update(clip.frames[1])["a"].box).all()
