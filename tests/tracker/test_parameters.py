"""The settings of the tracker: what the benchmark chooses, where the checkpoint is found, what is refused."""

import dataclasses

import pytest
import yaml

from lib.config.paths import bundled_checkpoint, checkpoint_path
from lib.config.seqtrack.config import load_config
from lib.test.evaluation.trackers import tracker_recipe
from lib.test.parameter.seqtrack import parameters, parameters_from_config
from lib.utils.errors import CheckpointError, ConfigError
from tests.tracker import fakes


@pytest.mark.parametrize(
    ("config", "dataset", "interval", "threshold"),
    [
        ("seqtrack_b256", "lasot", 450, 0.6),
        ("seqtrack_b256", "lasot_lmdb", 450, 0.6),  # the published code gives 9999
        ("seqtrack_b256", "LaSOT", 450, 0.6),
        ("seqtrack_b256", "lasot_extension_subset", 9999, 0.6),
        ("seqtrack_b256", "trackingnet", 25, 0.6),
        ("seqtrack_b256", "tnl2k", 25, 0.6),
        ("seqtrack_b256", "got10k_test", 1, 0.6),
        ("seqtrack_b256", "got10k_val", 9999, 0.6),
        ("seqtrack_b256", "my_own", 9999, 0.6),
        ("seqtrack_b256", "default", 9999, 0.6),
        ("seqtrack_b256", "vot20", 1, 0.55),
        ("seqtrack_b384", "vot20", 20, 0.45),
        ("seqtrack_l256", "vot22", 10, 0.475),
    ],
)
def test_the_benchmark_chooses_interval_and_threshold(config, dataset, interval, threshold):
    params = parameters_from_config(load_config(config), checkpoint=None, dataset=dataset)
    assert (params.update_interval, params.update_threshold) == (interval, threshold)


def test_yaml_may_name_any_benchmark(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"TEST": {"UPDATE_INTERVALS": {"MY_OWN": 7}, "UPDATE_THRESHOLD": {"LASOT": 1.25}}}))
    cfg = load_config(path)
    mine, lasot = (parameters_from_config(cfg, checkpoint=None, dataset=name) for name in ("my_own", "lasot"))
    assert (mine.update_interval, mine.update_threshold) == (7, 0.6)
    assert (lasot.update_interval, lasot.update_threshold) == (450, 1.25)


def test_values_of_a_published_experiment():
    params = parameters_from_config(load_config("seqtrack_l384"), checkpoint="x.pth.tar", dataset="lasot", device="cpu")
    assert (params.search_size, params.search_factor) == (384, 4.0)
    assert (params.template_size, params.template_factor, params.num_templates) == (384, 4.0, 2)
    assert params.window is True
    assert (params.mean, params.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.window = False


@pytest.mark.parametrize("name", ["SEQTRACK_ep0500.pth.tar", "SEQTRACK.pth.tar"])
def test_the_checkpoint_is_found_below_save_dir(tmp_path, name):
    path = tmp_path / "checkpoints" / "train" / "seqtrack" / "seqtrack_b256" / name
    path.parent.mkdir(parents=True)
    path.touch()
    assert parameters("seqtrack_b256", "lasot", save_dir=tmp_path).checkpoint == path


def test_a_missing_checkpoint_names_the_places(tmp_path):
    with pytest.raises(CheckpointError, match=r"SEQTRACK_ep0007\.pth\.tar.*SEQTRACK\.pth\.tar"):
        parameters("seqtrack_b256", "lasot", save_dir=tmp_path, epoch=7)


def test_workers_take_the_checkpoint_that_was_chosen_once(tmp_path, caplog):
    recipe = tracker_recipe("seqtrack", "seqtrack_demo", "got10k_val", save_dir=tmp_path)
    chosen = recipe.parameters("cpu")
    assert len(caplog.records) == 1  # bundled weights
    later = checkpoint_path(tmp_path, "seqtrack_demo", 64)
    later.parent.mkdir(parents=True)
    later.touch()
    assert recipe.parameters("cpu").checkpoint == later
    assert recipe.fixed(chosen).parameters("cpu").checkpoint == chosen.checkpoint == bundled_checkpoint("seqtrack_demo")
    assert len(caplog.records) == 1


def test_overrides_set_fields():
    params = parameters("seqtrack_b256", "lasot", checkpoint="x", update_interval=3, window=False)
    assert (params.update_interval, params.window) == (3, False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"update_intervall": 3}, "unknown tracker parameter 'update_intervall'.*did you mean update_interval"),
        ({"update_interval": 0}, "update_interval must be above 0"),
        ({"num_templates": 1}, "TEST.NUM_TEMPLATES is 1 but DATA.TEMPLATE.NUMBER is 2"),
        ({"search_size": 384}, "TEST.SEARCH_SIZE is 384 but DATA.SEARCH.SIZE is 256"),
    ],
)
def test_bad_overrides_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        parameters("seqtrack_b256", "lasot", checkpoint="x", **overrides)


def test_bad_interval_in_the_configuration_is_refused():
    with pytest.raises(ConfigError, match=r"UPDATE_INTERVALS\.DEFAULT: expected an integer from 1 "):
        fakes.params(TEST__UPDATE_INTERVALS={"DEFAULT": 0})
