"""Configurations are strict, typed, fresh, and hold the published values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lib.config.seqtrack.config import (
    default_config,
    experiment_name,
    known_experiments,
    load_config,
    parse_override,
)
from lib.utils.errors import ConfigError
from tests.golden import load_json

PUBLISHED = load_json("optimizer_and_config.json")["configs"]


def assert_holds(actual: Mapping[str, Any], expected: Mapping[str, Any], prefix: str = "") -> None:
    for key, value in expected.items():
        if isinstance(value, Mapping):
            assert_holds(actual[key], value, f"{prefix}{key}.")
        else:
            assert actual[key] == value, f"{prefix}{key}"


def test_published_defaults() -> None:
    assert_holds(default_config(), PUBLISHED["_defaults"])


@pytest.mark.parametrize("name", sorted(set(PUBLISHED) - {"_defaults"}))
def test_published_experiment(name: str) -> None:
    assert_holds(load_config(name), PUBLISHED[name])


@pytest.mark.parametrize("name", known_experiments())
def test_every_shipped_experiment_loads(name: str) -> None:
    assert load_config(name).MODEL.BINS > 0


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


def test_each_call_is_fresh() -> None:
    first = load_config("seqtrack_b256")
    first.TEST.UPDATE_INTERVALS.LASOT = 1
    first.DATA.TRAIN.DATASETS_NAME.append("X")
    assert load_config("seqtrack_b256").TEST.UPDATE_INTERVALS.LASOT == 450
    assert load_config("seqtrack_l256").DATA.TRAIN.DATASETS_NAME[-1] == "TRACKINGNET"
    assert default_config().MODEL.DECODER.DEC_LAYERS == 6


def test_scientific_notation_is_a_number(tmp_path: Path) -> None:
    cfg = load_config(write(tmp_path, "TRAIN: {LR: 1e-4, WEIGHT_DECAY: 5e-2, GRAD_CLIP_NORM: 1}"))
    assert (cfg.TRAIN.LR, cfg.TRAIN.WEIGHT_DECAY, cfg.TRAIN.GRAD_CLIP_NORM) == (1e-4, 5e-2, 1.0)
    assert isinstance(cfg.TRAIN.GRAD_CLIP_NORM, float)


def test_a_benchmark_of_ones_own(tmp_path: Path) -> None:
    cfg = load_config(write(tmp_path, "TEST: {UPDATE_INTERVALS: {MINE: 5}, UPDATE_THRESHOLD: {LASOT: 0.5}}"))
    assert cfg.TEST.UPDATE_INTERVALS.MINE == 5
    assert cfg.TEST.UPDATE_THRESHOLD.LASOT == 0.5


def test_empty_file_is_the_defaults(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "")) == default_config()


def test_a_list_of_sample_intervals(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "DATA: {MAX_SAMPLE_INTERVAL: [50, 100]}")).DATA.MAX_SAMPLE_INTERVAL == [50, 100]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "DATA: {TRAIN: {DATASETS_RATO: [1]}}",
            ["DATA.TRAIN.DATASETS_RATO: no such option; did you mean DATASETS_RATIO?"],
        ),
        ("MODLE: {BINS: 3}", ["MODLE: no such option; did you mean MODEL?"]),
        ("MODEL: {QQQ: 3}", ["MODEL.QQQ: no such option; known here: HIDDEN_DIM"]),
        ("MODEL: {BINS: many}", ["MODEL.BINS: expected an integer, got 'many'"]),
        ("MODEL: {BINS: 4000.5}", ["MODEL.BINS: expected an integer"]),
        ("MODEL: {BINS: true}", ["MODEL.BINS: expected an integer, got True"]),
        ("TEST: {WINDOW: 1}", ["TEST.WINDOW: expected true or false, got 1"]),
        ("TRAIN: {LR: fast}", ["TRAIN.LR: expected a number, got 'fast'"]),
        ("TRAIN: 3", ["TRAIN: expected a section, got 3"]),
        ("TRAIN: {LR: {a: 1}}", ["TRAIN.LR: expected a number"]),
        ("DATA: {TRAIN: {DATASETS_NAME: LASOT}}", ["DATA.TRAIN.DATASETS_NAME: expected a list of texts, got 'LASOT'"]),
        ("DATA: {MAX_SAMPLE_INTERVAL: x}", ["DATA.MAX_SAMPLE_INTERVAL: expected an integer or a list of integers"]),
        ("DATA: {SEQ_FORMAT: xyhw}", ["DATA.SEQ_FORMAT: 'xyhw' is not one of xywh, whxy, corner; did you mean xywh?"]),
        ("DATA: {TEMPLATE: {NUMBER: 3}}", ["DATA.TEMPLATE.NUMBER is 3 but TEST.NUM_TEMPLATES is 1"]),
        ("DATA: {TRAIN: {DATASETS_RATIO: [1]}}", ["DATA.TRAIN.DATASETS_RATIO: 1 ratios for 2 data sets"]),
        ("DATA: {SEARCH: {SIZE: 250}}\nTEST: {SEARCH_SIZE: 250}", ["DATA.SEARCH.SIZE: 250 is not a multiple"]),
        ("DATA: {SEARCH: {SIZE: 384}}", ["DATA.SEARCH.SIZE is 384 but TEST.SEARCH_SIZE is 256"]),
        ("TRAIN: {BATCH_SIZE: 0}", ["TRAIN.BATCH_SIZE: must be greater than 0, got 0"]),
        ("TEST: {UPDATE_INTERVALS: {MINE: often}}", ["TEST.UPDATE_INTERVALS.MINE: expected an integer"]),
        ("- a\n- b", ["expected sections such as MODEL and TRAIN, got list"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_bad_yaml_is_one_clear_line(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))
    message = str(caught.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown config 'seqtrack_b265'; known .*seqtrack_demo.*did you mean"):
        load_config("seqtrack_b265")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such config file"):
        load_config("somewhere/nowhere.yaml")


def test_overrides_win_and_are_checked() -> None:
    assert load_config("seqtrack_b256", {"TEST.SEARCH_FACTOR": 5}).TEST.SEARCH_FACTOR == 5.0
    with pytest.raises(ConfigError, match=r"override: TEST\.SERCH_FACTOR"):
        load_config("seqtrack_b256", {"TEST.SERCH_FACTOR": 5})


def test_overrides_of_a_command_line() -> None:
    assert parse_override("TRAIN.LR=2e-4") == ("TRAIN.LR", "2e-4")
    assert parse_override("DATA.TRAIN.DATASETS_NAME=[A, B]") == ("DATA.TRAIN.DATASETS_NAME", ["A", "B"])
    for bad in ("TRAIN.LR", "=3", "A=[1"):
        with pytest.raises(ConfigError, match="expected KEY=VALUE"):
            parse_override(bad)
    assert load_config("seqtrack_demo", dict([parse_override("TRAIN.LR=2e-4")])).TRAIN.LR == 2e-4


def test_experiment_names() -> None:
    assert experiment_name("seqtrack_b256") == "seqtrack_b256"
    assert experiment_name("some/where/mine.v2.yaml") == "mine.v2"
