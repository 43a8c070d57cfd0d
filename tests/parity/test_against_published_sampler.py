"""The sampler modes draw the published frames from the same seeds (tests/golden/sampler_parity.json)."""

import ast
import re

import numpy as np
import pytest

from lib.data.base import SequenceInfo
from lib.train.data.frame_choice import FramePolicy, frame_mode
from lib.utils.seed import SampleRng
from tests.golden import load_json

GOLDEN = load_json("sampler_parity.json")
VISIBLE = np.array(GOLDEN["visible"], dtype=bool)
INFO = SequenceInfo(np.ones((len(VISIBLE), 4), np.float32), np.ones(len(VISIBLE), bool), VISIBLE)
RUNS = [name for name in GOLDEN["runs"] if not name.endswith("_stats")]


def parse(name):
    mode, gap, templates, searches = re.fullmatch(r"([a-z_]+?)_gap(.+)_t(\d)_s(\d)", name).groups()
    gaps = ast.literal_eval(gap)
    return mode, FramePolicy(int(templates), int(searches), tuple(gaps) if isinstance(gaps, list) else (gaps,))


@pytest.mark.parametrize("name", RUNS)
def test_frames_of_recorded_seeds(name):
    mode, policy = parse(name)
    for seed, (template, search) in enumerate(GOLDEN["runs"][name]):
        rng = SampleRng.from_seed(seed)
        if mode == "causal":  # recorded as a whole sample: the dataset and the sequence were drawn before
            rng.python.choices([0], [1])
            rng.python.randint(0, 0)
        choice = frame_mode(mode, policy)(rng, INFO, policy)
        assert (choice.template, choice.search) == (template, search)


@pytest.mark.parametrize("name", [name for name in RUNS if f"{name}_stats" in GOLDEN["runs"]])
def test_statistics_of_order_mode(name):
    mode, policy = parse(name)
    expected = GOLDEN["runs"][f"{name}_stats"]
    choices = [frame_mode(mode, policy)(SampleRng.from_seed(seed), INFO, policy) for seed in range(4000)]
    ids = np.array([choice.template + choice.search for choice in choices])
    steps = np.diff(ids, axis=1)
    assert ((steps >= 0).all(axis=1) | (steps <= 0).all(axis=1)).all()
    assert (ids.max(axis=1) - ids.min(axis=1)).max() <= 2 * policy.gaps[0] - 1
    assert (ids.max(axis=1) - ids.min(axis=1)).max() == pytest.approx(expected["max_span"], abs=6)
    forward = (ids[:, -1] >= ids[:, policy.num_template - 1]).mean()
    assert forward == pytest.approx(expected["frac_search_not_before"], abs=0.03)
    repeated = np.mean([len(set(row)) < len(row) for row in ids.tolist()])
    assert repeated == pytest.approx(expected["frac_with_repeated_frame"], abs=0.03)
    assert VISIBLE[ids].all()
