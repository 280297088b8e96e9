"""Centres and intervals, checked against tables and simulation."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from aisp_runner.intervals import (
    POWER,
    centre,
    mean_interval,
    median,
    median_error,
    median_interval,
    reach,
    sign_rank,
    student,
)


def test_a_median_is_the_middle_or_the_mean_of_the_two_middle_values() -> None:
    assert median([3, 1, 2]) == 2 and median([4, 1, 3, 2]) == 2.5 and median([7.0]) == 7.0
    with pytest.raises(ValueError, match="no values to take a median of"):
        median([])


def test_the_error_of_a_median_is_what_medians_of_samples_scatter_by() -> None:
    source = random.Random(5)
    samples = [[source.gauss(10, 2) for _ in range(25)] for _ in range(800)]
    assert np.mean([median_error(s) for s in samples]) == pytest.approx(np.std([median(s) for s in samples]), rel=0.1)
    assert median_error([4.0, 4.0, 4.0]) == 0


def test_a_centre_is_the_median_of_the_means_of_pairs() -> None:
    assert centre([5.0]) == 5 and centre([1, 3]) == 2
    assert centre([0, 1, 5]) == 1.75  # of 0, 0.5, 1, 2.5, 3, 5
    assert centre([1.0, 2.0, 3.0, 4.0, 1e9]) == pytest.approx(3)
    assert math.isnan(centre([1.0, math.nan, 2.0])) and math.isnan(centre([math.nan, 1.0, 2.0]))


def test_a_centre_is_as_narrow_as_its_source_says() -> None:
    """Source: Hodges and Lehmann 1963: an asymptotic efficiency of 3 / pi against the mean, for a normal distribution."""
    source = random.Random(3)
    samples = [[source.gauss(0, 1) for _ in range(24)] for _ in range(1500)]
    by_centre, by_mean = (np.var([f(s) for s in samples]) for f in (centre, np.mean))
    assert by_mean / by_centre == pytest.approx(3 / math.pi, abs=0.04)


@pytest.mark.parametrize(("count", "rank", "covered"), [(5, 1, 0.9375), (6, 1, 0.96875), (9, 2, 0.9609375), (16, 4, 0.97873)])
def test_ranks_are_those_of_the_sign_test(count: int, rank: int, covered: float) -> None:
    """Source of the values: tables of the binomial distribution with p = 1/2."""
    k, said = sign_rank(count)
    assert k == rank and said == pytest.approx(covered, abs=1e-5)


@pytest.mark.parametrize("count", range(6, 61))
def test_a_rank_is_the_largest_that_still_covers_enough(count: int) -> None:
    def covers(k: int) -> float:
        return 1 - 2 * sum(math.comb(count, i) for i in range(k)) / 2**count

    k, covered = sign_rank(count)
    assert covered == pytest.approx(covers(k)) and covered >= 0.95
    assert covers(k + 1) < 0.95


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_values_say_how_little_they_cover(count: int) -> None:
    interval = median_interval(list(range(count)))
    assert (interval.low, interval.high) == (0, count - 1)
    assert interval.confidence == pytest.approx(1 - 2 * 0.5**count) and interval.confidence < 0.95


@pytest.mark.parametrize("law", ["normal", "skewed"])
@pytest.mark.parametrize("count", [6, 12, 25])
def test_median_intervals_enclose_the_true_median_as_often_as_they_say(count: int, law: str) -> None:
    source, trials = random.Random(11), 4000
    draw, true = (source.gauss, 0.0) if law == "normal" else (source.lognormvariate, 1.0)
    enclosed, said = 0, 0.0
    for _ in range(trials):
        interval = median_interval([draw(0.0, 1.0) for _ in range(count)])
        enclosed += interval.low <= true <= interval.high
        said = interval.confidence
    assert enclosed / trials == pytest.approx(said, abs=4 * math.sqrt(said * (1 - said) / trials))


@pytest.mark.parametrize(("degrees", "quantile", "value"), [(2, 0.975, 4.3027), (4, 0.975, 2.7764), (9, 0.95, 1.8331)])
def test_students_quantiles_are_those_of_the_tables(degrees: int, quantile: float, value: float) -> None:
    assert student(quantile, degrees) == pytest.approx(value, abs=1e-4)


def test_a_mean_interval_is_students() -> None:
    interval = mean_interval([1.0, 2.0, 6.0])
    assert interval.value == 3 and interval.confidence == 0.95
    assert interval.half_width == pytest.approx(4.3027 * math.sqrt(7) / math.sqrt(3), rel=1e-4)
    assert interval.exp().low == pytest.approx(math.exp(interval.low))


@pytest.mark.parametrize("degrees", [2, 4, 9])
def test_a_repetition_finds_what_it_reaches_four_times_of_five(degrees: int) -> None:
    """Two runs of normal values: the first one's deviation says what is detectable, the second one looks for it."""
    source, trials, n = np.random.default_rng(7), 40_000, degrees + 1
    first, second = source.normal(size=(2, trials, n))
    error = first.std(1, ddof=1) / math.sqrt(n)
    effect = second.mean(1) + reach(degrees) * error
    found = effect > student(0.975, degrees) * second.std(1, ddof=1) / math.sqrt(n)
    assert found.mean() == pytest.approx(POWER, abs=0.01)


def test_the_usual_approximation_would_promise_too_much() -> None:
    usual = student(0.975, 2) + student(0.8, 2)
    source, trials = np.random.default_rng(8), 40_000
    first, second = source.normal(size=(2, trials, 3))
    found = second.mean(1) + usual * first.std(1, ddof=1) / math.sqrt(3) > student(0.975, 2) * second.std(
        1, ddof=1
    ) / math.sqrt(3)
    assert found.mean() == pytest.approx(0.61, abs=0.01), "three processes"
    assert reach(2) > 1.6 * usual
    assert reach(60) == pytest.approx(student(0.975, 60) + student(0.8, 60), rel=0.03), "many processes: no difference left"
