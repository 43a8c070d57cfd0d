"""Lost and found: the state machine on an engine that is told what to see, and the library's hooks."""

import math
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import seqtrack
from lib.test.tracker.engine import TrackResult, TrackState
from lib.test.tracker.lost import LostAndFound, place, search_places
from lib.test.tracker.presence import Look, PresenceScore
from tests.library.conftest import Clip

IDENTITY = PresenceScore((1.0, 0, 0, 0, 0), 0.0, points=tuple((math.log(p), p) for p in (1e-6, *np.linspace(0.01, 1))))
"""The score is the mean likelihood."""
IMAGE = np.zeros((240, 320, 3), np.uint8)
START = [100.0, 80.0, 30.0, 30.0]


@dataclass
class Scene:
    """An engine that sees a target (None: nowhere) if it is in the middle half of a search crop."""

    where: list[float] | None
    seen: float = 0.9
    missed: float = 0.1

    def __post_init__(self) -> None:
        self.params = SimpleNamespace(search_factor=4.0)
        self.batches: list[int] = []

    def start(self, image, box) -> TrackState:
        return TrackState(list(box), torch.zeros(1, 1))

    def step(self, states, images) -> list[TrackResult]:
        self.batches.append(len(states))
        return [self._look(state) for state in states]

    def _look(self, state: TrackState) -> TrackResult:
        x, y, w, h = state.box_xywh
        half = 2 * math.sqrt(w * h)
        hit = self.where is not None and all(
            abs(self.where[i] + 0.5 * self.where[i + 2] - state.box_xywh[i] - 0.5 * state.box_xywh[i + 2]) < half - 10
            for i in (0, 1)
        )
        box = list(self.where) if hit else [x + 7, y, w, h]  # drifts where there is nothing
        state.box_xywh, state.frame = box, state.frame + 1
        likelihood = self.seen if hit else self.missed
        return TrackResult(box, 40 * likelihood, np.zeros(4), np.full(4, likelihood), False)


def follow(scene: Scene, **options) -> tuple[LostAndFound, object]:
    follower = LostAndFound(scene, IDENTITY, seqtrack.LostOptions(**options))
    return follower, follower.start(IMAGE, START)


def step(follower: LostAndFound, target):
    return follower.step([target], [IMAGE])[0]


def test_a_few_doubtful_frames_are_uncertain_and_more_are_lost() -> None:
    scene = Scene(START)
    follower, target = follow(scene, patience=3)
    assert step(follower, target).status == "tracking"
    scene.where = None
    assert [step(follower, target).status for _ in range(3)] == ["uncertain", "uncertain", "lost"]
    scene.where, scene.seen = START, 0.5  # between both thresholds nothing changes
    assert step(follower, target).status == "lost"


def test_thresholds_are_checked_with_the_defaults_of_the_score() -> None:
    follower, _ = follow(Scene(START))
    assert follower.lost_below == 0.3
    assert follow(Scene(START), lost_below=0.6)[0].lost_below == 0.6
    with pytest.raises(seqtrack.InputError, match=r"got 0\.87 and 0\.85"):
        follow(Scene(START), lost_below=0.87)


def test_scores_between_the_thresholds_change_nothing() -> None:
    scene = Scene(START)
    follower, target = follow(scene, patience=2)
    scene.seen = 0.5
    assert step(follower, target).status == "tracking"
    scene.seen = 0.2
    assert step(follower, target).status == "uncertain"
    scene.seen = 0.5
    assert [step(follower, target).status for _ in range(3)] == ["uncertain"] * 3
    scene.seen = 0.2
    assert step(follower, target).status == "uncertain"  # not two in a row
    scene.seen = 0.9
    assert step(follower, target).status == "tracking"


def test_search_grows_from_the_last_sure_box_to_the_whole_image_in_one_batch() -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=1, growth=2.0, most_crops=100)
    for _ in range(5):
        step(follower, target)
    assert target.status == "lost"
    assert scene.batches[0] == scene.batches[1] == 1
    assert scene.batches == sorted(scene.batches)
    assert scene.batches[-1] == len(search_places(START, (240, 320), 120, 1e9)) == 12
    assert target.sure_box == START  # what was seen meanwhile moves nothing


def test_found_by_two_frames_in_a_row_that_agree() -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=1, most_crops=100)
    for _ in range(6):
        step(follower, target)
    scene.where = [250.0, 190.0, 32.0, 32.0]  # far from where it was lost
    first, batches = step(follower, target), len(scene.batches)
    assert (first.status, first.box_xywh) == ("lost", scene.where)
    scene.where = [254.0, 190.0, 32.0, 32.0]
    assert step(follower, target).status == "tracking"
    assert scene.batches[batches:] == [1]  # it looks there again, and nowhere else
    assert target.state.box_xywh == target.sure_box == scene.where


def test_what_does_not_look_like_the_first_box_is_lost_and_not_found() -> None:
    image = np.zeros((240, 320, 3), np.uint8)
    image[80:110, 100:130] = (200, 30, 30)
    by_color = PresenceScore((0.0,) * 6 + (10.0, 0.0), -5.0)  # the network is as sure of everything
    scene = Scene(START)
    follower = LostAndFound(scene, replace(IDENTITY, with_look=by_color), seqtrack.LostOptions(patience=2))
    target = follower.start(image, START)

    def status(shown: np.ndarray) -> str:
        return follower.step([target], [shown])[0].status

    covered = image.copy()
    covered[80:110, 100:130] = (60, 60, 200)
    assert [status(image), status(covered), status(covered)] == ["tracking", "uncertain", "lost"]
    assert [status(covered) for _ in range(4)] == ["lost"] * 4  # the scene sees something there all the time
    assert [status(image), status(image)] == ["lost", "tracking"]
    assert follower.lost_below == 0.5
    assert target.look.likeness(Look(image, START)) == Look(image, START).likeness(Look(image, START))


@pytest.mark.parametrize("second", [None, [20.0, 20.0, 30.0, 30.0]], ids=["gone", "elsewhere"])
def test_one_frame_alone_is_not_believed(second: list[float] | None) -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=1, most_crops=100)
    for _ in range(6):
        step(follower, target)
    scene.where = [250.0, 190.0, 32.0, 32.0]
    step(follower, target)
    scene.where = second
    assert step(follower, target).status == "lost"
    assert target.candidate is None


def test_what_does_not_fit_in_a_frame_is_searched_in_the_next_ones() -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=1, most_crops=4, growth=100.0)
    places: set[tuple[float, ...]] = set()
    original = scene.step
    scene.step = lambda states, images: places.update(tuple(s.box_xywh) for s in states) or original(states, images)
    for _ in range(6):
        step(follower, target)
    assert max(scene.batches) == 4
    assert places >= {tuple(box) for box in search_places(START, (240, 320), 120, 1e9)}


def test_search_looks_for_the_size_that_the_target_had_before_the_edge_cut_it() -> None:
    scene = Scene(START)
    follower, target = follow(scene, patience=1)
    for where in (
        [140.0, 80.0, 40.0, 30.0],
        [190.0, 80.0, 40.0, 30.0],
        [230.0, 80.0, 40.0, 30.0],
        [270.0, 80.0, 40.0, 30.0],
    ):
        scene.where = where
        step(follower, target)
    scene.where = [311.0, 80.0, 9.0, 30.0]  # the rest is outside
    assert step(follower, target).status == "tracking"
    scene.where = None
    step(follower, target)
    looked: list[list[float]] = []
    original = scene.step
    scene.step = lambda states, images: looked.extend(s.box_xywh for s in states) or original(states, images)
    step(follower, target)
    assert target.status == "lost"
    assert {tuple(box[2:]) for box in looked} == {(40.0, 30.0)}


def test_templates_stay_while_lost_and_the_frames_count() -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=1)
    templates = target.state.templates
    for _ in range(5):
        step(follower, target)
    assert target.state.templates is templates
    assert target.state.frame == 5


def test_without_search_the_boxes_are_those_of_the_plain_tracker() -> None:
    scene = Scene(None)
    follower, target = follow(scene, patience=2, search=False)
    boxes = [step(follower, target).box_xywh for _ in range(6)]
    assert [box[0] for box in boxes] == [107, 114, 121, 128, 135, 142]
    assert target.status == "lost"
    assert set(scene.batches) == {1}
    scene.where = boxes[-1]
    assert [step(follower, target).status for _ in range(2)] == ["lost", "tracking"]


def test_search_is_off_by_default_where_no_score_was_fitted() -> None:
    fitted, default = (PresenceScore(IDENTITY.weights, 0.0, fitted=value) for value in (True, False))
    scene = Scene(None)
    assert LostAndFound(scene, fitted, seqtrack.LostOptions()).searches
    assert not LostAndFound(scene, default, seqtrack.LostOptions()).searches
    assert LostAndFound(scene, default, seqtrack.LostOptions(search=True)).searches


def test_lost_and_tracked_targets_are_one_batch() -> None:
    scene = Scene(None)
    follower, lost = follow(scene, patience=1, growth=100.0)
    for _ in range(2):
        step(follower, lost)
    scene.where = [60.0, 60.0, 20.0, 20.0]
    tracked = follower.start(IMAGE, scene.where)
    results = follower.step([lost, tracked], [IMAGE, IMAGE])
    assert scene.batches[-1] > 1 + 1
    assert [result.status for result in results] == ["lost", "tracking"]
    assert results[1].box_xywh == scene.where


@pytest.mark.parametrize("region", [0.0, 120.0, 200.0, 1e9])
@pytest.mark.parametrize("around", [START, [300.0, 220.0, 30.0, 30.0], [0.0, 0.0, 10.0, 10.0]], ids=str)
def test_search_places_cover_the_region(around: list[float], region: float) -> None:
    side = 4 * around[2]
    places = search_places(around, (240, 320), side, region)
    assert all(box[2:] == around[2:] for box in places)
    middles = np.array([[box[0] + 0.5 * box[2], box[1] + 0.5 * box[3]] for box in places])
    center = np.array([around[0] + 0.5 * around[2], around[1] + 0.5 * around[3]])
    low, high = np.maximum(center - 0.5 * region, 0), np.minimum(center + 0.5 * region, (320, 240))
    for point in np.stack(np.meshgrid(*np.linspace(low, high, 9).T), axis=-1).reshape(-1, 2):
        assert (np.abs(middles - point).max(axis=1) <= 0.5 * side + 1e-6).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lost_below": 0.8, "found_above": 0.5}, "in this order"),
        ({"lost_below": -0.1}, "from 0 to 1"),
        ({"found_above": float("nan")}, "nan"),
        ({"patience": 0}, "patience"),
        ({"confirm": 0}, "confirm"),
        ({"most_crops": 0}, "most_crops"),
        ({"growth": 0.5}, "growth"),
        ({"most_crops": 2.5}, "most_crops must be a whole number"),
        ({"patience": "3"}, "patience must be a whole number"),
        ({"growth": None}, "growth must be a number"),
        ({"search": "no"}, "search must be True, False or None"),
    ],
    ids=str,
)
def test_options_out_of_range(options: dict, message: str) -> None:
    with pytest.raises(seqtrack.InputError, match=message):
        seqtrack.LostOptions(**options)


# The library ----------------------------------------------------------------------------------------------------

NEVER_SURE = seqtrack.LostOptions(lost_below=1.0, found_above=1.0, patience=2)  # every frame is doubtful


def test_on_lost_is_called_once_and_reinit_ends_it(clip: Clip) -> None:
    tracker = seqtrack.load(device="cpu", lost=NEVER_SURE)
    calls: list[seqtrack.Result] = []
    tracker.on_lost = calls.append
    with pytest.raises(seqtrack.InputError, match="reinit was called before init"):
        tracker.reinit(clip.frames[0], clip.boxes[0])
    tracker.init(clip.frames[0], clip.boxes[0])
    results = [tracker.update(frame) for frame in clip.frames[1:5]]
    assert [result.state for result in results] == ["uncertain", "lost", "lost", "lost"]
    assert calls == results[1:2]
    with pytest.raises(seqtrack.InputError, match="outside"):
        tracker.reinit(clip.frames[4], (900, 900, 10, 10))
    tracker.reinit(clip.frames[4], clip.boxes[4])
    assert tracker.update(clip.frames[5]).state == "uncertain"
    assert len(calls) == 1


def test_multi_tracker_names_the_lost_target(clip: Clip) -> None:
    targets = seqtrack.MultiTracker(device="cpu", lost=NEVER_SURE)
    calls: list[tuple[seqtrack.TargetId, seqtrack.Result]] = []
    targets.on_lost = lambda id, result: calls.append((id, result))
    targets.add(clip.frames[0], clip.boxes[0], "a")
    for frame in clip.frames[1:4]:
        results = targets.update(frame)
    assert results["a"].lost
    assert [id for id, _ in calls] == ["a"]
    with pytest.raises(seqtrack.InputError, match="no target has the id 'b'"):
        targets.reinit("b", clip.frames[3], clip.boxes[3])
    targets.reinit("a", clip.frames[3], clip.boxes[3])
    assert not targets.update(clip.frames[4])["a"].lost


def test_placing_a_target_ends_every_search() -> None:
    follower, target = follow(Scene(None), patience=1)
    step(follower, target)
    place(target, [1.0, 2.0, 3.0, 4.0])
    assert (target.status, target.state.box_xywh, target.sure_box) == ("tracking", [1, 2, 3, 4], [1, 2, 3, 4])
