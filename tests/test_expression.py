from __future__ import annotations

import pytest

from aisp_runner.errors import ConfigError
from aisp_runner.expression import evaluate, names

WHERE = "conf/workload/x.yaml: work.bytes"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n", 7),
        ("2 * n", 14),
        ("n // 2 + 1", 4),
        ("n / 2", 3.5),
        ("-(n - 9) ** 2", -4),
        ("n % 4 * 10", 30),
        ("12 * n * m", 252),
        ("1.5e3", 1500.0),
        (5, 5),
        (2.5, 2.5),
    ],
)
def test_arithmetic_over_axis_names_is_computed(text: str | float, value: float) -> None:
    assert evaluate(text, {"n": 7, "m": 3}, WHERE) == value


def test_names_come_once_and_in_order() -> None:
    assert names("m * n + m", WHERE) == ["m", "n"]


def test_undefined_axis_is_named_with_the_device_and_the_known_ones() -> None:
    with pytest.raises(ConfigError) as refused:
        evaluate("2 * m", {"n": 7}, "inputs.a.shape", "cpu")
    assert str(refused.value) == "inputs.a.shape: axis 'm' is not defined for device cpu. Axes: n."


def test_misspelt_axis_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"axis 'row' is not defined\. Did you mean 'rows'\? Axes: rows, columns\."):
        evaluate("row", {"rows": 1, "columns": 2}, WHERE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("__import__('os')", "holds a call"),
        ("n.real", "holds an attribute"),
        ("n[0]", "holds an index"),
        ("n < 3", "holds a comparison"),
        ("'a' * n", "holds the constant 'a'"),
        ("True + n", "holds the constant True"),
        ("n if n else 1", "holds 'IfExp'"),
        ("lambda: n", "holds 'Lambda'"),
        ("n @ n", "holds 'MatMult'"),
        ("n +", "is not arithmetic"),
        ("", "is not arithmetic"),
        ("n; n", "is not arithmetic"),
        ("(" * 90 + "n" + ")" * 90 + "+" * 40, "an expression of 221 characters"),
    ],
)
def test_what_is_not_plain_arithmetic_is_refused_and_the_place_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        evaluate(text, {"n": 7}, WHERE)
    assert str(refused.value).startswith(WHERE)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2 ** 65", "exponents are 0 to 64"),
        ("2 ** -1", "exponents are 0 to 64"),
        ("10 ** 60", "values stay within 2\\*\\*100"),
        ("9 ** 64 ** 64", "exponents are 0 to 64|out of bounds"),
        ("1e308 * 10", "out of bounds"),
        ("n / 0", "divides by zero"),
        ("n // (n - 7)", "divides by zero"),
        ("(0 - n) ** 0.5", "no real value"),
    ],
)
def test_values_and_exponents_are_bounded(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        evaluate(text, {"n": 7}, WHERE)
