"""``hubconf.py`` from a local folder, as ``torch.hub`` reads it."""

import runpy

import pytest
import torch

import seqtrack
from lib.config.paths import PROJECT_ROOT
from tests.library.conftest import Clip, overlap


def test_every_experiment_is_an_entry_point() -> None:
    names = {name for name, value in runpy.run_path(str(PROJECT_ROOT / "hubconf.py")).items() if callable(value)}
    assert {name for name in names if not name.startswith("_")} == {"tracker", *seqtrack.available()}


def test_tracker_from_the_hub_follows(clip: Clip) -> None:
    tracker = torch.hub.load(str(PROJECT_ROOT), "seqtrack_demo", source="local", device="cpu")
    tracker.init(clip.frames[0], clip.boxes[0])
    assert overlap(tracker.update(clip.frames[1]).box, clip.boxes[1]) > 0.5
    with pytest.raises(Exception, match="no checkpoint for seqtrack_l256"):
        torch.hub.load(str(PROJECT_ROOT), "seqtrack_l256", source="local")
