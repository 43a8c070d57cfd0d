"""Scores and curves agree with the published evaluation (tests/golden/analysis_parity.npz)."""

import numpy as np
import pytest

from lib.test.analysis.metrics import SequenceScores, mean_curves, merge_runs, score_sequence, summarise
from lib.utils.errors import DataError
from tests.golden import load_json, load_npz

GOLDEN = load_npz("analysis_parity.npz")
CASES = {key.rstrip("/"): value for key, value in load_json("analysis_parity_cases.json").items() if key.endswith("/")}
CURVES = {
    "success": ("ave_success_rate_plot_overlap", "success_curve"),
    "precision": ("ave_success_rate_plot_center", "precision_curve"),
    "norm_precision": ("ave_success_rate_plot_center_norm", "norm_precision_curve"),
}
SCORES = {"AUC": "AUC", "OP50": "OP50", "OP75": "OP75", "P": "Precision", "NP": "NormPrecision"}


def visibility(dataset: str, sequence: str) -> np.ndarray | None:
    stored = GOLDEN.get(f"input/{sequence}/visible")
    if dataset == "lasot":
        return np.ones(len(GOLDEN[f"input/{sequence}/anno"]), dtype=bool) if stored is None else stored
    return stored if dataset == "lasot_extension_subset" else None


def scores_of(case: str) -> list[list[SequenceScores]]:
    """Scores by tracker and sequence; the second tracker of the golden file is the second run."""
    dataset, label = case.split("/")
    return [
        [
            score_sequence(
                GOLDEN[f"input/{name}/{column}"],
                GOLDEN[f"input/{name}/anno"],
                dataset=dataset,
                target_visible=visibility(dataset, name),
                exclude_invalid_frames=label == "exclude_invalid",
                step=0.01 if label == "gap0.01" else 0.05,
            )
            for name in CASES[case]["sequences"]
        ]
        for column in ("pred", "pred_run2")
    ]


def test_every_case_is_covered() -> None:
    assert len(CASES) == 19
    assert {key.split("/")[0] for key in CASES} >= {"lasot", "uav", "got10k", "trackingnet"}


@pytest.mark.parametrize("case", CASES)
def test_curves_and_scores(case: str) -> None:
    for tracker, scores in enumerate(scores_of(case)):
        curves, summary = mean_curves(scores), summarise(scores)
        for name, (per_sequence, mean) in CURVES.items():
            stacked = np.stack([getattr(score, name) for score in scores])
            np.testing.assert_allclose(stacked, GOLDEN[f"{case}/{per_sequence}"][:, tracker], atol=1e-6)
            np.testing.assert_allclose(curves[name] / 100, GOLDEN[f"{case}/{mean}"][tracker] / 100, atol=1e-6)
        overlaps = [score.average_overlap for score in scores]
        np.testing.assert_allclose(overlaps, GOLDEN[f"{case}/avg_overlap_all"][:, tracker], atol=1e-9)
        for name, golden_name in SCORES.items():
            assert summary[name] == pytest.approx(GOLDEN[f"{case}/{golden_name}"][tracker], abs=1e-4)


def printed_rows(report: str) -> list[list[float]]:
    """Numbers of a published text table, by row, without its head and the row names."""
    lines = [line for line in report.splitlines() if "|" in line][1:]
    return [[float(field) for field in line.split("|")[1:] if field.strip()] for line in lines]


@pytest.mark.parametrize("case", CASES)
def test_published_text_reports(case: str) -> None:
    trackers = scores_of(case)
    report = [list(summarise(scores).values()) for scores in trackers]
    np.testing.assert_allclose(report, printed_rows(CASES[case]["report"]), atol=0.0051)
    merged = list(summarise(merge_runs(trackers)).values())
    np.testing.assert_allclose([merged], printed_rows(CASES[case]["report_merged"]), atol=0.0051)
    rows = [[100 * score.average_overlap for score in scores] for scores in zip(*trackers, strict=True)]
    np.testing.assert_allclose(rows, printed_rows(CASES[case]["per_sequence"]), atol=0.0051)


@pytest.mark.parametrize("dataset", ["lasot", "lasot_extension_subset", "uav", "nfs"])
@pytest.mark.parametrize("sequence", ["s02_zero_anno_invisible", "s03_zero_anno_visible", "s06_zero_pred"])
def test_frames(dataset: str, sequence: str) -> None:
    score = score_sequence(
        GOLDEN[f"input/{sequence}/pred"],
        GOLDEN[f"input/{sequence}/anno"],
        dataset=dataset,
        target_visible=visibility(dataset, sequence),
    )
    np.testing.assert_allclose(score.overlap, GOLDEN[f"frames/{dataset}/{sequence}/overlap"], atol=1e-12)
    np.testing.assert_array_equal(score.valid, GOLDEN[f"frames/{dataset}/{sequence}/valid"])
    pixels = GOLDEN[f"frames/{dataset}/{sequence}/center"]
    normalized = GOLDEN[f"frames/{dataset}/{sequence}/center_norm"]
    np.testing.assert_allclose(score.precision, [(pixels <= t).mean() for t in range(51)], atol=1e-6)
    np.testing.assert_allclose(score.norm_precision, [(normalized <= t / 100).mean() for t in range(51)], atol=1e-6)


BOXES = np.array([[10, 10, 20, 20], [11, 10, 20, 20], [12, 10, 20, 20], [13, 10, 20, 20]], dtype=float)


def changed(row: int, values: list[float], length: int = 4) -> np.ndarray:
    boxes = np.concatenate([BOXES, BOXES])[:length].copy()
    boxes[row] = values
    return boxes


NAN = [float("nan")] * 4
MALFORMED = {
    "nan pred": (changed(2, NAN), BOXES, "otb", None),
    "negative size pred": (changed(2, [1, 1, -1, 5]), BOXES, "otb", None),
    "nan anno otb": (BOXES, changed(2, NAN), "otb", None),
    "lasot shorter": (BOXES[:3], BOXES, "lasot", np.ones(4)),
    "lasot no visible": (BOXES, BOXES, "lasot", None),
    "anno single row, 4 preds (trackingnet/got10k test)": (BOXES, BOXES[:1], "got10k", None),
}
ACCEPTED = {
    "nan anno uav": (BOXES, changed(2, NAN), "uav", 3 / 4),
    "longer with zero-size in the extra tail": (changed(5, [0, 0, 0, 0], length=6), BOXES, "otb", 1.0),
    "longer without zero-size": (changed(5, [1, 1, 5, 5], length=6), BOXES, "otb", 1.0),
    "shorter with zero-size": (changed(1, [0, 0, 0, 0], length=3), BOXES, "otb", 3 / 4),
    "all anno invalid": (BOXES, np.zeros((4, 4)), "otb", 0.0),
    "single row result file (1-D after loadtxt)": (BOXES[0], BOXES[:1], "otb", 1.0),
}


def test_error_table_is_complete() -> None:
    assert {*MALFORMED, *ACCEPTED} == set(load_json("analysis_parity_cases.json")["errors"])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_input_is_refused(name: str) -> None:
    predicted, ground_truth, dataset, visible = MALFORMED[name]
    with pytest.raises(DataError):
        score_sequence(predicted, ground_truth, dataset=dataset, target_visible=visible)


@pytest.mark.parametrize("name", ACCEPTED)
def test_odd_input_is_scored(name: str) -> None:
    predicted, ground_truth, dataset, hits = ACCEPTED[name]
    score = score_sequence(predicted, ground_truth, dataset=dataset)
    assert score.success[0] == pytest.approx(hits)
    assert np.isfinite(score.average_overlap)
