import numpy as np
import pytest

from lib.test.analysis.metrics import merge_runs, score_sequence, success_thresholds, summarise
from lib.test.analysis.protocols import PROTOCOLS, align_prediction, overlap_of_pairs
from lib.utils.errors import ConfigError, DataError, InputError


def random_boxes(frames: int, seed: int) -> np.ndarray:
    rng = np.random.RandomState(seed)
    return np.concatenate([rng.randint(0, 200, (frames, 2)), rng.randint(5, 80, (frames, 2))], axis=1).astype(float)


def test_a_perfect_track_scores_20_of_21() -> None:
    ground_truth = random_boxes(30, 0)
    summary = summarise([score_sequence(ground_truth, ground_truth)])
    assert summary["AUC"] == pytest.approx(100 * 20 / 21, abs=1e-4)
    assert [summary[key] for key in ("OP50", "OP75", "P", "NP")] == [100.0] * 4


def test_a_lost_target_scores_its_first_frame_only() -> None:
    ground_truth = random_boxes(10, 1)
    far = np.add(ground_truth, [5000, 5000, 0, 0])
    scores = score_sequence(far, ground_truth)
    assert scores.success[0] == pytest.approx(0.1)
    assert scores.precision[-1] == scores.norm_precision[-1] == pytest.approx(0.1)
    assert scores.average_overlap == pytest.approx(0.1)


def test_known_overlap() -> None:
    assert overlap_of_pairs(np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 10, 10.0]]))[0] == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(20))
def test_properties_of_overlap(seed: int) -> None:
    first = random_boxes(50, seed) + np.random.RandomState(seed).uniform(0, 1, (50, 4))
    second = first + np.random.RandomState(seed).uniform(-20, 20, first.shape) * [1, 1, 0, 0]
    overlap = overlap_of_pairs(first, second)
    assert ((overlap >= 0) & (overlap <= 1 + 1e-9)).all()
    np.testing.assert_allclose(overlap, overlap_of_pairs(second, first), atol=1e-9)
    np.testing.assert_allclose(overlap_of_pairs(first, first), 1.0, atol=1e-9)
    moved = overlap_of_pairs(np.add(first, [7, -3, 0, 0]), np.add(second, [7, -3, 0, 0]))
    np.testing.assert_allclose(moved, overlap, atol=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_curves_are_monotonic_shares(seed: int) -> None:
    frames = 1 + 2 * seed
    ground_truth = random_boxes(frames, seed)
    scores = score_sequence(
        ground_truth + np.random.RandomState(seed).uniform(-15, 15, ground_truth.shape).clip(-4), ground_truth
    )
    assert scores.overlap.shape == scores.valid.shape == (frames,)
    assert scores.success.shape == (21,)
    assert scores.precision.shape == scores.norm_precision.shape == (51,)
    for curve, sign in ((scores.success, -1), (scores.precision, 1), (scores.norm_precision, 1)):
        assert curve.dtype == np.float32
        assert (sign * np.diff(curve) >= 0).all()
        assert curve.min() >= 0
        assert curve.max() <= 1
    assert 0 < scores.average_overlap <= 1


def slow_align(predicted: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    """The published rule as a loop."""
    boxes = np.array(predicted, dtype=float)
    for i in range(1, min(len(boxes), len(ground_truth))):
        if (boxes[i, 2:] == 0).any():
            boxes[i] = boxes[i - 1]
    boxes = np.concatenate([boxes, np.zeros((max(0, len(ground_truth) - len(boxes)), 4))])[: len(ground_truth)]
    boxes[0] = ground_truth[0]
    return boxes


@pytest.mark.parametrize("seed", range(60))
def test_align_equals_the_loop(seed: int) -> None:
    predicted_frames, frames = np.random.RandomState(seed).randint(1, 13, 2)
    predicted, ground_truth = random_boxes(predicted_frames, seed), random_boxes(frames, seed + 1)
    predicted[np.random.RandomState(seed).rand(predicted_frames) < 0.4, 2 + seed % 2] = 0
    original = predicted.copy()
    np.testing.assert_array_equal(align_prediction(predicted, ground_truth), slow_align(predicted, ground_truth))
    np.testing.assert_array_equal(predicted, original)


def test_excluding_invalid_frames_changes_the_denominator() -> None:
    ground_truth = random_boxes(10, 2)
    ground_truth[5:, 2] = 0
    predicted = random_boxes(10, 2)
    assert score_sequence(predicted, ground_truth).success[0] == pytest.approx(0.5)
    excluded = score_sequence(predicted, ground_truth, exclude_invalid_frames=True)
    assert excluded.success[0] == pytest.approx(1.0)
    assert excluded.average_overlap == pytest.approx(1.0)
    with pytest.raises(DataError, match="nothing is left"):
        score_sequence(predicted, np.zeros((10, 4)), exclude_invalid_frames=True)


def test_visibility_of_lasot() -> None:
    ground_truth = random_boxes(4, 3)
    scores = score_sequence(ground_truth, ground_truth, dataset="lasot", target_visible=np.array([1, 1, 0, 0]))
    assert scores.norm_precision[-1] == scores.precision[-1] == scores.success[0] == pytest.approx(0.5)
    other = score_sequence(
        ground_truth, ground_truth, dataset="lasot_extension_subset", target_visible=np.array([1, 1, 0, 0])
    )
    assert other.norm_precision[0] == pytest.approx(1.0)  # Faithful: an invalid frame counts as a success here
    with pytest.raises(DataError, match="3 visibility flags for 4 frames"):
        score_sequence(ground_truth, ground_truth, target_visible=np.ones(3))


def test_thresholds() -> None:
    np.testing.assert_allclose(success_thresholds(), np.linspace(0, 1, 21), atol=1e-12)
    assert len(success_thresholds(0.01)) == 101


def test_merging_equal_runs_changes_nothing() -> None:
    ground_truth = random_boxes(10, 4)
    scores = [score_sequence(ground_truth + 3, ground_truth)]
    assert summarise(merge_runs([scores, scores])) == pytest.approx(summarise(scores))


@pytest.mark.parametrize("shape", [(0, 4), (3, 3), (5,), (2, 2, 4)])
def test_shapes_are_checked(shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=r"the prediction must be boxes of shape \(frames, 4\)"):
        score_sequence(np.zeros(shape), np.ones((3, 4)))


def test_the_bad_row_is_named() -> None:
    ground_truth = random_boxes(5, 5)
    predicted = ground_truth.copy()
    predicted[3, 0] = np.nan
    with pytest.raises(DataError, match="NaN or a negative size in row 4"):
        score_sequence(predicted, ground_truth)


def test_unknown_protocol_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=f"unknown protocol 'otb'; known: {', '.join(sorted(PROTOCOLS))}"):
        score_sequence(np.ones((2, 4)), np.ones((2, 4)), protocol="otb")


def test_no_sequence_is_no_score() -> None:
    with pytest.raises(InputError):
        summarise([])
