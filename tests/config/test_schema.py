"""Every option of the schema meets every hostile value: accepted in its range, or refused in one line."""

import math
from typing import Any

import pytest

from lib.config.schema import Option, defaults, merge, options
from lib.config.seqtrack.config import SCHEMA, default_config, get_option
from lib.utils.errors import ConfigError

OPTIONS = dict(options(SCHEMA))
FAR = [float("nan"), float("inf"), -float("inf"), -1e30, 1e30, 2**70, -(2**70), 10**6000]
HOSTILE = [
    *(None, True, False, -1, 0, 1, 0.5, -0.5, 1e-300, "", "x", "nan", "inf", "1e400", "1_0", "\0", "\x1b[31m\n", b"x"),
    *("x" * 100_000, "9" * 6000, [], {}, (), {"a": 1}, [[]], [[[]]], [None], ["x"], [1, 1, 1], [0, 0, 0], [0] * 5000),
    *(object(), {1}, [float("nan")] * 3, [2**70], ["x" * 100_000] * 3, [10**6000] * 3, {"a": 10**6000}),
    *FAR,
]


def outcome(name: str, value: Any) -> Any:
    """What the option becomes, or None where it is refused as promised."""
    try:
        return get_option(default_config({name: value}), name)
    except ConfigError as error:
        message = str(error)
        assert name in message
        assert len(message) < 1100
        assert message.isprintable()
        return None


@pytest.mark.parametrize("name", OPTIONS)
def test_hostile_values(name: str) -> None:
    for value in HOSTILE:
        result = outcome(name, value)
        for number in result if isinstance(result, list) else [result]:
            if isinstance(number, int | float):
                assert math.isfinite(number)
                assert abs(number) < 2**63


@pytest.mark.parametrize("name", OPTIONS)
def test_no_number_is_boundless(name: str) -> None:
    default = OPTIONS[name].default
    for far in FAR:
        for value in (far, [far], [far] * 3, repr(far) if isinstance(far, float) else far):
            result = outcome(name, value)
            assert result is None or isinstance(default, str) or default == [] or isinstance(default[0], str), value
            assert not isinstance(result, int | float)


@pytest.mark.parametrize("name", OPTIONS)
def test_the_default_is_a_value_of_the_option(name: str) -> None:
    option = OPTIONS[name]
    assert option.parse(option.default) == option.default
    assert type(get_option(default_config(), name)) is type(option.default)


def test_a_new_option_is_one_declaration() -> None:
    schema: dict[str, Any] = {"A": {"B": Option(3, "three", int)}}
    values = defaults(schema)
    merge(values, {"A": {"B": "4"}}, schema, "f.yaml")
    assert values == {"A": {"B": 4}}
    with pytest.raises(ConfigError, match=r"f\.yaml: A\.B: expected three, got 'x'"):
        merge(values, {"A": {"B": "x"}}, schema, "f.yaml")
