"""The presence score: its file, its default, and fitting it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import bundled_checkpoint
from lib.test.analysis import calibration
from lib.test.analysis.calibration import Observations
from lib.test.tracker.presence import Look, copy_score, default_score, load_score, score_path, score_text
from lib.utils.errors import CheckpointError, DataError
from lib.utils.files import file_hash


def made_up(count: int, slope: float, bias: float, videos: int = 10, seed: int = 0) -> Observations:
    """Frames whose probability to be positive is a logistic curve of the mean logarithm of the likelihoods."""
    rng = np.random.RandomState(seed)
    level = rng.uniform(-4, 0, count)
    likelihoods = np.exp(np.repeat(level[:, None], 4, axis=1))
    positive = rng.uniform(size=count) < 1 / (1 + np.exp(-(slope * level + bias)))
    likeness = np.zeros((count, 3))
    return Observations(
        likelihoods, likeness, positive * 0.8, np.zeros(count, bool), np.arange(count) * videos // count
    )


@pytest.mark.parametrize(("threshold", "middle"), [(0.6, 0.6), (2.0, 2.0), (-1.0, 0.6)])
def test_default_is_one_half_at_the_threshold_of_templates(threshold: float, middle: float) -> None:
    score = default_score(threshold)
    assert not score.fitted
    likelihoods = np.full((3, 4), middle / 40) * np.array([[0.5], [1], [2]])
    assert score(likelihoods) == pytest.approx([0.2, 0.5, 0.8])
    assert 0 <= score(np.zeros(4))[0] < 1e-6


def test_likelihoods_that_are_no_numbers_score_nothing() -> None:
    score = default_score(0.6)
    curve = replace(score, points=((-9.0, 0.25), (0.0, 0.75)))
    for one in (score, curve):
        found = one(np.array([[0.5, np.nan, 0.5, 0.5], [0.5] * 4]))
        assert found[0] == 0 and found[1] > 0.5


def test_file_beside_the_checkpoint_is_used_and_gives_the_same_numbers(tmp_path: Path) -> None:
    checkpoint = tmp_path / "SEQTRACK_ep0005.pth.tar"
    assert score_path(checkpoint).name == "SEQTRACK_ep0005.score.json"
    likelihoods = np.random.RandomState(1).uniform(size=(50, 4))
    assert not load_score(checkpoint, 0.6).fitted
    for isotonic in (False, True):
        fitted = calibration.fit(made_up(400, 2.0, 3.0), (0,), isotonic)
        score_path(checkpoint).write_text(score_text(fitted, {"fitted_on": "made up"}))
        loaded = load_score(checkpoint, 0.6)
        assert loaded.fitted
        assert bool(loaded.points) == isotonic
        assert loaded(likelihoods) == pytest.approx(fitted(likelihoods), abs=1e-4)
        assert loaded.with_look is None  # as in files of earlier versions


def test_score_with_the_look_is_kept_beside_the_one_without(tmp_path: Path) -> None:
    seen = replace(made_up(400, 2.0, 3.0), likeness=np.random.RandomState(3).uniform(size=(400, 3)))
    plain, full = calibration.fit(seen, (0,), False), calibration.fit(seen, (0, 5, 6, 7), True)
    score_path(tmp_path / "a.pth").write_text(score_text(replace(plain, with_look=full), {}))
    loaded = load_score(tmp_path / "a.pth", 0.6)
    assert loaded(seen.likelihoods) == pytest.approx(plain(seen.likelihoods), abs=1e-4)
    assert calibration.apply(loaded, seen) == pytest.approx(plain(seen.likelihoods), abs=1e-4)
    assert calibration.apply(loaded.with_look, seen) == pytest.approx(calibration.apply(full, seen), abs=1e-4)


def test_likeness_of_looks() -> None:
    rng = np.random.RandomState(4)
    image = np.zeros((80, 120, 3), np.uint8)
    image[10:42, 20:52] = rng.randint(0, 200, (8, 8, 3)).repeat(4, axis=0).repeat(4, axis=1)
    first = Look(image, (20, 10, 32, 32))
    assert first.likeness(first) == (pytest.approx(0.73, abs=0.01), pytest.approx(1), 0)  # faint patterns count less
    brighter = Look(image + np.uint8(40), (20, 10, 32, 32)).likeness(first)
    assert brighter[0] == pytest.approx(first.likeness(first)[0], abs=1e-6)
    assert brighter[1] > 0.9
    larger = Look(image.repeat(2, axis=0).repeat(2, axis=1), (40, 20, 64, 64)).likeness(first)
    assert larger == pytest.approx((*first.likeness(first)[:2], math.log(2)), abs=1e-6)
    black = Look(image, (70, 10, 32, 32)).likeness(first)
    assert black[0] == 0
    assert black[1] < 0.2


@pytest.mark.parametrize(
    "box", [(-50, -50, 10, 10), (500, 500, 20, 20), (3.9, 3.9, 0.2, 0.2), (-5, 2, 900, 900)], ids=str
)
@pytest.mark.parametrize("size", [(1, 1), (8, 6)], ids=str)
def test_look_of_a_box_anywhere(box: tuple, size: tuple[int, int]) -> None:
    look = Look(np.full((*size, 3), 7, np.uint8), box)
    assert look.likeness(look) == pytest.approx((0, 1, 0))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [1, 2]},
        {"weights": [1, 2, 3, 4, math.inf]},
        {"bias": "high"},
        {"points": [[1, 0.5], [0, 0.7]]},
        {"points": [[0, 1.5]]},
        {"points": 3},
        {"with_look": {"weights": [1, 0, 0, 0, 0], "bias": 0}},
        {"with_look": None},
    ],
    ids=str,
)
def test_damaged_file_is_named(tmp_path: Path, change: dict) -> None:
    content = {"weights": [1, 0, 0, 0, 0], "bias": 0, "points": []} | change
    (tmp_path / "a.score.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"a\.score\.json"):
        load_score(tmp_path / "a.pth", 0.6)


def test_a_score_is_not_that_of_other_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trained, copied = tmp_path / "a.pth", tmp_path / "b.safetensors"
    trained.write_bytes(b"first"), copied.write_bytes(b"first, in another form")
    facts = {"weights_sha256": file_hash(trained)}
    score_path(trained).write_text(score_text(replace(default_score(0.6), fitted=True), facts))
    copy_score(score_path(trained), copied)
    assert load_score(trained, 0.6).fitted and load_score(copied, 0.6).fitted and not caplog.text
    trained.write_bytes(b"trained on")
    assert not load_score(trained, 0.6).fitted
    assert "a.score.json: fitted for other weights than a.pth has: not used" in caplog.text


def test_bundled_weights_have_a_fitted_score() -> None:
    score = load_score(bundled_checkpoint("seqtrack_demo"), 0.6)
    assert score.fitted
    low, high = score(np.array([[0.005] * 4, [0.08] * 4]))
    assert low < 0.3 < 0.8 < high
    likeness = np.array([[0.8, 0.95, 0], [-0.1, 0.1, 0.4], [0.8, 0.95, 1.4]])
    same, other, larger = score.with_look(np.array([[0.04] * 4] * 3), likeness)
    assert same > 0.9 > 0.5 > max(other, larger)  # the likelihoods alone cannot tell them apart


def test_fit_recovers_the_curve_and_predicts_videos_left_out() -> None:
    seen, unseen = made_up(6000, 3.0, 5.0), made_up(3000, 3.0, 5.0, seed=1)
    score = calibration.fit(seen, (0,), False)
    assert score.weights[0] == pytest.approx(3.0, rel=0.1)
    assert score.bias == pytest.approx(5.0, rel=0.1)
    assert calibration.expected_calibration_error(score(unseen.likelihoods), unseen.positive) < 0.03
    curve = calibration.fit(seen, (0,), True)
    assert (np.diff([p for _, p in curve.points]) >= 0).all()
    assert calibration.expected_calibration_error(curve(unseen.likelihoods), unseen.positive) < 0.03
    best, chosen, losses = calibration.choose(seen)
    assert losses[best] <= 1.02 * min(losses.values()) < 0.45
    assert best == "platt, confidence"  # all fit this curve, and it is the simplest
    assert calibration.log_loss(chosen(unseen.likelihoods), unseen.positive) < 0.45


def test_look_is_chosen_by_log_loss_where_it_tells_more() -> None:
    seen = made_up(2000, 0.0, 0.0)
    likeness = np.random.RandomState(5).uniform(size=(2000, 3)) + seen.positive[:, None]
    _, _, without = calibration.choose(seen)
    _, score, losses = calibration.choose(replace(seen, likeness=likeness), calibration.LOOK_CANDIDATES)
    assert min(losses.values()) < 0.1 < 0.6 < min(without.values())
    assert len(score.weights) == 8


def test_isotonic_wins_where_no_logistic_curve_fits() -> None:
    seen = made_up(4000, 0.0, 0.0)
    level = np.log(seen.likelihoods[:, 0])
    chance = np.where(level < -3, 0.02, np.where(level < -0.5, 0.5, 0.98))
    positive = np.random.RandomState(2).uniform(size=4000) < chance
    best, _, losses = calibration.choose(replace(seen, overlap=positive * 1.0))
    assert best.startswith("isotonic")
    assert losses["isotonic, confidence"] < losses["platt, confidence"]


def test_nothing_to_fit_is_an_error() -> None:
    seen = made_up(100, 0.0, 50.0)
    with pytest.raises(DataError, match="100 frames with the box on the target and 0 without"):
        calibration.choose(seen)
    with pytest.raises(DataError, match="1 videos"):
        calibration.choose(made_up(100, 2.0, 3.0, videos=1))


def test_measures_on_numbers_worked_out_by_hand() -> None:
    guesses, positive = np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, True, False, True])
    assert calibration.roc_auc(guesses, positive) == 3.5 / 4
    assert calibration.roc_auc(-guesses, positive) == 0.5 / 4
    assert math.isnan(calibration.roc_auc(guesses, np.ones(4, bool)))
    assert calibration.log_loss(np.array([0.5, 0.25]), np.array([True, False])) == pytest.approx(
        -(math.log(0.5) + math.log(0.75)) / 2
    )
    table = calibration.reliability(guesses, positive)
    assert table.tolist() == [[0.1, 0, 1], [0.4, 0.5, 2], [0.8, 1, 1]]
    assert calibration.expected_calibration_error(guesses, positive) == pytest.approx((0.1 + 2 * 0.1 + 0.2) / 4)
