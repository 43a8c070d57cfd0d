"""OxUvA: what trackers say of the presence of their target is written, read and scored as its toolkit does."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lib.test.analysis.presence import count_presence, max_geometric_mean, read_presence
from lib.test.analysis.selection import own_results
from lib.test.evaluation.results import ResultFolder
from lib.utils.errors import DataError
from tests.data.fabricate import load
from tests.data.test_newer_benchmarks import oxuva
from tracking import analysis_results
from tracking import test as testing


@pytest.mark.parametrize(
    ("tpr", "tnr", "published"), [(0.427, 0.481, 0.454), (0.208, 0.895, 0.431), (0.472, 0.0, 0.343)]
)
def test_the_published_max_gm_follows_from_tpr_and_tnr(tpr: float, tnr: float, published: float) -> None:
    assert max_geometric_mean(tpr, tnr) == pytest.approx(published, abs=1e-3)
    flips = np.linspace(0, 1, 10_001)
    best = np.sqrt((1 - flips) * tpr * ((1 - flips) * tnr + flips)).max()
    assert max_geometric_mean(tpr, tnr) == pytest.approx(best, abs=1e-6)


def test_only_labelled_frames_behind_the_first_count(tmp_path: Path) -> None:
    oxuva(tmp_path / "oxuva")
    (dev,) = load(tmp_path, "oxuva_dev")  # frame 2 of 5 is labelled absent, frame 4 present: left half of the image
    boxes, sure = np.tile(dev.ground_truth_rect[4], (5, 1)), np.ones(5, dtype=bool)
    assert count_presence(dev, boxes, sure).tolist() == [1, 1, 1, 1, 1, 0]
    assert count_presence(dev, boxes, ~sure).tolist() == [1, 0, 0, 0, 1, 1]
    half = boxes * (1, 1, 1, 0.5)
    assert count_presence(dev, half, sure).tolist() == [1, 1, 1, 0, 1, 0]  # IoU 0.5 is enough for 0.5
    outside = boxes + np.array([-100, 0, 100, 0])  # clipped to the image it is the same box
    assert count_presence(dev, outside, sure).tolist() == [1, 1, 1, 1, 1, 0]
    assert count_presence(replace(dev, resolution=None), outside, sure).tolist() == [1, 0, 0, 0, 1, 0]


def test_table_and_damaged_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    oxuva(tmp_path / "data" / "oxuva")
    (dev,) = load(tmp_path / "data", "oxuva_dev")
    folder = ResultFolder(tmp_path, "seqtrack", "cfg", "oxuva", split="dev")
    boxes = np.tile(dev.ground_truth_rect[4], (5, 1))
    boxes[0] = dev.ground_truth_rect[0]
    folder.write(dev.name, boxes, np.ones(5), [1, 0.9, 0.2, 0.1, 0.5])
    assert folder.is_complete(dev.name, 5) and folder.sequences() == [dev.name]
    flags = ["--dataset", "oxuva_dev", "--data_dir", str(tmp_path / "data"), "--save_dir", str(tmp_path), "--no_plots"]
    assert analysis_results.main(flags) == 0
    out = capsys.readouterr().out
    assert "Presence, oxuva_dev" in out and "MaxGM" in out
    with (tmp_path / "test/result_plots/oxuva_dev/presence.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert [float(row[name]) for name in ("TPR50", "TNR", "GM", "MaxGM")] == [100, 100, 100, 100]
    assert row["invalid_frames_excluded"] == "yes" and "invalid frames excluded" in out
    source = own_results(folder)
    for text, message in (("1\n2\n", "expected 5 numbers from 0 to 1, got 2"), ("x", "one number for each frame")):
        folder.presence_path(dev.name).write_text(text)
        assert not folder.is_complete(dev.name, 5)
        with pytest.raises(DataError, match=message):
            read_presence(source, dev)
    folder.presence_path(dev.name).unlink()
    assert read_presence(source, dev).all()


@pytest.mark.slow
def test_the_tracker_writes_what_it_thinks(tmp_path: Path) -> None:
    oxuva(tmp_path / "data" / "oxuva")
    places = ["--data_dir", str(tmp_path / "data"), "--save_dir", str(tmp_path), "--device", "cpu"]
    assert testing.main(["seqtrack", "seqtrack_demo", "--dataset", "oxuva_dev", *places]) == 0
    results = tmp_path / "test/tracking_results/seqtrack/seqtrack_demo/oxuva"
    values = np.loadtxt(results / "presence" / "vid0042_obj0001.txt")
    assert values.shape == (5,) and values[0] == 1 and ((values >= 0) & (values <= 1)).all()
    assert len(set(values[1:])) > 1  # noise: the score moves
