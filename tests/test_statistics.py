"""From batches to a speed-up with an interval, checked against simulation."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import pytest

from aisp_runner.statistics import Calls, Round, estimate, half_width, median, median_interval, sign_rank

CALLS = Calls((4, 20), (8, 40))


def rounds(
    baseline_ns: float,
    candidate_ns: float,
    count: int = 8,
    handshake_ns: float = 45e3,
    noise: Callable[[], float] = lambda: 1.0,
) -> list[Round]:
    """Rounds of arms that take so long a call, and a handshake; noise multiplies each batch."""

    def batch(calls: int, ns: float) -> float:
        return (handshake_ns + calls * ns) * noise()

    (b_short, b_long), (c_short, c_long) = CALLS.baseline, CALLS.candidate
    return [
        Round(
            batch(0, 0),
            batch(b_short, baseline_ns),
            batch(b_long, baseline_ns),
            batch(c_short, candidate_ns),
            batch(c_long, candidate_ns),
        )
        for _ in range(count)
    ]


def test_a_median_is_the_middle_or_the_mean_of_the_two_middle_values() -> None:
    assert median([3, 1, 2]) == 2 and median([4, 1, 3, 2]) == 2.5 and median([7.0]) == 7.0
    with pytest.raises(ValueError, match="no values to take a median of"):
        median([])


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
def test_intervals_enclose_the_true_median_as_often_as_they_say(count: int, law: str) -> None:
    source, trials = random.Random(11), 4000
    draw, true = (source.gauss, 0.0) if law == "normal" else (source.lognormvariate, 1.0)
    enclosed, said = 0, 0.0
    for _ in range(trials):
        interval = median_interval([draw(0.0, 1.0) for _ in range(count)])
        enclosed += interval.low <= true <= interval.high
        said = interval.confidence
    assert enclosed / trials == pytest.approx(said, abs=4 * math.sqrt(said * (1 - said) / trials))


@pytest.mark.parametrize("sealed", [True, False])
def test_an_exact_clock_gives_the_exact_speedup(sealed: bool) -> None:
    e = estimate(rounds(800e3, 400e3), CALLS, sealed)
    assert e.speedup is not None
    assert (e.speedup.value, e.speedup.low, e.speedup.high) == (pytest.approx(2), pytest.approx(2), pytest.approx(2))
    assert (e.baseline_ns, e.candidate_ns) == (pytest.approx(800e3), pytest.approx(400e3))
    assert e.handshake_ns == 45e3 and e.naive == pytest.approx(2)
    assert len(e.log_ratios) == 8 and e.log_ratios[0] == pytest.approx(math.log(2))


def test_padding_of_the_candidates_short_batches_moves_the_naive_estimate_and_not_the_sealed_one() -> None:
    honest = rounds(800e3, 800e3)
    padded = [
        Round(r.empty_ns, r.baseline_short_ns, r.baseline_long_ns, r.candidate_short_ns + 12e6, r.candidate_long_ns)
        for r in honest
    ]
    sealed, naive = estimate(padded, CALLS), estimate(padded, CALLS, sealed=False)
    assert sealed.speedup == estimate(honest, CALLS).speedup
    assert sealed.speedup is not None and sealed.speedup.value == pytest.approx(1)
    assert naive.speedup is not None and naive.speedup.value > 1.8
    assert sealed.naive == pytest.approx(naive.speedup.value), "the record shows what would have been believed"


def test_a_slow_candidate_start_costs_the_candidate() -> None:
    slow = [Round(*vars(r).values()) for r in rounds(800e3, 800e3)]
    slow = [
        Round(r.empty_ns, r.baseline_short_ns, r.baseline_long_ns, r.candidate_short_ns, r.candidate_long_ns * 1.5)
        for r in slow
    ]
    e = estimate(slow, CALLS)
    assert e.speedup is not None and e.speedup.value < 0.7


def test_noise_widens_the_interval_around_the_truth() -> None:
    source = random.Random(5)
    noisy = estimate(rounds(800e3, 400e3, 16, noise=lambda: source.lognormvariate(0, 0.05)), CALLS).speedup
    calm = estimate(rounds(800e3, 400e3, 16, noise=lambda: source.lognormvariate(0, 0.005)), CALLS).speedup
    assert noisy is not None and calm is not None
    assert noisy.low < 2 < noisy.high and calm.low < 2.01 and calm.high > 1.99
    assert noisy.high - noisy.low > 3 * (calm.high - calm.low)


def test_one_outlier_does_not_move_the_median() -> None:
    given = rounds(800e3, 400e3, 9)
    given[4] = Round(*(value * 50 for value in vars(given[4]).values()))
    e = estimate(given, CALLS)
    assert e.speedup is not None and e.speedup.value == pytest.approx(2)


def test_a_call_shorter_than_the_handshake_tells_no_speedup() -> None:
    given = rounds(800e3, 400e3)
    given[0] = Round(given[0].empty_ns, given[0].baseline_short_ns, given[0].baseline_long_ns, 0.0, 1e3)
    e = estimate(given, CALLS)
    assert e.speedup is None and math.isnan(e.log_ratios[0])
    assert half_width(e.log_ratios) == math.inf


def test_a_negative_naive_slope_is_infinite() -> None:
    given = [Round(r.empty_ns, r.baseline_short_ns, r.baseline_long_ns, 1e9, r.candidate_long_ns) for r in rounds(8e5, 4e5)]
    assert estimate(given, CALLS).naive == math.inf


def test_half_the_width_needs_six_rounds() -> None:
    assert half_width([0.1] * 5) == math.inf
    assert half_width([0.1, 0.2, 0.3, 0.4, 0.5, 0.7]) == pytest.approx(0.3)
    assert half_width([0.1] * 6) == 0.0
