"""The protocols pytracking and got10k; seqtrack has its parity tests."""

import importlib
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.test.analysis.metrics import mean_curves, score_sequence, summarise
from lib.test.analysis.protocols import PROTOCOLS
from lib.test.analysis.scoring import Scoring
from lib.test.evaluation import get_dataset
from lib.utils.errors import DataError, InputError
from tests.evaluation import fakes

SIZE = (120, 90)


def sequence(seed: int, frames: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ground truth that leaves the image, boxes near it, and cover flags."""
    rng = np.random.RandomState(seed)
    ground_truth = np.array([90.0, 60, 30, 25]) + rng.uniform(-3, 4, (frames, 4)).cumsum(axis=0).clip(-80, 40)
    ground_truth[:, 2:] = ground_truth[:, 2:].clip(5)
    boxes = (ground_truth + rng.uniform(-12, 12, ground_truth.shape)).clip([-1e3, -1e3, 0, 0]).round(2)
    return ground_truth.round(4), boxes, rng.uniform(size=frames) > 0.2


def got10k_scores(seeds=range(4)):
    cases = [sequence(seed, 20 + 7 * seed) for seed in seeds]
    return [
        score_sequence(boxes, ground_truth, protocol="got10k", target_visible=cover, image_size=SIZE)
        for ground_truth, boxes, cover in cases
    ]


def test_pytracking_wants_the_corner_inside_too() -> None:
    ground_truth = np.tile([20.0, 20, 10, 10], (4, 1))
    ground_truth[1, 0], ground_truth[2, 1] = 0.0, -3.0
    seqtrack, pytracking = (
        score_sequence(ground_truth, ground_truth, protocol=name) for name in ("seqtrack", "pytracking")
    )
    assert seqtrack.valid.all()
    assert pytracking.valid.tolist() == [True, False, False, True]
    assert pytracking.success[0] == 0.5
    assert pytracking.norm_precision[0] == 1.0  # an invalid frame succeeds there, as in seqtrack
    inside = ground_truth[[0, 3]]
    assert summarise([score_sequence(inside, inside, protocol="pytracking")])["AUC"] == pytest.approx(100 * 20 / 21)


def test_got10k_by_hand() -> None:
    ground_truth = np.array([[0.0, 0, 10, 10]] * 4)
    boxes = np.array([[50.0, 50, 10, 10], [0, 0, 10, 10], [0, 0, 10, 20], [0, 0, 30, 20]])
    scores = score_sequence(boxes, ground_truth, protocol="got10k")
    np.testing.assert_allclose(scores.overlap, [-1, 1, 0.5, 1 / 6])  # the first box was given
    expected = {"AO": 100 * (1 + 0.5 + 1 / 6) / 3, "SR50": 100 / 3, "SR75": 100 / 3}  # above 0.5, not at it
    assert summarise([scores]) == pytest.approx(expected)
    clipped = score_sequence(boxes, ground_truth, protocol="got10k", image_size=(15, 10))
    np.testing.assert_allclose(clipped.overlap[1:], [1, 1, 10 / 15])


def test_got10k_counts_frames_not_sequences() -> None:
    ground_truth = np.tile([10.0, 10, 20, 20], (11, 1))
    far = np.add(ground_truth[:3], [500, 0, 0, 0])
    scores = [score_sequence(boxes, ground_truth[: len(boxes)], protocol="got10k") for boxes in (ground_truth, far)]
    assert summarise(scores)["AO"] == pytest.approx(100 * 10 / 12)
    assert mean_curves(scores)["success"][0] == pytest.approx(100 * 10 / 12)
    one = score_sequence(ground_truth[:1], ground_truth[:1], protocol="got10k")  # nothing is left of it
    assert summarise([*scores, one]) == summarise(scores)
    with pytest.raises(InputError, match="no frame"):
        summarise([one])


def test_got10k_refuses_short_results_and_nan() -> None:
    ground_truth = np.tile([10.0, 10, 20, 20], (4, 1))
    with pytest.raises(DataError, match="3 predicted boxes for 4 frames"):
        score_sequence(ground_truth[:3], ground_truth, protocol="got10k")
    bad = ground_truth.copy()
    bad[2] = np.nan
    with pytest.raises(DataError, match="row 3"):
        score_sequence(ground_truth, bad, protocol="got10k", target_visible=np.ones(4))


def test_got10k_reads_cover_and_resolution_from_the_data_set(tmp_path: Path) -> None:
    fakes.write_got10k(tmp_path / "got10k", {"bare": 3, "full": 4})
    folder = tmp_path / "got10k" / "val" / "full"
    (folder / "cover.label").write_text("8\n7\n0\n8\n")
    (folder / "meta_info.ini").write_text("[METAINFO]\nobject_class: brown bear\nresolution: (64, 48)\n")
    bare, full = get_dataset("got10k_val", paths=load_paths("test", data_dir=tmp_path))
    assert bare.target_present is bare.resolution is None
    assert (full.resolution, full.object_class) == ((64, 48), "brown bear")
    assert Scoring("got10k").score(full, full.ground_truth_rect).valid.tolist() == [False, True, False, True]
    assert Scoring("seqtrack").score(full, full.ground_truth_rect).valid.all()  # as the published numbers


def test_the_headline_is_a_score() -> None:
    ground_truth, boxes, _ = sequence(0)
    for name, protocol in PROTOCOLS.items():
        assert protocol.headline in summarise([score_sequence(boxes, ground_truth, protocol=name)])


def test_equal_to_the_package_got10k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers as ``ExperimentGOT10k.report`` gives for the same files."""
    pytest.importorskip("got10k.utils.metrics", reason="pip install got10k")
    import matplotlib

    matplotlib.use("Agg")
    if not hasattr(np, "float"):
        monkeypatch.setattr(np, "float", float, raising=False)  # the package is older than NumPy 1.24
    if "wget" not in sys.modules:
        monkeypatch.setitem(sys.modules, "wget", types.ModuleType("wget"))
    experiments = importlib.import_module("got10k.experiments.got10k")
    names = [f"GOT-10k_Val_{number:06d}" for number in range(1, 5)]
    for seed, name in enumerate(names):
        ground_truth, boxes, cover = sequence(seed, 20 + 7 * seed)
        folder, results = tmp_path / "val" / name, tmp_path / "results" / "GOT-10k" / "mine" / name
        folder.mkdir(parents=True)
        results.mkdir(parents=True)
        for index in range(len(ground_truth)):
            (folder / f"{index + 1:08d}.jpg").touch()
        np.savetxt(folder / "groundtruth.txt", ground_truth, delimiter=",", fmt="%.4f")
        np.savetxt(results / f"{name}_001.txt", boxes, delimiter=",", fmt="%.4f")
        np.savetxt(results / f"{name}_time.txt", np.full(len(boxes), 0.01))  # the package fails without it
        np.savetxt(folder / "cover.label", 8 * cover, fmt="%d")
        for label in ("absence", "cut_by_image"):
            np.savetxt(folder / f"{label}.label", ~cover, fmt="%d")
        (folder / "meta_info.ini").write_text(f"[METAINFO]\nresolution: {SIZE}\n")
    (tmp_path / "val" / "list.txt").write_text("\n".join(names))
    toolkit = experiments.ExperimentGOT10k(
        str(tmp_path), "val", result_dir=str(tmp_path / "results"), report_dir=str(tmp_path / "reports")
    )
    monkeypatch.setattr(toolkit, "plot_curves", lambda *_: None, raising=False)
    theirs = toolkit.report(["mine"])["mine"]
    ours = got10k_scores()
    assert summarise(ours)["AO"] == pytest.approx(100 * theirs["overall"]["ao"], abs=1e-6)
    assert summarise(ours)["SR50"] == pytest.approx(100 * theirs["overall"]["sr"], abs=1e-6)
    curve = np.array(theirs["overall"]["succ_curve"])
    assert summarise(ours)["SR75"] == pytest.approx(100 * curve[75], abs=1e-6)
    for name, score in zip(names, ours, strict=True):
        assert summarise([score])["AO"] == pytest.approx(100 * theirs["seq_wise"][name]["ao"], abs=1e-6)
