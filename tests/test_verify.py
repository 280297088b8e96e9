"""Comparing outputs with the oracle's answer."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from aisp_runner import verify
from aisp_runner.case import Tensor
from aisp_runner.verify import Comparison, accepts, bits, compare, poison, poison_bits

DTYPES = ("float64", "float32", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64")
NAN, INF = math.nan, math.inf


def spec(dtype: str = "float32", rtol: float = 0.0, atol: float = 0.0) -> Tensor:
    return Tensor("c", (4,), dtype, "output", rtol=rtol, atol=atol)


def held(actual: Any, expected: Any, dtype: str = "float32", equal_nan: bool = False, **tolerance: float) -> Comparison:
    """Calls of four elements each, given as lists."""
    given = actual if isinstance(actual, torch.Tensor) else torch.tensor(actual, dtype=getattr(torch, dtype))
    wanted = torch.tensor(expected, dtype=torch.float64 if given.is_floating_point() else given.dtype)
    return compare("candidate", spec(dtype, **tolerance), given, wanted, equal_nan)


def counts(c: Comparison) -> tuple[int, int, int]:
    return c.unwritten, c.nonfinite, c.wrong


@pytest.mark.parametrize("dtype", DTYPES)
def test_poison_fills_every_byte(dtype: str) -> None:
    tensor = torch.zeros(5, dtype=getattr(torch, dtype))
    poison(tensor)
    byte = 0xFF if tensor.is_floating_point() else 0xA5
    assert set(tensor.view(torch.uint8).tolist()) == {byte}
    assert set(bits(tensor).tolist()) == {poison_bits(tensor.dtype)}
    assert not tensor.is_floating_point() or bool(torch.isnan(tensor).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_are_the_same_memory(dtype: str) -> None:
    tensor = torch.zeros((2, 3), dtype=getattr(torch, dtype))
    seen = bits(tensor)
    assert seen.shape == tensor.shape and seen.data_ptr() == tensor.data_ptr()
    seen[1, 2] = 1
    assert tensor[1, 2] != 0 and not seen.is_floating_point()


def test_equal_outputs_are_right() -> None:
    c = held([[1, 2, 3, 4]], [[1, 2, 3, 4]])
    assert c == Comparison("candidate", "c", 1, 4, 0, 0, 0, (), 0.0, 0.0)


def test_tolerances_add_up() -> None:
    wanted = [[100.0, 100.0, 100.0, 0.0]]
    assert counts(held([[101.49, 98.51, 100, 0.49]], wanted, rtol=0.01, atol=0.5)) == (0, 0, 0)
    assert counts(held([[101.51, 98.49, 100, 0.51]], wanted, rtol=0.01, atol=0.5)) == (0, 0, 3)
    assert counts(held([[100.1, 100, 100, 0]], wanted)) == (0, 0, 1)


def test_the_largest_errors_are_told() -> None:
    c = held([[110.0, 1.5, 0.0, -2.0]], [[100.0, 1.0, 0.0, -2.0]])
    assert c.max_abs == 10.0 and c.max_rel == 0.5


def test_wrong_calls_are_named_by_their_place() -> None:
    good, bad = [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 5.0]
    assert held([good, bad, good, bad], [good] * 4).wrong_calls == (1, 3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_unwritten_elements_are_counted_by_themselves(dtype: str) -> None:
    actual = torch.ones((2, 4), dtype=getattr(torch, dtype))
    poison(actual[1, 1:3])
    c = held(actual, [[1] * 4] * 2, dtype, rtol=1e-3)
    assert (counts(c), c.wrong_calls) == ((2, 0, 0), (1,))


def test_an_integer_that_happens_to_be_poison_is_right_where_it_is_the_answer() -> None:
    value = poison_bits(torch.int32)
    assert counts(held([[value, 1, 2, 3]], [[value, 1, 2, 3]], "int32")) == (0, 0, 0)


def test_nan_and_infinity_are_counted_apart_from_wrong_values() -> None:
    c = held([[NAN, INF, -INF, 9.0]], [[1.0, 1.0, 1.0, 1.0]], rtol=0.1)
    assert counts(c) == (0, 3, 1)
    assert c.max_abs == 8.0, "over the finite elements"


def test_nan_is_right_only_where_the_answer_is_nan() -> None:
    assert counts(held([[NAN, 1, 1, 1]], [[NAN, 1, 1, 1]])) == (0, 0, 0)
    assert counts(held([[1, NAN, 1, 1]], [[NAN, 1, 1, 1]])) == (0, 2, 0)


@pytest.mark.parametrize("rtol", [0.0, 0.1])
@pytest.mark.parametrize(("given", "odd"), [(INF, 0), (-INF, 1), (5.0, 1), (NAN, 1)], ids=["same", "sign", "finite", "nan"])
def test_infinity_is_right_only_where_the_answer_has_the_same(given: float, odd: int, rtol: float) -> None:
    c = held([[given, 1, 1, 1]], [[INF, 1, 1, 1]], rtol=rtol)
    assert counts(c) == (0, odd, 0)
    assert math.isfinite(c.max_abs) and math.isfinite(c.max_rel)


def test_unwritten_is_told_even_where_the_answer_is_nan() -> None:
    actual = torch.ones((1, 4))
    poison(actual[0, :1])
    assert counts(held(actual, [[NAN, 1, 1, 1]])) == (1, 0, 0)


def test_a_comparison_with_equal_nan_overlooks_what_is_not_finite_and_nothing_else() -> None:
    assert counts(held([[NAN, INF, 9.0, 1.0]], [[1.0] * 4], equal_nan=True)) == (0, 0, 1)
    actual = torch.ones((1, 4), dtype=torch.int32)
    poison(actual[0, :2])
    assert counts(held(actual, [[1] * 4], "int32", equal_nan=True)) == (2, 0, 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integer_outputs_are_compared_exactly(dtype: str) -> None:
    assert counts(held([[1, 2, 3, 100]], [[1, 2, 3, 100]], dtype)) == (0, 0, 0)
    assert counts(held([[1, 2, 3, 101]], [[1, 2, 3, 100]], dtype)) == (0, 0, 1)


def test_large_integers_are_compared_exactly() -> None:
    assert counts(held([[2**60 + 1, 2, 3, 4]], [[2**60, 2, 3, 4]], "int64")) == (0, 0, 1)


@pytest.mark.parametrize("good", [True, False], ids=["right", "with every kind of fault"])
def test_comparing_in_pieces_gives_the_same(monkeypatch: pytest.MonkeyPatch, good: bool) -> None:
    torch.manual_seed(3)
    expected = torch.randn((13, 2, 2), dtype=torch.float64)
    actual = expected.float()
    if not good:
        actual[2, 0, 1] += 0.5
        actual[7, 1] = NAN
        actual[12, 1, 1] = INF
        poison(actual[5, 0])
    whole = compare("candidate", spec(rtol=1e-6), actual, expected)
    for chunk in (1, 4, 12, 20, 51):
        monkeypatch.setattr(verify, "CHUNK", chunk)
        assert compare("candidate", spec(rtol=1e-6), actual, expected) == whole
    assert whole.elements == 52 and whole.calls == 13
    assert counts(whole) == ((0, 0, 0) if good else (2, 3, 1))
    assert whole.wrong_calls == (() if good else (2, 5, 7, 12))


def test_the_answer_is_not_changed_by_comparing() -> None:
    actual, expected = torch.tensor([[1.0, NAN]]), torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    before = actual.clone(), expected.clone()
    compare("candidate", spec(), actual, expected)
    assert torch.equal(bits(actual), bits(before[0])) and torch.equal(expected, before[1])


def test_accepts_is_the_rule_of_compare() -> None:
    answer = torch.tensor([1.0, 100.0], dtype=torch.float64)
    assert accepts(spec(rtol=0.011), answer * 1.01, answer)
    assert not accepts(spec(rtol=0.009), answer * 1.01, answer)
    assert not accepts(spec(rtol=0.1), answer * NAN, answer)


def test_subnormal_answers_and_those_given_as_zero_are_counted() -> None:
    c = held(
        [[1e-40, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]], [[1e-40, 2e-39, 0.0, 1.0], [1e-44, -3e-40, 1e-50, 0.0]], atol=1e-30
    )
    assert counts(c) == (0, 0, 0)
    assert (c.subnormal, c.flushed) == (3, 2), "1e-44 and 1e-50 are too small to tell, and zero is zero"


@pytest.mark.parametrize(("dtype", "subnormal"), [("float32", 4), ("float64", 0), ("float16", 0), ("int32", 0)])
def test_what_is_subnormal_depends_on_the_dtype(dtype: str, subnormal: int) -> None:
    c = held([[0, 0, 0, 0]], [[1e-40] * 4] if dtype != "int32" else [[0] * 4], dtype, atol=1.0)
    assert (c.subnormal, c.flushed) == (subnormal, subnormal)


def test_a_call_without_subnormal_answers_counts_none() -> None:
    assert held([[1, 2, 0, 4]], [[1, 2, 3e-38, 4]], atol=1.0).subnormal == 0
