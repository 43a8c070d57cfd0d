"""Configurations are strict, typed, fresh, and hold the published values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lib.config.seqtrack.config import (
    ALIASES,
    SCHEMA,
    default_config,
    experiment_name,
    get_option,
    known_experiments,
    load_config,
)
from lib.config.yaml_text import parse_override, parse_overrides
from lib.train import run_training
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


def test_paths_may_start_with_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    cfg = default_config({"DATA.SYNTHETIC.CUTOUTS": "~/cutouts", "MODEL.ENCODER.PRETRAIN_TYPE": "~/vit.pth"})
    assert cfg.DATA.SYNTHETIC.CUTOUTS == "/home/me/cutouts"
    assert cfg.MODEL.ENCODER.PRETRAIN_TYPE == "/home/me/vit.pth"
    with pytest.raises(ConfigError, match=r"SYNTHETIC\.CUTOUTS: .*known home folder, got '~nobody_of_that_name/x'"):
        default_config({"DATA.SYNTHETIC.CUTOUTS": "~nobody_of_that_name/x"})


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
        ("MODEL: {BINS: many}", ["MODEL.BINS: expected an integer from 2 to 50000, got 'many'"]),
        ("MODEL: {BINS: 4000.5}", ["MODEL.BINS: expected an integer"]),
        ("MODEL: {BINS: true}", ["MODEL.BINS: expected an integer from 2 to 50000, got True"]),
        ("TEST: {WINDOW: 1}", ["TEST.WINDOW: expected true or false, got 1"]),
        ("TRAIN: {LR: fast}", ["TRAIN.LR: expected a number above 0 and up to 1000, got 'fast'"]),
        ("TRAIN: 3", ["TRAIN: expected a section, got 3"]),
        ("TRAIN: {LR: {a: 1}}", ["TRAIN.LR: expected a number"]),
        (
            "DATA: {TRAIN: {DATASETS_NAME: LASOT}}",
            ["DATA.TRAIN.DATASETS_NAME: expected a list of 1 to 1000 entries"],
        ),
        (
            "DATA: {MAX_SAMPLE_INTERVAL: x}",
            ["expected an integer from 1 to 1000000, or a list of"],
        ),
        (
            "DATA: {SEQ_FORMAT: xyhw}",
            ["SEQ_FORMAT: expected one of xywh, whxy, corner, got 'xyhw'; did you mean xywh?"],
        ),
        ("DATA: {TEMPLATE: {NUMBER: 3}}", ["DATA.TEMPLATE.NUMBER is 3 but TEST.NUM_TEMPLATES is 1"]),
        ("DATA: {TRAIN: {DATASETS_RATIO: [1]}}", ["DATA.TRAIN.DATASETS_RATIO: 1 ratios for 2 of"]),
        ("DATA: {SEARCH: {SIZE: 250}}\nTEST: {SEARCH_SIZE: 250}", ["DATA.SEARCH.SIZE: 250 is not a multiple"]),
        ("DATA: {SEARCH: {SIZE: 384}}", ["DATA.SEARCH.SIZE is 384 but TEST.SEARCH_SIZE is 256"]),
        ("TRAIN: {BATCH_SIZE: 0}", ["TRAIN.BATCH_SIZE: expected an integer from 1 to 4096, got 0"]),
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


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"DATA.TRAIN.DATASETS_RATIO": [0, 0]}, "DATA.TRAIN.DATASETS_RATIO: the ratios must not all be 0"),
        ({"DATA.STD": [0, 0, 0]}, "DATA.STD: expected a list of 3 entries, each a number from 0.001 to 10"),
        ({"DATA.MEAN": [0.5]}, "DATA.MEAN: expected a list of 3 entries"),
        ({"TRAIN.LR_DROP_EPOCH": 0}, "TRAIN.LR_DROP_EPOCH: expected an integer from 1"),
        ({"TRAIN.NUM_WORKER": -1}, "TRAIN.NUM_WORKER: expected an integer from 0 to 128"),
        ({"TRAIN.GRAD_CLIP_NORM": -1}, "TRAIN.GRAD_CLIP_NORM: expected a number from 0"),
        ({"MODEL.DECODER.DROPOUT": 1}, "MODEL.DECODER.DROPOUT: expected a number from 0 and below 1"),
        ({"DATA.SEARCH.CENTER_JITTER": -3}, "DATA.SEARCH.CENTER_JITTER: expected a number from 0"),
        ({"MODEL.ENCODER.TYPE": "vit_huge_patch14"}, "STRIDE: patches of vit_huge_patch14 have 14 pixels, not 16"),
        ({"TRAIN.SCHEDULER.TYPE": "Mstep"}, "TRAIN.SCHEDULER.MILESTONES: the schedule Mstep needs"),
        ({"TRAIN.CE_WEIGHT": 0, "TRAIN.GUIDE_WEIGHT": 0}, "TRAIN.CE_WEIGHT and TRAIN.GUIDE_WEIGHT: both"),
        ({"TRAIN.BATCH_SIZE": 4096, "DATA.SEARCH.SIZE": 2048, "TEST.SEARCH_SIZE": 2048}, "4096 samples take 192 GiB"),
        (
            {"DATA.VAL.DATASETS_NAME": ["LASOT"], "DATA.VAL.DATASETS_RATIO": [1]},
            "DATA.VAL.SAMPLE_PER_EPOCH: 0 samples of the datasets",
        ),
        ({"TEST.UPDATE_INTERVALS.lasot": 3}, "TEST.UPDATE_INTERVALS: two names of benchmarks differ in case only"),
        ({f"TEST.UPDATE_INTERVALS.{'X' * 101}": 3}, "no such option"),
    ],
)
def test_what_would_fail_later_is_refused_when_loaded(overrides: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("seqtrack_demo", overrides)
    assert part in str(caught.value)


@pytest.mark.parametrize("name", ["~nobody_of_that_name/a.yaml", "x" * 5000, f"{'x' * 5000}.yaml", "a\0.yaml", "/mine"])
def test_a_name_that_is_no_config_is_one_line(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(name)
    assert len(str(caught.value)) < 1100


def test_files_that_are_no_config_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.mkdir()
    with pytest.raises(ConfigError, match=r"a\.yaml: not a regular file"):
        load_config(path)
    path.rmdir()
    path.symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="not a regular file"):
        load_config(path)
    path.unlink()
    path.symlink_to(path)
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load_config(path)
    path.unlink()
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read the file"):
        load_config(path)
    path.write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ConfigError, match="larger than 1048576 bytes"):
        load_config(path)
    path.write_bytes("TRAIN: {EPOCH: 7}".encode("utf-8-sig"))
    assert load_config(path).TRAIN.EPOCH == 7


def test_unknown_config_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown config 'seqtrack_b265'; known .*seqtrack_demo.*did you mean"):
        load_config("seqtrack_b265")
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such config file"):
        load_config("somewhere/nowhere.yaml")


def test_overrides_win_and_are_checked() -> None:
    assert load_config("seqtrack_b256", {"TEST.SEARCH_FACTOR": 5}).TEST.SEARCH_FACTOR == 5.0
    with pytest.raises(ConfigError, match=r"override: TEST\.SERCH_FACTOR"):
        load_config("seqtrack_b256", {"TEST.SERCH_FACTOR": 5})


@pytest.mark.parametrize(("old", "new"), ALIASES.items())
def test_a_former_name_works_with_one_warning(
    old: str, new: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    section, _, key = old.rpartition(".")
    value = "true" if isinstance(get_option(SCHEMA, new).default, bool) else "2.5"
    path = write(tmp_path, f"{section}: {{{key}: {value}}}").rename(tmp_path / f"{key}.yaml")
    assert load_config(path) == load_config(path) == default_config(dict([parse_override(f"{new}={value}")]))
    assert [record.message for record in caplog.records] == [
        f"{key}.yaml: {old} is now called {new}; the former name still works"
    ]
    assert (
        get_option(load_config(path, {old: get_option(default_config(), new)}), new) == get_option(SCHEMA, new).default
    )
    assert any(f"override: {old} is now called {new}" in record.message for record in caplog.records)


def test_a_former_name_beside_the_current_one(tmp_path: Path) -> None:
    path = write(tmp_path, "TRAIN: {SMOOTH_WORDS: 1.5, SMOOTH_TOKENS: 1.5}")
    assert load_config(path, {"TRAIN.SMOOTH_WORDS": 2, "TRAIN.SMOOTH_TOKENS": 2}).TRAIN.SMOOTH_TOKENS == 2
    path = write(tmp_path, "TRAIN: {SMOOTH_WORDS: 1.5, SMOOTH_TOKENS: 2}")
    with pytest.raises(
        ConfigError, match=r"mine\.yaml: TRAIN\.SMOOTH_TOKENS: given as 2, and as 1\.5 under its former"
    ):
        load_config(path)
    with pytest.raises(ConfigError, match=r"override: TRAIN\.SMOOTH_TOKENS: given as 3, and as 2 under"):
        default_config({"TRAIN.SMOOTH_WORDS": 2, "TRAIN.SMOOTH_TOKENS": 3})
    with pytest.raises(ConfigError, match=r"mine\.yaml: TRAIN\.SMOOTH_TOKENS: expected a number"):
        load_config(write(tmp_path, "TRAIN: {SMOOTH_WORDS: many}"))


def test_overrides_of_a_command_line() -> None:
    assert parse_override("TRAIN.LR=2e-4") == ("TRAIN.LR", "2e-4")
    assert parse_override("DATA.SYNTHETIC.CUTOUTS=") == ("DATA.SYNTHETIC.CUTOUTS", "")
    assert parse_override("DATA.TRAIN.DATASETS_NAME=[A, B]") == ("DATA.TRAIN.DATASETS_NAME", ["A", "B"])
    for bad in ("TRAIN.LR", "=3", " =3"):
        with pytest.raises(ConfigError, match="expected KEY=VALUE"):
            parse_override(bad)
    with pytest.raises(ConfigError, match=r"override 'A=\[1': line 1: not valid YAML"):
        parse_override("A=[1")
    with pytest.raises(ConfigError, match=r"override TRAIN\.LR: given twice"):
        parse_overrides(["TRAIN.LR=1", "TRAIN.EPOCH=3", "TRAIN.LR=2"])
    assert load_config("seqtrack_demo", dict([parse_override("TRAIN.LR=2e-4")])).TRAIN.LR == 2e-4


def test_a_list_flag_given_twice_keeps_both() -> None:
    argv = ["--config", "x", "--override", "TRAIN.LR=1", "TRAIN.EPOCH=2", "--override", "TRAIN.SEED=3"]
    assert run_training.parse_args(argv).override == ["TRAIN.LR=1", "TRAIN.EPOCH=2", "TRAIN.SEED=3"]
    assert run_training.parse_args(argv[:2]).override == []


def test_experiment_names() -> None:
    assert experiment_name("seqtrack_b256") == "seqtrack_b256"
    assert experiment_name("some/where/mine.v2.yaml") == "mine.v2"
