"""YAML is read as written: no key twice, no growth, no guessed number; every refusal names source and line."""

import time

import pytest

from lib.config.yaml_text import read_yaml
from lib.utils.errors import ConfigError

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "\n".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("a: 1", {"a": 1}),
        (
            "a: [1, -2.5, 1e-4, x, 'yes', yes, off, ~, null, 1_000]",
            {"a": [1, -2.5, "1e-4", "x", "yes", True, False, None, None, 1000]},
        ),
        ("a: 1.5e+3", {"a": 1500.0}),
        ("a: 010", {"a": "010"}),  # YAML 1.1 says 8
        ("a: 1:30", {"a": "1:30"}),  # YAML 1.1 says 90
        ("a: 2024-13-45", {"a": "2024-13-45"}),
        ("a: .nan", {"a": ".nan"}),
        ("a: &size 256\nb: *size", {"a": 256, "b": 256}),
        ("on: 1\n5: 2\n~: 3", {"on": 1, "5": 2, "~": 3}),
        ("- a\n- b: {c: d}", ["a", {"b": {"c": "d"}}]),
        ("--- \na: !!str 5", {"a": "5"}),
    ],
)
def test_values(text: str, value: object) -> None:
    assert read_yaml(text, "f.yaml") == value


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("A: 1\nB: 2\nA: 3", "line 3: A: given twice, first in line 1"),
        ("TRAIN:\n  LR: 1\nTRAIN:\n  EPOCH: 2", "line 3: TRAIN: given twice, first in line 1"),
        ("T: {a: 1, a: 2}", "line 1: a: given twice"),
        (LAUGHS, "line 2: *a does not stand for a single value given above"),
        ("a: &a [*a]", "*a does not stand for a single value"),
        ("a: &a {b: 1}\nc: {<<: *a}", "*a does not stand for a single value"),
        ("a: *nowhere", "*nowhere does not stand"),
        (f"a: &a {'x' * 2000}\nb: *a", "line 2: *a does not stand"),
        ("[" * 5000, "nested more than 20 levels deep"),
        ("{a: " * 5000, "nested more than 20 levels deep"),
        ("- " * 5000 + "x", "nested more than 20 levels deep"),
        ("a: [", "not valid YAML"),
        ("a:\t- b\n\t- c", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("? [a]\n: b", "expected a name as key"),
        ("a: 1\n---\nb: 2", "a second document"),
        (
            "a: !!python/object/apply:os.system [x]",
            "line 1: tag tag:yaml.org,2002:python/object/apply:os.system",
        ),
        ("a: !!binary eA==", "is not supported"),
        ("a: !own x", "tag !own is not supported"),
        ("!!set {a}", "is not supported"),
    ],
)
def test_refused_in_one_line(text: str, part: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        read_yaml(text, "f.yaml")
    assert str(caught.value).startswith("f.yaml: ")
    assert part in str(caught.value)
    assert len(str(caught.value)) < 1100
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("text", ["!!int abc", "!!int ''", "!!float x", "!!bool x", "9" * 6000, "-" + "9" * 6000])
def test_what_is_no_number_stays_a_text(text: str) -> None:
    assert isinstance(read_yaml(text, "f.yaml"), str)
